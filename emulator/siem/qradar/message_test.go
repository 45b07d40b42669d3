package qradar

import (
	"reflect"
	"strings"
	"testing"
)

const good = `<134>1 2025-03-13T00:00:00.123Z platform.arbitex.ai ArbitexPlatform - req_xyz - CEF:0|Arbitex|ArbitexPlatform|1.0|6003|chat_completion|3|` +
	`rt=1741824000123 externalId=evt-1 suser=alice@example.com suid=user_abc act=allow cs4Label=ModelId cs4=gpt-4o cn1Label=TokensInput cn1=512 ` +
	`cn2Label=TokensOutput cn2=256 cs1Label=PolicyAction cs1=allow cs2Label=DlpLabels cs2= cs3Label=GroupIds cs3=finance-team`

func TestParse(t *testing.T) {
	m, err := Parse([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if m.PRI != 134 || m.Time.UnixMilli() != 1741824000123 || m.Hostname != "platform.arbitex.ai" ||
		m.AppName != "ArbitexPlatform" ||
		m.ProcID != "-" || m.MsgID != "req_xyz" || m.Vendor != "Arbitex" || m.Product != "ArbitexPlatform" ||
		m.Version != "1.0" ||
		m.ClassID != "6003" || m.Name != "chat_completion" || m.Severity != 3 || len(m.Extension) != 17 {
		t.Errorf("read as %+v", m)
	}
	m, err = Parse([]byte(`<0>1 2025-03-13T00:00:00Z h a p m - CEF:0|V\|\\|P=1|1|2|n|0|a=x\=y\\\n b = c_1=`))
	if err == nil {
		t.Errorf("a value with an equals sign that is not escaped: %+v, want an error", m)
	}
	m, err = Parse([]byte(`<0>1 2025-03-13T00:00:00Z h a p m - CEF:0|V\|\\|P=1|1|2|n|0|a=x\=y\\\n| b  c_1= d=\r`))
	want := []Field{{"a", "x=y\\\n| b "}, {"c_1", ""}, {"d", "\r"}}
	if err != nil || m.Vendor != `V|\` || m.Product != "P=1" || !reflect.DeepEqual(m.Extension, want) {
		t.Errorf("read as %+v, %v; want %q", m, err, want)
	}
}

// TestParseRefuses breaks a good message in one place each.
func TestParseRefuses(t *testing.T) {
	for name, change := range map[string][2]string{
		"no PRI":                  {"<134>", ""},
		"PRI with a zero":         {"<134>", "<034>"},
		"PRI over 191":            {"<134>", "<192>"},
		"another version":         {">1 ", ">2 "},
		"a length before":         {"<134>", "300 <134>"},
		"no milliseconds' digits": {".123Z", ".Z"},
		"seven decimals":          {".123Z", ".1234567Z"},
		"a month 13":              {"2025-03", "2025-13"},
		"lower case z":            {".123Z", ".123z"},
		"a blank in HOSTNAME":     {"platform.", "plat form."},
		"no HOSTNAME":             {"platform.arbitex.ai", ""},
		"long HOSTNAME":           {"platform", strings.Repeat("p", 250)},
		"long APP-NAME":           {"ArbitexPlatform -", strings.Repeat("p", 49) + " -"},
		"long MSGID":              {"req_xyz", strings.Repeat("r", 33)},
		"MSGID with a colon":      {"req_xyz", "CEF:0"},
		"MSGID not ASCII":         {"req_xyz", "réq"},
		"structured data":         {"- CEF", `[a b="c"] CEF`},
		"a byte order mark":       {"CEF:0", "\ufeffCEF:0"},
		"no CEF":                  {"CEF:0", "LEEF:1"},
		"CEF:1":                   {"CEF:0", "CEF:1"},
		"not UTF-8":               {"alice", "\xff"},
		"a line break":            {"alice", "\n"},
		"a NUL":                   {"alice", "\x00"},
		"a NEL":                   {"alice", "\u0085"},
		"a line separator":        {"alice", "\u2028"},
		"an empty name":           {"chat_completion", ""},
		"a field too few":         {"|chat_completion", ""},
		"a pipe in the name":      {"chat_completion", "chat|completion"},
		"a bad header escape":     {"chat_completion", `chat\ncompletion`},
		"severity 11":             {"|3|", "|11|"},
		"severity 03":             {"|3|", "|03|"},
		"no extension":            {"|3|rt=", "|3|rt"},
		"leading blank":           {"|3|rt=", "|3| rt="},
		"an equals sign":          {"alice", "a=b"},
		"a bad value escape":      {"alice", `a\b`},
		"an escape at the end":    {"finance-team", `finance\`},
		"a key twice":             {"suid=", "suser="},
		"an empty key":            {"suid=", "="},
	} {
		broken := strings.Replace(good, change[0], change[1], 1)
		if broken == good {
			t.Fatalf("%s: nothing changed", name)
		}
		if name == "no extension" { // "rt1741824000123 externalId=…" has a key, and something before it
			broken = strings.ReplaceAll(broken, "externalId=", "")
		}
		if m, err := Parse([]byte(broken)); err == nil {
			t.Errorf("%s: read as %+v, want an error", name, m)
		}
	}
}
