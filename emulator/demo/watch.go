package demo

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// stuck is the time after which the demo stops waiting for a queue: much longer than all its back-offs.
const stuck = 4 * time.Minute

// standing is the state of one SIEM.
type standing struct {
	enqueued, waiting, inFlight, delivered, dead int
	refused                                      map[string]int
}

// state is the state of the system. It is read along the path of an event (queues, dead-letter queue, bucket), so that
// a moving event is counted twice rather than never.
type state struct {
	standings []standing
	draining  int // messages on the dead-letter queue
}

// settled reports whether every event is in its SIEM or in the bucket.
func (s state) settled() bool {
	for _, one := range s.standings {
		if one.waiting+one.inFlight > 0 {
			return false
		}
	}
	return s.draining == 0
}

func (d *demo) look(ctx context.Context) (state, error) {
	s := state{standings: make([]standing, len(d.actors))}
	for i, a := range d.actors {
		s.standings[i].enqueued = int(a.enqueued.Load()) // before the queue is read, which might be empty otherwise
		waiting, inFlight, err := d.system.Depth(ctx, d.system.Queue(a.Queue()))
		if err != nil {
			return s, err
		}
		s.standings[i].waiting, s.standings[i].inFlight = waiting, inFlight
	}
	waiting, inFlight, err := d.system.Depth(ctx, d.system.Queue(deadLetterQueue))
	if err != nil {
		return s, err
	}
	s.draining = waiting + inFlight
	dead, err := d.letters.pending(ctx)
	if err != nil {
		return s, err
	}
	for i, a := range d.actors {
		a.catchUp()
		s.standings[i].dead = len(dead[a.Name])
		a.dead.Store(int64(len(dead[a.Name])))
		s.standings[i].delivered = a.ledger.delivered + a.ledger.alteredCount // no ledger contains what is enqueued by hand
		a.idle.Store(s.standings[i].enqueued == len(d.messages) && s.standings[i].waiting+s.standings[i].inFlight == 0)
		s.standings[i].refused = a.Simulator.Stats().Refused
	}
	return s, nil
}

// catchUp adds newly accepted events to the ledger.
func (a *actor) catchUp() {
	accepted := a.Simulator.Accepted()
	for _, one := range accepted[a.taken:] {
		a.ledger.accept(one)
	}
	a.taken = len(accepted)
}

// watch shows the state until done returns true, an error occurs, or the context ends.
func (d *demo) watch(ctx context.Context, done func(state) bool) error {
	pause := 500 * time.Millisecond
	if len(d.actors) > 2 {
		pause = time.Second
	}
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		s, err := d.look(ctx)
		if err != nil {
			return err
		}
		d.screen.table(d.rows(s))
		if done(s) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// settle watches until the state is settled.
func (d *demo) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, stuck,
		fmt.Errorf("waiting for the queues to empty: not done after %s; see build/demo.log", stuck))
	defer cancel()
	err := d.watch(ctx, state.settled)
	d.screen.finish()
	return err
}

// tableFormat leaves 27 of 79 columns for the responses.
const tableFormat = "%-8s %8s %8s %9s %8s %5s   %s"

func (d *demo) rows(s state) []row {
	rows := []row{
		{key: "space"},
		{key: "head", text: fmt.Sprintf(tableFormat, "", "enqueued", "waiting", "in flight", "in SIEM", "dead",
			"other responses than success"), style: faint},
	}
	for i, a := range d.actors {
		one := s.standings[i]
		r := row{key: a.Name, text: fmt.Sprintf(tableFormat, a.Name, number(one.enqueued), number(one.waiting),
			number(one.inFlight),
			number(one.delivered), number(one.dead), refusals(one.refused))}
		if one.delivered+one.dead >= one.enqueued && one.waiting+one.inFlight == 0 && one.enqueued > 0 {
			r.style = good
		}
		rows = append(rows, r)
	}
	if s.draining > 0 {
		rows = append(rows, row{key: "drain", text: count(s.draining, "dead letter") + " on the way to S3", style: faint,
			passing: true})
	}
	return rows
}

// refusals formats the counts by status (also of items), or by reason without one: "403 ×3, 503 ×12, no answer ×1".
func refusals(refused map[string]int) string {
	short := map[string]int{}
	for reason, n := range refused {
		rest, item := strings.CutPrefix(reason, "item ") // of Elasticsearch's bulk answers
		if status, _, ok := strings.Cut(rest, " "); ok && rest[0] >= '0' && rest[0] <= '9' {
			reason = status
			if item {
				reason = "item " + status
			}
		}
		short[reason] += n
	}
	var out []string
	for _, reason := range slices.Sorted(maps.Keys(short)) {
		out = append(out, fmt.Sprintf("%s ×%d", reason, short[reason]))
	}
	return strings.Join(out, ", ")
}
