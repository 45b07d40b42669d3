package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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
		Args: one("connector"),
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
		return window{}, usage("--from: required; expected a time such as 2026-03-13T00:00:00Z, a date, or an " +
			"age such as 3h")
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
	err := r.stack.Log(ctx, r.connector.Name, query, func(l deployed.LogLine) {
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
		r.app.out.Note("%s not found yet; asking again in %s", term.Count(result.Missing, "event"), r.o.settle)
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

// report is the body of the evidence.
type report struct {
	Stack      string          `json:"stack"`
	Connector  string          `json:"connector"`
	Window     window          `json:"window"` // of the receipts, by the time of delivery
	Query      string          `json:"query"`
	QueriedAt  time.Time       `json:"queried_at"`
	FinishedAt time.Time       `json:"finished_at"`
	Searches   int             `json:"searches"`
	IDsOnly    bool            `json:"ids_only"`
	Strict     bool            `json:"strict"`
	Counts     receipts.Result `json:"counts"`
	Version    string          `json:"siemctl"`
	receipts.Lists
}

// evidence is a report with the SHA-256 of its bytes without the white space between tokens.
type evidence struct {
	Report json.RawMessage `json:"report"`
	SHA256 string          `json:"sha256"`
}

// seal makes the evidence of a report.
func seal(r report) (evidence, error) {
	for _, list := range []*[]receipts.Event{&r.MissingEvents, &r.RepeatedEvents, &r.AlteredEvents} {
		if *list == nil {
			*list = []receipts.Event{}
		}
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return evidence{}, fmt.Errorf("writing the report: %w", err)
	}
	body := []byte(term.Clean(string(bytes.TrimSpace(text.Bytes())))) // as it is printed
	sum := sha256.Sum256(body)
	return evidence{body, hex.EncodeToString(sum[:])}, nil
}

// show prints the result: the evidence, or a summary and the lists.
func (r *reconciliation) show(result receipts.Result) error {
	r.report.Stack, r.report.Connector, r.report.Window = r.stack.Name, r.connector.Name, r.window
	r.report.Query, r.report.Version = r.searcher.Describe(r.query), builtVersion()
	r.report.IDsOnly, r.report.Strict = r.o.idsOnly, r.o.strict
	r.report.Counts, r.report.Lists = result, result.Lists
	if r.app.out.JSON {
		e, err := seal(r.report)
		if err != nil {
			return err
		}
		return r.app.out.Object(e)
	}
	r.showCounts(result)
	r.showList("missing", term.Bad, result.MissingEvents)
	r.showList("altered", term.Bad, result.AlteredEvents)
	r.showList("present more than once", term.Warn, result.RepeatedEvents)
	return nil
}

func (r *reconciliation) showCounts(result receipts.Result) {
	out := r.app.out
	out.Line("%s, delivered from %s to %s", out.Paint(term.Bold, r.connector.Name), r.window.From.Format(time.RFC3339),
		r.window.To.Format(time.RFC3339))
	repeated := term.Warn
	if r.o.strict {
		repeated = term.Bad
	}
	var rows [][]term.Cell
	for _, row := range []struct {
		name  string
		n     int
		style term.Style
	}{
		{"receipts", result.Receipts, term.Plain},
		{"events delivered", result.Delivered, term.Plain},
		{"present", result.Present, term.Plain},
		{"missing", result.Missing, term.Bad},
		{"altered", result.Altered, term.Bad},
		{"present more than once", result.Repeated, repeated},
		{"present, content not compared", result.NotCompared, term.Warn},
		{"found without a receipt in the window", result.Others, term.Plain},
	} {
		rows = append(rows, term.Row(row.name, term.Flag(row.n, row.style, term.Number(row.n))))
	}
	out.Table([]string{"", "EVENTS"}, rows)
}

// maxListed is how many events of a list a table names. JSON names all.
const maxListed = 50

func (r *reconciliation) showList(name string, style term.Style, list []receipts.Event) {
	if len(list) == 0 {
		return
	}
	out := r.app.out
	out.Line("")
	out.Line("%s", out.Paint(style, name))
	for _, e := range list[:min(maxListed, len(list))] {
		text := "  " + e.ID
		if e.Copies > 1 {
			text += fmt.Sprintf(" (%d copies)", e.Copies)
		}
		if e.Copies > 0 && e.Other > 0 {
			text += fmt.Sprintf(" (%d with another content)", e.Other)
		}
		out.Line("%s", text)
	}
	if rest := len(list) - maxListed; rest > 0 {
		out.Note("%s; --output json names all", term.Count(rest, "more event"))
	}
}
