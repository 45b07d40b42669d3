package sqsbatch_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/arbitex/siem-connectors/internal/ocsfgen"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/sqsbatch"
	"github.com/arbitex/siem-connectors/shared/sqsevent"
)

func TestBackoff(t *testing.T) {
	b := func(n, initial, most int) sqsbatch.Backoff {
		return sqsbatch.Backoff{Attempts: n, Initial: time.Duration(initial) * time.Second,
			Max: time.Duration(most) * time.Second}
	}
	for name, c := range map[string]struct {
		backoff sqsbatch.Backoff
		want    []int // seconds after attempts 1, 2, …
	}{
		"defaults": {b(5, 1, 300), []int{1, 7, 45, 300, 300}},
		"three":    {b(3, 2, 50), []int{2, 50, 50}},
		"one wait": {b(2, 3, 50), []int{3, 3}},
		"one try":  {b(1, 3, 50), []int{3}},
		"flat":     {b(5, 4, 4), []int{4, 4, 4, 4}},
		"ten":      {b(10, 1, 256), []int{1, 2, 4, 8, 16, 32, 64, 128, 256}},
	} {
		for i, want := range c.want {
			if got := c.backoff.Wait(i+1, nil); got != time.Duration(want)*time.Second {
				t.Errorf("%s: after attempt %d: %v, want %d s", name, i+1, got, want)
			}
		}
	}
	d := b(5, 1, 300)
	for name, c := range map[string]struct {
		fault *failure.Error
		want  time.Duration
	}{
		"held":               {&failure.Error{Kind: failure.Misconfigured}, 300 * time.Second},
		"denied":             {&failure.Error{Kind: failure.Unauthorized}, 300 * time.Second},
		"asked for more":     {&failure.Error{RetryAfter: 20 * time.Second}, 20 * time.Second},
		"asked for less":     {&failure.Error{RetryAfter: time.Millisecond}, time.Second},
		"asked for too much": {&failure.Error{RetryAfter: time.Hour}, 900 * time.Second},
		"held, asked for more": {&failure.Error{Kind: failure.Misconfigured, RetryAfter: 400 * time.Second},
			400 * time.Second},
	} {
		if got := d.Wait(1, c.fault); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if d.Exhausted(4) || !d.Exhausted(5) || !d.Exhausted(6) {
		t.Error("the fifth attempt of five is the last")
	}
}

// queue is a fake of SQS.
type queue struct {
	mu     sync.Mutex
	waits  map[string]int32 // by id of the message
	sent   []types.SendMessageBatchRequestEntry
	calls  []int // entries per call
	err    error
	refuse string // receipts and bodies with this text fail
	forget bool   // responds without naming anything

	refuseAt string   // the queue that refuses; "" for any
	urls     []string // of the queues of sent

	hangs, sendHangs bool // all requests, or SendMessageBatch, do not return
}

func (q *queue) ChangeMessageVisibilityBatch(ctx context.Context, in *sqs.ChangeMessageVisibilityBatchInput,
	_ ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error) {
	if q.hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.calls = append(q.calls, len(in.Entries))
	if q.err != nil {
		return nil, q.err
	}
	out := &sqs.ChangeMessageVisibilityBatchOutput{}
	for _, e := range in.Entries {
		if q.refuse != "" && strings.Contains(*e.ReceiptHandle, q.refuse) {
			out.Failed = append(out.Failed, types.BatchResultErrorEntry{Id: e.Id, Code: aws.String("ReceiptHandleIsInvalid")})
			continue
		}
		if q.waits == nil {
			q.waits = map[string]int32{}
		}
		q.waits[strings.TrimPrefix(*e.ReceiptHandle, "receipt-")] = e.VisibilityTimeout
		out.Successful = append(out.Successful, types.ChangeMessageVisibilityBatchResultEntry{Id: e.Id})
	}
	return out, nil
}

func (q *queue) SendMessageBatch(ctx context.Context, in *sqs.SendMessageBatchInput,
	_ ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	if q.hangs || q.sendHangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.calls = append(q.calls, len(in.Entries))
	if q.err != nil {
		return nil, q.err
	}
	out := &sqs.SendMessageBatchOutput{}
	for _, e := range in.Entries {
		if q.refuse != "" && strings.Contains(*e.MessageBody, q.refuse) && (q.refuseAt == "" || q.refuseAt == *in.QueueUrl) {
			out.Failed = append(out.Failed, types.BatchResultErrorEntry{Id: e.Id, Code: aws.String("InternalError")})
			continue
		}
		if q.forget {
			continue
		}
		q.sent, q.urls = append(q.sent, e), append(q.urls, *in.QueueUrl)
		out.Successful = append(out.Successful, types.SendMessageBatchResultEntry{Id: e.Id})
	}
	return out, nil
}

// siem is a SIEM and the source of its connector. Without send, it responds according to the prefix of an event's id.
type siem struct {
	format deliver.Format
	send   func(context.Context, *deliver.Batch) error
}

// byPrefix is a SIEM that takes one event a request.
var byPrefix = siem{format: deliver.Format{MaxRecords: 1}}

func (s siem) Current() deliver.Connector              { return s }
func (s siem) Renew(context.Context) deliver.Connector { return s }

func (s siem) Format() deliver.Format { return s.format }
func (siem) Append(dst []byte, e *event.Event) ([]byte, bool, error) {
	return e.AppendCompact(dst), strings.HasPrefix(string(e.AppendID(nil)), "short"), nil
}

func (s siem) Send(ctx context.Context, b *deliver.Batch) error {
	if s.send != nil {
		return s.send(ctx, b)
	}
	b.Meter.Add(len(b.Body))
	switch id := string(b.Events[0].AppendID(nil)); {
	case strings.HasPrefix(id, "later-"):
		seconds, _ := strconv.ParseFloat(id[len("later-"):], 64)
		return &failure.Error{Status: 500, RetryAfter: time.Duration(seconds * float64(time.Second))}
	case strings.HasPrefix(id, "retry"):
		return &failure.Error{Status: 500, Detail: `"a SIEM's words"`}
	case strings.HasPrefix(id, "reject"):
		return &failure.Error{Kind: failure.Rejected, Status: 400, Code: "6", Detail: "bad \x01 format"}
	case strings.HasPrefix(id, "busy"):
		b.Meter.AddBackpressure()
	}
	return nil
}

func message(id string, receives int) sqsevent.Message {
	return sqsevent.Message{ID: []byte(id), Receipt: []byte("receipt-" + id), Receives: receives,
		Body: []byte(body(id))}
}

// handler is the handler under test with its SIEM.
type handler struct {
	sqsbatch.Handler
	siem siem
	out  bytes.Buffer // log and metrics
}

func newHandler(q *queue) *handler {
	h := &handler{siem: byPrefix}
	h.Handler = sqsbatch.Handler{
		Connector: "splunk", Stack: "test", Queue: q, QueueURL: ownQueue, DeadLetterQueue: deadQueue,
		Backoff: sqsbatch.Backoff{Attempts: 5, Initial: time.Second, Max: 300 * time.Second},
		Log:     slog.New(slog.NewJSONHandler(&h.out, nil)), Out: &h.out,
		Now: func() time.Time { return time.UnixMilli(1741824005000) },
	}
	return h
}

// handle takes messages through one attempt, and returns the ids in the response and the output.
func handle(t *testing.T, q *queue, messages ...sqsevent.Message) (kept []string, printed string) {
	t.Helper()
	return newHandler(q).handle(t.Context(), t, messages...)
}

func (h *handler) handle(ctx context.Context, t *testing.T, messages ...sqsevent.Message) (kept []string,
	printed string) {
	t.Helper()
	answer, err := h.Handle(ctx, h.siem, messages)
	if err != nil {
		t.Fatal(err)
	}
	var response struct {
		BatchItemFailures []struct{ ItemIdentifier string } `json:"batchItemFailures"`
	}
	if err := json.Unmarshal(answer, &response); err != nil {
		t.Fatalf("response %s: %v", answer, err)
	}
	for _, f := range response.BatchItemFailures {
		kept = append(kept, f.ItemIdentifier)
	}
	return kept, h.out.String()
}

// TestReport: a batch writes a line of metrics and a line of the log, without events or text of the SIEM. A dead letter
// has all attributes.
func TestReport(t *testing.T) {
	q := &queue{}
	_, printed := handle(t, q, message("busy-1", 1), message("retry-1", 1), message("retry-5", 5),
		with(message("reject-1", 2), "replays", "2"), withBody("x", "no JSON"), message("short", 1),
		message("retry-3", 3))
	got := map[string]string{}
	for name, v := range q.sent[1].MessageAttributes {
		got[name] = *v.StringValue
	}
	if want := map[string]string{
		"connector": "splunk", "error": refused, "attempts": "2", "message_id": "reject-1", "replays": "2",
		"failed_at": "2025-03-13T00:00:05.000Z",
	}; !maps.Equal(got, want) {
		t.Errorf("the dead letter has the attributes %v, want %v", got, want)
	}
	for _, want := range []string{`"Stack":"test","Connector":"splunk","Received":7,"Delivered":2,"Retried":2,` +
		`"DeadLettered":3,"Truncated":1,"Requests":6,"Backpressure":1`, `"EndToEndMilliseconds":5000`,
		`"truncated":["short"]`, `"received":7`, `"transient status=500":3`} {
		if !strings.Contains(printed, want) {
			t.Errorf("printed %s\nwant %s", printed, want)
		}
	}
	for _, secret := range []string{"SIEM's words", "no JSON", "bad "} {
		if strings.Contains(printed, secret) {
			t.Errorf("the log contains %q: %s", secret, printed)
		}
	}
	if lines := strings.Count(printed, "\n"); lines != 2 {
		t.Errorf("%d lines, want one of the log and one of metrics", lines)
	}
}

// TestHandleWhenSQSFailsOften: the log has an error for each batch request that failed.
func TestHandleWhenSQSFailsOften(t *testing.T) {
	all := []sqsevent.Message{message("ok", 1)} // otherwise the configuration would be at fault
	for i := range 45 {
		all = append(all, message(fmt.Sprintf("reject-%d", i), 1))
	}
	kept, printed := handle(t, &queue{err: errors.New("no SQS")}, all...)
	if told := strings.Count(printed, "dead letters: no SQS"); len(kept) != 45 || told != 5 {
		t.Errorf("kept %d, %d errors of requests, want 45 and 5: %s", len(kept), told, printed)
	}
}

// TestHandleLeavesTime: requests to the SIEM leave time for requests to SQS, also if the wall clock is ahead.
func TestHandleLeavesTime(t *testing.T) {
	for limit, reserve := range map[time.Duration]time.Duration{time.Hour: 4 * time.Second,
		10 * time.Second: 1900 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		end, _ := ctx.Deadline()
		var given time.Time
		h := newHandler(&queue{})
		h.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
		h.siem.send = func(ctx context.Context, _ *deliver.Batch) error {
			given, _ = ctx.Deadline()
			return nil
		}
		h.handle(ctx, t, message("a", 1))
		if left := end.Sub(given); given.IsZero() || left < reserve {
			t.Errorf("of %v, requests to the SIEM leave %v, want at least %v", limit, left, reserve)
		}
		cancel()
	}
}

func TestHandleGroups(t *testing.T) {
	q := &queue{}
	var all []sqsevent.Message
	for i := range 25 {
		all = append(all, message(fmt.Sprintf("retry-%d", i), 1))
	}
	handle(t, q, all...)
	slices.Sort(q.calls)
	if !slices.Equal(q.calls, []int{5, 10, 10}) {
		t.Errorf("25 visibility changes in calls of %v, want 5, 10, 10", q.calls)
	}
	q, all = &queue{}, []sqsevent.Message{message("ok", 1), message("retry", 1)}
	for i := range 25 {
		all = append(all, message(fmt.Sprintf("reject-%d", i), 1))
	}
	handle(t, q, all...)
	slices.Sort(q.calls)
	if !slices.Equal(q.calls, []int{1, 5, 10, 10}) {
		t.Errorf("25 dead letters and a visibility change in calls of %v, want 1, 5, 10, 10", q.calls)
	}
	q = &queue{}
	big := strings.Repeat("x", 600_000)
	a, b, c := message("a", 1), message("b", 1), message("c", 1)
	a.Body, b.Body, c.Body = []byte(big), []byte(big), []byte(strings.Repeat("y", 1<<20))
	kept, printed := handle(t, q, a, b, c)
	if len(q.calls) != 3 || len(q.sent) != 2 || !slices.Equal(kept, []string{"c"}) ||
		!strings.Contains(printed, "SQS accepts 1048576") {
		t.Errorf("large dead letters: calls %v, sent %d, kept %v", q.calls, len(q.sent), kept)
	}
}

func TestHandleWithoutID(t *testing.T) {
	in := &sqsbatch.Handler{Now: time.Now}
	if _, err := in.Handle(t.Context(), byPrefix,
		[]sqsevent.Message{message("a", 1), {Body: []byte("{}")}}); err == nil ||
		!strings.Contains(err.Error(), "Records[1].messageId") {
		t.Errorf("a message without an id: %v, want an error that names it", err)
	}
}

// TestHandleLastAttempt: only the event that breaks the SIEM becomes a dead letter, with a reason that SQS accepts.
func TestHandleLastAttempt(t *testing.T) {
	q := &queue{}
	h := newHandler(q)
	h.siem = siem{send: func(_ context.Context, b *deliver.Batch) error {
		if bytes.Contains(b.Body, []byte("bad")) {
			return &failure.Error{Status: 500, Detail: strings.Repeat("é", 2000)}
		}
		return nil
	}}
	if kept, _ := h.handle(t.Context(), t, message("a", 5), message("bad", 5), message("c", 5),
		message("d", 5)); kept != nil {
		t.Errorf("kept %v", kept)
	}
	if len(q.sent) != 1 || aws.ToString(q.sent[0].MessageAttributes["message_id"].StringValue) != "bad" {
		t.Fatalf("%d dead letters, want the one event that breaks the SIEM", len(q.sent))
	}
	if reason := aws.ToString(q.sent[0].MessageAttributes["error"].StringValue); len(reason) > 1024 ||
		!utf8.ValidString(reason) || !strings.HasSuffix(reason, "…") {
		t.Errorf("the reason has %d bytes, want at most 1024 of valid UTF-8: %.60q…", len(reason), reason)
	}
}

// BenchmarkHandle handles 100 events with a SIEM that costs nothing: as 100 messages with one event, as 10 with 10, and
// as one with 100.
func BenchmarkHandle(b *testing.B) {
	open := siem{send: func(context.Context, *deliver.Batch) error { return nil }}
	for _, perMessage := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("%d_per_message", perMessage), func(b *testing.B) {
			h := &sqsbatch.Handler{
				Connector: "splunk", Queue: &queue{}, Backoff: sqsbatch.Backoff{Attempts: 5},
				Log: slog.New(slog.DiscardHandler), Out: io.Discard, Now: time.Now,
			}
			var all []sqsevent.Message
			for events := ocsfgen.New(1); len(all) < 100/perMessage; {
				bodies := make([][]byte, perMessage)
				for i := range bodies {
					bodies[i] = events.Next()
				}
				text := "[" + string(bytes.Join(bodies, []byte(","))) + "]"
				if perMessage == 1 {
					text = string(bodies[0])
				}
				all = append(all, withBody(strconv.Itoa(len(all)), text))
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := h.Handle(b.Context(), open, all); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestResponseWithHangingQueue: the function responds although SQS does not. Without a response, SQS would deliver the
// accepted events again.
func TestResponseWithHangingQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 30 * time.Second
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		h := newHandler(&queue{hangs: true})
		h.Now = time.Now
		begun := time.Now()
		if kept, _ := h.handle(ctx, t, withBody("m", "no event")); !slices.Equal(kept, []string{"m"}) {
			t.Errorf("kept %v", kept)
		}
		if took := time.Since(begun); took > limit-100*time.Millisecond || took < limit/2 {
			t.Errorf("responded after %s of %s", took, limit)
		}
	})
}
