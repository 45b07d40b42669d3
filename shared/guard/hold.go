package guard

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// TagKey is the key of the tag on a connector's function that holds the state of the guard.
const TagKey = "arbitex:guard"

// State is the state of a hold.
type State string

// The states.
const (
	None      State = ""          // there is no tag
	Holding   State = "holding"   // an alarm fired; the guard disables the mapping
	Held      State = "held"      // the guard disabled the mapping and runs the check
	Resumed   State = "resumed"   // the check succeeded; the mapping runs with MaximumConcurrency 2
	Trial     State = "trial"     // the check keeps failing; the mapping runs with batches of two as a better check
	Running   State = "running"   // the mapping runs with its previous settings
	Replaying State = "replaying" // the mapping ran for six minutes; the dead letters are being replayed
	Operator  State = "operator"  // siemctl pause: the hold is the operator's
	Ended     State = "ended"     // the hold reached its maximum age; the connector runs without the guard
	Done      State = "done"      // the hold is over
)

// Hold is the state of the guard for one connector, as its tag stores it.
type Hold struct {
	State       State
	Since       time.Time     // when the first hold of this outage began
	At          time.Time     // when the hold entered the state
	Next        time.Time     // when the guard acts next
	Wait        time.Duration // from the beginning of this hold to its first check
	Interval    time.Duration // before the next check or replay
	Failures    int           // failed checks of this hold
	Trials      int           // trials of this outage since a check succeeded
	Concurrency int           // the mapping's own MaximumConcurrency; 0 = not set
	BatchSize   int           // the mapping's own BatchSize; 0 = unknown
	Reduced     bool          // the mapping does not have its own settings yet
	Sent        int64         // SentTimestamp of the message that is the hold, Unix ms
	Message     string        // id of that message, as MessageID returns it
}

// String returns the value of the tag: the state, then key=value pairs, separated by spaces. Times are RFC 3339 in UTC,
// durations seconds. It is at most 256 characters of those that a tag accepts.
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-tags.html
func (h *Hold) String() string {
	rest := ""
	if h.Trials > 0 {
		rest = fmt.Sprintf(" trials=%d", h.Trials)
	}
	if h.Reduced {
		rest += " reduced=1"
	}
	return fmt.Sprintf("%s since=%s at=%s next=%s wait=%d interval=%d failures=%d "+
		"concurrency=%d batch=%d sent=%d message=%s%s",
		h.State, stamp(h.Since), stamp(h.At), stamp(h.Next), seconds(h.Wait), seconds(h.Interval), h.Failures,
		h.Concurrency, h.BatchSize, h.Sent, h.Message, rest)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// seconds rounds up: a timer must not end early.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// ParseHold reads the value of the tag. It ignores unknown keys, and the order of the keys.
func ParseHold(tag string) (*Hold, error) {
	words := strings.Fields(tag)
	if len(words) == 0 {
		return nil, fmt.Errorf("tag %s: expected a state, found %q", TagKey, tag)
	}
	h := &Hold{State: State(words[0])}
	switch h.State {
	case Holding, Held, Resumed, Trial, Running, Replaying, Operator, Ended, Done:
	default:
		return nil, fmt.Errorf("tag %s: unknown state %q", TagKey, words[0])
	}
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		if err := h.set(key, value); err != nil {
			return nil, fmt.Errorf("tag %s: %s: %w", TagKey, key, err)
		}
	}
	return h, nil
}

func (h *Hold) set(key, value string) (err error) {
	switch key {
	case "since":
		h.Since, err = time.Parse(time.RFC3339, value)
	case "at":
		h.At, err = time.Parse(time.RFC3339, value)
	case "next":
		h.Next, err = time.Parse(time.RFC3339, value)
	case "wait":
		h.Wait, err = parseSeconds(value)
	case "interval":
		h.Interval, err = parseSeconds(value)
	case "failures":
		h.Failures, err = strconv.Atoi(value)
	case "trials":
		h.Trials, err = strconv.Atoi(value)
		h.Trials = max(h.Trials, 0)
	case "concurrency":
		h.Concurrency, err = strconv.Atoi(value)
	case "batch":
		h.BatchSize, err = strconv.Atoi(value)
	case "reduced":
		h.Reduced = value == "1"
	case "sent":
		h.Sent, err = strconv.ParseInt(value, 10, 64)
	case "message":
		h.Message = value
	}
	return err
}

// parseSeconds reads a duration within the range that the guard writes; a value outside it becomes the nearest limit.
func parseSeconds(value string) (time.Duration, error) {
	n, err := strconv.Atoi(value)
	if err != nil {
		return 0, err
	}
	return min(max(time.Duration(min(max(n, 0), 1<<20))*time.Second, FirstWait), MaxWait), nil
}

var taggable = regexp.MustCompile(`^[A-Za-z0-9+.:/@_-]{1,48}$`)

// MessageID returns an id of an SQS message that fits into the tag: the message's own, or else a hash of it.
func MessageID(id string) string {
	if taggable.MatchString(id) {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:16])
}

// check runs the connector's check.
func (s *session) check(ctx context.Context) Result {
	ctx, cancel := s.bounded(ctx, checkTimeout)
	defer cancel()
	var result struct {
		OK           bool   `json:"ok"`
		Step         string `json:"step"`
		Backpressure bool   `json:"backpressure"`
	}
	payload, err := s.Lambda.Invoke(ctx, s.target.Function, []byte(`{"check":true}`))
	if err == nil {
		err = json.Unmarshal(payload, &result)
	}
	switch {
	case err != nil:
		s.log.LogAttrs(ctx, slog.LevelWarn, "check", slog.String("error", err.Error()))
		return Failed
	case !result.OK:
		s.log.LogAttrs(ctx, slog.LevelInfo, "check", slog.Bool("ok", false), slog.String("step", result.Step))
		return Failed
	case result.Backpressure:
		return Busy
	}
	return Succeeded
}

// bounded limits an invocation to d, and to the time that the function has left.
func (s *session) bounded(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		d = min(d, time.Until(deadline)-answerMargin)
	}
	return context.WithTimeout(ctx, d)
}

const (
	replayPath    = "/api/admin/siem/replay-dead-letter"
	replayTimeout = 100 * time.Second

	// replayLimit is the number of dead letters of one call. The call must end before the guard's own time limit.
	replayLimit = 5000

	// exhausted begins the error of a dead letter whose attempts are used up.
	exhausted = "given up after"
)

// replayPayload returns the payload of a function URL that replays the dead letters of a hold.
func replayPayload(connector string, h *Hold) []byte {
	body := map[string]any{
		"connector": connector, "reason": exhausted, "limit": replayLimit, "from": stamp(h.Since.Add(-ReplayMargin)),
	}
	if h.At.After(h.Since) { // the clock may have been set back; the end is then open
		body["to"] = stamp(h.At.Add(ReplayMargin)) // a fixed end: what fails again is not replayed again and again
	}
	text, _ := json.Marshal(body) // strings and numbers always marshal
	payload, _ := json.Marshal(map[string]any{
		"version": "2.0", "rawPath": replayPath, "headers": map[string]string{"content-type": "application/json"},
		"requestContext": map[string]any{"http": map[string]string{"method": "POST", "path": replayPath}},
		"body":           string(text), "isBase64Encoded": false,
	})
	return payload
}

// replay calls the replay function once.
func (s *session) replay(ctx context.Context) Result {
	ctx, cancel := s.bounded(ctx, replayTimeout)
	defer cancel()
	result, replayed, err := s.callReplay(ctx)
	s.replayErr = err
	level, text := slog.LevelInfo, ""
	if err != nil {
		level, text = slog.LevelError, err.Error()
	}
	s.log.LogAttrs(ctx, level, "replay", slog.Int("replayed", replayed.Replayed), slog.Int("skipped", replayed.Skipped),
		slog.Int("remaining", replayed.Remaining), slog.String("error", text))
	return result
}

type replayed struct {
	Replayed  int `json:"replayed"`
	Skipped   int `json:"skipped"`
	Remaining int `json:"remaining"`
	Passed    int `json:"passed"` // objects without a dead letter to replay, which the next call skips
}

func (s *session) callReplay(ctx context.Context) (Result, replayed, error) {
	var counts replayed
	out, err := s.Lambda.Invoke(ctx, s.Replay, replayPayload(s.name, s.in.Hold))
	if err != nil {
		return Failed, counts, err
	}
	var response struct {
		Status int    `json:"statusCode"`
		Body   string `json:"body"`
	}
	if err := json.Unmarshal(out, &response); err != nil {
		return Failed, counts, fmt.Errorf("the response of the replay: %w", err)
	}
	if response.Status != 200 {
		return Failed, counts, fmt.Errorf("the replay function responded with the status %d", response.Status)
	}
	if err := json.Unmarshal([]byte(response.Body), &counts); err != nil {
		return Failed, counts, fmt.Errorf("the body of the replay's response: %w", err)
	}
	switch {
	case counts.Remaining == 0:
		return Succeeded, counts, nil
	case counts.Replayed > 0, counts.Passed > 0:
		return Partial, counts, nil
	}
	return Failed, counts, fmt.Errorf("the replay made no progress, %d dead letters remain", counts.Remaining)
}
