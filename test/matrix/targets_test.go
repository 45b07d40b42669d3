package matrix

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/shared/connectors"
)

// The secrets. Only the SIEM and the proxy may see them.
const (
	canary      = "c4n4ry-s3cr3t-value"
	tokenCanary = "c4n4ry-dG9rZW4tMQ.x7Qp"
	proxyCanary = "c4n4ry-pr0xy-pw"
)

// tokenPath is the path of Sentinel's token endpoint.
const tokenPath = "/tenant/oauth2"

// maxEvents is the maximum number of events of a cell.
const maxEvents = 64

// longName makes an event's message for QRadar nearly as long as it may be.
var longName = strings.Repeat("x", 3500)

func eventID(i int) string { return fmt.Sprintf("event-%02d-of-the-matrix", i) }

// eventBody is an OCSF event. filler makes it larger in the format of every SIEM.
func eventBody(i int, filler string) string {
	return fmt.Sprintf(`{"class_uid":6003,"time":1741824000123,"severity_id":1,"metadata":{"uid":%q,"version":"1.1.0"},`+
		`"actor":{"user":{"uid":%q}},"api":{"operation":"chat%s","request":{"uid":"r%d"}}}`,
		eventID(i), eventID(i), filler, i)
}

// target is a connector: its settings, and the responses of its SIEM.
type target struct {
	name   string
	title  string
	url    string // setting of the URL, or of the host
	path   string // of the URL
	ca     string // setting of a CA bundle; "" means SSL_CERT_FILE
	secret string // setting of the credential
	syslog bool   // a syslog receiver; else an HTTP API
	large  bool   // a request is up to 5 MB, which is more than the kernel's buffers hold
	env    map[string]string

	success func(*request) (status int, body string)
	refusal string                // body of a 400 about an event, in the SIEM's own error format
	accepts []string              // the rows of successRows whose responses confirm acceptance
	rows    func() []row          // the SIEM's own responses
	records func(body []byte) int // counts the events of a request; negative if it is invalid
}

func always(status int, body string) func(*request) (int, string) {
	return func(*request) (int, string) { return status, body }
}

// table has one entry per connector.
func table() map[string]*target {
	return map[string]*target{
		"splunk": {
			url: "SPLUNK_HEC_URL", ca: "SPLUNK_HEC_TLS_CA_BUNDLE", secret: "SPLUNK_HEC_TOKEN",
			success: always(http.StatusOK, `{"text":"Success","code":0}`),
			refusal: `{"text":"Invalid data format","code":6}`, rows: splunkRows, records: jsonLines,
		},
		"sentinel": {
			url: "SENTINEL_DCR_ENDPOINT", secret: "SENTINEL_CLIENT_SECRET", success: always(http.StatusNoContent, ""),
			env: map[string]string{
				"SENTINEL_TENANT_ID": "tenant", "SENTINEL_CLIENT_ID": "client",
				"SENTINEL_DCR_RULE_ID": "dcr-1", "SENTINEL_DCR_STREAM_NAME": "Custom-A",
			},
			refusal: `{"error":{"code":"InvalidPayload","message":"Invalid data format"}}`,
			accepts: []string{"200, empty", "202, empty", "204", "200, another product's JSON", "200, a JSON array"},
			rows:    sentinelRows, records: jsonArray,
		},
		"elastic": {
			url: "ELASTIC_URL", ca: "ELASTIC_TLS_CA_BUNDLE", secret: "ELASTIC_API_KEY", large: true, success: bulk,
			refusal: `{"error":{"type":"parse_exception","reason":"Invalid data format"},"status":400}`, rows: elasticRows,
			records: bulkActions,
		},
		"datadog": {
			url: "DATADOG_INTAKE_URL", secret: "DATADOG_API_KEY", large: true, success: always(http.StatusAccepted, `{}`),
			refusal: `{"errors":[{"status":"400","title":"Bad Request","detail":"Invalid data format"}]}`,
			accepts: []string{"200, empty", "202, empty", "204", "200, another product's JSON", "200, JSON with `error`"},
			rows:    datadogRows, records: jsonArray,
		},
		"sumo": {
			url: "SUMO_HTTP_SOURCE_URL", path: "/receiver/v1/http/" + canary, success: always(http.StatusOK, ""),
			refusal: `{"id":"X","code":"malformed","status":400,"message":"Invalid data format"}`,
			accepts: []string{"200, empty", "200, another product's JSON", "200, JSON with `error`", "200, a JSON array"},
			rows:    sumoRows, records: jsonLines,
		},
		"qradar": {url: "QRADAR_SYSLOG_HOST", ca: "QRADAR_TLS_CA_BUNDLE", syslog: true},
		"xsiam": {
			url: "XSIAM_URL", secret: "XSIAM_API_KEY", success: always(http.StatusOK, `{"error":"false"}`),
			env:     map[string]string{"XSIAM_API_KEY_ID": "7"},
			refusal: `{"error":"Invalid data format"}`,
			accepts: []string{"200, empty", "202, empty", "204", "200, another product's JSON", "200, a JSON array"},
			rows:    xsiamRows, records: envelope,
		},
	}
}

// targets returns the connectors in the order of the documentation.
func targets(t *testing.T) []*target {
	t.Helper()
	byName := table()
	var all []*target
	for _, c := range connectors.All() {
		entry := byName[c.Name]
		if entry == nil {
			t.Fatalf("test/matrix/targets_test.go: table has no entry for the connector %q", c.Name)
		}
		entry.name, entry.title = c.Name, c.Title
		if !entry.syslog && (entry.success == nil || entry.refusal == "" || entry.rows == nil || entry.records == nil) {
			t.Fatalf("test/matrix/targets_test.go: the entry of %q lacks success, refusal, rows or records", c.Name)
		}
		all = append(all, entry)
	}
	return all
}

// bulk is Elasticsearch's response if it accepted every document.
func bulk(q *request) (int, string) { return http.StatusOK, items(q, "", nil) }

// items is a bulk response. The items of others have the given error, in the form "400 error_type reason…".
func items(q *request, flag string, others map[string]string) string {
	action := "index"
	if strings.Contains(string(q.body), `{"create":`) {
		action = "create"
	}
	var list []string
	failed := "false"
	for _, id := range q.ids {
		item := `"status":201`
		if other, ok := others[id]; ok {
			failed = "true"
			fields := strings.SplitN(other, " ", 3)
			reason, _ := json.Marshal(fields[2])
			item = fmt.Sprintf(`"status":%s,"error":{"type":%q,"reason":%s}`, fields[0], fields[1], reason)
		}
		list = append(list, fmt.Sprintf(`{%q:{"_index":"arbitex-audit","_id":%q,%s}}`, action, id, item))
	}
	if flag == "" {
		flag = failed
	}
	return `{"took":1,"errors":` + flag + `,"items":[` + strings.Join(list, ",") + `]}`
}

// secretText is the text of the function's secret.
func (c *target) secretText(url, proxy string) string {
	values := map[string]string{"SIEM_HOST": "matrix.example"}
	switch {
	case c.secret != "":
		values[c.secret] = canary
	case !c.syslog: // the URL is the credential
		values[c.url] = url + c.path
	}
	if proxy != "" {
		values["HTTPS_PROXY"] = proxy
	}
	text, _ := json.Marshal(values) // strings always marshal
	return string(text)
}
