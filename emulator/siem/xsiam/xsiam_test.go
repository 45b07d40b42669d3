package xsiam_test

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/siemtest"
	"github.com/arbitex/siem-connectors/emulator/siem/xsiam"
)

// endpoint returns a function that starts an endpoint of a mode, with a client that proves the key.
func endpoint(m xsiam.Mode) func(*testing.T) *siemtest.Client {
	return func(t *testing.T) *siemtest.Client {
		t.Helper()
		now := func() time.Time { return time.Unix(1_773_360_000, 0) }
		s := siemtest.Start(t, func(o siem.Options) (*xsiam.Simulator, error) { return xsiam.NewMode(o, m) },
			siem.Options{Now: now})
		c := siemtest.NewClient(t, s, "/logs/v1/event", map[string]string{"Content-Type": "application/json"})
		c.Sign = func() map[string]string { return sign(m.Auth, c.Secret(), now()) }
		return c
	}
}

// sign makes the headers that prove the key.
func sign(auth string, secret map[string]string, now time.Time) map[string]string {
	key, id, nonce := secret["XSIAM_API_KEY"], secret["XSIAM_API_KEY_ID"], strings.Repeat(rand.Text(), 3)[:64]
	switch auth {
	case "token":
		return map[string]string{"Authorization": key}
	case "standard":
		return map[string]string{"Authorization": key, "x-xdr-auth-id": id}
	case "advanced":
		at := strconv.FormatInt(now.UnixMilli(), 10)
		sum := sha256.Sum256([]byte(key + nonce + at))
		return map[string]string{"Authorization": hex.EncodeToString(sum[:]), "x-xdr-auth-id": id, "x-xdr-nonce": nonce,
			"x-xdr-timestamp": at}
	}
	return hmacHeaders(secret, nonce)
}

func hmacHeaders(secret map[string]string, nonce string) map[string]string {
	key, id := secret["XSIAM_API_KEY"], secret["XSIAM_API_KEY_ID"]
	mac := hmac.New(sha256.New, []byte(key))
	_, _ = io.WriteString(mac, id+nonce+key)
	return map[string]string{"x-xdr-auth-id": id, "x-xdr-nonce": nonce,
		"x-xdr-hmac-sha256": hex.EncodeToString(mac.Sum(nil))}
}

// record is a record of an event of that id.
func record(id string) string {
	return `{"_time":"2026-03-13T00:00:00.123Z","_vendor":"Arbitex","_product":"ArbitexPlatform","_dataset":"arbitex_audit_raw","log_type":"arbitex_audit",` +
		`"event_id":"r","user_id":null,"user_email":null,"operation":null,"model_id":null,"policy_action":null,"dlp_labels":["pii"],` +
		`"tokens_input":7,"tokens_output":null,"severity":"informational",` +
		`"raw_ocsf":"{\"time\":1773360000123,\"severity_id\":1,\"api\":{\"request\":{\"uid\":\"r\"}},\"unmapped\":{\"tokens_input\":7,\"dlp_labels\":[\"pii\"]},\"metadata\":{\"uid\":\"` + id + `\"}}"}`
}

func envelope(records ...string) string { return `{"events":[` + strings.Join(records, ",") + `]}` }

var (
	page, collector    = xsiam.Page(), xsiam.Collector()
	standard, advanced = xsiam.Mode{Auth: "standard", Body: "envelope"}, xsiam.Mode{Auth: "advanced", Body: "envelope"}
	packed             = xsiam.Mode{Auth: "token", Body: "ndjson", Gzip: true}
)

func TestKeepsTheEvents(t *testing.T) {
	for _, m := range []xsiam.Mode{page, collector, standard, advanced} {
		c := endpoint(m)(t)
		body, want := envelope(record("a"), record("b")), 202
		if m.Body == "ndjson" {
			body, want = record("a")+"\n"+record("b"), 200
		}
		if status, _ := c.Post(body); status != want {
			t.Errorf("%+v: %d, want %d; %s", m, status, want, c.Stats().LastProblem)
			continue
		}
		got := c.Accepted()
		if len(got) != 2 || got[1].ID != "b" || got[1].Fields["event_id"] != "r" || !strings.HasPrefix(string(got[1].Event),
			`{"time":1773360000123,`) || len(c.Stats().Violations) > 0 {
			t.Errorf("%+v: accepted %+v, violations %q", m, got, c.Stats().Violations)
		}
	}
	c := endpoint(page)(t)
	if status, _ := c.Post(envelope()); status != 202 || len(c.Accepted()) != 0 || len(c.Stats().Violations) > 0 {
		t.Errorf("no event: %d", status)
	}
}

func TestRefusesTheCredential(t *testing.T) {
	nonce := func(text string) siemtest.Change {
		return func(c *siemtest.Client) { maps.Copy(c.Headers, hmacHeaders(c.Secret(), text)) }
	}
	usedNonce := func(c *siemtest.Client) {
		nonce(strings.Repeat("n", 64))(c)
		if status, _ := c.Post(envelope()); status != 202 {
			t.Errorf("first use of a nonce: %d", status)
		}
	}
	key := func(scheme string) siemtest.Change {
		return func(c *siemtest.Client) { c.Headers["Authorization"] = scheme + c.Secret()["XSIAM_API_KEY"] }
	}
	refuse := siemtest.Refuses(t, endpoint(page))
	refuse("no signature", siemtest.Header("x-xdr-hmac-sha256", ""), "", 401, "")
	refuse("another signature", siemtest.Header("x-xdr-hmac-sha256", strings.Repeat("0", 64)), "", 401, "")
	refuse("another nonce", siemtest.Header("x-xdr-nonce", strings.Repeat("0", 64)), "", 401, "")
	refuse("another id", siemtest.Header("x-xdr-auth-id", "1"), "", 401, "")
	refuse("a nonce used before", usedNonce, "", 401, "")
	refuse("a short nonce", nonce("short"), "", 401, "")
	refuse("a rotated key", siemtest.Rotate, "", 401, "")
	refuse = siemtest.Refuses(t, endpoint(collector))
	refuse("another token", siemtest.Header("Authorization", "x"), "", 401, "")
	refuse("a token with a scheme", key("Bearer "), "", 401, "")
	refuse("a rotated token", siemtest.Rotate, "", 401, "")
	refuse = siemtest.Refuses(t, endpoint(standard))
	refuse("a standard key without its id", siemtest.Header("x-xdr-auth-id", ""), "", 401, "")
	refuse("another standard key", siemtest.Header("Authorization", "x"), "", 401, "")
	refuse = siemtest.Refuses(t, endpoint(advanced))
	refuse("an advanced key as it is", key(""), "", 401, "")
	refuse("an old time", siemtest.Header("x-xdr-timestamp", "1500000000000"), "", 401, "")
	refuse("no time", siemtest.Header("x-xdr-timestamp", ""), "", 401, "")
	refuse("another advanced nonce", siemtest.Header("x-xdr-nonce", strings.Repeat("0", 64)), "", 401, "")
}

func TestRefusesTheRequest(t *testing.T) {
	large := `{"x":"` + strings.Repeat("x", 5_000_000) + `"}`
	gzip := siemtest.Header("Content-Encoding", "gzip")
	refuse := siemtest.Refuses(t, endpoint(page))
	refuse("another path", siemtest.Path("/"), envelope(), 404, "")
	refuse("GET", siemtest.Method(http.MethodGet), "", 405, "")
	refuse("too large", nil, envelope(large, large), 413, "")
	refuse("a record too large", nil, envelope(large), 400, "")
	refuse("gzip", gzip, siemtest.Gzip(t, envelope(record("a"))), 400, "")
	refuse("invalid JSON", nil, "x", 400, "")
	refuse("no envelope", nil, record("a"), 400, "")
	refuse("lines", nil, record("a")+"\n"+record("b"), 400, "")
	refuse("a record that is not an object", nil, envelope(record("a"), "7"), 400, "")
	refuse("null", nil, envelope("null"), 400, "")
	refuse("poison", nil, envelope(record("a"), record("poison")), 400, "")
	refuse = siemtest.Refuses(t, endpoint(collector))
	refuse("collector: nothing", nil, "", 500, "")
	refuse("collector: gzip", gzip, siemtest.Gzip(t, record("a")), 500, "")
	refuse("collector: invalid JSON", nil, record("a")+"\nx", 500, "")
	refuse("collector: poison", nil, record("a")+"\n"+record("poison"), 500, "")
	refuse = siemtest.Refuses(t, endpoint(packed))
	refuse("collector: no gzip", nil, record("a"), 500, "")
	refuse("collector: not gzip", gzip, record("a"), 500, "")
}

// TestViolations sends what the endpoint takes and the wire format forbids.
func TestViolations(t *testing.T) {
	good := record("a")
	replace := func(old, other string) string { return strings.Replace(good, old, other, 1) }
	siemtest.Violates(t, endpoint(page), envelope(good), map[string]string{
		"white space":      `{"events":[` + good + ", " + record("b") + `]}`,
		"more than events": `{"events":[` + good + `],"x":1}`,
		"a field too many": envelope(replace(`"severity"`, `"extra":1,"severity"`)),
		"a field missing":  envelope(replace(`"model_id":null,`, ``)),
		"another order": envelope(replace(`"user_id":null,"user_email":null`,
			`"user_email":null,"user_id":null`)),
		"a field twice":        envelope(replace(`"user_id":null`, `"user_id":null,"user_id":null`)),
		"another time":         envelope(replace(`00.123Z`, `00.124Z`)),
		"labels as a text":     envelope(replace(`["pii"]`, `"[]"`)),
		"a number as a string": envelope(replace(`"tokens_input":7`, `"tokens_input":"7"`)),
		"empty for absent":     envelope(replace(`"user_id":null`, `"user_id":""`)),
		"another severity":     envelope(replace(`informational`, `Informational`)),
		"another vendor":       envelope(replace(`"Arbitex"`, `"arbitex"`)),
		"no dataset":           envelope(replace(`arbitex_audit_raw`, ``)),
		"no event":             envelope(replace(`"raw_ocsf":"{`, `"raw_ocsf":"`)),
		"an event of lines":    envelope(replace(`"raw_ocsf":"{`, `"raw_ocsf":"{\n`)),
		"no utf-8":             envelope(replace(`\"uid\":\"a\"`, "\\\"uid\\\":\\\"\xff\\\"")),
		"too many events":      envelope(strings.Split(strings.Repeat(good+"\x00", 101), "\x00")[:101]...),
		"over what is advised": envelope(good, replace(`"raw_ocsf":"{`, `"raw_ocsf":"{\"x\":\"`+
			strings.Repeat("x", 1<<20)+`\",`)),
	}, map[string]siemtest.Change{
		"content type": siemtest.Header("Content-Type", "text/plain"),
		"a query":      siemtest.Query("?x=1"),
		"the key":      func(c *siemtest.Client) { c.Headers["Authorization"] = c.Secret()["XSIAM_API_KEY"] },
	})
	siemtest.Violates(t, endpoint(collector), good, map[string]string{"a line break at the end": good + "\n"}, nil)
}

func TestSettings(t *testing.T) {
	s, err := xsiam.NewMode(siem.Options{CAFile: "/ca.pem"}, packed)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got := s.Settings()
	if got["SSL_CERT_FILE"] != "/ca.pem" || got["XSIAM_AUTH"] != "token" || got["SIEM_COMPRESSION"] != "gzip" ||
		s.Secret()["XSIAM_API_KEY_ID"] != "" {
		t.Errorf("%v", got)
	}
}
