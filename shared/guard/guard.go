// Package guard holds a connector whose SIEM is down: it disables the connector's event source mapping, runs the
// connector's check, enables the mapping again, and replays the dead letters of the outage.
//
// An alarm's message on the guard's queue is the hold; its visibility timeout is the timer. Next is the state
// machine, a pure function of what can be observed; Guard makes the calls.
//
// # The tag
//
// The tag arbitex:guard on the connector's function has the state. A value is, on one line:
//
//	held since=2026-03-13T10:00:00Z at=2026-03-13T10:00:04Z next=2026-03-13T10:07:05Z wait=60 interval=300 failures=4
//	concurrency=10 batch=100 sent=1773396000000 message=5fea7756-0ea4-451a-a703-a558b933e274
//
// ParseHold and Hold.String read and write it. Another program may do this, and nothing else:
//
//   - While the mapping is disabled and the state is holding or held, the guard holds the connector: since Since,
//     and it tries again at Next. A state of holding or held beside an enabled mapping is not a hold.
//   - To turn the guard's hold into the operator's hold, write the tag with the state operator, then disable the
//     mapping. The guard then leaves the mapping disabled.
//   - To end a hold, enable the mapping with MaximumConcurrency set to concurrency (0: leave it out) and BatchSize
//     set to batch, each only if it is 2, which is the guard's value: another one was deployed since. Leave the tag
//     alone. The guard continues with the state running.
package guard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/shared/sqsevent"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

// ErrBusy is the error of a change of a mapping that Lambda is changing already.
var ErrBusy = errors.New("the event source mapping is being changed")

// Lambda is the part of the Lambda API that the guard calls.
type Lambda interface {
	// Mapping reads an event source mapping. One that does not exist is a Mapping without a state.
	Mapping(ctx context.Context, id string) (Mapping, error)
	// SetMapping changes an event source mapping. The error is or wraps ErrBusy while Lambda is changing it.
	SetMapping(ctx context.Context, id string, c Change) error
	// Tag reads the tag TagKey of a function, "" if it has none.
	Tag(ctx context.Context, function string) (string, error)
	SetTag(ctx context.Context, function, value string) error
	// Invoke invokes a function and waits for its response. An error of the function is an error.
	Invoke(ctx context.Context, function string, payload []byte) ([]byte, error)
}

// Queue is the guard's own queue.
type Queue interface {
	// Hide sets the visibility timeout of a received message, in whole seconds.
	Hide(ctx context.Context, receipt string, d time.Duration) error
}

// Target is a deployed connector.
type Target struct {
	Function string // name or ARN
	Mapping  string // id of its event source mapping
}

// Guard is the handler of the guard's queue. It is safe for concurrent use.
type Guard struct {
	Stack      string
	Connectors map[string]Target // by name
	Replay     string            // name or ARN of the replay function
	Retention  time.Duration     // of the connectors' queues
	Minute     time.Duration     // how long a minute of the timers takes; less than a minute is for demonstrations
	Lambda     Lambda
	Queue      Queue
	Now        func() time.Time
	Log        *slog.Logger
	Metrics    io.Writer
}

const (
	callTimeout  = 10 * time.Second // of a call of AWS that is not an invocation
	checkTimeout = 60 * time.Second
	answerMargin = 15 * time.Second // before the function's deadline: for the calls after an invocation
	failurePause = time.Minute      // after a failed call of AWS
	racePause    = 5 * time.Second  // after another invocation wrote the tag

	stuckAfter       = 10 * time.Minute // of failing calls, an operator must act
	replayStuckAfter = time.Hour        // of failing replays, an operator must act

	maxSteps = 20 // of one message in one invocation; more is a defect
)

// Handle processes the messages of one payload. It lists in batchItemFailures the messages that stay on the queue:
// the holds, and those that it could not process. An error means that an operator must act; SQS then redelivers the
// messages.
func (g *Guard) Handle(ctx context.Context, payload []byte) ([]byte, error) {
	var p sqsevent.Payload
	if err := p.Read(payload); err != nil {
		return nil, err
	}
	var failed [][]byte
	var stuck error
	for i := range p.Messages {
		stays, err := g.message(ctx, &p.Messages[i])
		if stays {
			failed = append(failed, p.Messages[i].ID)
		}
		stuck = errors.Join(stuck, err)
	}
	if stuck != nil {
		return nil, stuck
	}
	return sqsevent.Response(failed), nil
}

// message processes one message and reports whether it stays on the queue. An error means that an operator must act.
func (g *Guard) message(ctx context.Context, m *sqsevent.Message) (stays bool, stuck error) {
	name, err := g.connector(m.Body)
	if err != nil {
		g.Log.LogAttrs(ctx, slog.LevelWarn, "message ignored", slog.String("error", err.Error()))
		return false, nil
	}
	s := &session{
		Guard: g, name: name, target: g.Connectors[name], log: g.Log.With(slog.String("connector", name)),
		in: Input{
			Message: Message{ID: MessageID(string(m.ID)), Sent: m.Sent, Receives: m.Receives},
			Due:     true, Retention: g.Retention,
		},
	}
	d, err := s.run(ctx)
	if err != nil {
		s.log.LogAttrs(ctx, slog.LevelError, "guard", slog.String("error", err.Error()))
		d = failurePause
	}
	stuck = s.stuckError(err)
	if d == 0 && stuck == nil {
		return false, nil
	}
	d = time.Duration(float64(d) * g.Minute.Minutes())
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := g.Queue.Hide(ctx, string(m.Receipt), max(d, time.Second)); err != nil {
		s.log.LogAttrs(ctx, slog.LevelError, "the message returns after its queue's visibility timeout",
			slog.String("error", err.Error()))
	}
	return true, stuck
}

// stuckError returns an error if an operator must act. The function then fails, which an alarm of the template reports.
func (s *session) stuckError(err error) error {
	h := s.in.Hold
	late := s.Now().Sub(time.UnixMilli(s.in.Message.Sent))
	if h != nil && h.Message == s.in.Message.ID {
		late = s.Now().Sub(h.Next)
	}
	switch {
	case err != nil && late > stuckAfter:
		return fmt.Errorf("%s: the guard has been unable to act for %s: %w", s.name, late.Round(time.Minute), err)
	case s.ended:
		return fmt.Errorf("%s: the outage reached its maximum age; replay its dead letters after the repair", s.name)
	case s.replayErr != nil && s.Now().Sub(h.At) > replayStuckAfter:
		return fmt.Errorf("%s: no replay since %s: %w", s.name, stamp(h.At), s.replayErr)
	}
	return nil
}

// connector returns the connector of an alarm's event.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html
func (g *Guard) connector(body []byte) (string, error) {
	var e struct {
		Source string `json:"source"`
		Detail struct {
			AlarmName string `json:"alarmName"`
			State     struct {
				Value string `json:"value"`
			} `json:"state"`
		} `json:"detail"`
	}
	if err := json.Unmarshal(body, &e); err != nil || e.Source != "aws.cloudwatch" {
		return "", errors.New("expected an event of the source aws.cloudwatch")
	}
	if e.Detail.State.Value != "ALARM" {
		return "", fmt.Errorf("expected the state ALARM, found %.20q", e.Detail.State.Value)
	}
	name, ours := strings.CutPrefix(e.Detail.AlarmName, g.Stack+"-")
	name, down := strings.CutSuffix(name, "-down")
	if !ours || !down {
		return "", fmt.Errorf("expected the alarm %s-<connector>-down, found %.100q", g.Stack, e.Detail.AlarmName)
	}
	name = strings.ToLower(name)
	if _, ok := g.Connectors[name]; !ok {
		return "", fmt.Errorf("the alarm %.100q is of a connector that is not deployed", e.Detail.AlarmName)
	}
	return name, nil
}

// session is the processing of one message in one invocation.
type session struct {
	*Guard
	name      string
	target    Target
	log       *slog.Logger
	tag       string // as last read or written
	disabled  bool   // this invocation disabled the mapping
	ended     bool   // this invocation ended the hold because of its age
	replayErr error  // of the last replay of this invocation
	in        Input
}

// run performs actions until the invocation is over. It returns how long to hide the message, 0 to delete it.
func (s *session) run(ctx context.Context) (time.Duration, error) {
	if err := s.observe(ctx); err != nil {
		return 0, err
	}
	for range maxSteps {
		s.in.Now = s.Now()
		a := Next(&s.in)
		var err error
		switch a.Kind {
		case Wait:
			return max(a.Wait, time.Second), nil
		case Drop:
			s.log.LogAttrs(ctx, slog.LevelInfo, "message done", slog.String("reason", a.Reason))
			return 0, nil
		case Write:
			err = s.write(ctx, a)
		case SetMapping:
			err = s.setMapping(ctx, a.Change)
		case Check:
			s.in.Check = s.check(ctx)
		case Replay:
			s.in.Replay = s.replay(ctx)
		}
		switch {
		case errors.Is(err, errRace):
			return racePause, nil
		case errors.Is(err, ErrBusy):
			return settleTime, nil
		case err != nil:
			return 0, err
		}
	}
	return 0, fmt.Errorf("no end after %d actions", maxSteps)
}

// observe reads the mapping and the tag.
func (s *session) observe(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if s.in.Mapping, err = s.Lambda.Mapping(ctx, s.target.Mapping); err != nil || s.in.Mapping.gone() {
		return err
	}
	if s.tag, err = s.Lambda.Tag(ctx, s.in.Mapping.Function); err != nil || s.tag == "" {
		return err
	}
	if s.in.Hold, err = ParseHold(s.tag); err != nil {
		s.log.LogAttrs(ctx, slog.LevelError, "the tag is not the guard's", slog.String("error", err.Error()))
	}
	return nil
}

// errRace is the error of a change after an operator or another invocation wrote the tag, so that the decision may be
// outdated.
var errRace = errors.New("the tag has changed")

// write writes the tag, unless it has changed. An invocation that has disabled the mapping always writes it, because a
// mapping that the guard disabled must have a hold.
func (s *session) write(ctx context.Context, a Action) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if !s.disabled {
		if err := s.unchanged(ctx); err != nil {
			return err
		}
	}
	value := a.Hold.String()
	if err := s.Lambda.SetTag(ctx, s.in.Mapping.Function, value); err != nil {
		return err
	}
	s.ended = a.Hold.State == Ended
	from := None
	if s.in.Hold != nil {
		from = s.in.Hold.State
	}
	s.tag, s.in.Hold, s.disabled = value, &a.Hold, false
	s.in.Due, s.in.Enabled, s.in.Check, s.in.Replay = false, false, NoResult, NoResult
	s.report(ctx, from, a)
	return nil
}

// unchanged reads the tag again. The error is errRace if it has changed.
func (s *session) unchanged(ctx context.Context) error {
	tag, err := s.Lambda.Tag(ctx, s.in.Mapping.Function)
	if err == nil && tag != s.tag {
		err = errRace
	}
	return err
}

// report writes the log line of a transition, and its metric.
func (s *session) report(ctx context.Context, from State, a Action) {
	to, level := a.Hold.State, slog.LevelInfo
	if to == Ended || to == Trial {
		level = slog.LevelError
	}
	s.log.LogAttrs(ctx, level, "guard", slog.String("from", string(from)), slog.String("to", string(to)),
		slog.String("reason", a.Reason), slog.Time("since", a.Hold.Since), slog.Time("next", a.Hold.Next))
	switch {
	case from == Holding && to == Held:
		telemetry.Write(s.Metrics, s.Now(), s.Stack, s.name, telemetry.Counted("GuardHeld", 1))
	case from == Held && (to == Resumed || to == Trial):
		telemetry.Write(s.Metrics, s.Now(), s.Stack, s.name, telemetry.Counted("GuardResumed", 1))
	}
}

// setMapping changes the mapping. It does not enable one that an operator has paused during the check.
func (s *session) setMapping(ctx context.Context, c Change) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if c.Enabled != nil && *c.Enabled {
		if err := s.unchanged(ctx); err != nil {
			return err
		}
	}
	if err := s.Lambda.SetMapping(ctx, s.target.Mapping, c); err != nil {
		return err
	}
	s.in.Mapping.Apply(c)
	if c.Enabled != nil {
		s.disabled, s.in.Enabled = !*c.Enabled, *c.Enabled
	}
	return nil
}
