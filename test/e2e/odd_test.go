package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
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
		{name: "emoji", event: oddStart +
			"\"message\":\"👩\u200d👩\u200d👧\u200d👦 ﷽ é e\u0301 \u202eabc\u202c\"," +
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

const maxMessage = 1 << 20 // the maximum of SQS

// sized returns an event of exactly that many bytes.
func sized(id string, bytes int) string {
	start := `{"time":1773360000123,"class_uid":6003,"metadata":{"uid":"` + id + `"},"unmapped":{"excerpt":"`
	const end = `"}}`
	return start + strings.Repeat("é", (bytes-len(start)-len(end))/2) +
		strings.Repeat("x", (bytes-len(start)-len(end))%2) + end
}

// TestLargestEvents sends events of up to 1 MiB, the maximum of SQS, to every SIEM. Each of them is delivered whole or
// truncated, or becomes a dead letter. With its reason, a dead letter may be too large for the dead-letter queue; SQS's
// redrive then moves the message.
func TestLargestEvents(t *testing.T) {
	w.emptyBucket(t)
	sizes := []int{maxMessage, maxMessage - 700, 950_000}
	sent := map[string][]string{}
	ids := map[string][]string{}
	stop := w.feed(t, w.order...)
	slow := []*actor{w.siems["splunk"], w.siems["sumo"]} // which retry until the last attempt
	for _, a := range append(slow, slices.DeleteFunc(slices.Clone(w.order),
		func(a *actor) bool { return slices.Contains(slow, a) })...) {
		for _, size := range sizes {
			event := sized(fmt.Sprintf("large-%s-%d", a.Name, size), size)
			if len(event) != size {
				t.Fatalf("made %d bytes, want %d", len(event), size)
			}
			sent[a.Name] = append(sent[a.Name], event)
			ids[a.Name] = append(ids[a.Name], w.enqueue(t, w.cloud.Queue(a.Queue()), event)...)
		}
		if !slices.Contains(slow, a) {
			w.settle(t, a)
		}
	}
	w.settle(t, w.order...)
	letters := w.pending(t)
	for _, a := range w.order {
		t.Run(a.Name, func(t *testing.T) {
			for i, event := range sent[a.Name] {
				checkLarge(t, a, event, ids[a.Name][i], letters)
			}
		})
	}
	stop()
	t.Run("back", func(t *testing.T) { largeComeBack(t, letters) })
	w.emptyBucket(t)
}

func checkLarge(t *testing.T, a *actor, event, messageID string, letters []letter) {
	t.Helper()
	in := taken(a)[idOf(event)]
	var dead []letter
	for _, l := range letters {
		if l.MessageID == messageID {
			dead = append(dead, l)
		}
	}
	want := a.traits().large(len(event))
	if len(in)+len(dead) != 1 || (want == "dead") != (len(dead) == 1) {
		t.Errorf("the event of %d bytes is %d times in the SIEM and has %d dead letters, want it %s", len(event), len(in),
			len(dead), want)
		return
	}
	if want == "dead" {
		reason := "SQS stopped retrying the message after 4 receives"
		if len(event) <= maxMessage-700 {
			// Splunk's limit is a setting of the server, and so the server's word is taken.
			reason = map[string]string{"splunk": "status 413", "sumo": "the SIEM takes at most"}[a.Name]
		}
		if string(dead[0].Body) != event || !strings.Contains(dead[0].Error, reason) || dead[0].Connector != a.Name {
			t.Errorf("the dead letter of %d bytes is of %s and says %q, want %q", len(dead[0].Body), dead[0].Connector,
				dead[0].Error, reason)
		}
		return
	}
	if in[0].Truncated != (want == "truncated") {
		t.Errorf("the event of %d bytes is truncated: %v, want it %s", len(event), in[0].Truncated, want)
	}
	sum := sha256.Sum256([]byte(event))
	standIn := fmt.Sprintf(`{"truncated":true,"bytes":%d,"sha256":"%s","class_uid":6003,"time":1773360000123,`+
		`"metadata":{"uid":"%s"}}`,
		len(event), hex.EncodeToString(sum[:]), idOf(event))
	switch {
	case in[0].Event == nil:
	case want == "truncated" && string(in[0].Event) != standIn:
		t.Errorf("in its place is %s, want %s", in[0].Event, standIn)
	case want == "whole" && string(in[0].Event) != event:
		t.Errorf("the event of %d bytes arrived with %d", len(event), len(in[0].Event))
	}
}

// largeComeBack replays the largest dead letters. A message of SQS's maximum size has no room for an attribute.
func largeComeBack(t *testing.T, letters []letter) {
	got := w.replay(t, "")
	if got.Replayed != len(letters) || got.Remaining != 0 || len(letters) == 0 {
		t.Errorf("of %d dead letters: %+v", len(letters), got)
	}
	var bodies []string
	for _, name := range []string{"splunk", "sumo"} {
		for _, m := range w.receive(t, w.cloud.Queue(w.siems[name].Queue())) {
			bodies = append(bodies, *m.Body)
		}
	}
	for _, l := range letters {
		if !slices.Contains(bodies, string(l.Body)) {
			t.Errorf("the dead letter of %d bytes was not replayed", len(l.Body))
		}
	}
}
