package sqsbatch_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
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

// with adds attributes of the type Number to a message, as pairs of a name and a value.
func with(m sqsevent.Message, pairs ...string) sqsevent.Message {
	for pair := range slices.Chunk(pairs, 2) {
		m.Attributes = append(m.Attributes, sqsevent.Attribute{Name: []byte(pair[0]), Type: []byte("Number"),
			Value: []byte(pair[1])})
	}
	return m
}

type (
	messages []sqsevent.Message
	waits    map[string]int32 // visibility timeouts in seconds, by id
)

// Errors of dead letters.
const (
	refused   = "status 400, code 6: bad   format"
	exhausted = `given up after 5 attempts, the last of which: status 500: "a SIEM's words"`
)

// letter is a dead letter in the text of queue.to.
func letter(body string, attempts int, id, reason string) string {
	return fmt.Sprintf("%s delay=0 attempts=String:%d message_id=String:%s error=String:%s", body, attempts, id, reason)
}

// TestOutcomes: each message has its own outcome, whatever its form and place in the batch.
func TestOutcomes(t *testing.T) {
	for name, c := range map[string]struct {
		messages messages
		queue    *queue // nil is one that works
		change   func(*handler)
		kept     []string
		waits    waits
		own      []string // sent to the connector's own queue
		dead     []string // sent to the dead-letter queue
		metrics  string
	}{
		"nothing": {metrics: `"Received":0`},
		"all delivered": {
			messages: messages{array("m", 1, "ok-1", "ok-2")},
			metrics:  `"Received":2,"Delivered":2,"Requests":2`,
		},
		"all to be retried": {
			messages: messages{array("m", 3, "retry-1", "retry-2")}, kept: []string{"m"}, waits: waits{"m": 45},
			metrics: `"Received":2,"Delivered":0,"Retried":2,"Requests":2`,
		},
		"some to be retried": {
			messages: messages{array("m", 2, "ok-1", "retry-1", "ok-2", "retry-2")},
			own:      []string{"[" + body("retry-1") + "," + body("retry-2") + "] delay=7 attempts=Number:2"},
			metrics:  `"Received":4,"Delivered":2,"Retried":2,"Requests":4`,
		},
		"one of a resent and replayed message": {
			messages: messages{with(array("m", 1, "ok-1", "retry-1"), "attempts", "2", "replays", "1")},
			own:      []string{"[" + body("retry-1") + "] delay=45 attempts=Number:3 replays=Number:1"},
			metrics:  `"Received":2,"Delivered":1,"Retried":1,"Requests":2`,
		},
		"the longest back-off": {
			messages: messages{array("m", 1, "ok-1", "retry-1", "later-120", "later-30")},
			own: []string{"[" + body("retry-1") + "," + body("later-120") + "," + body("later-30") +
				"] delay=120 attempts=Number:1"},
			metrics: `"Received":4,"Delivered":1,"Retried":3,"Requests":4`,
		},
		"a fraction of a second": {
			messages: messages{array("m", 1, "ok-1", "later-899.5")},
			own:      []string{"[" + body("later-899.5") + "] delay=900 attempts=Number:1"},
			metrics:  `"Received":2,"Delivered":1,"Retried":1,"Requests":2`,
		},
		"a back-off over the longest delay of SQS": {
			messages: messages{array("m", 4, "ok-1", "retry-1"), message("retry-2", 4)}, kept: []string{"retry-2"},
			change: func(h *handler) { h.Backoff.Max = time.Hour }, waits: waits{"retry-2": 3600},
			own:     []string{"[" + body("retry-1") + "] delay=900 attempts=Number:4"},
			metrics: `"Received":3,"Delivered":1,"Retried":2,"Requests":3`,
		},
		"a rejected event": {
			messages: messages{array("m", 2, "ok-1", "reject-1")},
			dead:     []string{letter(body("reject-1"), 2, "m/1", refused)},
			metrics:  `"Received":2,"Delivered":1,"DeadLettered":1,"Requests":2`,
		},
		"exhausted by the attempts before it was resent": {
			messages: messages{with(array("m", 2, "retry-1", "ok-1"), "attempts", "3", "replays", "2")},
			dead: []string{body("retry-1") +
				" delay=0 attempts=String:5 replays=Number:2 message_id=String:m/0 error=String:" + exhausted},
			metrics: `"Received":2,"Delivered":1,"DeadLettered":1,"Requests":2`,
		},
		"a redriven dead letter, whose own count is a String, has all its attempts": {
			messages: messages{{ID: []byte("m"), Receipt: []byte("m"), Receives: 1, Body: []byte(body("retry-1")),
				Attributes: []sqsevent.Attribute{
					{Name: []byte("attempts"), Type: []byte("String"), Value: []byte("5")}}}},
			kept: []string{"m"}, waits: waits{"m": 1},
			metrics: `"Received":1,"Delivered":0,"Retried":1,"Requests":1`,
		},
		"a failed dead letter among delivered events": {
			messages: messages{array("m", 1, "ok-1", "reject-1", "ok-2")},
			queue:    &queue{refuse: "reject-1", refuseAt: deadQueue},
			own:      []string{"[" + body("reject-1") + "] delay=1 attempts=Number:1"},
			metrics:  `"Received":3,"Delivered":2,"Retried":1,"Requests":3`,
		},
		"a failed dead letter among events to be retried": {
			messages: messages{array("m", 1, "retry-1", "reject-1")}, kept: []string{"m"}, waits: waits{"m": 1},
			queue:   &queue{refuse: "reject-1", refuseAt: deadQueue},
			metrics: `"Received":2,"Delivered":0,"Retried":2,"Requests":2`,
		},
		"a failed dead letter among others": {
			messages: messages{message("reject-1", 1), message("reject-2", 1), message("ok-1", 1)},
			queue:    &queue{refuse: "reject-1"}, kept: []string{"reject-1"},
			dead:    []string{letter(body("reject-2"), 1, "reject-2", refused)},
			metrics: `"Received":3,"Delivered":1,"Retried":1,"DeadLettered":1,"Requests":3`,
		},
		"unconfirmed dead letters": {
			messages: messages{message("reject-1", 1), message("reject-2", 1), message("ok-1", 1)},
			queue:    &queue{forget: true}, kept: []string{"reject-1", "reject-2"},
			waits:   waits{"reject-1": 1, "reject-2": 1},
			metrics: `"Received":3,"Delivered":1,"Retried":2,"Requests":3`,
		},
		"a failed visibility change": {
			messages: messages{message("retry-1", 1), message("retry-2", 1)}, queue: &queue{refuse: "retry-1"},
			kept: []string{"retry-1", "retry-2"}, waits: waits{"retry-2": 1},
			metrics: `"Received":2,"Delivered":0,"Retried":2,"Requests":2`,
		},
		"a refused remainder": {
			messages: messages{array("m", 2, "ok-1", "retry-1")}, queue: &queue{refuse: "retry-1"}, kept: []string{"m"},
			waits: waits{"m": 7}, metrics: `"Received":2,"Delivered":1,"Retried":1,"Requests":2`,
		},
		"an unconfirmed remainder": {
			messages: messages{array("m", 2, "ok-1", "retry-1")}, queue: &queue{forget: true}, kept: []string{"m"},
			waits: waits{"m": 7}, metrics: `"Received":2,"Delivered":1,"Retried":1,"Requests":2`,
		},
		"a broken SQS": {
			messages: messages{array("m", 2, "ok-1", "retry-1", "reject-1"), message("retry-2", 1),
				message("reject-2", 1)},
			queue: &queue{err: errors.New("no SQS")}, kept: []string{"m", "retry-2", "reject-2"},
			metrics: `"Received":5,"Delivered":1,"Retried":4,"Requests":5`,
		},
		"a mixed batch": {
			messages: messages{array("a", 1, "ok-1", "retry-a"), message("retry-b", 1),
				array("c", 5, "reject-c", "retry-c"), message("ok-d", 1), array("e", 1, "retry-e", "reject-e", "ok-e")},
			kept: []string{"retry-b"}, waits: waits{"retry-b": 1},
			own: []string{"[" + body("retry-a") + "] delay=1 attempts=Number:1",
				"[" + body("retry-e") + "] delay=1 attempts=Number:1"},
			dead: []string{
				letter(body("reject-c"), 5, "c/0", refused),
				letter(body("retry-c"), 5, "c/1", exhausted),
				letter(body("reject-e"), 1, "e/1", refused),
			},
			metrics: `"Received":9,"Delivered":3,"Retried":3,"DeadLettered":3`,
		},
		"a filter does not excuse an invalid event, and what it excludes is not sent again": {
			messages: messages{withBody("m", `[{"time":1741824000000,"severity_id":1},`+body("retry-1")+
				`,{"severity_id":1},`+body("ok-1")+`]`)},
			change: func(h *handler) { h.Filter.MinSeverity = 3 },
			own:    []string{"[" + body("retry-1") + "] delay=1 attempts=Number:1"},
			dead: []string{letter(`{"severity_id":1}`, 1, "m/2",
				"code invalid event: time: expected an integer (Unix milliseconds), absent")},
			metrics: `"Received":4,"Delivered":1,"Retried":1,"DeadLettered":1,"Filtered":1`,
		},
		"elements that are not events": {
			messages: messages{withBody("m", `[`+body("ok-1")+`, 5 ,"x",{"time":"never"},`+body("ok-2")+`,[]]`)},
			dead: []string{
				letter("5", 1, "m/1", "code invalid event: body: expected a JSON object, found a number"),
				letter(`"x"`, 1, "m/2", "code invalid event: body: expected a JSON object, found a string"),
				letter(`{"time":"never"}`, 1, "m/3",
					"code invalid event: time: expected an integer (Unix milliseconds), found a string"),
				letter("[]", 1, "m/5", "code invalid event: body: expected a JSON object, found an array"),
			},
			metrics: `"Received":6,"Delivered":2,"DeadLettered":4`,
		},
		"held events are part of those to be retried, exhausted ones are not": {
			messages: messages{message("a", 1), array("b", 5, "b-1")}, kept: []string{"a"}, waits: waits{"a": 300},
			change: func(h *handler) {
				h.siem.send = func(context.Context, *deliver.Batch) error {
					return &failure.Error{Kind: failure.Misconfigured, Status: 404}
				}
			},
			dead: []string{letter(body("b-1"), 5, "b/0", "given up after 5 attempts, the last of which: status 404: "+
				"not delivered, because another request of the batch failed")},
			metrics: `"Received":2,"Delivered":0,"Retried":1,"DeadLettered":1,"Held":1,"Requests":0`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			q := cmp.Or(c.queue, &queue{})
			h := newHandler(q)
			if c.change != nil {
				c.change(h)
			}
			kept, printed := h.handle(t.Context(), t, c.messages...)
			if !slices.Equal(kept, c.kept) {
				t.Errorf("kept %v, want %v", kept, c.kept)
			}
			if !maps.Equal(q.waits, c.waits) {
				t.Errorf("visibility timeouts %v, want %v", q.waits, c.waits)
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

// TestInvalidBodies: a body that is invalid as a whole is one dead letter. It has the body as it is, with a byte order
// mark if there was one. The SDK would fail a whole request because of a body that is not UTF-8.
func TestInvalidBodies(t *testing.T) {
	for text, reason := range map[string]string{
		"[]":                              "an empty array",
		"[" + body("ok-1"):                "expected a JSON array",
		"[" + body("ok-1") + ",]":         "expected a JSON array",
		"[" + body("ok-1") + ",\"\xff\"]": "expected UTF-8",
		"{\xff}":                          "expected UTF-8",
		"\xef\xbb\xbf{}":                  "time",
		"\xef\xbb\xbf[]":                  "an empty array",
		"\xef\xbb\xbf" + body("reject-1"): "status 400",
		" " + body("reject-1") + "\n":     "status 400",
	} {
		q := &queue{}
		kept, printed := handle(t, q, withBody("m", text), message("ok-2", 1))
		got := q.to(deadQueue)
		want := strings.ToValidUTF8(text, "\uFFFD") + " delay="
		if len(kept) != 0 || len(got) != 1 || !strings.HasPrefix(got[0], want) ||
			!strings.Contains(got[0], "message_id=String:m error=") || !strings.Contains(got[0], reason) {
			t.Errorf("%q: kept %v, dead letters %q, want one with %q", text, kept, got, reason)
		}
		if !strings.Contains(printed, `"Received":2,"Delivered":1,"DeadLettered":1`) {
			t.Errorf("%q: printed %s", text, printed)
		}
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
			m = with(m, "attempts", c.attempts)
		}
		if c.replays != "" {
			m = with(m, "replays", c.replays)
		}
		h.handle(t.Context(), t, m)
		if got := q.to(ownQueue); len(got) != 1 || !strings.HasSuffix(got[0], " "+c.want) ||
			strings.Contains(c.want, "replays") != strings.Contains(got[0], "replays") {
			t.Errorf("%+v, sender %q, attempts %q, replays %q: resent %q, want %s", c.roles, c.sender, c.attempts, c.replays,
				got, c.want)
		}
	}
}

// TestFirstAttempt: an event is on its first attempt if it was neither received, resent nor replayed before.
func TestFirstAttempt(t *testing.T) {
	var ids []string
	h := newHandler(&queue{})
	h.siem.send = func(_ context.Context, b *deliver.Batch) error {
		if b.First(0) {
			ids = append(ids, string(b.Events[0].AppendID(nil)))
		}
		return nil
	}
	h.handle(t.Context(), t, message("a", 1), message("b", 2), with(array("c", 1, "c"), "attempts", "1"),
		with(message("d", 1), "replays", "1"))
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
				m = with(m, "attempts", c.resent)
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
	for over, kept := range []bool{false, true} {
		event := `{"time":1741824000000,"metadata":{"uid":"retry-1"},"x":"`
		size := sqsbatch.Attributes{"attempts": sqsbatch.Number(1)}.Size([]byte("[" + event + `"}]`))
		event += strings.Repeat("x", sqsbatch.MaxBytes+over-size) + `"}`
		q := &queue{}
		ids, printed := handle(t, q, withBody("m", "["+event+",0]"))
		if resent := len(q.to(ownQueue)); (len(ids) == 1) != kept || (resent == 1) == kept ||
			strings.Contains(printed, "SQS accepts 1048576") != kept {
			t.Errorf("%d bytes over the limit: kept %v, resent %d: %s", over, ids, resent, printed)
		}
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
		ids, _ := h.handle(t.Context(), t, with(m, "attempts", attempts))
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

// TestTooManyEvents: the messages after the largest number of events are not read, and stay in the queue. These are the
// longest arrays.
func TestTooManyEvents(t *testing.T) {
	const most, perMessage = 250_000, 10_000
	flood := func(id string, n int) sqsevent.Message {
		return withBody(id, "["+strings.Repeat(`{"time":1741824000000},`, n-1)+`{"time":1741824000000}]`)
	}
	q := &queue{}
	h := newHandler(q)
	h.Filter.Classes = []int64{6003}
	all := []sqsevent.Message{flood("longest", perMessage+1)}
	all = append(all, slices.Repeat([]sqsevent.Message{flood("flood", perMessage)}, most/perMessage)...)
	all = append(all, message("first", 1), withBody("invalid", "x"), message("last", 9))
	kept, printed := h.handle(t.Context(), t, all...)
	if want := []string{"longest"}; !slices.Equal(kept, want) || !maps.Equal(q.waits, waits{"longest": 1}) {
		t.Errorf("kept %v, waits %v; want kept %v", kept, q.waits, want)
	}
	if len(q.sent) != 1 { // the invalid one's dead letter
		t.Errorf("%d messages sent, want 1", len(q.sent))
	}
	if want := `"warnings":["messages left in the queue: 1; the batch has more than 250000 events"]`; !strings.Contains(printed, want) {
		t.Errorf("printed %s\nwant %s", printed, want)
	}
}
