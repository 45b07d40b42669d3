package e2e

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestOddEvents sends unusual but valid events to every SIEM. If the wire format carries the whole event, it arrives
// byte for byte, except for white space between tokens; else its fields are right.
func TestOddEvents(t *testing.T) {
	odd := oddEvents()
	for _, a := range w.order {
		t.Run(a.Name, func(t *testing.T) {
			before := len(a.Stats().Violations)
			names, bodies := []string{}, []string{}
			for _, o := range odd {
				if a.Name == "elastic" && o.duplicate {
					continue // it refuses duplicate keys: see below
				}
				names, bodies = append(names, o.name), append(bodies, strings.ReplaceAll(o.event, "ID", a.Name+" "+o.name))
			}
			if left := failures(t, w.deployed(t, a.Function()), payloadOf(a, bodies...)); len(left) > 0 {
				t.Errorf("the answer lists %d of %d", len(left), len(bodies))
			}
			for i, body := range bodies {
				if !oddArrived(t, a, body) {
					t.Errorf("%s: is not in the SIEM once, unchanged: %.300q", names[i], body)
				}
			}
			if v := a.Stats().Violations; len(v) > before {
				t.Errorf("violations: %q", v[before:])
			}
		})
	}
	t.Run("elastic refuses duplicates", func(t *testing.T) { elasticDuplicates(t, odd) })
}

// oddArrived reports whether an event is in the SIEM exactly once.
func oddArrived(t *testing.T, a *actor, body string) bool {
	t.Helper()
	want := compact(t, body)
	n := 0
	for _, one := range a.Accepted() {
		switch {
		case a.Key != nil && a.Took(one) == a.Key([]byte(body)):
			n++
		case a.Key == nil && string(one.Event) == want:
			n++
		}
	}
	return n == 1
}

// elasticDuplicates checks that an event that Elasticsearch refuses becomes a dead letter.
func elasticDuplicates(t *testing.T, odd []oddEvent) {
	w.emptyBucket(t)
	elastic := w.siems["elastic"]
	n := 0
	for _, o := range odd {
		if o.duplicate {
			n++
			healthy := events(1)
			body := strings.ReplaceAll(o.event, "ID", "elastic "+o.name)
			failures(t, w.deployed(t, elastic.Function()), payloadOf(elastic, body, healthy[0]))
			arrivedOnce(t, elastic, healthy)
		}
	}
	w.settle(t)
	letters := w.pending(t)
	if n == 0 || len(letters) != n || !strings.Contains(letters[0].Error, "Duplicate field") {
		t.Errorf("%d events with duplicate keys, %d dead letters", n, len(letters))
	}
	w.emptyBucket(t)
}

// oddEvent is an event with a name. "ID" in it is replaced by its id.
type oddEvent struct {
	name, event string
	duplicate   bool // with a duplicate key
}

const oddStart = `{"metadata":{"uid":"ID"},"time":1773360000123,`

func oddEvents() []oddEvent {
	odd := []oddEvent{
		{name: "the least", event: `{"time":1773360000123,"metadata":{"uid":"ID"}}`},
		{name: "nulls", event: oddStart +
			`"class_uid":null,"severity_id":null,"actor":null,"api":null,"unmapped":null,"activity_name":null}`},
		{name: "nulls within", event: oddStart +
			`"actor":{"user":{"uid":null,"email_addr":null,"groups":null}},"api":{"operation":null,"request":{"uid":null}},` +
			`"unmapped":{"model_id":null,"policy_action":null,"dlp_labels":null,"tokens_input":null,"tokens_output":null}}`},
		{name: "nulls in lists", event: oddStart +
			`"actor":{"user":{"groups":[null,{"uid":null},{"name":null}]}},"unmapped":{"dlp_labels":[null,"pii",null],` +
			`"group_ids":[null]}}`},
		{name: "wrong types", event: oddStart +
			`"class_uid":"6003","severity_id":[3],"actor":{"user":{"uid":7,"email_addr":{},"groups":"all"}},"api":"GET",` +
			`"unmapped":{"model_id":false,"policy_action":1.5,"dlp_labels":"pii","tokens_input":"512","tokens_output":1.25}}`},
		{name: "empty", event: oddStart +
			`"actor":{"user":{"uid":"","email_addr":"","groups":[]}},"api":{"operation":"","request":{"uid":""}},` +
			`"unmapped":{"model_id":"","policy_action":"","dlp_labels":[]},"":{"":""}}`},
		{name: "old version", event: `{"metadata":{"uid":"ID","version":"1.0.0-rc.2","product":{"name":"Old"}},` +
			`"class_uid":4001,"category_uid":4,"time":1773360000123,"type_uid":400101,"severity_id":99,` +
			`"ref_time":"2022-03-13T00:00:00Z"}`},
		{name: "huge numbers", event: oddStart +
			`"unmapped":{"a":123456789012345678901234567890,"b":1e400,"c":-0.0,"d":1E+2,` +
			`"e":0.1000000000000000055511151231257827,"tokens_input":9223372036854775807,"tokens_output":0}}`},
		{name: "first and last day", event: `{"metadata":{"uid":"ID"},"time":0}`},
		{name: "far future", event: `{"metadata":{"uid":"ID"},"time":253402300799999}`},
		{name: "deep", event: oddStart + `"unmapped":{"deep":` + strings.Repeat(`{"a":[`, 100) + `1` +
			strings.Repeat(`]}`, 100) + `}}`},
		{name: "twice unread", event: oddStart + `"unmapped":{"x":1,"x":2}}`, duplicate: true},
		{name: "escapes", event: oddStart +
			`"message":"\u0041\/\"\\\b\f\n\r\t\u2028\u001f\u0000\ud83d\ude00","api":{"operation":"chat\u005fcompletion \"x\" ` +
			`\\ | = \n next"},"actor":{"user":{"uid":"a|b\\c=d","email_addr":"a=b|c\\\\@example.com"}}}`},
		{name: "escaped keys", event: `{"met\u0061data":{"u\u0069d":"ID"},"tim\u0065":1773360000123,` +
			`"unm\u0061pped":{"mod\u0065l_id":"gpt"}}`},
		{name: "emoji", event: oddStart + "\"message\":\"👩\u200d👩\u200d👧\u200d👦 ﷽ é e\u0301 \u202eabc\u202c\"," +
			`"api":{"operation":"🚀 отправить 送信"},"actor":{"user":{"uid":"ユーザー","groups":[{"uid":"группа"},{"name":"团队"}]}},` +
			`"unmapped":{"dlp_labels":["säkerhet","🔒"]}}`},
		{name: "lone surrogate", event: oddStart + `"message":"\ud800 alone","unmapped":{"x":"\udfff\ud800"}}`},
		{name: "white space", event: " {\n\t\"metadata\" : { \"uid\" :\t\"ID\" } ,\r\n \"time\" :1773360000123 , " +
			"\"message\" : \" kept  \" , \"unmapped\" : { \"dlp_labels\" : [ \"a b\" , \"c\" ] , \"l\" : [ ] , \"o\" : { } } " +
			"\n} \n"},
		{name: "line separators", event: oddStart + "\"message\":\"a\u2028b\u2029c\u0085d\u007f\"}"},
		{name: "groups by name", event: oddStart +
			`"actor":{"user":{"groups":[{"name":"first"},{"uid":"second","name":"unused"},{}]}},` +
			`"unmapped":{"group_ids":["unused"]}}`},
		{name: "groups unmapped", event: oddStart + `"unmapped":{"group_ids":["g1","g2"]}}`},
		{name: "operation by activity", event: oddStart + `"activity_name":"Logon","class_uid":3002,"api":{"operation":7}}`},
		{name: "as text", event: oddStart + `"message":"{\"time\":1,\"metadata\":{\"uid\":\"other\"}}"}`},
		{name: "field order", event: `{"unmapped":{"tokens_output":2,"tokens_input":1},"severity_id":6,"class_uid":2001,` +
			`"time":1773360000123,"metadata":{"version":"1.1.0","uid":"ID"}}`},
		{name: "many labels", event: oddStart + `"unmapped":{"dlp_labels":[` +
			strings.TrimSuffix(strings.Repeat(`"label,with=all|sorts\\",`, 60), ",") + `]}}`},
	}
	return append(odd, madeUp(40)...)
}

// madeUp returns events with random values in the known fields and in others.
func madeUp(n int) []oddEvent {
	random := rand.New(rand.NewPCG(11, 7))
	values := []string{`null`, `true`, `0`, `-1`, `42`, `1.5e3`, `18446744073709551616`, `""`, `"x"`, `"a b"`,
		`"ü\n\"|=\\"`, `[]`, `{}`, `["a","b"]`, `[{"uid":"u"},{"name":"n"}]`, `{"uid":"u"}`}
	value := func() string { return values[random.IntN(len(values))] }
	out := make([]oddEvent, n)
	for i := range out {
		out[i] = oddEvent{name: fmt.Sprint("generated ", i), event: fmt.Sprintf(
			`{"metadata":{"uid":"ID"},"time":%d,"class_uid":%s,"severity_id":%s,"activity_name":%s,"actor":{"user":{"uid":%s,`+
				`"email_addr":%s,"groups":%s}},`+
				`"api":{"operation":%s,"request":{"uid":%s}},"unmapped":{"model_id":%s,"policy_action":%s,"dlp_labels":%s,`+
				`"tokens_input":%s,"tokens_output":%s,"other":%s}}`,
			1773360000000+int64(i), value(), value(), value(), value(), value(), value(), value(), value(), value(), value(),
			value(), value(), value(), value())}
	}
	return out
}
