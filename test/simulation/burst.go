package simulation

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/shared/connectors"
)

// Burst is a number of additional events for one connector, sent at once. NewPlan draws none.
type Burst struct {
	Connector string
	Events    int
	At        time.Duration
}

func (b Burst) String() string { return fmt.Sprintf("%s+%d+%s", b.Connector, b.Events, b.At) }

// Decisions about a message depend on its number. Therefore the messages of the burst's connector and the dead letters
// have numbers of their own: the other messages keep their numbers without the burst.
const (
	firstOfBurst = 10_000_000
	firstDead    = 20_000_000
)

func parseBurst(text string) (b Burst, err error) {
	parts := strings.Split(text, "+")
	if len(parts) != 3 || !slices.Contains(connectors.Names(), parts[0]) {
		return b, fmt.Errorf("burst: expected a connector, a number and a time, found %q", text)
	}
	b.Connector = parts[0]
	if b.Events, err = strconv.Atoi(parts[1]); err != nil || b.Events < 0 {
		return b, fmt.Errorf("burst: expected a number, found %q", parts[1])
	}
	if b.At, err = time.ParseDuration(parts[2]); err != nil {
		return b, fmt.Errorf("burst: expected a time, found %q", parts[2])
	}
	return b, nil
}

// NewBurst returns the plan of a burst for the first connector ten minutes after the beginning. Its SIEM is down from
// then on. An operator starts a replay five minutes after the SIEM has recovered. The other SIEMs respond 503 to one
// request in twenty, and each connector gets an event about every half minute.
func NewBurst(events int, down time.Duration) Plan {
	const (
		at, notices, total = 10 * time.Minute, 5 * time.Minute, time.Hour
		unavailable        = 3 // index of a 503 in statuses
	)
	lanes := connectors.Names()
	p := Plan{
		Seed: 1, Connectors: lanes, Events: 120, Span: total, BatchSize: 100, Slots: 2, Burst: Burst{lanes[0], events, at},
		Replays: []Replay{{at + down + notices, `{"limit":1000000}`}},
	}
	for _, kind := range []Kind{refused, resetBefore} { // existing connections are reset
		p.Faults = append(p.Faults, Fault{ID: len(p.Faults), Kind: kind, Connector: lanes[0], From: at, To: at + down, P: 1})
	}
	for _, lane := range lanes[1:] {
		p.Faults = append(p.Faults, Fault{ID: len(p.Faults), Kind: status, Connector: lane, To: total, P: 0.05,
			N: unavailable})
	}
	return p
}

// burst sends the events of the plan's burst.
func (l *pipeline) burst(ctx context.Context) {
	if l.name != l.plan.Burst.Connector || !wait(ctx, l.plan.Burst.At-l.since()) {
		return
	}
	for n, e := range l.events {
		if e.burst {
			l.put(e.body, n)
		}
	}
}
