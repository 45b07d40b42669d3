package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/deployed"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/receipts"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/search"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
	"github.com/arbitex/siem-connectors/shared/deadletter"
	"github.com/arbitex/siem-connectors/shared/event"
)

type traceOptions struct {
	since      time.Duration
	secret     string
	connectors []string
}

func (a *app) traceCommand() *cobra.Command {
	var o traceOptions
	c := &cobra.Command{
		Use: "trace <event-id>", Short: "Show everything that is known about one event", Args: one("event id"),
		Long: `Show what is known about an event: its receipts with their batches, the log lines that name it, its
dead letters with their attempts and when they were replayed or discarded, and, with a search
credential, the SIEM's copies.

The event id is metadata.uid; for an event without one, the first 32 hex digits of the SHA-256 of
the event. Functions write receipts only with SIEM_RECEIPTS=true. Other log lines name at most 20
events, so that an event that is not in any line may still have been retried. A SIEM is searched
if its search credential is known; see siemctl configure --help.

The exit code is 1 if nothing is known about the event.`,
		Example: "  siemctl trace 0190a3b4-7c1e-7000-8000-3f1c3a9d2b11\n" +
			"  siemctl trace 0190a3b4-7c1e-7000-8000-3f1c3a9d2b11 --connector splunk --since 72h --output json",
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "" {
				return usage("event id: expected an id, found an empty value")
			}
			if o.since <= 0 {
				return usage("--since: expected a duration greater than zero, found %s", o.since)
			}
			return a.trace(cmd.Context(), args[0], o)
		},
	}
	f := c.Flags()
	f.DurationVar(&o.since, "since", 24*time.Hour, "how far back, a `duration` such as 24h")
	f.StringSliceVar(&o.connectors, "connector", nil, "only this `connector`; repeat the flag for several")
	f.StringVar(&o.secret, "search-secret", "", searchSecretUsage)
	_ = c.RegisterFlagCompletionFunc("connector", completeConnectors)
	return c
}

// traced is one thing that is known about an event.
type traced struct {
	Time      time.Time `json:"time,omitzero"`
	Connector string    `json:"connector"`
	Source    string    `json:"source"` // receipt, log, dead letter or siem
	What      string    `json:"what"`
	Request   string    `json:"request,omitempty"`      // id of the invocation
	Hash      string    `json:"content_hash,omitempty"` // of the event's content
	MessageID string    `json:"message_id,omitempty"`   // of the dead letter
	State     string    `json:"state,omitempty"`        // of the dead letter: pending, replayed or discarded
	MovedAt   time.Time `json:"moved_at,omitzero"`      // when the dead letter was replayed or discarded
}

// tracer collects what is known.
type tracer struct {
	app   *app
	stack *deployed.Stack
	id    string
	since time.Time
	now   time.Time
	// maxAge is how old the event may have been on its arrival.
	maxAge time.Duration

	mu     sync.Mutex
	list   []traced
	failed error // of searches
}

func (t *tracer) add(found traced) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = append(t.list, found)
}

func (a *app) trace(ctx context.Context, id string, o traceOptions) error {
	s, here, err := a.connect(ctx, o.connectors)
	if err != nil {
		return err
	}
	now := a.now()
	t := &tracer{app: a, stack: s, id: id, since: now.Add(-o.since), now: now, list: []traced{}}
	targets, err := a.traceTargets(ctx, s, here, o.secret)
	if err != nil {
		return err
	}
	letters, err := openReader(ctx, s)
	if err != nil {
		return err
	}
	var work errgroup.Group
	for _, c := range targets {
		work.Go(func() error { return t.log(ctx, c.connector) })
		work.Go(func() error { return t.deadLetters(ctx, letters, c.connector) })
		if c.searcher != nil {
			work.Go(func() error { return t.searchWithin(ctx, searchPatience, c) })
		}
	}
	if err := work.Wait(); err != nil {
		return err
	}
	if err := t.show(); t.failed == nil {
		return err
	}
	return t.failed
}

// searchPatience bounds the search of one event, so that a SIEM that does not respond does not hide what is known.
const searchPatience = time.Minute

// searchWithin searches, and keeps an error for the end.
func (t *tracer) searchWithin(ctx context.Context, limit time.Duration, c traceTarget) error {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	found, err := t.search(bounded, c.connector, c.searcher)
	switch {
	case err == nil && !found:
		t.app.note(fmt.Sprintf("%s: the search found nothing that arrived since %s", c.Name,
			t.since.UTC().Format(time.RFC3339)))
		return nil
	case err == nil || ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("the search did not end within %s", limit)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed = errors.Join(t.failed, fmt.Errorf("%s: %w", c.Name, err))
	return nil
}

// traceTarget is a connector, with a searcher if the operator has a search credential.
type traceTarget struct {
	connector
	searcher search.Searcher
}

// traceTargets makes the searchers. It does so one after the other, because a stack is not safe for concurrent use
// while it reads settings.
func (a *app) traceTargets(ctx context.Context, s *deployed.Stack, here []connector, name string) ([]traceTarget,
	error) {
	secret, err := readSearchSecret(ctx, s, name)
	if err != nil {
		return nil, err
	}
	targets := make([]traceTarget, 0, len(here))
	for _, c := range here {
		found := traceTarget{connector: c}
		if a.configured(c, secret) {
			lookup, err := a.connectorSettings(ctx, s, c)
			if err != nil {
				return nil, err
			}
			if found.searcher, err = a.searcher(c, lookup, secret); err != nil {
				return nil, err
			}
		}
		targets = append(targets, found)
	}
	if secret.err != nil {
		a.note(secret.err.Error() + "; SIEMs without a search credential in the environment are not searched")
	}
	return targets, nil
}

// log adds the receipts, the log lines that name the event, and the batches in which it was delivered.
func (t *tracer) log(ctx context.Context, c connector) error {
	delivered := map[string]time.Time{} // by the id of the invocation
	seen := map[string]bool{}
	err := t.lines(ctx, c, t.id, t.since, time.Time{}, func(l deployed.LogLine) {
		if !strings.Contains(l.Text, `"`+t.id+`"`) {
			return // it is a part of another id, or of a number
		}
		seen[l.ID] = true
		if line, ok := receipts.Parse(l.Text); !ok {
			t.logLine(c, l)
		} else if t.receipts(c.Name, line) && line.Request != "" {
			delivered[line.Request] = l.Time
		}
	})
	for request, at := range delivered {
		if err != nil {
			break
		}
		err = t.lines(ctx, c, request, at.Add(-time.Minute), at.Add(time.Minute), func(l deployed.LogLine) {
			if _, receipt := receipts.Parse(l.Text); !receipt && !seen[l.ID] {
				t.logLine(c, l)
			}
		})
	}
	if errors.Is(err, deployed.ErrNoLog) {
		return nil
	}
	return err
}

// lines calls take for the lines of a connector's log that contain a text.
func (t *tracer) lines(ctx context.Context, c connector, text string, from, to time.Time,
	take func(deployed.LogLine)) error {
	pattern := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
	query := deployed.LogQuery{From: from, To: to, Pattern: pattern}
	return t.stack.Log(ctx, c.Name, query, func(l deployed.LogLine) {
		if strings.Contains(l.Text, text) {
			take(l)
		}
	})
}

func (t *tracer) logLine(c connector, l deployed.LogLine) {
	if line := parseLogLine(c.Name, l); !line.platform {
		details := slices.DeleteFunc(line.details(), func(d string) bool { return !strings.Contains(d, t.id) })
		what := append([]string{line.summary()}, details...)
		t.add(traced{Time: l.Time, Connector: c.Name, Source: "log", What: strings.Join(what, "; ")})
	}
}

// receipts adds the event's receipts in a line, and reports whether there are any.
func (t *tracer) receipts(connector string, line receipts.Line) (found bool) {
	for _, pair := range line.Delivered {
		if pair[0] == t.id {
			found = true
			t.add(traced{Time: line.At, Connector: connector, Source: "receipt", What: "delivered", Request: line.Request,
				Hash: pair[1]})
		}
	}
	return found
}

// deadLetters adds the event's dead letters.
func (t *tracer) deadLetters(ctx context.Context, reader *deadletter.Reader, c connector) error {
	filter := deadletter.Filter{Connector: c.Name, From: t.since}
	_, err := reader.Each(ctx, filter, t.deadLetter("pending"))
	if err == nil {
		_, err = reader.Moved(ctx, deadletter.ReplayedFolder, filter, t.deadLetter("replayed"))
	}
	if err == nil {
		_, err = reader.Moved(ctx, deadletter.DiscardedFolder, filter, t.deadLetter("discarded"))
	}
	return err
}

// deadLetter returns a function that adds a dead letter of the event.
func (t *tracer) deadLetter(state string) func(*deadletter.Letter) error {
	var parser event.Parser
	var e event.Event
	return func(l *deadletter.Letter) error {
		parser.Reset()
		if parser.Parse(l.Body, &e) != nil || string(e.AppendID(nil)) != t.id {
			return nil //nolint:nilerr // an invalid event has no id
		}
		what := state
		if !l.Moved.IsZero() {
			what += " at " + l.Moved.UTC().Format(listTime)
		}
		what += "; failed after " + term.Count(l.Attempts, "attempt")
		if l.Replays > 0 {
			what += " and " + term.Count(l.Replays, "replay")
		}
		t.add(traced{Time: l.Time, Connector: l.Connector, Source: "dead letter", What: what + ": " + l.Error,
			Hash: string(e.AppendContentHash(nil)), MessageID: l.MessageID, State: state, MovedAt: l.Moved.UTC()})
		return nil
	}
}

// search adds the SIEM's copies, and reports whether there are any.
func (t *tracer) search(ctx context.Context, c connector, s search.Searcher) (found bool, err error) {
	const ahead = time.Hour // for an event that is dated in the future
	query := search.Query{From: t.since, To: t.now.Add(ahead), ID: t.id, MaxAge: t.maxAge}
	err = s.Search(ctx, query, func(f receipts.Found) {
		if f.ID != t.id {
			return
		}
		found = true
		what := term.Count(f.Copies, "copy")
		if f.Copies > 1 {
			what = fmt.Sprintf("%d copies", f.Copies)
		}
		copied := traced{Connector: c.Name, Source: "siem", What: what}
		switch {
		case c.Name == "qradar":
			copied.What += " as CEF"
		case f.Whole:
			copied.Hash = receipts.Digits(f.Hash)
		default:
			copied.What += ", of which the SIEM does not hold the whole content"
		}
		t.add(copied)
	})
	return found, err
}

func (t *tracer) show() error {
	slices.SortStableFunc(t.list, func(a, b traced) int {
		if a.Time.IsZero() != b.Time.IsZero() { // what the SIEM holds comes last
			return b.Time.Compare(a.Time)
		}
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Connector, b.Connector))
	})
	if len(t.list) == 0 {
		t.app.out.Note("nothing is known about the event since %s", t.since.UTC().Format(time.RFC3339))
	}
	return t.app.result(t.list, len(t.list) == 0, func() {
		var rows [][]term.Cell
		for _, l := range t.list {
			at := "now"
			if !l.Time.IsZero() {
				at = l.Time.UTC().Format(listTime)
			}
			rows = append(rows, term.Row(at, l.Connector, l.Source, l.Hash, term.Shorten(l.What, maxReason)))
		}
		if rows != nil {
			t.app.out.Table([]string{"TIME", "CONNECTOR", "SOURCE", "CONTENT", "WHAT"}, rows)
		}
	})
}
