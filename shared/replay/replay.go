// Package replay sends dead letters to the queues they came from, or discards them. It serves a Lambda function URL.
package replay

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/deadletter"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
	"github.com/arbitex/siem-connectors/shared/settings"
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
		stack:  s.String("SIEM_STACK", "local"),
		bucket: deadletter.Bucket{Location: deadletter.ReadLocation(s), Store: store, Pause: deadletter.Sleep},
	}
	err := s.Err()
	if err == nil && store == nil {
		r.bucket.Store, err = deadletter.OpenS3(w.Env)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
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

// reserve is the time kept for the response; a function with a short timeout keeps a tenth.
const reserve = time.Second

// Handle serves one request of the function URL: POST replays, GET counts. Every request gets a response with a JSON
// body before ctx's deadline; the error is always nil.
func (r *Replay) Handle(ctx context.Context, payload []byte) ([]byte, error) {
	var c call
	if err := json.Unmarshal(payload, &c); err != nil { // its error may quote the request
		return respond(http.StatusBadRequest, nil, failure{"event: expected the payload of a Lambda function URL"}), nil
	}
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-min(reserve, max(0, time.Until(deadline))/10)))
		defer cancel()
	}
	var body any
	err := deadletter.Guard(func() (err error) {
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
	var refusal *refusal
	var held *heldError
	var panicked *deadletter.PanicError
	switch {
	case errors.As(err, &panicked):
		r.log.LogAttrs(ctx, slog.LevelError, "panic", slog.String("panic", panicked.Text),
			slog.String("stack", panicked.Stack))
		return respond(http.StatusInternalServerError, nil, failure{"internal"})
	case errors.As(err, &refusal):
		return respond(refusal.status, refusal.header, failure{refusal.text})
	case errors.As(err, &held):
		wait := max(1, int(held.until.Sub(r.world.Now()).Round(time.Second)/time.Second))
		return respond(http.StatusConflict, map[string]string{"retry-after": strconv.Itoa(wait)}, failure{held.Error()})
	}
	r.log.LogAttrs(ctx, slog.LevelError, "replay", slog.String("error", deadletter.Bound(err.Error(), maxError)))
	doing, _, _ := strings.Cut(err.Error(), ": ") // the rest is in the log
	if code := deadletter.ErrorCode(err); code != "" {
		return respond(http.StatusInternalServerError, nil, failure{doing + ": " + code})
	}
	return respond(http.StatusInternalServerError, nil, failure{doing + ": see the function's log"})
}

func respond(status int, headers map[string]string, body any) []byte {
	text, err := json.Marshal(body)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"error":"internal"}`)
	}
	all := map[string]string{"content-type": "application/json", "cache-control": "no-store"}
	maps.Copy(all, headers)
	out, err := json.Marshal(response{Status: status, Headers: all, Body: string(text)})
	if err != nil {
		return []byte(`{"statusCode":500,"body":"{\"error\":\"internal\"}"}`)
	}
	return out
}

// serve returns the body of a 200.
func (r *Replay) serve(ctx context.Context, c *call) (any, error) {
	isReplay, refused := c.isReplay()
	if refused != nil {
		return nil, refused
	}
	if !isReplay {
		return r.count(ctx)
	}
	req, refused := c.request()
	if refused != nil {
		return nil, refused
	}
	start := r.world.Now()
	s := &session{Replay: r, request: req, lease: newLease(&r.bucket, r.world.Now), stop: stopAt(ctx, start),
		shortest: math.MaxInt64,
		progress: make(map[string]*deadletter.Progress), broken: make(map[string]bool), byConnector: make(map[string]int),
		skips: make(skipCounts)}
	if !req.dryRun {
		if err := s.lease.acquire(ctx); err != nil {
			return nil, err
		}
	}
	err := deadletter.Guard(func() error { return s.run(ctx) })
	if !req.dryRun {
		if err := s.lease.release(ctx); err != nil {
			r.log.LogAttrs(ctx, slog.LevelWarn, "replay", slog.String("error", deadletter.Bound(err.Error(), maxError)))
		}
	}
	r.report(ctx, s, c.Context.Authorizer.IAM.UserARN, r.world.Now().Sub(start))
	if err != nil {
		return nil, err
	}
	return s.result(), nil
}

// stopAt is when a replay stops sending, in order to save its progress and to count the rest. Zero is never.
func stopAt(ctx context.Context, start time.Time) time.Time {
	deadline, ok := ctx.Deadline()
	if !ok {
		return time.Time{}
	}
	left := deadline.Sub(start)
	return deadline.Add(-min(max(3*time.Second, left/10), left/2))
}

// count responds to a GET. Every deployed connector has a count.
func (r *Replay) count(ctx context.Context) (any, error) {
	counts, err := r.bucket.Count(ctx)
	if err != nil {
		return nil, err
	}
	p := pending{Pending: counts.Pending}
	for connector := range r.queues {
		p.Pending[connector] += 0
	}
	if !counts.Oldest.IsZero() {
		text := counts.Oldest.Format(deadletter.TimeLayout)
		p.Oldest = &text
	}
	return p, nil
}

// maxError bounds an error in the log, in bytes.
const maxError = 4096

// report writes one log line, and the metrics of each connector.
func (r *Replay) report(ctx context.Context, s *session, caller string, took time.Duration) {
	level := slog.LevelInfo
	if len(s.failures) > 0 {
		level = slog.LevelError
	}
	attributes := []slog.Attr{
		slog.Int("replayed", s.replayed), slog.Int("discarded", s.discarded), slog.Int("skipped", s.skips.total("")),
		slog.Int("remaining", s.remaining), slog.Bool("dry_run", s.dryRun), slog.Bool("force", s.force),
		slog.Int("limit", s.limit),
		slog.String("connector", s.Connector), slog.String("caller", deadletter.Bound(caller, 200)),
		slog.Int64("milliseconds", took.Milliseconds()),
	}
	if len(s.failures) > 0 {
		attributes = append(attributes, slog.String("error", deadletter.Bound(strings.Join(s.failures, "; "), maxError)))
	}
	r.log.LogAttrs(ctx, level, "replay", attributes...)
	if s.dryRun {
		return
	}
	for _, c := range append(connectors.Names(), deadletter.Unknown) {
		done := telemetry.Value{Name: "Replayed", Unit: telemetry.Count, Number: float64(s.byConnector[c])}
		if s.discard {
			done = telemetry.Value{Name: "Discarded", Unit: telemetry.Count, Number: done.Number}
		}
		values := []telemetry.Value{done, {Name: "Skipped", Unit: telemetry.Count, Number: float64(s.skips.total(c))}}
		if err := telemetry.Write(r.world.Out, r.world.Now(), r.stack, c, values...); err != nil {
			r.log.LogAttrs(ctx, slog.LevelError, "metrics", slog.String("error", err.Error()))
		}
	}
}

// A lease is short, so that a replay that was killed does not exclude others for long.
const (
	leaseTime  = 25 * time.Second
	leaseSkew  = 5 * time.Second       // tolerated difference of two clocks
	leaseMost  = leaseTime + leaseSkew // a lock that is dated further ahead does not count
	leaseRenew = 15 * time.Second      // renew when less is left
)

// heldError is the error of a call while another replay is running.
type heldError struct{ until time.Time }

func (e *heldError) Error() string {
	return "another replay is running; if it was killed, its lock expires at " + e.until.UTC().Format(time.RFC3339)
}

var errLeaseLost = errors.New("another replay has taken over")

// lease makes this replay the only one. It is an object in S3 that names the owner and the time of expiry.
type lease struct {
	bucket  *deadletter.Bucket
	now     func() time.Time
	owner   string
	etag    string
	expires time.Time
}

type lock struct {
	Owner   string    `json:"owner"`
	Expires time.Time `json:"expires"`
}

func newLease(b *deadletter.Bucket, now func() time.Time) *lease {
	return &lease{bucket: b, now: now, owner: rand.Text()}
}

// acquire takes the lease. The error is a *heldError if another replay has it.
func (l *lease) acquire(ctx context.Context) error {
	condition := deadletter.IfAbsent
	for range deadletter.Tries {
		found, etag, err := l.write(ctx, condition)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, deadletter.ErrMissing):
			condition = deadletter.IfAbsent
		case !errors.Is(err, deadletter.ErrChanged):
			return err
		case found.Expires.Add(leaseSkew).After(l.now()) && !found.Expires.After(l.now().Add(leaseMost)):
			return &heldError{found.Expires.Add(leaseSkew)}
		default:
			condition = etag
		}
	}
	return &heldError{l.now().Add(leaseTime)} // others were faster each time
}

// renew makes sure that the lease lasts for a while. After an error, nothing may be done that two replays must not both
// do.
func (l *lease) renew(ctx context.Context) error {
	if l.expires.Sub(l.now()) > leaseRenew {
		return nil
	}
	_, _, err := l.write(ctx, l.etag)
	if errors.Is(err, deadletter.ErrChanged) || errors.Is(err, deadletter.ErrMissing) {
		return errLeaseLost
	}
	return err
}

// left is how long something may take that two replays must not both do.
func (l *lease) left() time.Duration { return l.expires.Sub(l.now()) - leaseSkew }

// release deletes the lock, unless another replay has taken it.
func (l *lease) release(ctx context.Context) error {
	if err := l.renew(ctx); err != nil {
		return err
	}
	if err := l.bucket.Delete(ctx, deadletter.LockName); err != nil {
		return fmt.Errorf("deleting %s: %w", deadletter.LockName, err)
	}
	return nil
}

// write writes the lock. If the condition is not met, it returns the lock that is there with ErrChanged; a lock of our
// own is success, because it shows that only the response to our write was lost.
func (l *lease) write(ctx context.Context, condition string) (found lock, etag string, err error) {
	own := lock{l.owner, l.now().Add(leaseTime).UTC()}
	body, err := json.Marshal(own)
	if err != nil {
		return lock{}, "", err
	}
	etag, err = l.bucket.Put(ctx, deadletter.LockName, condition, "application/json", body)
	if errors.Is(err, deadletter.ErrChanged) {
		if found, etag, err = l.read(ctx); err != nil {
			return lock{}, "", err
		}
		if found.Owner != l.owner || !found.Expires.Equal(own.Expires) {
			return found, etag, deadletter.ErrChanged
		}
	}
	if err != nil {
		return lock{}, "", fmt.Errorf("writing %s: %w", deadletter.LockName, err)
	}
	l.etag, l.expires = etag, own.Expires
	return own, etag, nil
}

// read returns the lock. An unreadable lock counts from the time it was written.
func (l *lease) read(ctx context.Context) (lock, string, error) {
	const most = 4096
	body, etag, modified, err := l.bucket.Get(ctx, deadletter.LockName, most)
	if err != nil {
		return lock{}, "", fmt.Errorf("reading %s: %w", deadletter.LockName, err)
	}
	var found lock
	if json.Unmarshal(body, &found) != nil || found.Owner == "" || found.Expires.IsZero() {
		found = lock{Expires: modified.Add(leaseTime)}
	}
	return found, etag, nil
}
