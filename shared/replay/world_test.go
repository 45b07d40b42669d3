package replay

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/testkit/dlq"
	"github.com/arbitex/siem-connectors/internal/testkit/fakeaws"
	"github.com/arbitex/siem-connectors/shared/deadletter"
	"github.com/arbitex/siem-connectors/shared/drain"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// world is the environment of the functions under test. Its clock changes only when a test advances it.
type world struct {
	t     *testing.T
	s3    *fakeaws.S3
	sqs   *fakeaws.SQS
	queue lambdahost.SQS // what the functions call: sqs
	env   map[string]string
	mu    sync.Mutex
	clock time.Time
	limit time.Duration // of a call, 0 is none
	chunk int           // events of a chunk, 0 is the default
	piece int64         // bytes that are read at a time, 0 is the default
	out   dlq.Output    // log and metrics
}

const testBucket, testPrefix = "s3://letters/dead", "dead/"

func newWorld(t *testing.T) *world {
	w := &world{t: t, s3: &fakeaws.S3{}, sqs: &fakeaws.SQS{}, clock: time.Now(), env: map[string]string{
		"SIEM_DEAD_LETTER_PATH": testBucket,
		"SPLUNK_QUEUE_URL":      "https://sqs.test/123456789012/splunk-queue",
		"ELASTIC_QUEUE_URL":     "https://sqs.test/123456789012/elastic-queue",
	}}
	w.s3.Now, w.queue = w.now, w.sqs
	for _, url := range []string{w.env["SPLUNK_QUEUE_URL"], w.env["ELASTIC_QUEUE_URL"], sumoQueue} {
		w.sqs.Create(fakeaws.Queue{URL: url})
	}
	return w
}

const sumoQueue = "https://sqs.test/1/sumo"

// message is a message that has been sent.
type message struct {
	queue string
	fakeaws.Message
}

// messages returns all messages that have been sent.
func (w *world) messages() (all []message) {
	for _, url := range []string{"https://sqs.test/123456789012/splunk-queue",
		"https://sqs.test/123456789012/elastic-queue", sumoQueue} {
		for _, m := range w.sqs.Messages(url) {
			all = append(all, message{url, m})
		}
	}
	return all
}

func (w *world) count() int { return len(w.messages()) }

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clock
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = w.clock.Add(d)
}

// deps are the functions' dependencies.
func (w *world) deps() lambdahost.Deps {
	return lambdahost.Deps{Env: func(name string) string { return w.env[name] }, Out: &w.out, Now: w.now, SQS: w.queue}
}

func (w *world) settings() *settings.Settings {
	return settings.New(func(name string) string { return w.env[name] }, nil)
}

func noPause(ctx context.Context, _ time.Duration) error { return ctx.Err() }

func (w *world) replayer() *Replay {
	w.t.Helper()
	r, err := New(w.settings(), w.deps(), w.s3)
	if err != nil {
		w.t.Fatal(err)
	}
	r.bucket.Sleep = noPause
	r.chunk, r.bucket.Piece = cmp.Or(w.chunk, r.chunk), cmp.Or(w.piece, r.bucket.Piece)
	return r
}

// ask calls the replay function's URL and returns status, headers and body.
func (w *world) ask(method, path, body string, headers map[string]string) (int, map[string]string, string) {
	w.t.Helper()
	event := map[string]any{
		"version": "2.0", "rawPath": path, "headers": headers, "body": body,
		"requestContext": map[string]any{"http": map[string]any{"method": method, "path": path}},
	}
	payload, err := json.Marshal(event)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.invoke(payload)
}

func (w *world) invoke(payload []byte) (int, map[string]string, string) {
	w.t.Helper()
	ctx := w.t.Context()
	if w.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, w.now().Add(w.limit))
		defer cancel()
	}
	out, err := w.replayer().Handle(ctx, payload)
	if err != nil {
		w.t.Fatal(err)
	}
	var r response
	if err := json.Unmarshal(out, &r); err != nil {
		w.t.Fatalf("response %s: %v", out, err)
	}
	if !json.Valid([]byte(r.Body)) || r.Headers["content-type"] != "application/json" {
		w.t.Fatalf("response is not JSON: %s", out)
	}
	return r.Status, r.Headers, r.Body
}

// replay posts a request and wants a 200.
func (w *world) replay(body string) result {
	w.t.Helper()
	status, _, text := w.ask("POST", Path, body, nil)
	if status != 200 {
		w.t.Fatalf("status %d: %s", status, text)
	}
	var a result
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		w.t.Fatal(err)
	}
	return a
}

// want posts a request and requires the counts of its result, such as "2 replayed, 1 skipped, 0 remaining", and as many
// errors as texts, with an error that contains each text.
func (w *world) want(request, counts string, errors ...string) result {
	w.t.Helper()
	a := w.replay(request)
	missing := func(text string) bool {
		return !slices.ContainsFunc(a.Errors, func(e string) bool { return strings.Contains(e, text) })
	}
	if got := fmt.Sprintf("%d replayed, %d skipped, %d remaining", a.Replayed, a.Skipped, a.Remaining); got != counts ||
		len(a.Errors) != len(errors) || slices.ContainsFunc(errors, missing) {
		w.t.Errorf("request %q: %+v, want %s, errors with %q", request, a, counts, errors)
	}
	return a
}

// wantPending requires the number of pending dead letters of each connector.
func (w *world) wantPending(want map[string]int) {
	w.t.Helper()
	if got := w.waiting().Pending; !maps.Equal(got, want) {
		w.t.Errorf("pending %v, want %v", got, want)
	}
}

// wantSent requires the number of messages that have been sent, and of different ones.
func (w *world) wantSent(messages, different int) {
	w.t.Helper()
	if n := len(w.bodies()); w.count() != messages || n != different {
		w.t.Errorf("%d messages, %d different, want %d and %d", w.count(), n, messages, different)
	}
}

// waiting asks for the pending counts.
func (w *world) waiting() pending {
	w.t.Helper()
	status, _, text := w.ask("GET", Path, "", nil)
	if status != 200 {
		w.t.Fatalf("status %d: %s", status, text)
	}
	var c pending
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// drain takes letters through the drain and returns the ids it gives back.
func (w *world) drain(letters ...dlq.Letter) []string {
	w.t.Helper()
	d, err := drain.New(w.settings(), w.deps(), w.s3)
	if err != nil {
		w.t.Fatal(err)
	}
	return dlq.Invoke(w.t, d, dlq.Payload(w.t, letters...))
}

var day0 = time.Date(2026, 3, 13, 10, 0, 0, 0, time.UTC)

// bodies counts how often each body has been sent.
func (w *world) bodies() map[string]int {
	n := make(map[string]int)
	for _, m := range w.messages() {
		n[m.Body]++
	}
	return n
}

func (w *world) wantKeys(prefix string, n int) []string {
	w.t.Helper()
	return dlq.WantKeys(w.t, w.s3, testPrefix+prefix, n)
}

// below returns the content of all objects below a folder.
func (w *world) below(folder string) string {
	var all strings.Builder
	for _, key := range w.s3.Keys(testPrefix + folder) {
		all.Write(w.s3.Body(key))
	}
	return all.String()
}

// lines are records of a connector as lines of an object, a second apart.
func lines(connector, name string, n int, from time.Time) []byte {
	var all []byte
	for i := range n {
		id := fmt.Sprintf("%s-%03d", name, i)
		r := deadletter.Record{Time: from.Add(time.Duration(i) * time.Second), Connector: connector,
			Error: "status 503: busy",
			Body:  fmt.Appendf(nil, `{"time":1,"metadata":{"uid":%q}}`, id), Attempts: 5, MessageID: id}
		all = r.AppendLine(all)
	}
	return all
}

// pendingKey is the key of a pending object of splunk.
func pendingKey(date, name string) string {
	return testPrefix + "pending/connector=splunk/date=" + date + "/" + name
}
