package connectortest

import (
	"os"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// SettingsTable compares the settings table of a README with what the connector asks for: the same variables, whether
// they are required, and the same defaults. The table's first columns are variable, required, default.
func SettingsTable(t *testing.T, open func(*settings.Settings) deliver.Connector, readme string) {
	t.Helper()
	set := settings.New(func(string) string { return "" }, nil)
	open(set)
	documented := map[string][]string{}
	for _, row := range table(t, readme, "| variable |") {
		documented[code(row[0])] = row
	}
	for _, a := range set.Declared() {
		row, ok := documented[a.Name]
		if !ok {
			t.Errorf("%s: %s is asked for and not in the settings table", readme, a.Name)
			continue
		}
		delete(documented, a.Name)
		if required := strings.HasPrefix(row[1], "yes"); required != a.Required {
			t.Errorf("%s: %s: the table says required: %q, the code %v", readme, a.Name, row[1], a.Required)
		}
		if code(row[2]) != a.Default {
			t.Errorf("%s: %s: the table says default %q, the code %q", readme, a.Name, code(row[2]), a.Default)
		}
		if a.Secret && !strings.Contains(strings.ToLower(strings.Join(row, " ")), "secret") {
			t.Errorf("%s: %s is a secret, and the table does not say so", readme, a.Name)
		}
	}
	for name := range documented {
		t.Errorf("%s: %s is in the settings table and not asked for", readme, name)
	}
}

// Row is a row of a README's response table: its first two columns, and a response that it is about.
type Row struct {
	Status, Code string
	Is           int
	Body         string
}

// ResponseTable compares the response table of a README with what classify returns. The table's first columns are
// status, code and outcome.
func ResponseTable(t *testing.T, readme string, classify func(*httpsend.Response) error, rows []Row) {
	t.Helper()
	documented := table(t, readme, "| status |")
	for i := range max(len(rows), len(documented)) {
		var want, got string
		if i < len(rows) {
			err := classify(Response(t, rows[i].Is, nil, rows[i].Body))
			want = strings.Join([]string{rows[i].Status, rows[i].Code, Outcome(err)}, " | ")
		}
		if i < len(documented) {
			got = strings.Join(documented[i][:min(3, len(documented[i]))], " | ")
		}
		if got != want {
			t.Errorf("%s: response table, row %d:\n got %s\nwant %s", readme, i+1, got, want)
		}
	}
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
func table(t *testing.T, readme, head string) (rows [][]string) {
	t.Helper()
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\n"+head)
	if !ok {
		t.Fatalf("%s: no table begins with %q", readme, head)
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
