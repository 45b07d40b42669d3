package eventsource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
)

func config(f *fake) Config {
	return Config{
		QueueARN: queueARN, Region: "eu-west-1", BatchSize: 100, Window: 5 * time.Second, MaximumConcurrency: 2,
		ReportBatchItemFailures: true, Enabled: true, Queue: f, Now: f.time,
		Invoke: func(context.Context, []byte) ([]byte, error) { return []byte(`{}`), nil },
	}
}

// TestGather: a batch ends with its size, or with the window, which begins at the first message.
func TestGather(t *testing.T) {
	const second = time.Second
	sized := func(n int, window time.Duration) func(*Config) {
		return func(c *Config) { c.BatchSize, c.Window = n, window }
	}
	for name, c := range map[string]struct {
		arrivals []arrival
		change   func(*Config)
		batches  []int         // their sizes
		until    time.Duration // of the clock after the first batch; 0: not compared
		limits   []int         // of the requests; nil: not compared
	}{
		"full batches do not wait": {at(second, 0, 130), nil, []int{100, 30}, second, nil},
		"no receive asks for more": {at(0, 0, 20), sized(13, second), []int{13}, 0, []int{10, 3}},
		"window after the first message": {slices.Concat(at(second, 0, 1), at(5*second, 1, 1), at(6*second, 2, 1),
			at(7*second, 3, 1)), nil, []int{3}, 6 * second, nil},
		"no window: the first receive": {slices.Concat(at(second, 0, 3), at(second+1, 3, 1)), sized(10, 0), []int{3}, 0, nil},
		"Rand ends the window early": {slices.Concat(at(second, 0, 1), at(3*second, 1, 1), at(4*second, 2, 1)),
			func(c *Config) { c.Rand = func() float64 { return 0.5 } }, []int{2}, 0, nil},
		"nothing came": {nil, nil, []int{0}, 0, []int{10}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(c.arrivals...)
			cfg := config(f)
			if c.change != nil {
				c.change(&cfg)
			}
			p, next := newPoller(cfg), 0
			for i, n := range c.batches {
				got, want := p.gather(t.Context()), c.arrivals[next:next+n]
				next += n
				if !slices.EqualFunc(got, want, func(m Message, a arrival) bool { return m.ID == a.m.ID }) {
					t.Errorf("batch %d: %v, want %d messages", i, ids(got), n)
				}
				if took := f.time().Sub(start()); i == 0 && c.until > 0 && took != c.until {
					t.Errorf("handed over after %v, want %v", took, c.until)
				}
			}
			if c.limits != nil && !slices.Equal(f.limits, c.limits) || slices.Max(f.limits) != 10 {
				t.Errorf("asked for %v, want %v, at most the 10 that SQS gives", f.limits, c.limits)
			}
		})
	}
}

func TestBatchSizeChanges(t *testing.T) {
	p := newPoller(config(newFake(at(time.Second, 0, 5)...)))
	p.SetBatchSize(2)
	if n := len(p.gather(t.Context())); n != 2 {
		t.Errorf("%d messages, want 2", n)
	}
}

func TestPayloadNeverExceedsSixMegabytes(t *testing.T) {
	large := strings.Repeat(`"`, 512<<10) // each character is two in the payload
	var arrivals []arrival
	for _, id := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m"} {
		arrivals = append(arrivals, arrival{0, message(id, large)})
	}
	f := newFake(arrivals...)
	cfg := config(f)
	p := newPoller(cfg)
	var got []string
	for len(got) < len(arrivals) {
		b := p.gather(t.Context())
		payload, err := encode(cfg, b)
		if err != nil || len(payload) > maxPayloadBytes || len(b) == 0 {
			t.Fatalf("%d messages in %d bytes, %v", len(b), len(payload), err)
		}
		if len(got) < 10 && len(b) != 5 {
			t.Errorf("batch of %d, want 5: as many as 6 MB hold", len(b))
		}
		got = append(got, ids(b)...)
	}
	if !slices.IsSorted(got) || len(got) != len(arrivals) {
		t.Errorf("handed over %v", got)
	}
}

func TestPayloadSizeIsCountedToTheByte(t *testing.T) {
	cfg := config(newFake())
	empty, err := encode(cfg, []Message{message("a", ""), message("b", "")})
	if err != nil {
		t.Fatal(err)
	}
	room := maxPayloadBytes - len(empty)
	for _, c := range []struct{ extra, want int }{{-1, 2}, {0, 1}} { // the count includes a comma after the last record
		b := newBatch(cfg)
		b.add([]Message{message("a", strings.Repeat("x", room/2)), message("b", strings.Repeat("x", room-room/2+c.extra))})
		if len(b.messages) != c.want {
			t.Errorf("%d bytes: %d messages, want %d", maxPayloadBytes+c.extra, len(b.messages), c.want)
		}
	}
}

func TestFailedReceiveIsReportedAndTriedAgain(t *testing.T) {
	f := newFake(at(0, 0, 2)...)
	f.fail = 1
	var problems []string
	cfg := config(f)
	cfg.Problem = func(err error) { problems = append(problems, err.Error()) }
	p := newPoller(cfg)
	p.pause = 0
	for range 2 {
		if b := p.gather(t.Context()); len(b) == 2 {
			break
		}
	}
	if len(f.limits) < 2 || len(problems) != 1 || !strings.HasSuffix(problems[0], "told to fail") {
		t.Errorf("requests %v, problems %q", f.limits, problems)
	}
}

func TestEventIsLambdas(t *testing.T) {
	text := "v"
	m := message("id-1", `{"a":"<&>é"}`)
	m.MD5OfAttributes = "1"
	m.MessageAttributes = map[string]Attribute{"s": {"String", &text, nil}, "b": {"Binary", nil, []byte("raw")}}
	cfg := config(newFake())
	cfg.Attributes = func(Message) map[string]string { return map[string]string{"DeadLetterQueueSourceArn": "arn:source"} }
	got, err := encode(cfg, []Message{m})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"Records":[{"messageId":"id-1","receiptHandle":"handle of id-1","body":"{\"a\":\"<&>é\"}",` +
		`"attributes":{"ApproximateReceiveCount":"1","DeadLetterQueueSourceArn":"arn:source"},` +
		`"messageAttributes":{"b":{"binaryValue":"cmF3","stringListValues":[],"binaryListValues":[],"dataType":"Binary"},` +
		`"s":{"stringValue":"v","stringListValues":[],"binaryListValues":[],"dataType":"String"}},` +
		`"md5OfMessageAttributes":"1","md5OfBody":"0","eventSource":"aws:sqs",` +
		`"eventSourceARN":"arn:aws:sqs:eu-west-1:123456789012:siem-splunk","awsRegion":"eu-west-1"}]}`
	if string(got) != want {
		t.Errorf("event = %s\nwant    %s", got, want)
	}
	var e events.SQSEvent
	if err := json.Unmarshal(got, &e); err != nil || e.Records[0].Body != m.Body {
		t.Errorf("the Lambda library reads %+v, %v", e, err)
	}
}

func TestAnswerDecidesWhatIsDeleted(t *testing.T) {
	for _, c := range []struct {
		name    string
		reports bool
		answer  string
		err     error
		deleted int
	}{
		{"all done", true, `{"batchItemFailures":[]}`, nil, 25},
		{"one failed", true, `{"batchItemFailures":[{"itemIdentifier":"m007"}]}`, nil, 24},
		{"not understood", true, `oops`, nil, 0},
		{"function error", true, ``, errors.New("function error"), 0},
		{"answer without a meaning", false, `oops`, nil, 25},
		{"function error without reports", false, ``, errors.New("function error"), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(at(0, 0, 25)...)
			cfg := config(f)
			cfg.ReportBatchItemFailures = c.reports
			cfg.Invoke = func(context.Context, []byte) ([]byte, error) { return []byte(c.answer), c.err }
			var problems int
			cfg.Problem = func(error) { problems++ }
			p := newPoller(cfg)
			p.handle(t.Context(), p.gather(t.Context()))
			if len(f.deleted) != c.deleted || slices.Contains(f.deleted, "m007") != (c.deleted == 25) {
				t.Errorf("deleted %v, want %d", f.deleted, c.deleted)
			}
			if (problems > 0) != (c.deleted == 0) {
				t.Errorf("%d problems", problems)
			}
		})
	}
}

func TestDeletionIsTriedTwice(t *testing.T) {
	f := newFake()
	f.stubborn = map[string]int{"m003": 1, "m014": 2}
	var problems []string
	cfg := config(f)
	cfg.Problem = func(err error) { problems = append(problems, err.Error()) }
	var batch []Message
	for _, a := range at(0, 0, 25) {
		batch = append(batch, a.m)
	}
	newPoller(cfg).delete(t.Context(), batch)
	if len(f.deleted) != 24 || slices.Contains(f.deleted, "m014") || len(problems) != 1 {
		t.Errorf("deleted %d, problems %q", len(f.deleted), problems)
	}
	f.deleted, f.fail = nil, 1
	newPoller(cfg).delete(t.Context(), batch[:5])
	if len(f.deleted) != 5 || len(problems) != 1 {
		t.Errorf("after a request that failed: deleted %d, problems %q", len(f.deleted), problems)
	}
}

func TestNoMoreInvocationsAtOnceThanTheMaximum(t *testing.T) {
	f := newFake(at(0, 0, 50)...)
	f.idle = func(ctx context.Context) { <-ctx.Done() }
	cfg := config(f)
	cfg.BatchSize, cfg.Window = 10, 0
	entered, leave := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	now, most := 0, 0
	count := func(by int) {
		mu.Lock()
		defer mu.Unlock()
		now += by
		most = max(most, now)
	}
	cfg.Invoke = func(context.Context, []byte) ([]byte, error) {
		count(1)
		defer count(-1)
		entered <- struct{}{}
		<-leave
		return []byte(`{}`), nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	p := Start(ctx, cfg)
	for range 2 {
		<-entered
	}
	for range 3 {
		leave <- struct{}{}
		<-entered
	}
	close(leave)
	cancel()
	<-p.Done()
	if most != 2 {
		t.Errorf("%d invocations at once, want 2", most)
	}
}

func TestDisabledMappingReceivesNothing(t *testing.T) {
	f := newFake()
	polling := make(chan struct{})
	f.idle = func(ctx context.Context) {
		select {
		case polling <- struct{}{}:
		case <-ctx.Done():
		}
	}
	cfg := config(f)
	cfg.Enabled = false
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p := Start(ctx, cfg)
	p.SetEnabled(false)
	p.SetEnabled(true)
	<-polling
	stopped := make(chan struct{})
	go func() {
		p.SetEnabled(false)
		close(stopped)
	}()
	drain(polling, stopped)
	f.mu.Lock()
	before := len(f.limits)
	f.mu.Unlock()
	p.SetEnabled(true)
	<-polling
	f.mu.Lock()
	if after := len(f.limits); before == 0 || after > before+2 { // one that returned, one that waits
		t.Errorf("%d requests before it stopped, %d after it went on", before, after)
	}
	f.mu.Unlock()
	cancel()
	<-p.Done()
}

// drain lets requests return until polling has stopped.
func drain(polling, stopped chan struct{}) {
	for {
		select {
		case <-polling:
		case <-stopped:
			return
		}
	}
}

func TestMessageReceivedTwiceIsInTheBatchOnce(t *testing.T) {
	b := newBatch(config(newFake()))
	again := message("a", "{}")
	again.ReceiptHandle = "newer handle"
	b.add([]Message{message("a", "{}"), message("b", "{}"), again})
	if got := ids(b.messages); !slices.Equal(got, []string{"a", "b"}) || b.messages[0].ReceiptHandle != "newer handle" {
		t.Errorf("batch = %+v", b.messages)
	}
}

func ids(messages []Message) []string {
	var out []string
	for _, m := range messages {
		out = append(out, m.ID)
	}
	return out
}

func TestFinishedFollowsTheTable(t *testing.T) {
	batch := []Message{{ID: "a"}, {ID: "b"}, {ID: "c"}}
	all := []string{"a", "b", "c"}
	for _, c := range []struct {
		answer string
		done   []string // nil: the whole batch failed
	}{
		{`{"batchItemFailures":[]}`, all},
		{`{"batchItemFailures":null}`, all},
		{`{}`, all},
		{`null`, all},
		{" null\n", all},
		{`{"batchItemFailures":[{"itemIdentifier":"b"}]}`, []string{"a", "c"}},
		{`{"batchItemFailures":[{"itemIdentifier":"b"},{"itemIdentifier":"b"}],"more":1}`, []string{"a", "c"}},
		{`{"batchItemFailures":[{"itemIdentifier":"c"},{"itemIdentifier":"a"},{"itemIdentifier":"b"}]}`, []string{}},
		{``, nil},
		{`{`, nil},
		{`{"batchItemFailures":[]} x`, nil},
		{`[]`, nil},
		{`"done"`, nil},
		{`true`, nil},
		{`{"failures":[]}`, nil},
		{`{"batchitemfailures":[]}`, nil},
		{`{"batchItemFailures":"b"}`, nil},
		{`{"batchItemFailures":{}}`, nil},
		{`{"batchItemFailures":["b"]}`, nil},
		{`{"batchItemFailures":[null]}`, nil},
		{`{"batchItemFailures":[{}]}`, nil},
		{`{"batchItemFailures":[{"itemIdentifier":""}]}`, nil},
		{`{"batchItemFailures":[{"itemIdentifier":null}]}`, nil},
		{`{"batchItemFailures":[{"itemIdentifier":7}]}`, nil},
		{`{"batchItemFailures":[{"itemidentifier":"b"}]}`, nil},
		{`{"batchItemFailures":[{"id":"b"}]}`, nil},
		{`{"batchItemFailures":[{"itemIdentifier":"b"},{"itemIdentifier":"d"}]}`, nil},
	} {
		done, err := Finished([]byte(c.answer), batch)
		if (err == nil) != (c.done != nil) || !slices.Equal(ids(done), c.done) {
			t.Errorf("%s: done %v, error %v; want %v", c.answer, ids(done), err, c.done)
		}
	}
}

func FuzzFinished(f *testing.F) {
	f.Add(`{"batchItemFailures":[{"itemIdentifier":"b"}]}`)
	f.Add(`{"batchItemFailures":null}`)
	batch := []Message{{ID: "a"}, {ID: "b"}}
	f.Fuzz(func(t *testing.T, answer string) {
		done, err := Finished([]byte(answer), batch)
		if err == nil && len(done) < len(batch) && !strings.Contains(answer, "itemIdentifier") {
			t.Errorf("%q: done %v without a failure named", answer, ids(done))
		}
		if err != nil && len(done) > 0 {
			t.Errorf("%q: a failed batch has messages done", answer)
		}
	})
}

const queueARN = "arn:aws:sqs:eu-west-1:123456789012:siem-splunk"

// fake is a queue whose messages arrive at set times of a clock that only waiting moves.
type fake struct {
	// idle is what a request does that finds nothing more to come; nil: it returns.
	idle func(ctx context.Context)

	mu       sync.Mutex
	now      time.Time
	arrivals []arrival // by time
	limits   []int     // of the requests so far
	deleted  []string
	stubborn map[string]int // how often a message's deletion is refused
	fail     int            // how many requests fail first
}

type arrival struct {
	at time.Duration // from the start
	m  Message
}

func newFake(arrivals ...arrival) *fake {
	return &fake{now: start(), arrivals: arrivals, stubborn: map[string]int{}}
}

func start() time.Time { return time.Date(2026, 3, 13, 0, 0, 0, 0, time.UTC) }

// at makes n messages that arrive at one time.
func at(when time.Duration, first, n int) []arrival {
	out := make([]arrival, n)
	for i := range out {
		out[i] = arrival{when, message(fmt.Sprintf("m%03d", first+i), "{}")}
	}
	return out
}

func message(id, body string) Message {
	return Message{
		ID: id, ReceiptHandle: "handle of " + id, Body: body, MD5OfBody: "0",
		Attributes: map[string]string{"ApproximateReceiveCount": "1"},
	}
}

func (f *fake) time() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// Receive implements Queue.
func (f *fake) Receive(ctx context.Context, limit int, wait time.Duration) ([]Message, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.limits = append(f.limits, limit)
	if f.fail > 0 {
		f.fail--
		return nil, errors.New("told to fail")
	}
	if len(f.arrivals) == 0 && f.idle != nil {
		f.mu.Unlock()
		f.idle(ctx)
		f.mu.Lock()
		return nil, ctx.Err()
	}
	latest := f.now.Add(wait)
	if len(f.arrivals) == 0 || start().Add(f.arrivals[0].at).After(latest) {
		f.now = latest
		return nil, nil
	}
	if next := start().Add(f.arrivals[0].at); next.After(f.now) {
		f.now = next
	}
	var out []Message
	for len(f.arrivals) > 0 && len(out) < limit && !start().Add(f.arrivals[0].at).After(f.now) {
		out = append(out, f.arrivals[0].m)
		f.arrivals = f.arrivals[1:]
	}
	return out, nil
}

// Delete implements Queue.
func (f *fake) Delete(_ context.Context, messages []Message) ([]Message, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(messages) > deleteAtOnce {
		return nil, fmt.Errorf("%d entries", len(messages))
	}
	if f.fail > 0 {
		f.fail--
		return nil, errors.New("told to fail")
	}
	var failed []Message
	for _, m := range messages {
		if f.stubborn[m.ID] > 0 {
			f.stubborn[m.ID]--
			failed = append(failed, m)
			continue
		}
		f.deleted = append(f.deleted, m.ID)
	}
	return failed, nil
}
