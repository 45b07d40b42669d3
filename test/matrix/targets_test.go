package matrix

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// The secrets, which must show nowhere but on the wire to the SIEM.
const (
	canary      = "c4n4ry-s3cr3t-value"
	tokenCanary = "c4n4ry-access-token"
)

// tokenPath is where Sentinel's access tokens come from.
const tokenPath = "/tenant/oauth2"

// maxEvents is how many events a cell may have.
const maxEvents = 64

// longName makes an event's message for QRadar nearly as long as it may be.
var longName = strings.Repeat("x", 3500)

func eventID(i int) string { return fmt.Sprintf("event-%02d-of-the-matrix", i) }

// eventBody is an OCSF event. filler makes it larger where every SIEM's format carries it.
func eventBody(i int, filler string) string {
	return fmt.Sprintf(`{"class_uid":6003,"time":1741824000123,"severity_id":1,"metadata":{"uid":%q,"version":"1.1.0"},`+
		`"actor":{"user":{"uid":%q}},"api":{"operation":"chat%s","request":{"uid":"r%d"}}}`, eventID(i), eventID(i), filler, i)
}

// target is a connector, with what its SIEM says when all is well.
type target struct {
	name    string
	url     string // the variable of its address, or of its host
	path    string // behind the address
	ca      string // the variable of a CA bundle; "" is SSL_CERT_FILE
	secret  string // the variable of its secret
	env     map[string]string
	success func(*exchange) (status int, text string)
}

func always(status int, text string) func(*exchange) (int, string) {
	return func(*exchange) (int, string) { return status, text }
}

// targets are the connectors in the order of the tables.
func targets() []*target {
	return []*target{
		{name: "splunk", url: "SPLUNK_HEC_URL", ca: "SPLUNK_HEC_TLS_CA_BUNDLE", secret: "SPLUNK_HEC_TOKEN", success: always(http.StatusOK, `{"text":"Success","code":0}`)},
		{name: "sentinel", url: "SENTINEL_DCR_ENDPOINT", secret: "SENTINEL_CLIENT_SECRET", success: always(http.StatusNoContent, ""), env: map[string]string{
			"SENTINEL_TENANT_ID": "tenant", "SENTINEL_CLIENT_ID": "client", "SENTINEL_DCR_RULE_ID": "dcr-1", "SENTINEL_DCR_STREAM_NAME": "Custom-A",
		}},
		{name: "elastic", url: "ELASTIC_URL", ca: "ELASTIC_TLS_CA_BUNDLE", secret: "ELASTIC_API_KEY", success: bulk},
		{name: "datadog", url: "DATADOG_INTAKE_URL", secret: "DATADOG_API_KEY", success: always(http.StatusAccepted, `{}`)},
		{name: "sumo", url: "SUMO_HTTP_SOURCE_URL", path: "/receiver/v1/http/" + canary, success: always(http.StatusOK, "")},
		{name: "qradar", url: "QRADAR_SYSLOG_HOST", ca: "QRADAR_TLS_CA_BUNDLE"},
		{name: "xsiam", url: "XSIAM_URL", secret: "XSIAM_API_KEY", success: always(http.StatusOK, `{"error":"false"}`), env: map[string]string{"XSIAM_API_KEY_ID": "7"}},
	}
}

// bulk is Elasticsearch's word that it took every document.
func bulk(e *exchange) (int, string) { return http.StatusOK, items(e, "", nil) }

// items is a bulk answer in which the items of others have what they say, as "400 error_type reason…".
func items(e *exchange, flag string, others map[string]string) string {
	action := "index"
	if strings.Contains(string(e.body), `{"create":`) {
		action = "create"
	}
	var list []string
	failed := "false"
	for _, id := range e.ids {
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

// secrets is the text of the function's secret.
func (c *target) secrets(url string) string {
	values := map[string]string{}
	switch {
	case c.name == "sumo": // its URL is the secret
		values[c.url] = url + c.path
	case c.secret != "":
		values[c.secret] = canary
	default:
		values["SIEM_HOST"] = "matrix.example"
	}
	text, _ := json.Marshal(values) // strings always marshal
	return string(text)
}
