package deadletter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/settings"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

// Sender is what the replay needs of SQS. *sqs.Client is one.
type Sender interface {
	SendMessageBatch(context.Context, *sqs.SendMessageBatchInput, ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error)
}

// Replay puts dead letters back on their queues. It is safe for concurrent use: of two replays at once, in one process
// or in many, one is refused.
type Replay struct {
	Options
	bucket bucket
	queue  Sender
	queues map[string]string // URL by connector
	chunk  int               // most events sent before the ledger is written
}

// NewReplay reads the settings SIEM_DEAD_LETTER_PATH and <CONNECTOR>_QUEUE_URL. The error names everything that is wrong
// with the settings read so far.
func NewReplay(s *settings.Settings, store Store, queue Sender, o Options) (*Replay, error) {
	r := &Replay{Options: o, queue: queue, queues: readQueues(s), chunk: maxChunk}
	r.bucket = bucket{store: store, location: readLocation(s), pause: pause}
	if err := s.Err(); err != nil {
		return nil, err
	}
	return r, nil
}

// response is what a function URL expects.
type response struct {
	Status  int               `json:"statusCode"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
	Base64  bool              `json:"isBase64Encoded"`
}

// answer is the body of a replay's 200.
type answer struct {
	Replayed    int            `json:"replayed"`
	Skipped     int            `json:"skipped"`
	ByConnector map[string]int `json:"by_connector"`
	Remaining   int            `json:"remaining"`
	DryRun      bool           `json:"dry_run"`
	Errors      []string       `json:"errors"`
}

// Handle answers one request of the function URL: POST replays, GET counts. Every request gets an answer, with a body in
// JSON; the error is always nil. Times are bounded by ctx's deadline, before which it has answered.
func (r *Replay) Handle(ctx context.Context, payload []byte) ([]byte, error) {
	var c call
	if err := json.Unmarshal(payload, &c); err != nil { // its error may quote the request
		return respond(http.StatusBadRequest, nil, failure{"event: expected one of a Lambda function URL"}), nil //nolint:nilerr // the answer is the error
	}
	var body any
	err := guarded(func() (err error) {
		body, err = r.serve(ctx, &c)
		return err
	})
	if err != nil {
		return r.refused(ctx, err), nil
	}
	return respond(http.StatusOK, nil, body), nil
}

// failure is the body of every other answer.
type failure struct {
	Error string `json:"error"`
}

// refused answers an error.
func (r *Replay) refused(ctx context.Context, err error) []byte {
	var refusal *refusal
	var held *heldError
	var panicked *panicError
	switch {
	case errors.As(err, &panicked):
		r.Log.LogAttrs(ctx, slog.LevelError, "panic", slog.String("panic", panicked.text), slog.String("stack", panicked.stack))
		return respond(http.StatusInternalServerError, nil, failure{"internal"})
	case errors.As(err, &refusal):
		return respond(refusal.status, refusal.header, failure{refusal.text})
	case errors.As(err, &held):
		wait := max(1, int(held.until.Sub(r.Now()).Round(time.Second)/time.Second))
		return respond(http.StatusConflict, map[string]string{"retry-after": strconv.Itoa(wait)}, failure{held.Error()})
	}
	r.Log.LogAttrs(ctx, slog.LevelError, "replay", slog.String("error", bound(err.Error(), maxError)))
	return respond(http.StatusInternalServerError, nil, failure{brief(err)})
}

// brief is what a caller is told of an error of AWS: what was being done, and the code. The rest stands in the log.
func brief(err error) string {
	doing, _, _ := strings.Cut(err.Error(), ": ")
	if code := errorCode(err); code != "" {
		return doing + ": " + code
	}
	return doing + ": see the function's log"
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
	isReplay, refused := c.check()
	if refused != nil {
		return nil, refused
	}
	if !isReplay {
		return r.pending(ctx)
	}
	req, refused := c.request()
	if refused != nil {
		return nil, refused
	}
	start := r.Now()
	lease := newLease(&r.bucket, r.Now)
	if !req.dryRun {
		if err := lease.acquire(ctx); err != nil {
			return nil, err
		}
	}
	run := newRun(r, req, lease, stopAt(ctx, start))
	err := guarded(func() error { return run.do(ctx) })
	if !req.dryRun {
		if err := lease.release(ctx); err != nil {
			r.Log.LogAttrs(ctx, slog.LevelWarn, "replay", slog.String("error", bound(err.Error(), maxError)))
		}
	}
	r.report(ctx, run, c.Context.Authorizer.IAM.UserARN, r.Now().Sub(start))
	if err != nil {
		return nil, err
	}
	return run.answer(), nil
}

// stopAt is when a replay stops sending, to note and to count what it leaves.
func stopAt(ctx context.Context, start time.Time) time.Time {
	deadline, ok := ctx.Deadline()
	if !ok {
		return time.Time{}
	}
	left := deadline.Sub(start)
	return deadline.Add(-min(max(3*time.Second, left/10), left/2))
}

// report writes one log line, and the metrics of each connector.
func (r *Replay) report(ctx context.Context, run *run, caller string, took time.Duration) {
	level := slog.LevelInfo
	if len(run.failures) > 0 {
		level = slog.LevelError
	}
	attributes := []slog.Attr{
		slog.Int("replayed", run.replayed), slog.Int("skipped", run.tally.skipped()), slog.Int("remaining", run.remaining),
		slog.Bool("dry_run", run.request.dryRun), slog.Bool("force", run.request.force), slog.Int("limit", run.request.limit),
		slog.String("connector", run.request.connector), slog.String("caller", bound(caller, 200)),
		slog.Int64("milliseconds", took.Milliseconds()),
	}
	if len(run.failures) > 0 {
		attributes = append(attributes, slog.String("error", bound(strings.Join(run.failures, "; "), maxError)))
	}
	r.Log.LogAttrs(ctx, level, "replay", attributes...)
	if run.request.dryRun {
		return
	}
	for _, c := range append(connectors.Names(), unknown) {
		replayed, skipped := run.byConnector[c], run.tally.of(c)
		if replayed == 0 && skipped == 0 {
			continue
		}
		err := telemetry.Write(r.Metrics, r.Now(), c,
			telemetry.Value{Name: "Replayed", Unit: telemetry.Count, Number: float64(replayed)},
			telemetry.Value{Name: "Skipped", Unit: telemetry.Count, Number: float64(skipped)})
		if err != nil {
			r.Log.LogAttrs(ctx, slog.LevelError, "metrics", slog.String("error", err.Error()))
		}
	}
}

// counts is the body of a GET's 200.
type counts struct {
	Pending map[string]int `json:"pending"`
	Oldest  *string        `json:"oldest"` // null when nothing is pending
}

// pending counts the dead letters that wait. Names tell how many lines an object has; one with another name is read.
func (r *Replay) pending(ctx context.Context) (any, error) {
	objects, partial, err := r.objects(ctx, "")
	if err != nil {
		return nil, err
	}
	noteDone(objects, partial)
	c := counts{Pending: make(map[string]int)}
	for connector := range r.queues {
		c.Pending[connector] = 0
	}
	oldest := int64(-1)
	var reader lineReader
	for i := range objects {
		o := &objects[i]
		if o.lines < 0 {
			if err := r.look(ctx, &reader, o); err != nil {
				return nil, fmt.Errorf("reading a pending object: %w", err)
			}
		}
		if waiting := o.lines - o.done; waiting > 0 {
			c.Pending[o.connector] += waiting
			if oldest < 0 || o.oldest < oldest {
				oldest = o.oldest
			}
		}
	}
	if oldest >= 0 {
		text := time.UnixMilli(oldest).UTC().Format(timeLayout)
		c.Oldest = &text
	}
	return c, nil
}

// look counts the lines of an object, and finds the time of its oldest record.
func (r *Replay) look(ctx context.Context, reader *lineReader, o *object) error {
	reader.open(&r.bucket, pendingFolder+o.tail, o.etag, o.size)
	o.lines = 0
	oldest, found := int64(0), false
	var record Record
	for {
		line, err := reader.next(ctx)
		switch {
		case errors.Is(err, errLongLine):
			o.lines++
			continue
		case errors.Is(err, errMissing), errors.Is(err, errExists): // a replay is at it
			return nil
		case errors.Is(err, io.EOF):
			if found {
				o.oldest = oldest
			}
			return nil
		case err != nil:
			return err
		}
		o.lines++
		if ParseLine(line, &record) == nil && (!found || record.Time.UnixMilli() < oldest) {
			oldest, found = record.Time.UnixMilli(), true
		}
	}
}
