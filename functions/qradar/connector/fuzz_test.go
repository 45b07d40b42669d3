package connector

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	simulated "github.com/arbitex/siem-connectors/emulator/siem/qradar"
	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/event"
)

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
		simulated.Field{Key: "cs3Label", Value: "GroupIds"}, simulated.Field{Key: "cs3", Value: item(x.group)})
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
				t.Skip("an event is UTF-8")
			}
		}
		e := env("QRADAR_MAX_MESSAGE_BYTES", "9999999", "QRADAR_CEF_DEVICE_VENDOR", vendor, "SIEM_HOST", vendor,
			"QRADAR_CEF_DEVICE_PRODUCT", vendor)
		if standard {
			e["QRADAR_CEF_KEYS"] = "standard"
		}
		s := newSettings(e)
		c := Open(s)
		if s.Err() != nil {
			t.Skip("no such setting")
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
			t.Skip("no event")
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
		if len(message) > c.cfg.maxMessage || len(record) > c.Format().MaxRecordBytes {
			t.Errorf("%d bytes, limit %d", len(message), c.cfg.maxMessage)
		}
		if mark, _ := m.Value("truncated"); (mark == "1") != truncated {
			t.Errorf("truncated %v, truncated=%q", truncated, mark)
		}
		if rt, _ := m.Value("rt"); rt != strconv.FormatInt(e.Time, 10) || m.Time.UnixMilli() != e.Time {
			t.Errorf("rt=%s and TIMESTAMP %s of an event at %d", rt, m.Time, e.Time)
		}
	})
}
