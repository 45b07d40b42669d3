package connector

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/failure"
)

// answerItems answers each record of a request by its two lines.
func answerItems(w http.ResponseWriter, body []byte, item func(action, source string) (status int, err string)) {
	lines := strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")
	var items []string
	failed := false
	for i := 0; i+1 < len(lines); i += 2 {
		op, _, _ := strings.Cut(strings.TrimPrefix(lines[i], `{"`), `"`)
		status, err := item(lines[i], lines[i+1])
		if err != "" {
			failed = true
			err = `,"error":` + err
		}
		items = append(items, fmt.Sprintf(`{%q:{"status":%d%s}}`, op, status, err))
	}
	fmt.Fprintf(w, `{"errors":%t,"items":[%s]}`, failed, strings.Join(items, ","))
}

func taken(string, string) (int, string) { return 201, "" }

func subject() connectortest.Subject {
	return connectortest.Subject{
		Open: Open,
		Settings: func(url, ca string) map[string]string {
			return map[string]string{"ELASTIC_URL": url, "ELASTIC_TLS_CA_BUNDLE": ca, "ELASTIC_API_KEY": encodedKey}
		},
		Secrets: []string{encodedKey},
		Accept:  func(w http.ResponseWriter, _ *http.Request, body []byte) { answerItems(w, body, taken) },
		Refuse: func(w http.ResponseWriter, _ *http.Request, body []byte, bad string) {
			answerItems(w, body, func(_, source string) (int, string) {
				if strings.Contains(source, bad) {
					return 400, `{"type":"document_parsing_exception","reason":"[1:2] failed to parse"}`
				}
				return 201, ""
			})
		},
		Understands: true,
	}
}

func TestConformance(t *testing.T) { connectortest.Run(t, subject()) }

// TestConformanceWithoutItems plays an Elasticsearch, or a proxy, that refuses a whole request for one event.
func TestConformanceWithoutItems(t *testing.T) {
	s := subject()
	s.Refuse = func(w http.ResponseWriter, _ *http.Request, body []byte, bad string) {
		if strings.Contains(string(body), bad) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error":{"type":"parsing_exception","reason":"r"},"status":400}`)
			return
		}
		answerItems(w, body, taken)
	}
	connectortest.Run(t, s)
}

// TestConformanceCreate is a data stream that is known to be one.
func TestConformanceCreate(t *testing.T) {
	s := subject()
	withURL := s.Settings
	s.Settings = func(url, ca string) map[string]string {
		env := withURL(url, ca)
		env["ELASTIC_OP_TYPE"] = "create"
		return env
	}
	connectortest.Run(t, s)
}

func TestSettingsTable(t *testing.T) { connectortest.SettingsTable(t, Open, "../README.md") }

// does is what becomes of records, in the words of the README's table.
func does(f *failure.Error) string {
	if f == nil {
		return "delivered"
	}
	return map[failure.Kind]string{
		failure.Transient: "retry", failure.Throttled: "retry", failure.Unauthorized: "held", failure.Misconfigured: "held",
		failure.TooLarge: "split", failure.Rejected: "rejected", failure.Unprocessed: "sent again",
	}[f.Kind]
}

// TestAnswerTable compares the README's table with what the code does.
func TestAnswerTable(t *testing.T) {
	var rows [][]string
	row := func(status, code, does string) { rows = append(rows, []string{status, code, does}) }
	row("2xx", "–", "by items")
	row("2xx, not understood", "–", does(failure.Of(answered(t, 1, 200, `{}`))))
	for _, test := range []struct {
		status string
		codes  []int
	}{
		{"3xx", []int{301, 302, 307, 308}},
		{"400", []int{400}},
		{"401", []int{401}},
		{"403", []int{403}},
		{"404, 405, 406, 410, 415", []int{404, 405, 406, 410, 415}},
		{"413", []int{413}},
		{"422", []int{422}},
		{"429", []int{429}},
		{"408, 5xx", []int{408, 500, 501, 502, 503, 504}},
		{"any other", []int{402, 412, 418}},
	} {
		var all []string
		for _, code := range test.codes {
			all = append(all, does(failure.Of(answered(t, 1, code, ``))))
		}
		row(test.status, "–", strings.Join(slices.Compact(all), "/"))
	}
	item := func(status int, op, more string) string {
		p := panel{of: 1}
		readItems(fmt.Appendf(nil, `{"errors":true,"items":[{%q:{"status":%d%s}}]}`, op, status, more), &p)
		if p.verdicts == nil {
			return does(nil)
		}
		return does(failure.Of(p.verdicts[0]))
	}
	row("item 200, 201", "–", item(201, opIndex, ``))
	row("item 201", "`failure_store: used`", item(201, opIndex, `,"failure_store":"used"`))
	row("item 409 to create", "–", item(409, opCreate, `,"error":{"type":"version_conflict_engine_exception"}`))
	row("item 409 to index", "–", item(409, opIndex, `,"error":{"type":"version_conflict_engine_exception"}`))
	row("item 401, 403", "–", item(403, opIndex, ``))
	row("item 404", "–", item(404, opIndex, ``))
	row("item 429", "–", item(429, opIndex, ``))
	row("item 5xx", "–", item(503, opIndex, ``))
	for _, m := range meanings {
		text := fmt.Sprintf("`%s`", m.code)
		if m.code == "" {
			text = "any"
		}
		if m.words != "" {
			text += ": " + m.words
		}
		row("item or request 400", text, item(400, opIndex, fmt.Sprintf(`,"error":{"type":%q,"reason":"a %s b"}`, m.code, m.words)))
	}
	row("item 400", "any other", item(400, opIndex, `,"error":{"type":"document_parsing_exception","reason":"r"}`))
	connectortest.AnswerTable(t, "../README.md", rows)
}
