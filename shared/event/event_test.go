package event_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/jsonscan"
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
 "actor":{"user":{"uid":"u\u0031","email_addr":"a@b","groups":[{"name":"n1","uid":"g1"},{"name":"n2"},{"type":"x"},7,
	{"uid":5,"name":"n3"}]}},
 "api":{"request":{"uid":"r"},"operation":"op"},"activity_name":"Read","metadata":{"uid":"id-\"1\""},
 "unmapped":{"model_id":"m","policy_action":"block","dlp_labels":["a",1,"b"],
 "tokens_input":5,"tokens_output":-6,"group_ids":["no"]}}`

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
		"compact":   {string(e.AppendCompact(nil)), compactBytes([]byte(full))},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %s, want %s", name, c.got, c.want)
		}
	}
	if e.Time != 1741824000123 || e.Class != 6003 || e.Severity != 4 || !e.HasTimestamp {
		t.Errorf("numbers: %+v", e)
	}
}

func TestAbsent(t *testing.T) {
	e := parse(t, `{"time":5,"actor":{"user":{"uid":null,"groups":"x"}},"class_uid":"6003","severity_id":1.5,"api":[],
		"activity_name":"Logon","metadata":{"uid":7},
		"unmapped":{"tokens_input":"5","tokens_output":1e3,"dlp_labels":{},"group_ids":["a"]}}`)
	if e.UserID != nil || e.UserEmail != nil || e.Class != 0 || e.Severity != 0 || e.TokensInput.Present ||
		e.TokensOutput.Present || len(e.DLPLabels) != 0 {
		t.Errorf("values of a wrong type are not absent: %+v", e)
	}
	if got := e.Operation.String(); got != "Logon" {
		t.Errorf("operation without api.operation is %q, want the activity's name", got)
	}
	if got := string(event.AppendTexts(nil, e.Groups)); got != `["a"]` {
		t.Errorf("groups without the user's own are %s, want unmapped.group_ids", got)
	}
	twice := parse(t, `{"time":1,"actor":{"user":{"uid":"a","uid":7}},"unmapped":{"model_id":"m","model_id":{}},`+
		`"class_uid":1,"class_uid":"x"}`)
	if twice.UserID != nil || twice.ModelID != nil || twice.Class != 0 {
		t.Errorf("a repeated key with a wrong type keeps the value before it: %+v", twice)
	}
	sum := sha256.Sum256([]byte(compactBytes(e.Body)))
	if got := string(e.AppendID(nil)); got != hex.EncodeToString(sum[:16]) {
		t.Errorf("id without metadata.uid is %s, want 32 hex digits of the event's hash", got)
	}
	if got := string(e.UserID.AppendJSON(nil)) + string(e.TokensInput.AppendJSON(nil)); got != "nullnull" {
		t.Errorf("absent values as JSON are %s, want null", got)
	}
}

func TestRejects(t *testing.T) {
	for body, want := range map[string]string{
		``:                              "is empty",
		` `:                             "is empty",
		`x`:                             "byte 0 of 1 is invalid",
		"\x00":                          "byte 0 of 1 is invalid",
		"\xef\xbb\xbf":                  "is empty",
		`[1]`:                           "found an array",
		`"time"`:                        "found a string",
		`7`:                             "found a number",
		`null`:                          "found null",
		`true`:                          "found a boolean",
		`{"time":1`:                     "byte 9 of 9 is invalid",
		`{"time":1}x`:                   "byte 10 of",
		`{"time":1}{"time":2}`:          "byte 10 of",
		`{"time":1,}`:                   "byte 10",
		"{\"time\":1,\"a\":\"\xff\"}":   "byte 15 is invalid",
		`{}`:                            "time: expected an integer (Unix milliseconds), absent",
		`{"time":null}`:                 "found null",
		`{"time":"1741824000123"}`:      "found a string",
		`{"time":1741824000.123}`:       "not an integer",
		`{"time":17418240001235e-1}`:    "not an integer",
		`{"time":1741824000.120}`:       "not an integer",
		`{"time":1.7418240001235e12}`:   "not an integer",
		`{"time":1e19}`:                 "out of range",
		`{"time":1e99999}`:              "out of range",
		`{"time":-1}`:                   "a negative number",
		`{"time":253402300800000}`:      "after the year 9999",
		`{"time":631151999000000}`:      "after the year 9999",
		`{"time":99999999999999999999}`: "out of range",
		`{"time":1,"time":"x"}`:         "found a string",
		`{"a":{"time":1}}`:              "absent",
		`{"time":1,"x":"` + strings.Repeat("a", event.MaxBytes) + `"}`:                           "at most 1048576 bytes",
		`{"time":1,"x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`:         "is invalid",
		`{"time":1,"actor":` + strings.Repeat(`{"a":`, 20000) + `1` + strings.Repeat(`}`, 20001): "is invalid",
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
	for _, body := range []string{`{"time":0}`, `{"time":253402300799999}`, `{"time":"x","time":1}`, ` { "time" : 1 } `,
		`{"\u0074ime":1}`,
		`{"time":1,"x":"` + strings.Repeat("a", event.MaxBytes-17) + `"}`} {
		parse(t, body)
	}
}

// TestWhiteSpaceIsFound: white space between any two tokens is found, and removed where an event must be on one line.
func TestWhiteSpaceIsFound(t *testing.T) {
	tokens := strings.Fields(`{ "time" : 1 , "actor" : { "user" : { "groups" : [ { "uid" : "g" } , 1 ] } } , "x" : [ [ ] ,
		[ { } , { "y" : null , "z" : [ 1 , true ] } ] ] }`)
	want := strings.Join(tokens, "")
	for i := range len(tokens) + 1 {
		body := strings.Join(tokens[:i], "") + "\n" + strings.Join(tokens[i:], "")
		if got := string(parse(t, body).AppendCompact(nil)); got != want {
			t.Errorf("%q on one line is %q", body, got)
		}
	}
}

func TestAppendTruncated(t *testing.T) {
	body := `{ "time": 7, "class_uid": 2001, "metadata": {"uid": "e"} }`
	sum := sha256.Sum256([]byte(body))
	want := `{"truncated":true,"bytes":58,"sha256":"` + hex.EncodeToString(sum[:]) +
		`","class_uid":2001,"time":7,"metadata":{"uid":"e"}}`
	if got := string(parse(t, body).AppendTruncated(nil)); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestTimeUnits(t *testing.T) {
	for _, c := range []struct {
		in        string
		want      int64
		converted bool
	}{
		{"1631047050642", 1631047050642, false},
		{"1631047050642.0", 1631047050642, false},
		{"1631047050642.000", 1631047050642, false},
		{"1631047050", 1631047050000, true},
		{"1631047050.0", 1631047050000, true},
		{"1631047050642854", 1631047050642, true},
		{"1631047050642854123", 1631047050642, true},
		{"631152000", 631152000000, true},         // 1990-01-01 in seconds
		{"631151999", 631151999, false},           // earlier: 1970 in milliseconds
		{"4133980799", 4133980799000, true},       // the end of 2100 in seconds
		{"4133980800", 4133980800, false},         // later
		{"631152000000", 631152000000, false},     // milliseconds
		{"631152000000000", 631152000000, true},   // 1990 in microseconds
		{"4133980799999999", 4133980799999, true}, // the end of 2100 in microseconds
		{"631152000000000000", 631152000000, true},
		{"4133980799999999999", 4133980799999, true},
		{"0", 0, false},
		{"253402300799999", event.MaxTime, false},
		{"1.741824000123e12", 1741824000123, false},
		{"17418240001230E-1", 1741824000123, false},
		{"1.741824E+9", 1741824000000, true},
	} {
		e := parse(t, `{"time":`+c.in+`}`)
		if e.Time != c.want || e.TimeConverted != c.converted {
			t.Errorf("time %s is %d ms, converted %v, want %d, %v", c.in, e.Time, e.TimeConverted, c.want, c.converted)
		}
		if string(e.AppendCompact(nil)) != `{"time":`+c.in+`}` {
			t.Errorf("time %s: the event itself changed to %s", c.in, e.AppendCompact(nil))
		}
	}
}

func TestTimePlaceholder(t *testing.T) {
	for in, want := range map[string]bool{"0": true, "1": false, "1741824000123": false, "253370764799999": false,
		"253370764800000": true, "253402300799999": true} {
		if got := parse(t, `{"time":`+in+`}`).TimePlaceholder(); got != want {
			t.Errorf("time %s: %v, want %v", in, got, want)
		}
	}
}

// TestFallbacks: a field has a second path, which counts only where the first is absent or of the wrong type.
func TestFallbacks(t *testing.T) {
	values := func(e *event.Event) string {
		return string(event.AppendTexts(nil, []event.Text{e.SourceAddress, e.ModelID, e.Operation})) +
			string(event.AppendTexts(nil, e.Groups)) +
			string(e.TokensInput.AppendJSON(nil)) + "," + string(e.TokensOutput.AppendJSON(nil))
	}
	const second = `"src_endpoint":{"ip":"192.0.2.1"},"ai_model":{"name":"m2"},"message_context":{"prompt_tokens":7,` +
		`"completion_tokens":8.0},"activity_name":"a2"`
	for in, want := range map[string]string{
		second: `["192.0.2.1","m2","a2"]["g2"]7,8`,
		second + `,"api":{"operation":"a1"},"actor":{"user":{"groups":[{"uid":"g1"}]}},"unmapped":{"model_id":"m1",` +
			`"tokens_input":1,"tokens_output":2,"group_ids":["g2"]}`: `["192.0.2.1","m1","a1"]["g1"]1,2`,
		`"unmapped":{"model_id":"m1","tokens_input":1,"tokens_output":2,"group_ids":["g2"]},` +
			second: `["192.0.2.1","m1","a2"]["g2"]1,2`,
		second + `,"api":{"operation":1},"actor":{"user":{"groups":{}}},"unmapped":{"model_id":[],"tokens_input":"1",` +
			`"tokens_output":null,"group_ids":["g2"]}`: `["192.0.2.1","m2","a2"]["g2"]7,8`,
		second +
			`,"actor":{"user":{"groups":[{"name":7},{"uid":null}]}},` +
			`"unmapped":{"group_ids":["g2",5]}`: `["192.0.2.1","m2","a2"]["g2"]7,8`,
		second +
			`,"actor":{"user":{"groups":[{"uid":"x"}],"groups":"y"}},` +
			`"unmapped":{"group_ids":["g2"]}`: `["192.0.2.1","m2","a2"]["g2"]7,8`,
	} {
		if in == second {
			in += `,"unmapped":{"group_ids":["g2"]}`
		}
		if got := values(parse(t, `{"time":1,`+in+`}`)); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
	var p event.Parser
	var e event.Event
	for _, body := range []string{`{"time":1,"actor":{"user":{}},` + second + `,"unmapped":{"group_ids":["g2"]}}`,
		`{"time":1}`} {
		if err := p.Parse([]byte(body), &e); err != nil {
			t.Fatal(err)
		}
	}
	if got := values(&e); got != `[,,][]null,null` {
		t.Errorf("an event without fields, after one with them: %s, want none", got)
	}
	if e := parse(t, `{"time":1,"src_endpoint":{"ip":["192.0.2.1"]}}`); e.SourceAddress != nil {
		t.Errorf("a source address that is an array is %s, want absent", e.SourceAddress)
	}
}

func TestSeverityIsKnown(t *testing.T) {
	for in, want := range map[string]bool{`"severity_id":0`: true, `"severity_id":99`: true, `"severity_id":2.0`: true,
		`"x":1`: false, `"severity_id":"4"`: false, `"severity_id":1,"severity_id":null`: false} {
		if got := parse(t, `{"time":1,`+in+`}`).HasSeverity; got != want {
			t.Errorf("%s: known %v, want %v", in, got, want)
		}
	}
}

// TestHashes: the white space between tokens does not change an event's id, or a replay would change it. A byte order
// mark before an event is not part of it.
func TestHashes(t *testing.T) {
	const compact = `{"time":1,"a":"b c"}`
	sum := sha256.Sum256([]byte(compact))
	for _, body := range []string{compact, " { \"time\" : 1,\n\"a\" : \"b c\" } ", "\xef\xbb\xbf" + compact} {
		e := parse(t, body)
		if strings.Contains(string(e.AppendTruncated(nil)), hex.EncodeToString(sum[:])) == (e.Body[0] == ' ') {
			t.Errorf("%q: the hash of a truncated event is %s", body, e.AppendTruncated(nil))
		}
		if got := string(e.AppendCompact(nil)); got != compact {
			t.Errorf("%q: the event in one line is %q", body, got)
		}
		if got, want := string(e.AppendID([]byte("x"))), "x"+hex.EncodeToString(sum[:16]); got != want {
			t.Errorf("%s: the id is %s, want %s", e.Body, got, want)
		}
		if got, want := string(e.AppendContentHash([]byte("x"))), "x"+hex.EncodeToString(sum[:8]); got != want {
			t.Errorf("%s: the content hash is %s, want %s", e.Body, got, want)
		}
	}
	if parse(t, compact).HasUID() || !parse(t, `{"time":1,"metadata":{"uid":"u"}}`).HasUID() ||
		parse(t, `{"time":1,"metadata":{"uid":""}}`).HasUID() {
		t.Error("HasUID reports whether there is a metadata.uid that is not empty")
	}
}

// TestEnvelopes: the error of an event in another service's envelope says how to get rid of the envelope.
func TestEnvelopes(t *testing.T) {
	for body, want := range map[string]string{
		`{"Type":"Notification","MessageId":"1","TopicArn":"arn:aws:sns:eu-central-1:1:t","Message":"{\"time\":1}",` +
			`"Timestamp":"2026-03-13T00:00:00.000Z"}`: "turn on raw message delivery",
		`{"version":"0","id":"1","detail-type":"x","source":"y","account":"1","time":"2026-03-13T00:00:00Z","region":"r",` +
			`"resources":[],"detail":{"time":1}}`: "InputPath",
		`{"Type":"x","Message":"y"}`: "time: expected",
	} {
		if err := new(event.Parser).Parse([]byte(body), new(event.Event)); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", body, err, want)
		}
	}
	parse(t, `{"time":1,"Type":"x","TopicArn":"y","Message":"z"}`)
}

// TestMessages: a message is one event or an array of events. Err is about the array as a whole.
func TestMessages(t *testing.T) {
	deep := strings.Repeat(`{"a":`, jsonscan.MaxDepth-1) + "{}" + strings.Repeat("}", jsonscan.MaxDepth-1)
	for _, c := range []struct {
		body  string
		array []string // nil if there is no valid array
		err   string
	}{
		{`{"time":1}`, nil, ""},
		{"\xef\xbb\xbf{}", nil, "absent"},
		{"x\xff", nil, "expected UTF-8"},
		{``, nil, "is empty"},
		{`[{"a":1},{"b":2}]`, []string{`{"a":1}`, `{"b":2}`}, ""},
		{"\xef\xbb\xbf [ { } ,\n5 ,[ ], \"x\",null ] ", []string{"{ }", "5", "[ ]", `"x"`, "null"}, ""},
		{` [ {"time":1,"metadata":{"uid":"a"}} ,{ "time": 2,"actor":{"user":{"groups":[{"uid":"g"}]}}},{"time":"x"}]`,
			[]string{`{"time":1,"metadata":{"uid":"a"}}`, `{ "time": 2,"actor":{"user":{"groups":[{"uid":"g"}]}}}`,
				`{"time":"x"}`}, ""},
		{"[" + deep + "]", []string{deep}, ""},
		{"[[" + deep + "]]", nil, "is invalid"},
		{`[]`, nil, "an empty array"},
		{` [ ] `, nil, "an empty array"},
		{`[{}`, nil, "byte 3 of 3 is invalid"},
		{`[{}]]`, nil, "byte 4 of 5 is invalid"},
		{`[{},]`, nil, "byte 4 of 5 is invalid"},
		{"[{},\"\xff\"]", nil, "expected UTF-8, byte 5 is invalid"},
		{"[" + strings.Repeat("0,", event.MaxEvents-1) + "0]", slices.Repeat([]string{"0"}, event.MaxEvents), ""},
		{"[" + strings.Repeat("0,", event.MaxEvents) + "0]", nil, "at most 56000 events"},
		{"[" + strings.Repeat(" ", event.MaxBytes) + "]", nil, "at most 1048576 bytes"},
	} {
		entries := new(event.Parser).ParseMessage(make([]event.Entry, 1), []byte(c.body))[1:]
		elements := event.Elements([]byte(c.body))
		if len(elements) != len(c.array) || len(entries) != max(1, len(c.array)) {
			t.Fatalf("%.60q: %d elements and %d entries, want %d", c.body, len(elements), len(entries), len(c.array))
		}
		if err := entries[0].Err; c.array == nil && (entries[0].Index != event.Whole || (err == nil) != (c.err == "") ||
			err != nil && !strings.Contains(err.Error(), c.err) || string(entries[0].Event.Body) != c.body) {
			t.Errorf("%.60q: %+v, want the error %q", c.body, entries[0], c.err)
		}
		for i, want := range c.array {
			if string(elements[i]) != want || entries[i].Index != i {
				t.Fatalf("%.60q: element %d is %.60q, want %.60q", c.body, i, elements[i], want)
			}
			wantAlone(t, &entries[i], want)
		}
	}
}

// wantAlone checks that an entry is what body is as a message of its own.
func wantAlone(t *testing.T, entry *event.Entry, body string) {
	t.Helper()
	var alone event.Event
	err := new(event.Parser).Parse([]byte(body), &alone)
	lists := func(e *event.Event) string { return string(event.AppendTexts(nil, append(e.Groups, e.UserID))) }
	if got := &entry.Event; string(got.Body) != body || fmt.Sprint(entry.Err) != fmt.Sprint(err) ||
		string(got.AppendCompact(nil)) != string(alone.AppendCompact(nil)) || got.Time != alone.Time ||
		lists(got) != lists(&alone) {
		t.Fatalf("entry %d of a message: %+v\nwant %+v, %v", entry.Index, entry, alone, err)
	}
}

// FuzzMessages compares with encoding/json: what is an array of values, and which bytes belong to each.
func FuzzMessages(f *testing.F) {
	for _, s := range []string{full, `[` + full + `,{}]`, `[]`, ` [ 1 , "a]" ] `, `[[],{"a":[1]}]`, "[\"\xff\"]",
		"\xef\xbb\xbf[{}]", `[{}`, `[{},]`, `{}[]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		elements, entries := event.Elements(body), new(event.Parser).ParseMessage(nil, body)
		text := bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
		var want []json.RawMessage
		if !utf8.Valid(body) || json.Unmarshal(text, &want) != nil || len(want) == 0 { // no valid array
			IsArray := bytes.HasPrefix(bytes.TrimLeft(text, " \n\t\r"), []byte("["))
			if elements != nil || len(entries) != 1 || entries[0].Index != event.Whole ||
				IsArray && entries[0].Err == nil {
				t.Fatalf("%q: %q, %+v, want one entry", body, elements, entries)
			}
			return
		}
		if len(elements) != len(want) || len(entries) != len(want) {
			t.Fatalf("%q: %d elements, %d entries, want %d", body, len(elements), len(entries), len(want))
		}
		for i := range want {
			if !bytes.Equal(elements[i], want[i]) || entries[i].Index != i {
				t.Fatalf("%q: element %d is %q, want %q", body, i, elements[i], want[i])
			}
			wantAlone(t, &entries[i], string(want[i]))
		}
	})
}

// TestListsOutliveOthers makes sure that the lists of one event survive the parsing of others.
func TestListsOutliveOthers(t *testing.T) {
	var p event.Parser
	events := make([]event.Event, 50)
	for i := range events {
		if err := p.Parse([]byte(`{"time":1,"unmapped":{"dlp_labels":["a","b"],"group_ids":["c"]}}`),
			&events[i]); err != nil {
			t.Fatal(err)
		}
	}
	for i := range events {
		if got := string(event.AppendTexts(nil, events[i].DLPLabels)) +
			string(event.AppendTexts(nil, events[i].Groups)); got != `["a","b"]["c"]` {
			t.Fatalf("event %d: %s", i, got)
		}
	}
}

// FuzzParse compares with encoding/json: whether a text is an event, its fields, and its unchanged bytes.
func FuzzParse(f *testing.F) {
	for _, s := range []string{full, `{}`, `{"time":1}`, `{"time":1,"a":"b c"}`, `{"time":1, "a":[1, 2]}`,
		`{"time":1,"api":{"operation":""}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		e := new(event.Event)
		err := new(event.Parser).Parse(body, e)
		var object map[string]json.RawMessage
		isObject := json.Unmarshal(body, &object) == nil && object != nil
		if err == nil && !isObject && !bytes.HasPrefix(body, []byte("\xef\xbb\xbf")) {
			t.Fatalf("%q is not an event, and was accepted", body)
		}
		if err != nil {
			if isObject && !strings.Contains(err.Error(), "envelope") && !strings.HasPrefix(err.Error(), "time: ") &&
				!strings.Contains(err.Error(), "UTF-8") {
				t.Fatalf("%q is JSON, and was refused: %v", body, err)
			}
			return
		}
		body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
		if got := string(e.AppendCompact(nil)); got != compactBytes(body) {
			t.Fatalf("%q: compact is %q", body, got)
		}
		var back string
		if err := json.Unmarshal(e.AppendQuoted(nil), &back); err != nil || back != compactBytes(body) {
			t.Fatalf("%q: quoted and read again is %q (%v)", body, back, err)
		}
		if !json.Valid(e.AppendTruncated(nil)) || !json.Valid(e.AppendIDJSON(nil)) || !json.Valid(e.UserID.AppendJSON(nil)) {
			t.Fatalf("%q: a part is not JSON", body)
		}
	})
}

// compactBytes removes white space between tokens, byte by byte.
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
