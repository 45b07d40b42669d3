package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/receipts"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
)

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
	style := func(n int, bad term.Style) term.Style {
		if n > 0 {
			return bad
		}
		return term.Plain
	}
	repeated := term.Warn
	if r.o.strict {
		repeated = term.Bad
	}
	rows := make([][]term.Cell, 0, 8)
	for _, row := range []struct {
		name  string
		n     int
		style term.Style
	}{
		{"receipts", result.Receipts, term.Plain},
		{"events delivered", result.Delivered, term.Plain},
		{"present", result.Present, term.Plain},
		{"missing", result.Missing, style(result.Missing, term.Bad)},
		{"altered", result.Altered, style(result.Altered, term.Bad)},
		{"present more than once", result.Repeated, style(result.Repeated, repeated)},
		{"present, content not compared", result.NotCompared, style(result.NotCompared, term.Warn)},
		{"found without a receipt in the window", result.Others, term.Plain},
	} {
		number := term.Number(int64(row.n))
		number.Style = row.style
		rows = append(rows, []term.Cell{term.Text(row.name), number})
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
		out.Note("%s; --output json names all", term.Count(int64(rest), "more event"))
	}
}
