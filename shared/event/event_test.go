package event_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/shared/event"
)

func parse(t *testing.T, body string) *event.Event {
	t.Helper()
	e := new(event.Event)
	if err := new(event.Parser).Parse([]byte(body), e); err != nil {
		t.Fatalf("parsing %s: %v", body, err)
	}
	return e
}

const full = `{"time":1741824000123,"class_uid":6003,"severity_id":4,"@timestamp":"x",
 "actor":{"user":{"uid":"u\u0031","email_addr":"a@b","groups":[{"name":"n1","uid":"g1"},{"name":"n2"},{"type":"x"},7,{"uid":5,"name":"n3"}]}},
 "api":{"request":{"uid":"r"},"operation":"op"},"activity_name":"Read","metadata":{"uid":"id-\"1\""},
 "unmapped":{"model_id":"m","policy_action":"block","dlp_labels":["a",1,"b"],"tokens_input":5,"tokens_output":-6,"group_ids":["no"]}}`

func TestFields(t *testing.T) {
	e := parse(t, full)
	for name, c := range map[string]struct{ got, want string }{
		"user":      {e.UserID.String(), "u1"},
		"raw user":  {string(e.UserID), `"u\u0031"`},
		"email":     {e.UserEmail.String(), "a@b"},
		"groups":    {string(event.AppendTexts(nil, e.Groups)), `["g1","n2","n3"]`},
		"request":   {e.RequestID.String(), "r"},
		"operation": {e.Operation.String(), "op"},
		"model":     {e.ModelID.String(), "m"},
		"action":    {e.PolicyAction.String(), "block"},
		"labels":    {string(event.AppendTexts(nil, e.DLPLabels)), `["a","b"]`},
		"in":        {string(e.TokensInput.AppendJSON(nil)), "5"},
		"out":       {string(e.TokensOutput.AppendJSON(nil)), "-6"},
		"id":        {string(e.AppendID(nil)), `id-"1"`},
		"id JSON":   {string(e.AppendIDJSON(nil)), `"id-\"1\""`},
		"time":      {string(e.AppendTime(nil)), "2025-03-13T00:00:00.123Z"},
		"compact":   {string(e.AppendCompact(nil)), compact(t, full)},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %s, want %s", name, c.got, c.want)
		}
	}
	if e.Time != 1741824000123 || e.Class != 6003 || e.Severity != 4 || !e.HasTimestamp {
		t.Errorf("numbers: %+v", e)
	}
}

func compact(t *testing.T, s string) string {
	t.Helper()
	var raw json.RawMessage
	if err := json.Unmarshal([]byte(s), &raw); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(raw)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestAbsent(t *testing.T) {
	e := parse(t, `{"time":5,"actor":{"user":{"uid":null,"groups":"x"}},"class_uid":"6003","severity_id":1.5,"api":[],
		"activity_name":"Logon","metadata":{"uid":7},"unmapped":{"tokens_input":"5","tokens_output":1e3,"dlp_labels":{},"group_ids":["a"]}}`)
	if e.UserID != nil || e.UserEmail != nil || e.Class != 0 || e.Severity != 0 || e.TokensInput.Present || e.TokensOutput.Present || len(e.DLPLabels) != 0 {
		t.Errorf("values of a wrong type are not absent: %+v", e)
	}
	if got := e.Operation.String(); got != "Logon" {
		t.Errorf("operation without api.operation is %q, want the activity's name", got)
	}
	if got := string(event.AppendTexts(nil, e.Groups)); got != `["a"]` {
		t.Errorf("groups without the user's own are %s, want unmapped.group_ids", got)
	}
	twice := parse(t, `{"time":1,"actor":{"user":{"uid":"a","uid":7}},"unmapped":{"model_id":"m","model_id":{}},"class_uid":1,"class_uid":"x"}`)
	if twice.UserID != nil || twice.ModelID != nil || twice.Class != 0 {
		t.Errorf("a key that stands there again with a wrong type keeps the value before it: %+v", twice)
	}
	sum := sha256.Sum256(e.Body)
	if got := string(e.AppendID(nil)); got != hex.EncodeToString(sum[:16]) {
		t.Errorf("id without metadata.uid is %s, want 32 hex digits of the body's hash", got)
	}
	if got := string(e.UserID.AppendJSON(nil)) + string(e.TokensInput.AppendJSON(nil)); got != "nullnull" {
		t.Errorf("absent values as JSON are %s, want null", got)
	}
}

func TestRejects(t *testing.T) {
	for body, want := range map[string]string{
		``:                              "is empty",
		` `:                             "is empty",
		`x`:                             "not JSON",
		`[1]`:                           "found an array",
		`"time"`:                        "found a string",
		`7`:                             "found a number",
		`null`:                          "found null",
		`true`:                          "found a boolean",
		`{"time":1`:                     "byte 9 of 9",
		`{"time":1}x`:                   "byte 10 follows",
		`{"time":1}{"time":2}`:          "byte 10 follows",
		`{"time":1,}`:                   "byte 10",
		"{\"time\":1,\"a\":\"\xff\"}":   "byte 15 is not",
		`{}`:                            "time: expected an integer (Unix milliseconds), absent",
		`{"time":null}`:                 "found null",
		`{"time":"1741824000123"}`:      "found a string",
		`{"time":1741824000.123}`:       "no integer",
		`{"time":1e12}`:                 "no integer",
		`{"time":-1}`:                   "a negative number",
		`{"time":99999999999999999999}`: "no integer",
		`{"time":1,"time":"x"}`:         "found a string",
		`{"a":{"time":1}}`:              "absent",
		`{"time":1,"x":"` + strings.Repeat("a", event.MaxBytes) + `"}`:                           "at most 1048576 bytes",
		`{"time":1,"x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`:         "breaks it",
		`{"time":1,"actor":` + strings.Repeat(`{"a":`, 20000) + `1` + strings.Repeat(`}`, 20001): "breaks it",
	} {
		e := new(event.Event)
		err := new(event.Parser).Parse([]byte(body), e)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want an error with %q", body, err, want)
		}
		if string(e.Body) != body {
			t.Errorf("%.60q: the body is not kept", body)
		}
	}
	for _, body := range []string{`{"time":0}`, `{"time":253402300799999}`, `{"time":"x","time":1}`, ` { "time" : 1 } `, `{"\u0074ime":1}`,
		`{"time":1,"x":"` + strings.Repeat("a", event.MaxBytes-17) + `"}`} {
		parse(t, body)
	}
}

// TestWhiteSpaceIsFound: white space at any place between the tokens is noticed, and taken away where an event has to stand
// on one line.
func TestWhiteSpaceIsFound(t *testing.T) {
	tokens := []string{`{`, `"time"`, `:`, `1`, `,`, `"actor"`, `:`, `{`, `"user"`, `:`, `{`, `"groups"`, `:`, `[`, `{`, `"uid"`, `:`, `"g"`, `}`, `,`, `1`, `]`, `}`, `}`, `,`,
		`"x"`, `:`, `[`, `[`, `]`, `,`, `[`, `{`, `}`, `,`, `{`, `"y"`, `:`, `null`, `,`, `"z"`, `:`, `[`, `1`, `,`, `true`, `]`, `}`, `]`, `]`, `}`}
	want := strings.Join(tokens, "")
	for i := range len(tokens) + 1 {
		body := strings.Join(tokens[:i], "") + "\n" + strings.Join(tokens[i:], "")
		if got := string(parse(t, body).AppendCompact(nil)); got != want {
			t.Errorf("%q on one line is %q", body, got)
		}
	}
}

func TestShortened(t *testing.T) {
	body := `{ "time": 7, "class_uid": 2001, "metadata": {"uid": "e"} }`
	sum := sha256.Sum256([]byte(body))
	want := `{"truncated":true,"bytes":58,"sha256":"` + hex.EncodeToString(sum[:]) + `","class_uid":2001,"time":7,"metadata":{"uid":"e"}}`
	if got := string(parse(t, body).AppendTruncated(nil)); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestTimeInOtherUnits(t *testing.T) {
	for in, want := range map[string]int64{"1631047050642": 1631047050642, "1631047050642854": 1631047050642, "1631047050642854123": 1631047050642,
		"253402300799999": event.MaxTime, "253402300800000": 253402300800} {
		if got := parse(t, `{"time":`+in+`}`).Time; got != want {
			t.Errorf("time %s is %d ms, want %d", in, got, want)
		}
	}
}

// TestListsOutliveOthers makes sure that the lists of one event survive the parsing of others.
func TestListsOutliveOthers(t *testing.T) {
	var p event.Parser
	events := make([]event.Event, 50)
	for i := range events {
		if err := p.Parse([]byte(`{"time":1,"unmapped":{"dlp_labels":["a","b"],"group_ids":["c"]}}`), &events[i]); err != nil {
			t.Fatal(err)
		}
	}
	for i := range events {
		if got := string(event.AppendTexts(nil, events[i].DLPLabels)) + string(event.AppendTexts(nil, events[i].Groups)); got != `["a","b"]["c"]` {
			t.Fatalf("event %d: %s", i, got)
		}
	}
}

// FuzzParse compares with encoding/json: what is an event, what its fields are, and that its bytes stay what they were.
func FuzzParse(f *testing.F) {
	for _, s := range []string{full, `{}`, `{"time":1}`, `{"time":1,"a":"b c"}`, `{"time":1, "a":[1, 2]}`, `{"time":1,"api":{"operation":""}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		e := new(event.Event)
		err := new(event.Parser).Parse(body, e)
		var object map[string]json.RawMessage
		isObject := json.Unmarshal(body, &object) == nil && object != nil
		if err == nil && !isObject {
			t.Fatalf("%q was taken for an event", body)
		}
		if err != nil {
			if isObject && !strings.HasPrefix(err.Error(), "time: ") && !strings.Contains(err.Error(), "UTF-8") {
				t.Fatalf("%q is JSON, and was refused: %v", body, err)
			}
			return
		}
		if got := string(e.AppendCompact(nil)); got != compactBytes(body) {
			t.Fatalf("%q: compact is %q", body, got)
		}
		var back string
		if err := json.Unmarshal(e.AppendQuoted(nil), &back); err != nil || back != compactBytes(body) {
			t.Fatalf("%q: quoted and read again is %q (%v)", body, back, err)
		}
		if !json.Valid(e.AppendTruncated(nil)) || !json.Valid(e.AppendIDJSON(nil)) || !json.Valid(e.UserID.AppendJSON(nil)) {
			t.Fatalf("%q: a piece is no JSON", body)
		}
	})
}

// compactBytes removes white space between tokens the slow way.
func compactBytes(b []byte) string {
	var out []byte
	inString, escaped := false, false
	for _, c := range b {
		switch {
		case escaped:
			escaped = false
		case inString && c == '\\':
			escaped = true
		case c == '"':
			inString = !inString
		case !inString && (c == ' ' || c == '\n' || c == '\t' || c == '\r'):
			continue
		}
		out = append(out, c)
	}
	return string(out)
}

func BenchmarkParse(b *testing.B) {
	body := []byte(compactBytes([]byte(full)))
	var p event.Parser
	var e event.Event
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		p.Reset()
		if err := p.Parse(body, &e); err != nil {
			b.Fatal(err)
		}
	}
}
