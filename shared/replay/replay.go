// Package replay sends dead letters to the queues they came from, or discards them. It serves a Lambda function URL.
package replay

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/arbitex/siem-connectors/shared/deadletter"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
	"github.com/arbitex/siem-connectors/shared/settings"
	"github.com/arbitex/siem-connectors/shared/sqsbatch"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

// Replay is the function's handler. It is safe for concurrent use: of two replays at once, in one process or in
// several, one is refused.
type Replay struct {
	world  lambdahost.Deps
	log    *slog.Logger
	bucket deadletter.Bucket
	queues map[string]string // URL by connector
	chunk  int               // most events sent before the progress is saved
	stack  string            // dimension of the metrics
}

// NewFunction makes the Lambda handler. A nil store is S3.
func NewFunction(w lambdahost.Deps, store deadletter.Store) *lambdahost.Function {
	return lambdahost.NewFunction(w, func(s *settings.Settings) (lambdahost.Handler, error) { return New(s, w, store) })
}

// New reads the settings SIEM_DEAD_LETTER_PATH, <CONNECTOR>_QUEUE_URL and SIEM_STACK. The error names every wrong
// setting. A nil store is S3.
func New(s *settings.Settings, w lambdahost.Deps, store deadletter.Store) (*Replay, error) {
	r := &Replay{
		world: w, log: w.Logger(s), queues: deadletter.ReadQueues(s), chunk: maxChunk,
		stack: s.String("SIEM_STACK", "local"),
	}
	var err error
	r.bucket, err = deadletter.OpenBucket(s, w.Env, store)
	return r, err
}

// response is the response of a function URL.
type response struct {
	Status  int               `json:"statusCode"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
	Base64  bool              `json:"isBase64Encoded"`
}

// result is the body of the response to a POST.
type result struct {
	Replayed    int            `json:"replayed"`
	Discarded   *int           `json:"discarded,omitempty"` // only of a discard
	Skipped     int            `json:"skipped"`
	ByConnector map[string]int `json:"by_connector"`
	Remaining   int            `json:"remaining"`
	Passed      int            `json:"passed,omitempty"` // objects that the next call does not examine again
	DryRun      bool           `json:"dry_run"`
	Errors      []string       `json:"errors"`
}

// pending is the body of the response to a GET.
type pending struct {
	Pending map[string]int `json:"pending"`
	Oldest  *string        `json:"oldest"` // null when nothing is pending
}

// failure is the body of every other response.
type failure struct {
	Error string `json:"error"`
}

// Handle serves one request of the function URL: POST replays, GET counts. Every request gets a response with a JSON
// body before ctx's deadline; the error is always nil.
func (r *Replay) Handle(ctx context.Context, payload []byte) ([]byte, error) {
	var c call
	if err := json.Unmarshal(payload, &c); err != nil { // its error may quote the request
		return respond(http.StatusBadRequest, nil, failure{"event: expected the payload of a Lambda function URL"}), nil
	}
	ctx, cancel := sqsbatch.Reserve(ctx, time.Second, 10)
	defer cancel()
	var body any
	err := lambdahost.Guard(func() (err error) {
		body, err = r.serve(ctx, &c)
		return err
	})
	if err != nil {
		return r.refused(ctx, err), nil
	}
	return respond(http.StatusOK, nil, body), nil
}

// refused responds to an error.
func (r *Replay) refused(ctx context.Context, err error) []byte {
	if refusal, ok := errors.AsType[*refusal](err); ok {
		return respond(refusal.status, refusal.header, failure{refusal.text})
	}
	if p, ok := errors.AsType[*lambdahost.PanicError](err); ok {
		p.Log(ctx, r.world.Out)
		return respond(http.StatusInternalServerError, nil, failure{"internal"})
	}
	r.log.LogAttrs(ctx, slog.LevelError, "replay", slog.String("error", deadletter.Bound(err.Error(), maxError)))
	doing, _, _ := strings.Cut(err.Error(), ": ") // the rest is in the log
	detail := cmp.Or(deadletter.ErrorCode(err), "see the function's log")
	return respond(http.StatusInternalServerError, nil, failure{doing + ": " + detail})
}

func respond(status int, headers map[string]string, body any) []byte {
	text, _ := json.Marshal(body) // maps, strings and numbers always marshal
	all := map[string]string{"content-type": "application/json", "cache-control": "no-store"}
	maps.Copy(all, headers)
	out, _ := json.Marshal(response{Status: status, Headers: all, Body: string(text)}) // as above
	return out
}

// serve returns the body of a 200.
func (r *Replay) serve(ctx context.Context, c *call) (any, error) {
	method, err := c.method()
	if err != nil {
		return nil, err
	}
	if method == http.MethodGet {
		return r.count(ctx)
	}
	req, err := c.request()
	if err != nil {
		return nil, err
	}
	start := r.world.Now()
	s := r.newSession(ctx, req)
	if err := s.lease.acquire(ctx); err != nil {
		return nil, err
	}
	err = lambdahost.Guard(func() error { return s.run(ctx) })
	if err := s.lease.release(ctx); err != nil {
		s.passed = 0
		r.log.LogAttrs(ctx, slog.LevelWarn, "replay", slog.String("error", deadletter.Bound(err.Error(), maxError)))
	}
	r.report(ctx, s, c.caller(), r.world.Now().Sub(start))
	if err != nil {
		return nil, err
	}
	return s.result(), nil
}

// count responds to a GET. Every deployed connector has a count.
func (r *Replay) count(ctx context.Context) (any, error) {
	counts, oldest, err := r.bucket.Count(ctx)
	if err != nil {
		return nil, err
	}
	p := pending{Pending: counts}
	for connector := range r.queues {
		p.Pending[connector] += 0
	}
	if !oldest.IsZero() {
		p.Oldest = aws.String(oldest.Format(deadletter.TimeLayout))
	}
	return p, nil
}

// maxError bounds an error in the log, in bytes.
const maxError = 4096

// report writes one log line, and the metrics of each connector.
func (r *Replay) report(ctx context.Context, s *session, caller string, took time.Duration) {
	result := s.result()
	attributes := []slog.Attr{
		slog.Int("replayed", result.Replayed), slog.Int("discarded", s.done-result.Replayed),
		slog.Int("skipped", result.Skipped), slog.Int("remaining", s.remaining), slog.Bool("dry_run", s.dryRun),
		slog.Bool("force", s.force), slog.Int("limit", s.limit),
		slog.String("connector", s.Connector), slog.String("caller", deadletter.Bound(caller, 200)),
		slog.Int64("milliseconds", took.Milliseconds()),
	}
	level := slog.LevelInfo
	if len(s.failures) > 0 {
		level = slog.LevelError
		attributes = append(attributes, slog.String("error", deadletter.Bound(strings.Join(s.failures, "; "), maxError)))
	}
	r.log.LogAttrs(ctx, level, "replay", attributes...)
	if s.dryRun {
		return
	}
	done := "Replayed"
	if s.discard {
		done = "Discarded"
	}
	for _, t := range s.targets {
		telemetry.Write(r.world.Out, r.world.Now(), r.stack, t.name,
			telemetry.Counted(done, t.done), telemetry.Counted("Skipped", t.skipped))
	}
}

// A lease is short, so that a replay that was killed does not exclude others for long.
const (
	leaseTime  = 25 * time.Second
	leaseSkew  = 5 * time.Second       // tolerated difference of two clocks
	leaseMost  = leaseTime + leaseSkew // a lock that is dated further ahead does not count
	leaseRenew = 15 * time.Second      // renew when less is left
)

var errLeaseLost = errors.New("another replay has taken over")

// lease makes this replay the only one: an object in S3 names the owner and the time of expiry.
type lease struct {
	bucket *deadletter.Bucket
	now    func() time.Time
	lock
}

// lock is the content of the object. An expired one stays if a call's time ran out.
type lock struct {
	Owner   string            `json:"owner"`
	Expires time.Time         `json:"expires"`
	Cursors map[string]cursor `json:"cursors,omitempty"` // by request
	etag    string
}

// cursor is the place where the next call with the same request continues: behind the pending objects that earlier
// calls have examined and left.
type cursor struct {
	At     time.Time `json:"at"` // objects that were written later have not been examined
	Oldest int64     `json:"oldest"`
	RelKey string    `json:"key"`
}

// cursorLife is how long a cursor counts. It would hide objects that can be replayed by then.
const cursorLife = 15 * time.Minute

// passed reports whether the earlier calls have examined an object. S3 cuts the time of an object to the second: one of
// the second in which the call started may have been written later.
func (c *cursor) passed(o *deadletter.Object) bool {
	last := deadletter.Object{Oldest: c.Oldest, RelKey: c.RelKey}
	return o.Modified.Before(c.At.Truncate(time.Second)) && deadletter.Compare(o, &last) <= 0
}

func newLease(b *deadletter.Bucket, now func() time.Time) *lease {
	return &lease{bucket: b, now: now, lock: lock{Owner: rand.Text(), Cursors: make(map[string]cursor)}}
}

// acquire takes the lease, with the cursors of earlier calls. The error is a refusal if another replay has it.
func (l *lease) acquire(ctx context.Context) error {
	condition := deadletter.IfAbsent
	for range deadletter.Tries {
		found, err := l.write(ctx, condition, l.now().Add(leaseTime))
		switch {
		case err == nil:
			return nil
		case errors.Is(err, deadletter.ErrMissing):
			condition = deadletter.IfAbsent
			continue
		case !errors.Is(err, deadletter.ErrChanged):
			return err
		case found.Expires.Add(leaseSkew).After(l.now()) && !found.Expires.After(l.now().Add(leaseMost)):
			return l.held(found.Expires.Add(leaseSkew))
		}
		condition = found.etag
		clear(l.Cursors)
		for request, c := range found.Cursors {
			if l.now().Sub(c.At) < cursorLife {
				l.Cursors[request] = c
			}
		}
	}
	return l.held(l.now().Add(leaseTime)) // others were faster each time
}

// held is the refusal of a call while another replay is running.
func (l *lease) held(until time.Time) error {
	r := refuse(http.StatusConflict, "another replay is running; if it was killed, its lock expires at %s",
		until.UTC().Format(time.RFC3339))
	wait := max(1, int(until.Sub(l.now()).Round(time.Second)/time.Second))
	r.header = map[string]string{"retry-after": strconv.Itoa(wait)}
	return r
}

// renew makes sure that the lease lasts for a while. After an error, nothing may be done that two replays must not both
// do.
func (l *lease) renew(ctx context.Context) error {
	if l.Expires.Sub(l.now()) > leaseRenew {
		return nil
	}
	_, err := l.write(ctx, l.etag, l.now().Add(leaseTime))
	return ours(err)
}

// left is how long something may take that two replays must not both do.
func (l *lease) left() time.Duration { return l.Expires.Sub(l.now()) - leaseSkew }

// release deletes the lock, unless another replay has taken it. An expired lock stays if it has cursors.
func (l *lease) release(ctx context.Context) error {
	if len(l.Cursors) > 0 {
		_, err := l.write(ctx, l.etag, l.now().Add(-leaseTime))
		return ours(err)
	}
	return ours(l.bucket.Delete(ctx, deadletter.LockName, l.etag))
}

// ours returns the error of a write under the condition that the lock is still ours.
func ours(err error) error {
	if errors.Is(err, deadletter.ErrChanged) || errors.Is(err, deadletter.ErrMissing) {
		return errLeaseLost
	}
	return err
}

// write writes the lock. If the condition is not met, it returns the lock that is there with ErrChanged; a lock of our
// own is success, because it shows that only the response to our write was lost.
func (l *lease) write(ctx context.Context, condition string, expires time.Time) (found lock, err error) {
	own := l.lock
	own.Expires = expires.UTC()
	body, err := json.Marshal(own)
	if err != nil {
		return found, err
	}
	own.etag, err = l.bucket.Put(ctx, deadletter.LockName, condition, body)
	if errors.Is(err, deadletter.ErrChanged) {
		found, err = l.read(ctx)
		if err == nil && (found.Owner != own.Owner || !found.Expires.Equal(own.Expires)) {
			return found, deadletter.ErrChanged
		}
		own.etag = found.etag
	}
	if err != nil {
		return found, fmt.Errorf("writing %s: %w", deadletter.LockName, err)
	}
	l.lock = own
	return own, nil
}

// maxLock bounds the lock that is read: a cursor takes 200 bytes, and few calls end within its life.
const maxLock = 64 << 10

// read returns the lock. An unreadable lock counts from the time it was written.
func (l *lease) read(ctx context.Context) (found lock, err error) {
	body, out, err := l.bucket.Get(ctx, deadletter.LockName, maxLock)
	if err != nil {
		return found, err
	}
	if json.Unmarshal(body, &found) != nil || found.Owner == "" || found.Expires.IsZero() {
		found = lock{Expires: aws.ToTime(out.LastModified).Add(leaseTime)}
	}
	found.etag = aws.ToString(out.ETag)
	return found, nil
}
