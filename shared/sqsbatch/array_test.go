package sqsbatch_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/sqsbatch"
	"github.com/arbitex/siem-connectors/shared/sqsevent"
)

// body returns an event whose id decides its outcome; see siem.
func body(id string) string {
	return fmt.Sprintf(`{"time":1741824000000,"metadata":{"uid":%q}}`, id)
}

// array returns a message with several events.
func array(id string, receives int, events ...string) sqsevent.Message {
	bodies := make([]string, len(events))
	for i, e := range events {
		bodies[i] = body(e)
	}
	m := withBody(id, "[ "+strings.Join(bodies, " ,\n")+" ]")
	m.Receives = receives
	return m
}

func attribute(name, value string) sqsevent.Attribute {
	return sqsevent.Attribute{Name: []byte(name), Type: []byte("Number"), Value: []byte(value)}
}

// to returns the entries sent to a queue, as body, delay and attributes.
func (q *queue) to(url string) (all []string) {
	for i, e := range q.sent {
		if q.urls[i] != url {
			continue
		}
		text := fmt.Sprintf("%s delay=%d", aws.ToString(e.MessageBody), e.DelaySeconds)
		for _, name := range []string{"attempts", "replays", "message_id", "error"} {
			if a, ok := e.MessageAttributes[name]; ok {
				text += fmt.Sprintf(" %s=%s:%s", name, aws.ToString(a.DataType), aws.ToString(a.StringValue))
			}
		}
		all = append(all, text)
	}
	return all
}

const (
	ownQueue  = "https://sqs/own"
	deadQueue = "https://sqs/dead"
)

func TestArrayOutcomes(t *testing.T) {
	for name, c := range map[string]struct {
		message sqsevent.Message
		queue   *queue // nil is one that works
		kept    bool
		wait    int32    // seconds, of the kept message
		own     []string // sent to the connector's own queue
		dead    []string // sent to the dead-letter queue
		metrics string
	}{
		"all delivered": {
			message: array("m", 1, "ok-1", "ok-2"),
			metrics: `"Received":2,"Delivered":2,"Requests":2`,
		},
		"all to be retried": {
			message: array("m", 3, "retry-1", "retry-2"), kept: true, wait: 45,
			metrics: `"Received":2,"Delivered":0,"Retried":2,"Requests":2`,
		},
		"some to be retried": {
			message: array("m", 2, "ok-1", "retry-1", "ok-2", "retry-2"),
			own:     []string{"[" + body("retry-1") + "," + body("retry-2") + "] delay=7 attempts=Number:2"},
			metrics: `"Received":4,"Delivered":2,"Retried":2,"Requests":4`,
		},
		"one of a resent and replayed message": {
			message: func() sqsevent.Message {
				m := array("m", 1, "ok-1", "retry-1")
				m.Attributes = []sqsevent.Attribute{attribute("attempts", "2"), attribute("replays", "1")}
				return m
			}(),
			own:     []string{"[" + body("retry-1") + "] delay=45 attempts=Number:3 replays=Number:1"},
			metrics: `"Received":2,"Delivered":1,"Retried":1,"Requests":2`,
		},
		"the longest back-off": {
			message: array("m", 1, "ok-1", "retry-1", "later-120", "later-30"),
			own: []string{"[" + body("retry-1") + "," + body("later-120") + "," + body("later-30") +
				"] delay=120 attempts=Number:1"},
			metrics: `"Received":4,"Delivered":1,"Retried":3,"Requests":4`,
		},
		"the longest delay of SQS": {
			message: array("m", 1, "ok-1", "later-899.5"),
			own:     []string{"[" + body("later-899.5") + "] delay=900 attempts=Number:1"},
			metrics: `"Received":2,"Delivered":1,"Retried":1,"Requests":2`,
		},
		"a rejected event": {
			message: array("m", 2, "ok-1", "reject-1"),
			dead: []string{body("reject-1") + " delay=0 attempts=String:2 message_id=String:m/1 error=String:status 400, " +
				"code 6: bad   format"},
			metrics: `"Received":2,"Delivered":1,"DeadLettered":1,"Requests":2`,
		},
		"exhausted by the attempts before it was resent": {
			message: func() sqsevent.Message {
				m := array("m", 2, "retry-1", "ok-1")
				m.Attributes = []sqsevent.Attribute{attribute("attempts", "3"), attribute("replays", "2")}
				return m
			}(),
			dead: []string{body("retry-1") + ` delay=0 attempts=String:5 replays=Number:2 message_id=String:m/0 error=String:` +
				`given up after 5 attempts, the last of which: status 500: "a SIEM's words"`},
			metrics: `"Received":2,"Delivered":1,"DeadLettered":1,"Requests":2`,
		},
		"a failed dead letter among delivered events": {
			message: array("m", 1, "ok-1", "reject-1", "ok-2"), queue: &queue{refuse: "reject-1", refuseAt: deadQueue},
			own:     []string{"[" + body("reject-1") + "] delay=1 attempts=Number:1"},
			metrics: `"Received":3,"Delivered":2,"Retried":1,"Requests":3`,
		},
		"a failed dead letter among events to be retried": {
			message: array("m", 1, "retry-1", "reject-1"), queue: &queue{refuse: "reject-1",
				refuseAt: deadQueue}, kept: true, wait: 1,
			metrics: `"Received":2,"Delivered":0,"Retried":2,"Requests":2`,
		},
		"a refused remainder": {
			message: array("m", 2, "ok-1", "retry-1"), queue: &queue{refuse: "retry-1"}, kept: true, wait: 7,
			metrics: `"Received":2,"Delivered":1,"Retried":1,"Requests":2`,
		},
		"an unconfirmed remainder": {
			message: array("m", 2, "ok-1", "retry-1"), queue: &queue{forget: true}, kept: true, wait: 7,
			metrics: `"Received":2,"Delivered":1,"Retried":1,"Requests":2`,
		},
		"a broken SQS": {
			message: array("m", 2, "ok-1", "retry-1", "reject-1"), queue: &queue{err: errors.New("no SQS")}, kept: true,
			metrics: `"Received":3,"Delivered":1,"Retried":2,"Requests":3`,
		},
		"one event": {
			message: array("m", 1, "retry-1"), kept: true, wait: 1,
			metrics: `"Received":1,"Delivered":0,"Retried":1,"Requests":1`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			q := c.queue
			if q == nil {
				q = &queue{}
			}
			kept, printed := handle(t, q, c.message)
			if (len(kept) == 1 && kept[0] == "m") != c.kept || len(kept) > 1 {
				t.Errorf("kept %v, want %v", kept, c.kept)
			}
			if got := q.waits["receipt-m"]; got != c.wait {
				t.Errorf("visibility timeout %d s, want %d", got, c.wait)
			}
			if got := q.to(ownQueue); !slices.Equal(got, c.own) {
				t.Errorf("resent %q\nwant %q", got, c.own)
			}
			if got := q.to(deadQueue); !slices.Equal(got, c.dead) {
				t.Errorf("dead letters %q\nwant %q", got, c.dead)
			}
			if !strings.Contains(printed, c.metrics) {
				t.Errorf("printed %s\nwant %s", printed, c.metrics)
			}
		})
	}
}

// TestInvalidElements: an element that is not an event is a dead letter of its own, and the rest is delivered.
func TestInvalidElements(t *testing.T) {
	q := &queue{}
	kept, printed := handle(t, q, withBody("m", `[`+body("ok-1")+`, 5 ,"x",{"time":"never"},`+body("ok-2")+`,[]]`))
	want := []string{
		"5 delay=0 attempts=String:1 message_id=String:m/1 error=String:code invalid event: body: expected a JSON " +
			"object, found a number",
		`"x" delay=0 attempts=String:1 message_id=String:m/2 error=String:code invalid event: body: expected a JSON ` +
			`object, found a string`,
		`{"time":"never"} delay=0 attempts=String:1 message_id=String:m/3 error=String:code invalid event: time: ` +
			`expected an integer (Unix milliseconds), found a string`,
		"[] delay=0 attempts=String:1 message_id=String:m/5 error=String:code invalid event: body: expected a JSON " +
			"object, found an array",
	}
	if got := q.to(deadQueue); len(kept) != 0 || !slices.Equal(got, want) {
		t.Errorf("kept %v, dead letters %q\nwant %q", kept, got, want)
	}
	if !strings.Contains(printed, `"Received":6,"Delivered":2,"DeadLettered":4`) {
		t.Errorf("printed %s", printed)
	}
}

// TestInvalidArrays: an array that is invalid as a whole is one dead letter with the original body.
func TestInvalidArrays(t *testing.T) {
	for text, reason := range map[string]string{
		"[]":                              "an empty array",
		"[" + body("ok-1"):                "expected a JSON array",
		"[" + body("ok-1") + ",]":         "expected a JSON array",
		"[" + body("ok-1") + ",\"\xff\"]": "expected UTF-8",
	} {
		q := &queue{}
		kept, printed := handle(t, q, withBody("m", text), message("ok-2", 1))
		got := q.to(deadQueue)
		if len(kept) != 0 || len(got) != 1 || !strings.HasPrefix(got[0], strings.ToValidUTF8(text, "\uFFFD")+" ") ||
			!strings.Contains(got[0], "message_id=String:m error=") || !strings.Contains(got[0], reason) {
			t.Errorf("%q: kept %v, dead letters %q, want one with %q", text, kept, got, reason)
		}
		if !strings.Contains(printed, `"Received":2,"Delivered":1,"DeadLettered":1`) {
			t.Errorf("%q: printed %s", text, printed)
		}
	}
}

// TestDeadLetterIsTheOriginal: a dead letter has the body of its message, with a byte order mark if there was one.
func TestDeadLetterIsTheOriginal(t *testing.T) {
	for _, text := range []string{"\xef\xbb\xbf" + body("reject-1"), " " + body("reject-1") + "\n", "\xef\xbb\xbf{}",
		"\xef\xbb\xbf[]"} {
		q := &queue{}
		handle(t, q, withBody("m", text))
		if len(q.sent) != 1 || aws.ToString(q.sent[0].MessageBody) != text {
			t.Errorf("%q: %d dead letters, the first with the body %q", text, len(q.sent), aws.ToString(q.sent[0].MessageBody))
		}
	}
}

// TestDelayOfSQS: SQS accepts a delay of 15 minutes at most, also where the back-off is longer.
func TestDelayOfSQS(t *testing.T) {
	q := &queue{}
	h := newHandler(q)
	h.Backoff.Max = time.Hour
	h.handle(t.Context(), t, array("m", 4, "ok-1", "retry-1"), message("retry-2", 4))
	if own := q.to(ownQueue); len(own) != 1 || !strings.Contains(own[0], " delay=900 ") ||
		q.waits["receipt-retry-2"] != 3600 {
		t.Errorf("resent %q, visibility timeouts %v, want 900 s and 3600 s", own, q.waits)
	}
}

// TestMixedBatch: each message has its own outcome, whatever its form and place in the batch.
func TestMixedBatch(t *testing.T) {
	q := &queue{}
	kept, printed := handle(t, q,
		array("a", 1, "ok-1", "retry-a"), message("retry-b", 1), array("c", 5, "reject-c", "retry-c"), message("ok-d",
			1), array("e", 1, "retry-e", "reject-e", "ok-e"))
	if want := []string{"retry-b"}; !slices.Equal(kept, want) {
		t.Errorf("kept %v, want %v", kept, want)
	}
	if got := q.to(ownQueue); len(got) != 2 || !strings.Contains(got[0], `"retry-a"`) ||
		!strings.Contains(got[1], `"retry-e"`) || len(q.waits) != 1 {
		t.Errorf("resent %q, visibility timeouts %v", got, q.waits)
	}
	var ids []string
	for _, e := range q.sent {
		if id, ok := e.MessageAttributes["message_id"]; ok {
			ids = append(ids, aws.ToString(id.StringValue))
		}
	}
	if want := []string{"c/0", "c/1", "e/1"}; !slices.Equal(ids, want) {
		t.Errorf("dead letters %v, want %v", ids, want)
	}
	if !strings.Contains(printed, `"Received":9,"Delivered":3,"Retried":3,"DeadLettered":3`) {
		t.Errorf("printed %s", printed)
	}
}

// TestRoles: attributes count only from the role that writes them, where its id is known.
func TestRoles(t *testing.T) {
	for _, c := range []struct {
		roles             sqsbatch.Roles
		sender            string
		attempts, replays string // attributes of the message, "" for none
		want              string // of the message with the remainder
	}{
		{sqsbatch.Roles{}, "AIDAANY", "2", "1", "attempts=Number:3 replays=Number:1"},
		{sqsbatch.Roles{}, "AIDAANY", "", "1", "attempts=Number:1 replays=Number:1"},
		{sqsbatch.Roles{Connector: "AROACONN", Replay: "AROAREPL"}, "AROACONN:splunk", "2", "1",
			"attempts=Number:3 replays=Number:1"},
		{sqsbatch.Roles{Connector: "AROACONN", Replay: "AROAREPL"}, "AROACONN:splunk", "", "1", "attempts=Number:1"},
		{sqsbatch.Roles{Connector: "AROACONN", Replay: "AROAREPL"}, "AROAREPL:replay", "2", "1",
			"attempts=Number:1 replays=Number:1"},
		{sqsbatch.Roles{Connector: "AROACONN", Replay: "AROAREPL"}, "AROAPLAT:producer", "2", "1", "attempts=Number:1"},
		{sqsbatch.Roles{Connector: "AROACONN", Replay: "AROAREPL"}, "", "2", "1", "attempts=Number:1"},
		{sqsbatch.Roles{Connector: "AROACONN"}, "AROAPLAT:producer", "2", "1", "attempts=Number:1 replays=Number:1"},
		{sqsbatch.Roles{Replay: "AROAREPL"}, "AROAPLAT:producer", "2", "1", "attempts=Number:3 replays=Number:1"},
		{sqsbatch.Roles{Replay: "AROAREPL"}, "AROAPLAT:producer", "", "1", "attempts=Number:1"},
	} {
		q := &queue{}
		h := newHandler(q)
		h.Roles = c.roles
		m := array("m", 1, "ok-1", "retry-1")
		m.Sender = []byte(c.sender)
		if c.attempts != "" {
			m.Attributes = append(m.Attributes, attribute("attempts", c.attempts))
		}
		if c.replays != "" {
			m.Attributes = append(m.Attributes, attribute("replays", c.replays))
		}
		h.handle(t.Context(), t, m)
		if got := q.to(ownQueue); len(got) != 1 || !strings.HasSuffix(got[0], " "+c.want) ||
			strings.Contains(c.want, "replays") != strings.Contains(got[0], "replays") {
			t.Errorf("%+v, sender %q, attempts %q, replays %q: resent %q, want %s", c.roles, c.sender, c.attempts, c.replays,
				got, c.want)
		}
	}
}

// TestRedrivenDeadLetter: an operator who redrives the dead-letter queue gives its events all their attempts. A dead
// letter's own `attempts` is a String.
func TestRedrivenDeadLetter(t *testing.T) {
	m := message("retry-1", 1)
	m.Attributes = []sqsevent.Attribute{{Name: []byte("attempts"), Type: []byte("String"), Value: []byte("5")}}
	q := &queue{}
	if kept, _ := handle(t, q, m); len(kept) != 1 || len(q.sent) != 0 || q.waits["receipt-retry-1"] != 1 {
		t.Errorf("kept %v, sent %d, waits %v, want a first attempt", kept, len(q.sent), q.waits)
	}
}

// TestFirstAttempt: an event is on its first attempt if it was neither received, resent nor replayed before.
func TestFirstAttempt(t *testing.T) {
	var ids []string
	resent, replayed := array("c", 1, "c"), message("d", 1)
	resent.Attributes = []sqsevent.Attribute{attribute("attempts", "1")}
	replayed.Attributes = []sqsevent.Attribute{attribute("replays", "1")}
	h := newHandler(&queue{})
	h.siem.send = func(_ context.Context, b *deliver.Batch) error {
		if b.First(0) {
			ids = append(ids, string(b.Events[0].AppendID(nil)))
		}
		return nil
	}
	h.handle(t.Context(), t, message("a", 1), message("b", 2), resent, replayed)
	if !slices.Equal(ids, []string{"a"}) {
		t.Errorf("events %v are on their first attempt, want only a", ids)
	}
}

// slow is the Send of a SIEM that needs a minute for each event.
func slow(ctx context.Context, _ *deliver.Batch) error {
	select {
	case <-time.After(time.Minute):
		return nil
	case <-ctx.Done():
		return &failure.Error{Err: ctx.Err()}
	}
}

// TestFirstAttemptIsKept: attempts that had no time left do not count. Otherwise, events of a large message would
// become dead letters without having been sent.
func TestFirstAttemptIsKept(t *testing.T) {
	for _, c := range []struct {
		receives int
		resent   string
		limit    time.Duration
		own      string // attempts of the remainder
		dead     int
	}{
		{1, "", 3 * time.Minute, "attempts=Number:0", 0},
		{2, "1", 3 * time.Minute, "attempts=Number:2", 0},
		{1, "7", 3 * time.Minute, "attempts=Number:7", 1}, // the event that was being sent when the time was over
		{5, "", 3 * time.Minute, "", 3},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), c.limit)
			defer cancel()
			q := &queue{}
			h := newHandler(q)
			h.Now, h.siem.send = time.Now, slow
			m := array("m", c.receives, "ok-1", "ok-2", "ok-3", "ok-4", "ok-5")
			if c.resent != "" {
				m.Attributes = []sqsevent.Attribute{attribute("attempts", c.resent)}
			}
			h.handle(ctx, t, m)
			own, dead := q.to(ownQueue), q.to(deadQueue)
			if len(dead) != c.dead || (len(own) == 1) != (c.own != "") || len(own) == 1 && !strings.HasSuffix(own[0], c.own) {
				t.Errorf("receive %d, attempts %q: resent %q, dead letters %q", c.receives, c.resent, own, dead)
			}
		})
	}
}

// TestRoundsAreBounded: a payload of tiny events is delivered in rounds, and every event has its outcome.
func TestRoundsAreBounded(t *testing.T) {
	const n = 5000
	texts := make([]string, n)
	for i := range texts {
		texts[i] = `{"time":1741824000000}`
	}
	texts[7], texts[n-1] = body("reject-1"), body("reject-2")
	q := &queue{}
	kept, printed := handle(t, q, withBody("m", "["+strings.Join(texts, ",")+"]"))
	if got := q.to(deadQueue); len(kept) != 0 || len(got) != 2 || !strings.Contains(got[0], "=String:m/7 ") ||
		!strings.Contains(got[1], "=String:m/4999 ") {
		t.Errorf("kept %v, dead letters %q", kept, got)
	}
	if !strings.Contains(printed, `"Received":5000,"Delivered":4998,"DeadLettered":2,"Requests":5000`) {
		t.Errorf("printed %s", printed)
	}
}

// TestRemainderAtTheSizeLimit: a remainder that does not fit into a message with its attributes is not sent.
func TestRemainderAtTheSizeLimit(t *testing.T) {
	q := &queue{}
	m := message("m", 1)
	big := `{"time":1741824000000,"metadata":{"uid":"retry-1"},"x":"` + strings.Repeat("x", 1<<20-120) + `"}`
	m.Body = []byte(`[` + big + `,` + body("ok-1") + `]`)
	if len(m.Body) > 1<<20 {
		m.Body = []byte(`[` + strings.Replace(big, strings.Repeat("x", 100), "", 1) + `,` + body("ok-1") + `]`)
	}
	kept, printed := handle(t, q, m)
	if fits := len(q.to(ownQueue)) == 1; fits == (len(kept) == 1) || len(m.Body) > 1<<20 {
		t.Errorf("kept %v, resent %d: %s", kept, len(q.to(ownQueue)), printed)
	}
	m.Body = []byte(`[0,` + strings.Replace(big, `"x":"`, `"x":"`+strings.Repeat("y", 1<<20-len(big)-4), 1) + `]`)
	kept, printed = handle(t, q, m)
	if len(m.Body) != 1<<20 || len(kept) != 1 || !strings.Contains(printed, "SQS accepts 1048576") {
		t.Errorf("%d bytes: kept %v: %s", len(m.Body), kept, printed)
	}
}

// TestHangingDeadLettersDelayNobody: visibility timeouts are set although dead letters cannot be sent: at once where a
// message needs nothing else, in time for the others.
func TestHangingDeadLettersDelayNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		q := &queue{sendHangs: true}
		h := newHandler(q)
		h.Now = time.Now
		messages := []sqsevent.Message{message("reject-1", 1), array("a", 1, "ok-1", "retry-a")}
		for i := range 10 {
			messages = append(messages, message(fmt.Sprintf("retry-%d", i), 1))
		}
		var atOnce int
		time.AfterFunc(time.Second, func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			atOnce = len(q.waits)
		})
		begun := time.Now()
		if kept, _ := h.handle(ctx, t, messages...); len(kept) != 12 {
			t.Errorf("kept %v, want all 12 messages", kept)
		}
		if atOnce != 10 || len(q.waits) != 12 {
			t.Errorf("%d visibility timeouts were set at once and %d in all, want 10 and 12", atOnce, len(q.waits))
		}
		if took := time.Since(begun); took > 29*time.Second {
			t.Errorf("the response took %v of 30 s", took)
		}
	})
}

// FuzzArray: whatever the body, every record of it has exactly one outcome, and nothing is lost.
func FuzzArray(f *testing.F) {
	for _, s := range []string{`[]`, `[{}]`, `[{"time":1}]`, `[{"time":1,"metadata":{"uid":"retry"}},{"time":1}]`,
		`[{"time":1,"metadata":{"uid":"reject"}},5]`, `{"time":1}`, "[\"\xff\"]",
		"\xef\xbb\xbf[{\"time\":1}]", `[{"time":1},`,
	} {
		f.Add([]byte(s), 1, "")
	}
	f.Add([]byte(`[{"time":1,"metadata":{"uid":"retry"}},{"time":1}]`), 3, "4")
	f.Fuzz(func(t *testing.T, text []byte, receives int, attempts string) {
		q := &queue{}
		h := newHandler(q)
		m := message("m", max(1, receives%7))
		m.Body = text
		m.Attributes = []sqsevent.Attribute{attribute("attempts", attempts)}
		ids, _ := h.handle(t.Context(), t, m)
		kept := ids != nil
		own, dead := q.to(ownQueue), q.to(deadQueue)
		if kept && len(own) > 0 || len(own) > 1 {
			t.Fatalf("%q: kept %v, and resent %q", text, kept, own)
		}
		if kept && len(dead) > 0 {
			t.Fatalf("%q: kept as a whole, and dead letters %q", text, dead)
		}
	})
}
