package guard

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"
)

// check runs the connector's check.
func (s *session) check(ctx context.Context) Result {
	ctx, cancel := s.bounded(ctx, checkTimeout)
	defer cancel()
	var result struct {
		OK   bool   `json:"ok"`
		Step string `json:"step"`
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
func replayPayload(connector string, h *Hold) ([]byte, error) {
	body := map[string]any{
		"connector": connector, "reason": exhausted, "limit": replayLimit, "from": stamp(h.Since.Add(-ReplayMargin)),
	}
	if h.At.After(h.Since) { // the clock may have been set back; the end is then open
		body["to"] = stamp(h.At.Add(ReplayMargin)) // a fixed end: what fails again is not replayed again and again
	}
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{
		"version": "2.0", "rawPath": replayPath, "headers": map[string]string{"content-type": "application/json"},
		"requestContext": map[string]any{"http": map[string]string{"method": "POST", "path": replayPath}},
		"body":           string(text), "isBase64Encoded": false,
	})
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
	payload, err := replayPayload(s.name, s.in.Hold)
	if err != nil {
		return Failed, counts, err
	}
	out, err := s.Lambda.Invoke(ctx, s.Replay, payload)
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
