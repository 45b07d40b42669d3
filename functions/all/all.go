// Package all opens every connector. Tools and tests use it; no deployed function imports it, so that each binary
// contains one connector only.
package all

import (
	datadog "github.com/arbitex/siem-connectors/functions/datadog/connector"
	elastic "github.com/arbitex/siem-connectors/functions/elastic/connector"
	qradar "github.com/arbitex/siem-connectors/functions/qradar/connector"
	sentinel "github.com/arbitex/siem-connectors/functions/sentinel/connector"
	splunk "github.com/arbitex/siem-connectors/functions/splunk/connector"
	sumo "github.com/arbitex/siem-connectors/functions/sumo/connector"
	xsiam "github.com/arbitex/siem-connectors/functions/xsiam/connector"
	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
)

// Connector is a connector of the list with its code.
type Connector struct {
	connectors.Connector

	Open lambdahost.OpenFunc
	// Example is the smallest valid configuration. Tools encode events with it when nothing is configured.
	Example map[string]string
}

// Connectors returns the connectors in the order of [connectors.All].
func Connectors() []Connector {
	code := map[string]Connector{
		"splunk": {Open: splunk.Open, Example: map[string]string{
			"SPLUNK_HEC_URL": "https://splunk.example.com:8088", "SPLUNK_HEC_TOKEN": "example",
		}},
		"sentinel": {Open: sentinel.Open, Example: map[string]string{
			"SENTINEL_TENANT_ID": "example", "SENTINEL_CLIENT_ID": "example", "SENTINEL_CLIENT_SECRET": "example",
			"SENTINEL_DCR_ENDPOINT": "https://example.ingest.monitor.azure.com", "SENTINEL_DCR_RULE_ID": "dcr-example",
			"SENTINEL_DCR_STREAM_NAME": "Custom-ArbitexAudit_CL",
		}},
		"elastic": {Open: elastic.Open, Example: map[string]string{
			"ELASTIC_URL": "https://elastic.example.com:9243", "ELASTIC_API_KEY": "ZXhhbXBsZTpleGFtcGxl",
		}},
		"datadog": {Open: datadog.Open, Example: map[string]string{"DATADOG_API_KEY": "example"}},
		"sumo": {Open: sumo.Open, Example: map[string]string{
			"SUMO_HTTP_SOURCE_URL": "https://collectors.example.com/receiver/v1/http/example",
		}},
		"qradar": {Open: qradar.Open, Example: map[string]string{"QRADAR_SYSLOG_HOST": "qradar.example.com"}},
		"xsiam": {Open: xsiam.Open, Example: map[string]string{
			"XSIAM_URL": "https://api-example.xsiam.paloaltonetworks.com", "XSIAM_API_KEY": "example", "XSIAM_API_KEY_ID": "1",
		}},
	}
	var all []Connector
	for _, c := range connectors.All() {
		entry := code[c.Name]
		entry.Connector = c
		all = append(all, entry)
	}
	return all
}
