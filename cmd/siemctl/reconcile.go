package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/deployed"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/receipts"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/search"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
	"github.com/arbitex/siem-connectors/shared/settings"
)

type reconcileOptions struct {
	from, to               string
	secret, events         string
	strict, idsOnly        bool
	settle, margin, maxAge time.Duration
}

func (a *app) reconcileCommand() *cobra.Command {
	var o reconcileOptions
	c := &cobra.Command{
		Use: "reconcile <connector>", Short: "Compare the receipts of delivered events with the SIEM's own search",
		Args: cobra.ExactArgs(1),
		Long: `Read the receipts of a window from the connector's log (SIEM_RECEIPTS=true), ask the SIEM's own
search for these events, and report which are missing, present more than once, or altered.

The search uses your credential, never the function's: variables such as SPLUNK_SEARCH_URL and
SPLUNK_SEARCH_TOKEN, from the environment or from the secret that siemctl configure --search stores.
docs/audit.md lists them for every SIEM.

SIEMs index late: while events are missing, the command asks again after --settle until the number
no longer changes.

The exit code is 0 only if no event is missing or altered; with --strict, also none present more
than once. With --output json, the result is evidence that can be filed: the SHA-256 is that of
the report.`,
		Example: "  siemctl reconcile splunk --from 2026-03-13T10:00:00Z --to 2026-03-13T11:00:00Z\n" +
			"  siemctl reconcile elastic --from 3h --to 1h --output json > evidence.json\n" +
			"  jq -cj .report evidence.json | sha256sum            # equals .sha256",
		ValidArgsFunction: completeConnectors,
		RunE: func(cmd *cobra.Command, args []string) error {
			w, err := o.window(a.now())
			if err != nil {
				return err
			}
			return a.reconcile(cmd.Context(), args[0], w, &o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.from, "from", "", "events delivered from this `time` on: RFC 3339, a date, or an age such as 3h")
	f.StringVar(&o.to, "to", "0s", "events delivered before this `time`")
	f.StringVar(&o.secret, "search-secret", "", searchSecretUsage)
	f.BoolVar(&o.strict, "strict", false, "an event that is present more than once is also an error")
	f.BoolVar(&o.idsOnly, "ids-only", false, "compare ids, not contents; for a SIEM that is set up to change events")
	f.StringVar(&o.events, "events", "", "`file` of the original events, one per line: QRadar, which holds CEF, is then "+
		"compared with their CEF")
	f.DurationVar(&o.settle, "settle", 30*time.Second, "wait this `duration` before the SIEM is asked again; 0s asks once")
	f.DurationVar(&o.margin, "margin", 15*time.Minute, "search this `duration` before and after the window as well")
	f.DurationVar(&o.maxAge, "max-age", time.Hour, "`age` of the oldest event on its delivery, for SIEMs that are "+
		"searched by the events' own time (Datadog, XSIAM)")
	_ = c.MarkFlagRequired("from")
	return c
}

// window is a range of time: from inclusive, to exclusive.
type window struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

func (o *reconcileOptions) window(now time.Time) (window, error) {
	flags := filterFlags{from: o.from, to: o.to}
	filter, err := flags.read(now)
	switch {
	case err != nil:
		return window{}, err
	case filter.From.IsZero():
		return window{}, usage("--from: expected a time, found an empty value")
	case filter.To.IsZero():
		filter.To = now.UTC()
	}
	if filter.To.After(now) {
		return window{}, usage("--to: expected a time in the past")
	}
	for _, d := range []struct {
		flag  string
		value time.Duration
	}{{"--settle", o.settle}, {"--margin", o.margin}, {"--max-age", o.maxAge}} {
		if d.value < 0 {
			return window{}, usage("%s: expected a duration of at least zero, found %s", d.flag, d.value)
		}
	}
	return window{filter.From, filter.To}, nil
}

// reconciliation is one run of the command.
type reconciliation struct {
	app       *app
	stack     *deployed.Stack
	connector connector
	o         *reconcileOptions
	window    window
	settings  settings.Lookup // of the connector
	searcher  search.Searcher
	query     search.Query
	set       receipts.Set
	report    report
}

func (a *app) reconcile(ctx context.Context, name string, w window, o *reconcileOptions) error {
	s, here, err := a.connect(ctx, []string{name})
	if err != nil {
		return err
	}
	r := &reconciliation{app: a, stack: s, connector: here[0], o: o, window: w, query: search.Query{
		From: w.From.Add(-o.margin), To: w.To.Add(o.margin), MaxAge: o.maxAge,
	}}
	if r.settings, err = a.connectorSettings(ctx, s, r.connector); err != nil {
		return err
	}
	secret, err := readSearchSecret(ctx, s, o.secret)
	if err != nil {
		return err
	}
	if r.searcher, err = a.searcher(r.connector, r.settings, secret); err != nil {
		return err
	}
	translate, err := r.contents()
	if err != nil {
		return err
	}
	if err := r.readReceipts(ctx, translate); err != nil {
		return err
	}
	r.query.Each = r.set.Each
	a.note("searching: " + r.searcher.Describe(r.query))
	result, err := r.ask(ctx)
	if err != nil {
		return err
	}
	if err := r.show(result); err != nil {
		return err
	}
	if result.Missing > 0 || result.Altered > 0 || o.strict && result.Repeated > 0 {
		return errProblems
	}
	return nil
}

// logDelay is how much later than its receipts a line of receipts may be dated.
const logDelay = 5 * time.Minute

var errNoReceipts = errors.New("there are no receipts in the window, so nothing can be compared: the function writes " +
	"them with SIEM_RECEIPTS=true, and its log group keeps them for its retention period")

// readReceipts reads the receipts of the window. translate gives the content hash that the SIEM's copy is expected to
// have.
func (r *reconciliation) readReceipts(ctx context.Context, translate func(hash uint64) (uint64, error)) error {
	progress := r.app.out.StartProgress("receipts read", 0)
	defer progress.Done()
	var first error
	query := deployed.LogQuery{From: r.window.From.Add(-logDelay), To: r.window.To.Add(logDelay), Pattern: "receipt"}
	err := r.stack.LogWith(ctx, r.connector.Name, query, func(l deployed.LogLine) {
		line, ok := receipts.Parse(l.Text)
		if !ok || line.Connector != r.connector.Name || line.At.Before(r.window.From) || !line.At.Before(r.window.To) {
			return
		}
		for _, pair := range line.Delivered {
			hash, err := receipts.Hash(pair[1])
			if err == nil {
				hash, err = translate(hash)
			}
			if err == nil {
				err = r.set.Add(pair[0], hash)
			}
			if err != nil && first == nil {
				first = fmt.Errorf("the receipt of the event %q: %w", pair[0], err)
			}
		}
		progress.Set(int64(r.set.Receipts()))
	})
	switch {
	case err != nil && !errors.Is(err, deployed.ErrNoLog):
		return err
	case first != nil:
		return first
	case r.set.Len() == 0:
		return errNoReceipts
	}
	return nil
}

// maxRounds bounds the searches of one run.
const maxRounds = 100

// ask searches until nothing is missing, or until the number of events that are found no longer changes.
func (r *reconciliation) ask(ctx context.Context) (receipts.Result, error) {
	r.report.QueriedAt = r.app.now().UTC()
	for before := -1; ; {
		r.set.Reset()
		found, err := r.searchOnce(ctx)
		if err != nil {
			return receipts.Result{}, err
		}
		r.report.Searches++
		r.report.FinishedAt = r.app.now().UTC()
		result := r.set.Result()
		if result.Missing == 0 || r.o.settle == 0 || found == before || r.report.Searches == maxRounds {
			return result, nil
		}
		before = found
		r.app.out.Note("%s not found yet; asking again in %s", term.Count(int64(result.Missing), "event"), r.o.settle)
		if err := r.app.pause(ctx, r.o.settle); err != nil {
			return receipts.Result{}, err
		}
	}
}

func (r *reconciliation) searchOnce(ctx context.Context) (found int, err error) {
	const step = 1000
	progress := r.app.out.StartProgress("events found by the SIEM", int64(r.set.Len()))
	defer progress.Done()
	err = r.searcher.Search(ctx, r.query, func(f receipts.Found) {
		if r.o.idsOnly {
			f.Whole = false
		}
		r.set.Take(f)
		if found++; found%step == 0 {
			progress.Grow(int64(found))
			progress.Set(int64(found))
		}
	})
	return found, err
}
