// Package connectors is the one list of connectors. The functions, the template's tests, siemctl, the emulator, the
// test suites and the documents derive from it or are compared with it.
package connectors

import (
	"slices"
	"strings"
)

// Unknown is the connector of a dead letter whose origin cannot be determined.
const Unknown = "unknown"

// Connector is one entry of the list.
type Connector struct {
	Name  string // folder in functions/, prefix of logical ids, name in dead letters, metrics and commands
	Title string // the product's name in documents
	// RotatesWithSecret names settings that are not secret but rotate with the credential. siemctl configure asks for
	// them together.
	RotatesWithSecret []string
}

// Variable returns the environment variable of the connector with that suffix, for example SPLUNK_QUEUE_URL.
func (c Connector) Variable(suffix string) string { return strings.ToUpper(c.Name) + "_" + suffix }

// All returns the connectors in the order of the documentation.
func All() []Connector {
	return []Connector{
		{Name: "splunk", Title: "Splunk"},
		{Name: "sentinel", Title: "Microsoft Sentinel"},
		{Name: "elastic", Title: "Elastic"},
		{Name: "datadog", Title: "Datadog"},
		{Name: "sumo", Title: "Sumo Logic"},
		{Name: "qradar", Title: "IBM QRadar", RotatesWithSecret: []string{"QRADAR_TLS_CLIENT_CERT"}},
		{Name: "xsiam", Title: "Cortex XSIAM", RotatesWithSecret: []string{"XSIAM_API_KEY_ID"}},
	}
}

// Names returns the names in the order of All.
func Names() []string {
	all := All()
	names := make([]string, len(all))
	for i, c := range all {
		names[i] = c.Name
	}
	return names
}

// Known reports whether name is the name of a connector.
func Known(name string) bool { return slices.Contains(Names(), name) }
