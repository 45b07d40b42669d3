package datadog_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/datadog"
	"github.com/arbitex/siem-connectors/emulator/siem/siemtest"
)

var now = time.Date(2026, time.March, 13, 12, 0, 0, 0, time.UTC)

func newIntake(t *testing.T) *siemtest.Client {
	t.Helper()
	s := siemtest.Start(t, datadog.New, siem.Options{Now: func() time.Time { return now }})
	return siemtest.NewClient(t, s, "/api/v2/logs", map[string]string{
		"DD-API-KEY": s.Secret()["DATADOG_API_KEY"], "Content-Type": "application/json"})
}

// entry is an entry with that event, and more members behind it.
func entry(event, more string) string {
	message, _ := json.Marshal(event)
	return `{"ddsource":"arbitex-audit","ddtags":"env:x,service:arbitex","hostname":"h","service":"arbitex","message":` +
		string(message) + more + `}`
}

func named(id string) string {
	return entry(fmt.Sprintf(`{"time":%d,"metadata":{"uid":%q}}`, now.UnixMilli(), id), "")
}

func TestKeepsTheEvents(t *testing.T) {
	c := newIntake(t)
	const event = `{"time":1,"metadata":{"uid":"b"}}`
	if status, body := c.Post("[" + named("a") + "," + entry(event, "") + "]"); status != 202 || body != "{}" {
		t.Fatalf("answered %d %s; %s", status, body, c.Stats().LastProblem)
	}
	got := c.Accepted()
	if len(got) != 2 || string(got[1].Event) != event || got[1].ID != "b" || got[1].Truncated ||
		got[1].Fields["ddsource"] != "arbitex-audit" {
		t.Errorf("kept as %+v", got)
	}
}

func TestRefuses(t *testing.T) {
	const broken = `{"errors":[{"status":"400","title":"Bad Request"`
	refuse := siemtest.Refuses(t, newIntake)
	refuse("no key", siemtest.Header("DD-API-KEY", ""), "[]", 401, "no API key")
	refuse("another key", siemtest.Header("DD-API-KEY", "x"), "[]", 403, "invalid")
	refuse("a rotated key", siemtest.Rotate, "["+named("a")+"]", 403, "invalid")
	refuse("no body", nil, "", 400, broken)
	refuse("invalid JSON", nil, "["+named("a"), 400, broken)
	refuse("null", nil, "null", 400, broken)
	refuse("an entry that is not an object", nil, "["+named("a")+",1]", 400, "entry 1")
	refuse("a host that is not a string", nil, "["+strings.Replace(named("a"), `"h"`, `7`, 1)+"]", 400, "entry 0")
	refuse("poisoned", nil, "["+named("a")+","+named("poison")+"]", 400, "Invalid payload")
	refuse("too large", nil, "["+named(strings.Repeat("x", 5_000_000))+"]", 413, "5MB")
	refuse("too many", nil, "["+strings.Repeat(named("a")+",", 1000)+named("b")+"]", 413, "1001")
	refuse("not gzip", siemtest.Header("Content-Encoding", "gzip"), "[]", 400, broken)
	refuse("get", siemtest.Method(http.MethodGet), "", 405, "")
	refuse("another path", siemtest.Path("/v1/input"), "[]", 404, "")
	refuse("posting to validate", siemtest.Path("/api/v1/validate"), "[]", 405, "")
}

func TestValidate(t *testing.T) {
	c := newIntake(t)
	for _, want := range []int{200, 403} {
		if status, body := c.Do("GET", "/api/v1/validate", ""); status != want || len(c.Accepted()) != 0 {
			t.Errorf("%d %s, want %d", status, body, want)
		}
		c.Headers["DD-API-KEY"] = "x"
	}
}

// TestViolations sends what Datadog takes and the wire format forbids.
func TestViolations(t *testing.T) {
	good, young := named("a"), fmt.Sprintf(`,"timestamp":%d`, now.UnixMilli())
	replace := func(old, other string) string { return "[" + strings.Replace(good, old, other, 1) + "]" }
	siemtest.Violates(t, newIntake, "["+good+"]", map[string]string{
		"one object": good,
		"key order": replace(`"hostname":"h","service":"arbitex"`,
			`"service":"arbitex","hostname":"h"`),
		"a key too many":     replace(`"hostname"`, `"x":1,"hostname"`),
		"a key twice":        replace(`"hostname":"h"`, `"hostname":"h","hostname":"h"`),
		"an empty host":      replace(`"h"`, `""`),
		"no service tag":     replace(`,service:arbitex`, ``),
		"an empty tag":       replace(`env:x,`, `env:x,,`),
		"no message":         `[{"ddsource":"a","ddtags":"service:s","hostname":"h","service":"s"}]`,
		"a message of words": "[" + entry("hello", "") + "]",
		"another timestamp":  "[" + entry(`{"time":1}`, young) + "]",
		"an entry to be cut": "[" + named(strings.Repeat("x", 1_000_000)) + "]",
		"no utf-8":           replace(`"h"`, "\"\xff\""),
	}, map[string]siemtest.Change{
		"content type": siemtest.Header("Content-Type", "text/plain"),
		"the key in the url": func(c *siemtest.Client) {
			c.Query = "?dd-api-key=" + c.Headers["DD-API-KEY"]
			delete(c.Headers, "DD-API-KEY")
		},
	})
	// The event keeps its time in microseconds, and the entry's timestamp is in milliseconds.
	siemtest.Violates(t, newIntake, "["+entry(fmt.Sprintf(`{"time":%d}`, now.UnixMicro()), young)+"]", nil, nil)
	c, old := newIntake(t), now.Add(-19*time.Hour).UnixMilli()
	status, _ := c.Post("[" + entry(fmt.Sprintf(`{"time":%d}`, old), fmt.Sprintf(`,"timestamp":%d`, old)) + "]")
	if s := c.Stats(); status != 202 || len(s.Violations) != 1 || s.Accepted != 0 {
		t.Errorf("an old timestamp: %d, accepted %d, violations %q", status, s.Accepted, s.Violations)
	}
}

// TestOtherReceivers: receivers of the same protocol accept a payload with an empty 200 or a 204.
func TestOtherReceivers(t *testing.T) {
	c := newIntake(t)
	for code, want := range map[string]int{"empty": 200, "204": 204} {
		c.Inject(siem.Fault{Kind: siem.Product, Code: code, Times: 1})
		if status, body := c.Post("[" + named(code) + "]"); status != want || body != "" {
			t.Errorf("%s: %d %q", code, status, body)
		}
	}
	if n := len(c.Accepted()); n != 2 {
		t.Errorf("accepted %d entries, want 2", n)
	}
}
