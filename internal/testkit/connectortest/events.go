package connectortest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/ocsfgen"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// SampleEvent is the event of the platform's page on its connectors, one line.
const SampleEvent = `{"class_uid":6003,"category_uid":6,"activity_id":1,"time":1741824000123,"severity_id":1,` +
	`"actor":{"user":{"uid":"user_abc","email_addr":"alice@example.com"}},` +
	`"api":{"request":{"uid":"req_xyz"},"operation":"chat_completion"},` +
	`"metadata":{"version":"1.1.0","product":{"name":"Arbitex","vendor_name":"Arbitex"}}}`

// FullEvent is an event that has a value for every field a connector reads, as the page's samples show them.
const FullEvent = `{"class_uid":6003,"category_uid":6,"activity_id":1,"time":1741824000123,"severity_id":1,` +
	`"actor":{"user":{"uid":"user_abc","email_addr":"alice@example.com","groups":[{"uid":"finance-team"}]}},` +
	`"api":{"request":{"uid":"req_xyz"},"operation":"chat_completion"},` +
	`"metadata":{"uid":"evt-1","version":"1.1.0","product":{"name":"Arbitex","vendor_name":"Arbitex"}},` +
	`"unmapped":{"model_id":"gpt-4o","policy_action":"allow","dlp_labels":[],"tokens_input":512,"tokens_output":256}}`

// Event makes event n, whose text holds mark.
func Event(n int, mark string) string {
	return fmt.Sprintf(`{"class_uid":3002,"time":%d,"severity_id":2,"metadata":{"uid":"event-%d"},"message":%q}`,
		1741824000000+n, n, mark)
}

// Bad marks the events that Suite.Refuse refuses. It survives every wire format: letters only.
const Bad = "POISONOUS"

// Events makes n events; those whose numbers are in bad hold Bad.
func Events(n int, bad ...int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = Event(i, "good")
	}
	for _, i := range bad {
		all[i] = Event(i, Bad)
	}
	return all
}

// Generated makes n events of every class and shape.
func Generated(seed uint64, n int) []string {
	g := ocsfgen.New(seed)
	all := make([]string, n)
	for i := range all {
		all[i] = string(g.Next())
	}
	return all
}

// reference is the page of settings and responses that the connectors share.
const reference = "../../../docs/reference.md"

// connectorPage returns the path of the page of the connector whose package is under test.
func connectorPage(t *testing.T) string {
	t.Helper()
	folder, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	return "../../../docs/connectors/" + filepath.Base(folder) + ".md"
}

// settingsTable compares the settings table of a page with what the connector asks for: the same variables, whether
// they are required, and the same defaults. The table's first columns are variable and default. A variable that several
// connectors share may be in the table of the reference instead.
func settingsTable(t *testing.T, open func(*settings.Settings) deliver.Connector) {
	t.Helper()
	page := connectorPage(t)
	set := Settings(nil)
	open(set)
	documented, shared := map[string][]string{}, map[string][]string{}
	for _, row := range table(t, page, "| variable |") {
		documented[code(row[0])] = row
	}
	for _, row := range table(t, reference, "| variable |") {
		for name := range strings.SplitSeq(row[0], ", ") {
			shared[code(name)] = row
		}
	}
	for _, a := range set.Declared() {
		row, ok := documented[a.Name]
		if !ok {
			row, ok = shared[a.Name]
		}
		if !ok {
			t.Errorf("%s: %s is asked for and not in the settings table", page, a.Name)
			continue
		}
		delete(documented, a.Name)
		if required := strings.HasPrefix(row[1], "required"); required != a.Required {
			t.Errorf("%s: %s: the table says %q, the code required: %v", page, a.Name, row[1], a.Required)
		}
		if !a.Required && code(row[1]) != a.Default {
			t.Errorf("%s: %s: the table says default %q, the code %q", page, a.Name, code(row[1]), a.Default)
		}
		if a.Secret && !strings.Contains(strings.ToLower(strings.Join(row, " ")), "secret") {
			t.Errorf("%s: %s is a secret, and the table does not say so", page, a.Name)
		}
	}
	for name := range documented {
		t.Errorf("%s: %s is in the settings table and not asked for", page, name)
	}
}

// Row is a row of a response table: its first two columns, and a response that it is about. Several responses can share
// a row.
type Row struct {
	Status, Code string
	Is           int
	Body         string
}

// common are the rows of the reference, which apply to all connectors that use HTTP.
var common = []Row{
	{Status: "2xx", Is: 200, Body: "<html>"}, {Status: "3xx", Is: 302}, {Status: "401", Is: 401}, {Status: "403", Is: 403},
	{Status: "404, 405, 407, 410, 415", Is: 404}, {Status: "404, 405, 407, 410, 415", Is: 405},
	{Status: "404, 405, 407, 410, 415", Is: 407}, {Status: "404, 405, 407, 410, 415", Is: 410},
	{Status: "404, 405, 407, 410, 415", Is: 415}, {Status: "408, 425", Is: 408}, {Status: "408, 425", Is: 425},
	{Status: "413", Is: 413}, {Status: "429", Is: 429}, {Status: "other 4xx", Is: 400, Body: "<html>"},
	{Status: "other 4xx", Is: 406}, {Status: "other 4xx", Is: 422}, {Status: "5xx", Is: 500}, {Status: "5xx", Is: 502},
}

// ResponseTable compares the response tables of the connector's page and of the reference with what classify returns.
// The first columns of a page's table are status, code and outcome, those of the reference status and outcome.
func ResponseTable(t *testing.T, classify func(*httpsend.Response) error, rows []Row) {
	t.Helper()
	responses(t, connectorPage(t), 3, classify, rows)
	responses(t, reference, 2, classify, common)
}

func responses(t *testing.T, page string, columns int, classify func(*httpsend.Response) error, rows []Row) {
	t.Helper()
	var want, got []string
	for _, r := range rows {
		cells := []string{r.Status, r.Code, Outcome(classify(Response(t, r.Is, nil, r.Body)))}
		if r.Code == "" {
			cells = slices.Delete(cells, 1, 2)
		}
		if row := strings.Join(cells, " | "); !slices.Contains(want, row) {
			want = append(want, row)
		}
	}
	for _, cells := range table(t, page, "| status |") {
		got = append(got, strings.Join(cells[:min(columns, len(cells))], " | "))
	}
	for i := range max(len(want), len(got)) {
		if w, g := at(want, i), at(got, i); w != g {
			t.Errorf("%s: response table, row %d:\n got %s\nwant %s", page, i+1, g, w)
		}
	}
}

func at(rows []string, i int) string {
	if i < len(rows) {
		return rows[i]
	}
	return ""
}

// Outcome is the word of a response table for what Send returns. For a PartialError, the last record's result decides.
func Outcome(err error) string {
	if p, ok := err.(*deliver.PartialError); ok { //nolint:errorlint // as the engine does
		err = p.Results[len(p.Results)-1]
	}
	f := failure.Of(err)
	if f == nil {
		return "delivered"
	}
	return map[failure.Kind]string{
		failure.Transient: "retry", failure.Throttled: "retry", failure.Unauthorized: "held", failure.Misconfigured: "held",
		failure.TooLarge: "split", failure.Rejected: "rejected", failure.Unprocessed: "sent again",
	}[f.Kind]
}

// table returns the cells of the rows of the first table whose head begins so.
func table(t *testing.T, page, head string) (rows [][]string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\n"+head)
	if !ok {
		t.Fatalf("%s: no table begins with %q", page, head)
	}
	lines := strings.Split(rest, "\n")
	for _, line := range lines[min(2, len(lines)):] { // the rest of the head, and the rule below it
		if !strings.HasPrefix(line, "|") {
			break
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	return rows
}

// code returns the first `…` of a cell, "" when there is none.
func code(cell string) string {
	_, rest, _ := strings.Cut(cell, "`")
	inside, _, ok := strings.Cut(rest, "`")
	if !ok {
		return ""
	}
	return inside
}
