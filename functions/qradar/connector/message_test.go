package connector

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	simulated "github.com/arbitex/siem-connectors/emulator/siem/qradar"
	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/event"
)

// The messages of the platform's page, and those with CEF's standard keys.
const (
	pageMessage = `<134>1 2025-03-13T00:00:00.123Z platform.arbitex.ai ArbitexPlatform - req_xyz - CEF:0|Arbitex|ArbitexPlatform|1.0|6003|chat_completion|3|` +
		`rt=1741824000123 suser=alice@example.com duid=user_abc act=allow model=gpt-4o tokenIn=512 tokenOut=256` +
		` cs1Label=PolicyAction cs1=allow cs2Label=DlpLabels cs2= cs3Label=GroupIds cs3=finance-team`
	standardMessage = `<134>1 2025-03-13T00:00:00.123Z platform.arbitex.ai ArbitexPlatform - req_xyz - CEF:0|Arbitex|ArbitexPlatform|1.0|6003|chat_completion|3|` +
		`rt=1741824000123 externalId=evt-1 suser=alice@example.com suid=user_abc act=allow cs4Label=ModelId cs4=gpt-4o cn1Label=TokensInput cn1=512 cn2Label=TokensOutput cn2=256` +
		` cs1Label=PolicyAction cs1=allow cs2Label=DlpLabels cs2= cs3Label=GroupIds cs3=finance-team`
)

// TestPage holds the connector to the platform's page, byte for byte but for the date: the page's two dates of one
// event are a year apart, and the event's own is right.
func TestPage(t *testing.T) {
	for keys, want := range map[string]string{"page": pageMessage, "standard": standardMessage} {
		if got, _ := encode(t, open(t, env("QRADAR_CEF_KEYS", keys)), connectortest.FullEvent); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestAbsentFields(t *testing.T) {
	const head = "<134>1 1970-01-01T00:00:00.001Z platform.arbitex.ai ArbitexPlatform - - - " +
		"CEF:0|Arbitex|ArbitexPlatform|1.0|"
	const tail = " cs1Label=PolicyAction cs1= cs2Label=DlpLabels cs2= cs3Label=GroupIds cs3="
	for body, want := range map[string]string{
		`{"time":1}`: head + "0|OCSF class 0|0|rt=1" + tail,
		`{"time":1,"class_uid":6003,"api":{"operation":""},"actor":{"user":{"uid":"","email_addr":7}},"unmapped":{"model_id":"","policy_action":""}}`: head +
			"6003|OCSF class 6003|0|rt=1" + tail,
		`{"time":1,"activity_name":"Logon","unmapped":{"tokens_input":0}}`: head + "0|Logon|0|rt=1 tokenIn=0" + tail,
		// Only the blanks at the end of the message are removed.
		`{"time":1,"actor":{"user":{"uid":" u ","groups":[{"uid":" g\t "}]}}}`: head + "0|OCSF class 0|0|rt=1 duid= u " +
			tail + " g",
		`{"time":1,"src_endpoint":{"ip":"  "}}`: head + "0|OCSF class 0|0|rt=1" + tail + " shost=",
	} {
		if got, _ := encode(t, open(t, env()), body); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", body, got, want)
		}
	}
}

func TestSeverities(t *testing.T) {
	c := open(t, env())
	for id, want := range map[int][2]string{
		0: {"134", "0"}, 1: {"134", "3"}, 2: {"133", "4"}, 3: {"132", "6"}, 4: {"131", "8"}, 5: {"130", "9"},
		6:  {"129", "10"},
		99: {"134", "5"}, 7: {"134", "5"}, -1: {"134", "5"}, 1 << 40: {"134", "5"},
	} {
		got, _ := encode(t, c, fmt.Sprintf(`{"time":1,"severity_id":%d}`, id))
		if !strings.HasPrefix(got, "<"+want[0]+">1 ") || !strings.Contains(got, "|OCSF class 0|"+want[1]+"|rt=") {
			t.Errorf("severity_id %d: %s, want PRI %s and severity %s", id, got, want[0], want[1])
		}
	}
}

func TestSyslogHeader(t *testing.T) {
	for id, want := range map[string]string{
		"":                                     "-",
		"req 1\u00e4\n":                        "req1",
		"CEF:0|Arbitex|P|1|1|ok|0|msg=x":       "CEF0ArbitexP11ok0msgx",
		"a.b_c-D9":                             "a.b_c-D9",
		"\u00e4 ":                              "-",
		"0123456789-0123456789-0123456789":     "0123456789-0123456789-0123456789", // 32
		"0123456789-0123456789-0123456789x":    "012345678901234567890123456789x",
		"1c8a6220-4263-4763-b526-0123456789ab": "1c8a622042634763b5260123456789ab",
		strings.Repeat("x", 40):                strings.Repeat("x", 32),
		strings.Repeat("-", 33):                "-",
	} {
		got, _ := encode(t, open(t, env()), fmt.Sprintf(`{"time":1,"api":{"request":{"uid":%s}}}`, strconv.Quote(id)))
		if field := strings.Split(got, " ")[5]; field != want {
			t.Errorf("request id %q: MSGID %q, want %q", id, field, want)
		}
	}
	got, _ := encode(t, open(t, env(
		"SIEM_HOST", "a b"+strings.Repeat("c", 300), "QRADAR_CEF_DEVICE_PRODUCT", `Prod\uct | `+strings.Repeat("é", 10)+
			strings.Repeat("p", 60),
		"QRADAR_CEF_DEVICE_VENDOR", `a|b\c=d`, "QRADAR_CEF_DEVICE_VERSION", `\`)), `{"time":1}`)
	want := "<134>1 1970-01-01T00:00:00.001Z ab" + strings.Repeat("c", 253) + ` Prod\uct|` + strings.Repeat("p", 39) +
		` - - - CEF:0|a\|b\\c=d|Prod\\uct \| ` + strings.Repeat("é", 10) + strings.Repeat("p", 60) + `|\\|0|`
	if !strings.HasPrefix(got, want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	got, _ = encode(t, open(t, env("SIEM_HOST", "CEF::0|x", "QRADAR_CEF_DEVICE_PRODUCT", "CEF:0")), `{"time":1}`)
	if want := "<134>1 1970-01-01T00:00:00.001Z CEF-:0|x CEF-0 - - - CEF:0|Arbitex|CEF:0|"; !strings.HasPrefix(got, want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestEscaping(t *testing.T) {
	const text = `a|b\c=d` + "\n\r\t\x00\x7f\u0085\u2028\u2029e é€🙂 x=y"
	body := fmt.Sprintf(`{"time":1,"api":{"operation":%[1]s},"actor":{"user":{"uid":%[1]s,"groups":[{"uid":%[1]s}]}},"unmapped":{"dlp_labels":[%[1]s,"l"]}}`,
		`"a|b\\c=d\n\r\t\u0000\u007f\u0085\u2028\u2029e é€🙂 x=y"`)
	got, _ := encode(t, open(t, env()), body)
	const value = `a|b\\c\=d\n\r      e é€🙂 x\=y`
	want := `|0|a\|b\\c=d        e é€🙂 x=y|0|rt=1 duid=` + value + ` cs1Label=PolicyAction cs1= cs2Label=DlpLabels cs2=` +
		value +
		`,l cs3Label=GroupIds cs3=` + value
	if !strings.HasSuffix(got, want) {
		t.Errorf("%q\ngot  %s\nwant …%s", text, got, want)
	}
}

func TestFraming(t *testing.T) {
	const message = pageMessage
	got, _ := encode(t, open(t, env("QRADAR_SYSLOG_FRAMING", "octet-counted")), connectortest.FullEvent)
	if want := strconv.Itoa(len(message)) + " " + message; got != want {
		t.Errorf("octet-counted: got  %s\nwant %s", got, want)
	}
	for _, e := range []map[string]string{env(), env("QRADAR_SYSLOG_PROTOCOL", "udp", "QRADAR_SYSLOG_FRAMING",
		"octet-counted")} {
		if got, _ := encode(t, open(t, e), connectortest.FullEvent); got != message {
			t.Errorf("got  %s\nwant %s", got, message)
		}
	}
	if f := open(t, env()).Format(); f.Separator != "\n" || f.Close != "\n" || f.Open != "" {
		t.Errorf("newline: %+v", f)
	}
	if f := open(t, env("QRADAR_SYSLOG_FRAMING", "octet-counted")).Format(); f.Separator != "" || f.Close != "" ||
		f.Open != "" {
		t.Errorf("octet-counted: %+v", f)
	}
}

// TestLimit walks the limit down from where everything fits to where nothing does.
func TestLimit(t *testing.T) {
	body := `{"time":1,"actor":{"user":{"groups":[{"uid":"finance-team"},{"uid":"é=é, and more of it"}]}},"unmapped":{"dlp_labels":["pii","secret-and-longer"]}}`
	limited := func(n int) *connector {
		return open(t, env("QRADAR_MAX_MESSAGE_BYTES", strconv.Itoa(n), "QRADAR_SYSLOG_FRAMING", "octet-counted"))
	}
	whole, _ := encode(t, limited(4096), body)
	_, whole, _ = strings.Cut(whole, " ")
	head, _, _ := strings.Cut(whole, "cs2=")
	// What is left, from all to nothing, each with the least limit that it takes.
	steps := []string{
		"cs2=pii,secret-and-longer cs3Label=GroupIds cs3=finance-team truncated=1",
		"cs2=pii,secret-and-longer cs3Label=GroupIds cs3= truncated=1",
		"cs2=pii cs3Label=GroupIds cs3= truncated=1",
		"cs2= cs3Label=GroupIds cs3= truncated=1",
	}
	at := func(limit int) string {
		record, truncated := encode(t, limited(limit), body)
		length, message, _ := strings.Cut(record, " ")
		if length != strconv.Itoa(len(message)) || len(message) > limit || truncated != strings.HasSuffix(message,
			" truncated=1") {
			t.Errorf("limit %d: %d bytes (length says %s), truncated %v: %s", limit, len(message), length, truncated, message)
		}
		return message
	}
	if got := at(len(whole)); got != whole {
		t.Errorf("at just its size: %s, want it whole", got)
	}
	below := len(whole) - 1
	for _, step := range steps {
		want := head + step
		for _, limit := range []int{min(below, len(whole)-1), len(want)} {
			if limit < len(want) { // the mark needs more room than was won
				continue
			}
			if got := at(limit); got != want {
				t.Errorf("limit %d:\ngot  %s\nwant %s", limit, got, want)
			}
		}
		below = len(want) - 1
	}
}

// TestCutValues: without items to remove, the longest values are cut, each between two characters and not in an escape.
func TestCutValues(t *testing.T) {
	long := func(n int) string { return strings.Repeat(`é=\\`, n) } // 6 bytes escaped: é \= and two backslashes
	body := fmt.Sprintf(`{"time":1,"class_uid":6003,"api":{"operation":%[1]q},"src_endpoint":{"ip":"192.0.2.1"},`+
		`"actor":{"user":{"uid":"short","email_addr":"%[2]s","groups":[{"uid":"g"}]}},"unmapped":{"model_id":"%[2]s","dlp_labels":["l"]}}`, strings.Repeat("o", 300), long(100))
	whole, _ := encode(t, open(t, env("QRADAR_MAX_MESSAGE_BYTES", "4096")), body)
	for limit := 4096; limit > 100; limit-- {
		c := open(t, env("QRADAR_MAX_MESSAGE_BYTES", strconv.Itoa(limit)))
		record, truncated, err := c.Append(nil, connectortest.Parse(t, body))
		if err != nil {
			if !strings.Contains(err.Error(), "QRADAR_MAX_MESSAGE_BYTES is "+strconv.Itoa(limit)) {
				t.Errorf("limit %d: %v, want an error that names the setting", limit, err)
			}
			if limit > 280 {
				t.Errorf("limit %d: %v", limit, err)
			}
			continue
		}
		message := string(record)
		if truncated != (limit < len(whole)) || truncated != strings.HasSuffix(message, " src=192.0.2.1 truncated=1") &&
			limit > 280 {
			t.Errorf("limit %d of %d: truncated %t: %s", limit, len(whole), truncated, message)
		}
		m, err := simulated.Parse(record)
		if err != nil || len(message) > limit {
			t.Fatalf("limit %d: %d bytes, %v: %s", limit, len(message), err, message)
		}
		if truncated && limit > 330 && len(message) < limit-16 {
			t.Errorf("limit %d: only %d bytes: more is cut than needed", limit, len(message))
		}
		user, _ := m.Value("duid")
		mail, _ := m.Value("suser")
		model, _ := m.Value("model")
		if limit > 300 && user != "short" || !strings.HasPrefix(long(100), strings.ReplaceAll(mail, `\`, `\\`)) ||
			mail != model || mail == "" {
			t.Errorf("limit %d: duid %q, suser %q, model %q", limit, user, mail, model)
		}
	}
}

// TestLimitDefaults finds the limit where none is set.
func TestLimitDefaults(t *testing.T) {
	for protocol, limit := range map[string]int{"tcp": 4096, "udp": 1024} {
		c := open(t, env("QRADAR_SYSLOG_PROTOCOL", protocol))
		for _, over := range []int{0, 1} {
			size := limit + over - len(`<134>1 1970-01-01T00:00:00.001Z platform.arbitex.ai ArbitexPlatform - - - CEF:0|Arbitex|ArbitexPlatform|1.0|0|`) -
				len(`|0|rt=1 cs1Label=PolicyAction cs1= cs2Label=DlpLabels cs2= cs3Label=GroupIds cs3=`)
			record, truncated := encode(t, c, fmt.Sprintf(`{"time":1,"activity_name":%q}`, strings.Repeat("n", size)))
			if truncated != (over > 0) || len(record) != limit {
				t.Errorf("%s, %d bytes: %d bytes, truncated %t", protocol, limit+over, len(record), truncated)
			}
		}
	}
}

// TestSource: the source follows the page's keys. An address is src, a host name shost.
func TestSource(t *testing.T) {
	const body = `{"time":1,"src_endpoint":{"ip":%q},"actor":{"user":{"groups":[{"uid":"a,b"},{"uid":"c"}]}},"unmapped":{"dlp_labels":["x,y,z",","]}}`
	for source, want := range map[string]string{"192.0.2.1": "src", "2001:db8::1": "src", "::ffff:192.0.2.1": "src",
		"beef.example": "shost", "decade": "shost"} {
		for _, keys := range []string{"page", "standard"} {
			got, _ := encode(t, open(t, env("QRADAR_CEF_KEYS", keys)), fmt.Sprintf(body, source))
			want := " cs2Label=DlpLabels cs2=x y z,  cs3Label=GroupIds cs3=a b,c " + want + "=" + source
			if !strings.HasSuffix(got, want) {
				t.Errorf("got  %s\nwant …%s", got, want)
			}
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	connectortest.BenchmarkAppend(b, open(b, env("QRADAR_SYSLOG_FRAMING", "octet-counted")))
}

// tame replaces all characters that some parser reads as the end of a line, and all other controls, by spaces, except
// those in keep, which have an escape. It shares no code with the connector.
func tame(text, keep string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case strings.ContainsRune(keep, r):
			return r
		case r < ' ', 0x7f <= r && r < 0xa0, r == '\u2028', r == '\u2029':
			return ' '
		}
		return r
	}, text)
}

func value(text string) string { return tame(text, "\r\n") }

func item(text string) string { return strings.ReplaceAll(value(text), ",", " ") }

// texts are the fields of an event that a fuzzer may fill.
type texts struct{ user, mail, action, model, label, group, operation, request, id string }

func (x texts) event(t *testing.T) string {
	b, err := json.Marshal(map[string]any{
		"time": 1741824000123, "class_uid": 6003, "severity_id": 3,
		"actor": map[string]any{"user": map[string]any{"uid": x.user, "email_addr": x.mail,
			"groups": []any{map[string]any{"uid": x.group}}}},
		"api":      map[string]any{"operation": x.operation, "request": map[string]any{"uid": x.request}},
		"metadata": map[string]any{"uid": x.id},
		"unmapped": map[string]any{
			"model_id": x.model, "policy_action": x.action, "dlp_labels": []any{x.label, "pii"}, "tokens_input": 1,
			"tokens_output": 2,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// extension returns exactly the keys and values that a parser must find.
func (x texts) extension(standard bool) (fields []simulated.Field) {
	add := func(key, v string) {
		if v != "" {
			fields = append(fields, simulated.Field{Key: key, Value: value(v)})
		}
	}
	add("rt", "1741824000123")
	if standard {
		add("externalId", x.id)
	}
	add("suser", x.mail)
	add(map[bool]string{true: "suid", false: "duid"}[standard], x.user)
	add("act", x.action)
	if standard {
		if x.model != "" {
			add("cs4Label", "ModelId")
			add("cs4", x.model)
		}
		add("cn1Label", "TokensInput")
		add("cn1", "1")
		add("cn2Label", "TokensOutput")
		add("cn2", "2")
	} else {
		add("model", x.model)
		add("tokenIn", "1")
		add("tokenOut", "2")
	}
	return append(fields,
		simulated.Field{Key: "cs1Label", Value: "PolicyAction"}, simulated.Field{Key: "cs1", Value: value(x.action)},
		simulated.Field{Key: "cs2Label", Value: "DlpLabels"}, simulated.Field{Key: "cs2", Value: item(x.label) + ",pii"},
		simulated.Field{Key: "cs3Label", Value: "GroupIds"},
		simulated.Field{Key: "cs3", Value: strings.TrimRight(item(x.group), " ")})
}

// FuzzInjection puts texts of an event and of the settings where a message has fields, and has a strict parser find
// just those fields with just those values.
func FuzzInjection(f *testing.F) {
	f.Add("user_abc", "alice@example.com", "allow", "gpt-4o", "pii", "finance-team", "chat_completion", "req_xyz", "evt-1",
		"Arbitex", false)
	f.Add(`a|b\`, `\`, "x act=block", `\=`, "=", " =", "|10|act=1", "a b\nc", "\\\r\n", `V|\`, true)
	f.Add("\u0085cs1=x", "\u2028<134>1 ", "\x00", "\\\\n", "a,b", "truncated=1", "\x7f", "-", " ", " ", false)
	f.Fuzz(func(t *testing.T, user, mail, action, model, label, group, operation, request, id, vendor string,
		standard bool) {
		x := texts{user, mail, action, model, label, group, operation, request, id}
		for _, text := range []string{user, mail, action, model, label, group, operation, request, id, vendor} {
			if !utf8.ValidString(text) {
				return // an event is UTF-8
			}
		}
		e := env("QRADAR_MAX_MESSAGE_BYTES", "9999999", "QRADAR_CEF_DEVICE_VENDOR", vendor, "SIEM_HOST", vendor,
			"QRADAR_CEF_DEVICE_PRODUCT", vendor)
		if standard {
			e["QRADAR_CEF_KEYS"] = "standard"
		}
		s := connectortest.Settings(e)
		c := Open(s)
		if s.Err() != nil {
			return
		}
		if id == "" {
			x.id = hashID(t, x.event(t))
		}
		message, _ := encode(t, c, texts{user, mail, action, model, label, group, operation, request, id}.event(t))
		m, err := simulated.Parse([]byte(message))
		if err != nil {
			t.Fatalf("%v in %q", err, message)
		}
		if want := x.extension(standard); !reflect.DeepEqual(m.Extension, want) {
			t.Errorf("%q\ngot  %q\nwant %q", message, m.Extension, want)
		}
		if operation == "" {
			operation = "OCSF class 6003"
		}
		vendor = strings.TrimSpace(vendor)
		if vendor == "" {
			vendor = "Arbitex"
		}
		if m.Name != tame(operation, "") || m.Severity != 6 || m.PRI != 132 || m.ClassID != "6003" || m.ProcID != "-" ||
			m.Vendor != tame(vendor, "") {
			t.Errorf("%q\nis read as %+v", message, m)
		}
	})
}

func hashID(t *testing.T, body string) string {
	return string(connectortest.Parse(t, body).AppendID(nil))
}

// FuzzAppend: every event becomes exactly one message, which a strict parser accepts, within the limit.
func FuzzAppend(f *testing.F) {
	f.Add([]byte(`{"time":1}`), uint16(4096), true)
	f.Add([]byte(`{"time":1741824000123,"unmapped":{"dlp_labels":["a","\ud800",null,"b=\\"]},"actor":{"user":{"groups":[{"name":"n"},7,{"uid":""}]}}}`), uint16(230), false)
	f.Add([]byte(connectortest.FullEvent), uint16(300), true)
	f.Fuzz(func(t *testing.T, body []byte, limit uint16, octets bool) {
		var e event.Event
		if new(event.Parser).Parse(body, &e) != nil {
			return
		}
		settings := env("QRADAR_MAX_MESSAGE_BYTES", strconv.Itoa(max(leastMaxMessage, int(limit))))
		if octets {
			settings["QRADAR_SYSLOG_FRAMING"] = "octet-counted"
		}
		c := open(t, settings)
		record, truncated, err := c.Append(nil, &e)
		if err != nil {
			return
		}
		message := string(record)
		if octets {
			length, rest, _ := strings.Cut(message, " ")
			if message = rest; length != strconv.Itoa(len(message)) {
				t.Fatalf("length %s before %d bytes", length, len(message))
			}
		}
		m, err := simulated.Parse([]byte(message))
		if err != nil {
			t.Fatalf("%v in %q", err, message)
		}
		if len(message) > c.maxMessage || len(record) > c.Format().MaxRecordBytes {
			t.Errorf("%d bytes, limit %d", len(message), c.maxMessage)
		}
		if mark, _ := m.Value("truncated"); (mark == "1") != truncated {
			t.Errorf("truncated %v, truncated=%q", truncated, mark)
		}
		if rt, _ := m.Value("rt"); rt != strconv.FormatInt(e.Time, 10) || m.Time.UnixMilli() != e.Time {
			t.Errorf("rt=%s and TIMESTAMP %s of an event at %d", rt, m.Time, e.Time)
		}
	})
}
