package connector

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/httpsend"
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

func suite() connectortest.Suite {
	return connectortest.Suite{
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
	}
}

func TestConformance(t *testing.T) { connectortest.Run(t, suite()) }

// TestConformanceWithoutItems: Elasticsearch, or a proxy, refuses a whole request because of one event.
func TestConformanceWithoutItems(t *testing.T) {
	s := suite()
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
	s := suite()
	withURL := s.Settings
	s.Settings = func(url, ca string) map[string]string {
		env := withURL(url, ca)
		env["ELASTIC_OP_TYPE"] = "create"
		return env
	}
	connectortest.Run(t, s)
}

func TestSettingsTable(t *testing.T) { connectortest.SettingsTable(t, Open, "../README.md") }

// TestResponseTable compares the README's table with what the code does.
func TestResponseTable(t *testing.T) {
	refusal := func(code string) string { return fmt.Sprintf(`{"error":{"type":%q,"reason":"r"},"status":400}`, code) }
	item := func(status int, op, more string) string {
		return fmt.Sprintf(`{"errors":%t,"items":[{%q:{"status":%d%s}}]}`, status > 299, op, status, more)
	}
	failed := func(status int, code, words string) string {
		return item(status, opIndex, fmt.Sprintf(`,"error":{"type":%q,"reason":"%s b"}`, code, words))
	}
	rows := []connectortest.Row{
		{Status: "2xx", Code: "by item", Is: 200, Body: item(201, opIndex, "")},
		{Status: "400, 422", Code: "any other", Is: 400, Body: refusal("parsing_exception")},
		{Status: "item 200, 201", Code: "–", Is: 200, Body: item(201, opIndex, "")},
		{Status: "item 201", Code: "`failure_store: used`", Is: 200, Body: item(201, opIndex, `,"failure_store":"used"`)},
		{Status: "item 409 to create", Code: "–", Is: 200, Body: item(409, opCreate,
			`,"error":{"type":"version_conflict_engine_exception"}`)},
		{Status: "item 409 to index", Code: "–", Is: 200,
			Body: item(409, opIndex, `,"error":{"type":"version_conflict_engine_exception"}`)},
		{Status: "item 401, 403, 404", Code: "–", Is: 200, Body: failed(401, "security_exception", "")},
		{Status: "item 401, 403, 404", Code: "–", Is: 200, Body: failed(403, "security_exception", "")},
		{Status: "item 401, 403, 404", Code: "–", Is: 200, Body: failed(404, "index_not_found_exception", "")},
		{Status: "item 429, 5xx", Code: "–", Is: 200, Body: failed(429, "es_rejected_execution_exception", "")},
		{Status: "item 429, 5xx", Code: "–", Is: 200, Body: failed(503, "unavailable_shards_exception", "")},
		{Status: "item 400", Code: "`illegal_argument_exception`: only write ops with an op_type of create", Is: 200,
			Body: failed(400, illegal, "only write ops with an op_type of create")},
	}
	const unusable = "`invalid_index_name_exception`, `index_closed_exception`, `index_not_found_exception`, " +
		"`validation_exception`"
	for _, r := range commonRows {
		code := "`" + r.Code + "`"
		switch {
		case r.Code == illegal:
			code += ", by its words"
		case r.Code == "":
			code = "any: " + r.Words
		case r.Status == http.StatusBadRequest && strings.Contains(unusable, code):
			code = unusable
		}
		rows = append(rows, connectortest.Row{Status: fmt.Sprintf("item or request %d", r.Status), Code: code, Is: 200,
			Body: failed(r.Status, cmp.Or(r.Code, "x"), r.Words)})
	}
	rows = append(rows, connectortest.Row{Status: "item 400", Code: "any other", Is: 200,
		Body: failed(400, "document_parsing_exception", "")})
	connectortest.ResponseTable(t, "../README.md", func(a *httpsend.Response) error { return classify(a, 1).err }, rows)
}
