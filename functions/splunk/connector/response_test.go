package connector

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/httpsend"
)

// TestResponseTable compares the README's table with what the code does.
func TestResponseTable(t *testing.T) {
	statuses := [...]int{200, 403, 401, 401, 403, 400, 400, 400, 500, 503, 400, 400, 400, 400, 400, 400, 400, 200, 503,
		503, 503, 400, 400, 503, 200, 200, 429, 429}
	var rows []connectortest.Row
	seen := map[int]bool{}
	for _, r := range [...]connectortest.Row{
		{Status: "200", Code: "0, 24, 25"}, {Status: "400, 401, 403", Code: "1, 2, 3, 4, 21, 22"},
		{Status: "400", Code: "5"}, {Status: "400", Code: "6, 12, 13, 15"}, {Status: "400", Code: "7"},
		{Status: "500, 503", Code: "8, 9, 18, 19, 20, 23"}, {Status: "400", Code: "10, 11, 14, 16"},
		{Status: "200", Code: "17"}, {Status: "429", Code: "26, 27"},
	} {
		for name := range strings.SplitSeq(r.Code, ", ") {
			code, err := strconv.Atoi(name)
			if err != nil || !strings.Contains(r.Status, strconv.Itoa(statuses[code])) {
				t.Fatalf("row %+v: code %s", r, name)
			}
			r.Is, r.Body = statuses[code], fmt.Sprintf(`{"text":"x","code":%d}`, code)
			rows, seen[code] = append(rows, r), true
		}
	}
	connectortest.ResponseTable(t, "../README.md", func(a *httpsend.Response) error { return classify(a, 1, false) }, rows)
	for code := range statuses {
		if !seen[code] {
			t.Errorf("code %d has no row", code)
		}
	}
	for _, row := range codes.Rows {
		if n, err := strconv.Atoi(row.Code); err == nil && n >= len(statuses) {
			t.Errorf("code %d has no row", n)
		}
	}
}

func TestSettingsTable(t *testing.T) { connectortest.SettingsTable(t, Open, "../README.md") }

// TestPartial: what HEC says it took is not sent again.
func TestPartial(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		want   string // a letter for each record: d delivered, x rejected, s sent again, r retry, h held; one letter: for all
	}{
		"second of four":          {400, `{"code":6,"invalid-event-number":1}`, "dxss"},
		"first of four":           {400, `{"code":12,"invalid-event-number":0}`, "xsss"},
		"last of four":            {400, `{"code":13,"invalid-event-number":3}`, "dddx"},
		"fields":                  {400, `{"code":15,"invalid-event-number":2}`, "ddxs"},
		"busy after two":          {503, `{"code":9,"invalid-event-number":2}`, "ddrr"},
		"busy":                    {503, `{"code":9}`, "r"},
		"number out of range":     {400, `{"code":6,"invalid-event-number":4}`, "x"},
		"negative number":         {400, `{"code":6,"invalid-event-number":-1}`, "x"},
		"number without a right":  {403, `{"code":4,"invalid-event-number":2}`, "h"},
		"code 0 with status 500":  {500, `{"code":0}`, "r"},
		"refusal on a 200":        {200, `{"code":6,"invalid-event-number":1}`, "r"},
		"unknown code on a 400":   {400, `{"code":99}`, "r"},
		"unknown code on a 401":   {401, `{"code":99}`, "h"},
		"unknown code on a 200":   {200, `{"code":99}`, "r"},
		"no code":                 {200, `{"text":"Success"}`, "r"},
		"code of another type":    {200, `{"text":"Success","code":"0"}`, "r"},
		"code 6 on a 415":         {415, `{"code":6}`, "h"},
		"capacity on a 201":       {201, `{"code":24}`, "r"},
		"capacity":                {200, `{"text":"Queue at capacity","code":24}`, "d"},
		"with an acknowledgement": {200, `{"text":"Success","code":0,"ackId":7}`, "d"},
	} {
		var got strings.Builder
		for _, err := range results(classify(connectortest.Response(t, c.status, nil, c.body), 4, false)) {
			got.WriteString(strings.NewReplacer("rejected", "x", "delivered", "d", "sent again", "s", "retry", "r", "held",
				"h").Replace(connectortest.Outcome(err)))
		}
		if got.String() != c.want {
			t.Errorf("%s: %s, want %s", name, got.String(), c.want)
		}
	}
}

// TestNearlyFull: events that HEC accepts with a warning are delivered, and the log gets the warning.
func TestNearlyFull(t *testing.T) {
	for body, want := range map[string]string{accepted: "", `{"code":0}`: "", `{"code":24}`: "code 24",
		`{"code":25}`: "code 25"} {
		s := suite()
		s.Accept = func(w http.ResponseWriter, _ *http.Request, _ []byte) { fmt.Fprint(w, body) }
		c := connectortest.Serve(t, s).Open(t)
		b := connectortest.Batch(t, c, connectortest.SampleEvent)
		err := c.Send(t.Context(), b)
		if got := strings.Join(b.Warnings(), " "); err != nil || (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %v, warnings %q, want %q", body, err, got, want)
		}
	}
}

func results(err error) []error {
	if p, ok := err.(*deliver.PartialError); ok { //nolint:errorlint // as the engine does
		return p.Results
	}
	return []error{err}
}

// FuzzClassify: every response yields a result for each record, and a success only where HEC confirms it.
func FuzzClassify(f *testing.F) {
	for _, body := range []string{`{"text":"Success","code":0}`, `{"code":6,"invalid-event-number":1}`,
		`{"code":9,"invalid-event-number":9}`, `<html>`, ``, `{"code":1e9}`, `{"code":24}`} {
		f.Add(200, []byte(body), uint8(3))
		f.Add(400, []byte(body), uint8(0))
	}
	template := connectortest.Response(f, http.StatusOK, nil, "")
	f.Fuzz(func(t *testing.T, status int, body []byte, n uint8) {
		a := *template
		a.Status, a.Body = status, body
		err := classify(&a, int(n), false)
		if err == nil && (status/100 != 2 || !strings.Contains(strings.ToLower(string(body)), `code`)) {
			t.Fatalf("%d %q is taken for a success", status, body)
		}
		if p, ok := err.(*deliver.PartialError); ok && len(p.Results) != int(n) { //nolint:errorlint // as the engine does
			t.Fatalf("%d verdicts for %d records", len(p.Results), n)
		}
	})
}
