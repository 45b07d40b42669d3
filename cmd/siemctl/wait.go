package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/deployed"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
	"github.com/arbitex/siem-connectors/shared/deadletter"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/settings"
)

const (
	// maxWaited is how many events send --wait takes: each is searched alone, and searches are limited.
	maxWaited = 10
	maxWaitID = 64 // bytes of an event id that receipts and searches contain

	firstPoll = 2 * time.Second
	maxPoll   = 30 * time.Second
	// clockSkew is how much the clocks of this machine, AWS and the SIEM may differ.
	clockSkew = 5 * time.Minute
)

// The states of an event that send --wait reports. Only searchable is a success.
const (
	searchable   = "searchable"
	delivered    = "delivered"
	deadLettered = "dead letter"
	unconfirmed  = "not confirmed"
)

// waited is what is known about an event that was sent.
type waited struct {
	EventID      string     `json:"event_id"`
	State        string     `json:"state"`
	SearchableAt *time.Time `json:"searchable_at,omitempty"`
	Seconds      float64    `json:"searchable_seconds,omitempty"` // since it was enqueued
	DeliveredAt  *time.Time `json:"delivered_at,omitempty"`       // by its receipt
	DeadLetter   string     `json:"dead_letter,omitempty"`        // the reason
	Confirmed    []string   `json:"confirmed"`
	NotConfirmed []string   `json:"not_confirmed"`
}

// errUnconfirmed ends send --wait if an event was not found in the SIEM, and not in a dead letter either.
var errUnconfirmed = fmt.Errorf("not every event is searchable: %w", errProblems)

// watch looks for the events that were sent to one connector.
type watch struct {
	traceTarget
	receipts bool // the function writes them
	events   []*waited

	logFrom   time.Time // batches before were read
	delivered int64     // events of batches since the events were sent
	batch     string    // the latest that delivered events, else the latest
	failed    map[string]error
}

// waiter looks for events in the SIEMs, the logs and the dead letters.
type waiter struct {
	app     *app
	stack   *deployed.Stack
	letters *deadletter.Reader
	ids     []string
	oldest  time.Time // of the events
	start   time.Time // of sending
	watches []*watch
}

// newWaiter makes a waiter for events. A search must be able to find the id of each.
func newWaiter(events, invalid []string) (*waiter, error) {
	if n := len(events) + len(invalid); n > maxWaited {
		return nil, usage("--wait: expected at most %d events, found %d: each is searched alone", maxWaited, n)
	}
	if len(invalid) > 0 {
		return nil, usage("--wait: expected valid events; an invalid one becomes a dead letter")
	}
	w := new(waiter)
	var parser event.Parser
	var e event.Event
	for _, text := range events {
		parser.Reset()
		if err := parser.Parse([]byte(text), &e); err != nil {
			return nil, fmt.Errorf("reading an event: %w", err)
		}
		id := string(e.AppendID(nil))
		if !e.HasUID() || len(id) > maxWaitID {
			return nil, usage("--wait: expected events with a metadata.uid of at most %d bytes, found another", maxWaitID)
		}
		w.ids = append(w.ids, id)
		if at := time.UnixMilli(e.Time); w.oldest.IsZero() || at.Before(w.oldest) {
			w.oldest = at
		}
	}
	return w, nil
}

// open reads the credentials, before the events are sent, so that a wrong one is found first. Unless the events are
// new, it checks that no SIEM holds one of them.
func (w *waiter) open(ctx context.Context, a *app, s *deployed.Stack, here []connector, secretName string,
	isNew bool) error {
	secret, err := readSearchSecret(ctx, s, secretName)
	if err != nil {
		return err
	}
	var lettersErr error
	w.app, w.stack = a, s
	w.letters, lettersErr = openReader(ctx, s)
	for _, c := range here {
		lookup, err := a.connectorSettings(ctx, s, c)
		if err != nil {
			return err
		}
		one := &watch{traceTarget: traceTarget{connector: c}}
		one.receipts = settings.New(lookup, nil).Bool("SIEM_RECEIPTS", false)
		one.failed = map[string]error{"dead letters": lettersErr, "search": secret.err}
		if a.configured(c, secret) {
			if one.searcher, err = a.searcher(c, lookup, secret); err != nil {
				return err
			}
			one.failed["search"] = nil
		}
		for _, id := range w.ids {
			one.events = append(one.events, &waited{EventID: id, State: unconfirmed})
		}
		w.watches = append(w.watches, one)
	}
	if isNew {
		return nil
	}
	return w.refuseKnown(ctx)
}

// refuseKnown returns an error if a SIEM holds one of the events before it is sent: a new copy could not be told from
// the old one.
func (w *waiter) refuseKnown(ctx context.Context) error {
	w.start = w.app.now()
	for _, one := range w.watches {
		for _, e := range one.events {
			if one.searcher == nil {
				continue
			}
			found, err := w.tracer(e.EventID).search(ctx, one.connector, one.searcher)
			if err != nil {
				return err
			}
			if found {
				return usage("--wait: expected events with new ids; %s holds the event %s already", one.Title, e.EventID)
			}
		}
	}
	return nil
}

// run looks for the events that were enqueued until the limit has passed, and adds what is known about each to the
// results. The error is errProblems, errUnconfirmed, or, on an interruption, the context's.
func (w *waiter) run(ctx context.Context, limit time.Duration, results []sent) error {
	w.watches = slices.DeleteFunc(w.watches, func(one *watch) bool {
		return !slices.ContainsFunc(results, func(r sent) bool { return r.Connector == one.Name && r.Refused == 0 })
	})
	ends := w.poll(ctx, limit)
	for _, one := range w.watches {
		r := &results[slices.IndexFunc(results, func(r sent) bool { return r.Connector == one.Name })]
		for _, e := range one.events {
			one.explain(e, w.start)
			r.Events = append(r.Events, e)
			switch {
			case ctx.Err() != nil:
			case e.State == deadLettered:
				ends = errProblems
			case e.State != searchable && ends == nil:
				ends = errUnconfirmed
			}
		}
	}
	return ends
}

// poll looks for the events again and again. The error is that of the context.
func (w *waiter) poll(ctx context.Context, limit time.Duration) error {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	total := len(w.watches) * len(w.ids)
	progress := w.app.out.StartProgress("searchable", int64(total))
	defer progress.Done()
	for _, one := range w.watches {
		one.logFrom = w.start
	}
	for pause := firstPoll; ; pause = min(pause*3/2, maxPoll) {
		_, err := each(w.watches, func(one *watch) (struct{}, error) { return struct{}{}, w.look(bounded, one) })
		ended, found := 0, 0
		for _, one := range w.watches {
			for _, e := range one.events {
				if one.isOver(e) {
					ended++
				}
				if e.State == searchable {
					found++
				}
			}
		}
		progress.Set(int64(found))
		left := limit - w.app.now().Sub(w.start)
		if err != nil || ended == total || left <= 0 || w.app.pause(bounded, min(pause, left)) != nil {
			return ctx.Err()
		}
	}
}

// look asks all sources once. The error is that of the context.
func (w *waiter) look(ctx context.Context, one *watch) error {
	for _, e := range one.events {
		if one.isOver(e) {
			continue
		}
		t := w.tracer(e.EventID)
		one.ask(ctx, "log", func() error { return t.log(ctx, one.connector) })
		one.ask(ctx, "dead letters", func() error {
			filter := deadletter.Filter{Connector: one.Name, From: t.since}
			_, err := w.letters.Each(ctx, filter, t.deadLetter("pending"))
			return err
		})
		if one.searcher != nil {
			one.ask(ctx, "search", func() error {
				_, err := t.search(ctx, one.connector, one.searcher)
				return err
			})
		}
		w.take(e, t)
	}
	one.ask(ctx, "log", func() error { return one.readBatches(ctx, w.stack) })
	return ctx.Err()
}

func (w *waiter) tracer(id string) *tracer {
	return &tracer{app: w.app, stack: w.stack, id: id, since: w.start.Add(-clockSkew), now: w.app.now(),
		maxAge: max(0, w.start.Sub(w.oldest))}
}

// ask asks one source. A source that has failed is not asked again.
func (one *watch) ask(ctx context.Context, source string, ask func() error) {
	if one.failed[source] != nil || ctx.Err() != nil {
		return
	}
	if err := ask(); ctx.Err() == nil {
		one.failed[source] = err
	}
}

// take takes over what a tracer found.
func (w *waiter) take(e *waited, t *tracer) {
	for _, found := range t.list {
		switch found.Source {
		case "receipt":
			e.State, e.DeliveredAt = delivered, &found.Time
		case "dead letter":
			e.State, e.DeadLetter = deadLettered, found.What
		}
	}
	for _, found := range t.list { // takes precedence
		if found.Source == "siem" && e.SearchableAt == nil {
			now := w.app.now().UTC()
			e.State, e.SearchableAt, e.Seconds = searchable, &now, now.Sub(w.start).Round(time.Second/10).Seconds()
		}
	}
}

// readBatches reads the batches of the connector since the last call.
func (one *watch) readBatches(ctx context.Context, s *deployed.Stack) error {
	query := deployed.LogQuery{From: one.logFrom, Pattern: `{ $.msg = "batch" }`}
	err := s.Log(ctx, one.Name, query, func(l deployed.LogLine) {
		line := parseLogLine(one.Name, l)
		if line.message != "batch" || line.fields == nil {
			return
		}
		if n := line.count("delivered"); n > 0 || one.delivered == 0 {
			one.delivered += n
			one.batch = strings.Join(append([]string{line.summary()}, line.details()...), "; ")
		}
		one.logFrom = l.Time.Add(time.Millisecond)
	})
	if errors.Is(err, deployed.ErrNoLog) {
		return nil
	}
	return err
}

// isOver reports whether nothing more can be found out about an event.
func (one *watch) isOver(e *waited) bool {
	switch {
	case e.State == searchable || e.State == deadLettered:
		return true
	case one.searcher != nil && one.failed["search"] == nil:
		return false
	case e.State == delivered || !one.receipts && one.delivered > 0:
		return true
	}
	return one.failed["log"] != nil && one.failed["dead letters"] != nil
}

// explain lists what was confirmed, and what was not and why.
func (one *watch) explain(e *waited, start time.Time) {
	const clock = "15:04:05Z"
	e.Confirmed, e.NotConfirmed = []string{"enqueued at " + start.UTC().Format(clock)}, []string{}
	yes := func(format string, args ...any) { e.Confirmed = append(e.Confirmed, fmt.Sprintf(format, args...)) }
	no := func(format string, args ...any) {
		e.NotConfirmed = append(e.NotConfirmed, fmt.Sprintf(format, args...))
	}
	if e.DeliveredAt != nil {
		yes("delivered at %s, by its receipt", e.DeliveredAt.UTC().Format(clock))
	}
	if e.SearchableAt != nil {
		yes("searchable at %s", e.SearchableAt.UTC().Format(clock))
		return
	}
	if e.State == deadLettered {
		yes("dead letter, %s", e.DeadLetter)
		return
	}
	switch err := one.failed["log"]; {
	case e.DeliveredAt != nil:
	case err != nil:
		no("delivered: %v", err)
	case one.batch == "":
		no("delivered: no batch of %s since; see siemctl status", one.Name)
	case one.receipts:
		no("delivered: no receipt since; latest %s", one.batch)
	default:
		no("delivered: without receipts (SIEM_RECEIPTS), a batch does not name its events; latest %s", one.batch)
	}
	switch err := one.failed["search"]; {
	case err != nil:
		no("searchable: %v", err)
	case one.searcher == nil:
		no("searchable: no search credential; store one with: siemctl configure --search %s", one.Name)
	default:
		no("searchable: the search found nothing so far")
	}
	if err := one.failed["dead letters"]; err != nil {
		no("not a dead letter: %v", err)
	}
}

// showWaited prints the events below the table of what was enqueued.
func (a *app) showWaited(results []sent) {
	for _, r := range results {
		for _, e := range r.Events {
			style, state := term.Warn, e.State
			switch e.State {
			case searchable:
				style, state = term.Good, fmt.Sprintf("searchable after %.1f s", e.Seconds)
			case deadLettered:
				style = term.Bad
			case delivered:
				state = "delivered, not confirmed to be searchable"
			}
			a.out.Line("%s %s: %s", r.Connector, e.EventID, a.out.Paint(style, state))
			for _, text := range e.Confirmed {
				a.out.Line("  %s", text)
			}
			for _, text := range e.NotConfirmed {
				a.out.Line("  not confirmed: %s", text)
			}
		}
	}
}
