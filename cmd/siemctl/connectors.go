package main

import (
	"fmt"
	"slices"
	"strings"

	datadog "github.com/arbitex/siem-connectors/functions/datadog/connector"
	elastic "github.com/arbitex/siem-connectors/functions/elastic/connector"
	qradar "github.com/arbitex/siem-connectors/functions/qradar/connector"
	sentinel "github.com/arbitex/siem-connectors/functions/sentinel/connector"
	splunk "github.com/arbitex/siem-connectors/functions/splunk/connector"
	sumo "github.com/arbitex/siem-connectors/functions/sumo/connector"
	xsiam "github.com/arbitex/siem-connectors/functions/xsiam/connector"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// connector is one connector, as the tool knows it.
type connector struct {
	name string // as in functions/<name>
	id   string // what its logical ids in template.yaml begin with
	open lambdahost.Opener
	// example is the least it can be opened with, so that events can be encoded without a configuration.
	example map[string]string
	// beside are settings that are no secrets, but are changed together with them, and so belong into the secret.
	beside []string
}

// connectors lists all of them, in the order of the documentation.
func connectors() []connector {
	return []connector{
		{name: "splunk", id: "Splunk", open: splunk.Open, example: map[string]string{
			"SPLUNK_HEC_URL": "https://splunk.example.com:8088", "SPLUNK_HEC_TOKEN": "example",
		}},
		{name: "sentinel", id: "Sentinel", open: sentinel.Open, example: map[string]string{
			"SENTINEL_TENANT_ID": "example", "SENTINEL_CLIENT_ID": "example", "SENTINEL_CLIENT_SECRET": "example",
			"SENTINEL_DCR_ENDPOINT": "https://example.ingest.monitor.azure.com", "SENTINEL_DCR_RULE_ID": "dcr-example",
			"SENTINEL_DCR_STREAM_NAME": "Custom-ArbitexAudit_CL",
		}},
		{name: "elastic", id: "Elastic", open: elastic.Open, example: map[string]string{
			"ELASTIC_URL": "https://elastic.example.com:9243", "ELASTIC_API_KEY": "ZXhhbXBsZTpleGFtcGxl",
		}},
		{name: "datadog", id: "Datadog", open: datadog.Open, example: map[string]string{"DATADOG_API_KEY": "example"}},
		{name: "sumo", id: "Sumo", open: sumo.Open, example: map[string]string{
			"SUMO_HTTP_SOURCE_URL": "https://collectors.example.com/receiver/v1/http/example",
		}},
		{name: "qradar", id: "QRadar", open: qradar.Open, beside: []string{"QRADAR_TLS_CLIENT_CERT"}, example: map[string]string{
			"QRADAR_SYSLOG_HOST": "qradar.example.com",
		}},
		{name: "xsiam", id: "XSIAM", open: xsiam.Open, beside: []string{"XSIAM_API_KEY_ID"}, example: map[string]string{
			"XSIAM_URL": "https://api-example.xsiam.paloaltonetworks.com", "XSIAM_API_KEY": "example", "XSIAM_API_KEY_ID": "1",
		}},
	}
}

// names lists what may be written for a connector.
func names() []string {
	var list []string
	for _, c := range connectors() {
		list = append(list, c.name)
	}
	return list
}

// find returns the connectors of these names, in the order of the list, all of them without a name.
func find(wanted []string) ([]connector, error) {
	var unknown []string
	for _, name := range wanted {
		if !slices.Contains(names(), name) {
			unknown = append(unknown, fmt.Sprintf("%q", name))
		}
	}
	if unknown != nil {
		return nil, usage("connector: expected one of %s, found %s", strings.Join(names(), ", "), strings.Join(unknown, ", "))
	}
	return slices.DeleteFunc(connectors(), func(c connector) bool { return len(wanted) > 0 && !slices.Contains(wanted, c.name) }), nil
}

// asked lists the settings a connector reads, the optional ones included.
func (c connector) asked() []settings.Setting {
	s := settings.New(func(string) string { return "" }, nil)
	c.open(s)
	return s.Asked()
}
