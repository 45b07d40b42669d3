// Package all is the list of the simulated SIEMs, with what the local system has to know of each. To add one, write a line in
// [List] and a script in scripts.go.
package catalog

import (
	"strings"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/datadog"
	"github.com/arbitex/siem-connectors/emulator/siem/elastic"
	"github.com/arbitex/siem-connectors/emulator/siem/qradar"
	"github.com/arbitex/siem-connectors/emulator/siem/sentinel"
	"github.com/arbitex/siem-connectors/emulator/siem/splunk"
	"github.com/arbitex/siem-connectors/emulator/siem/sumo"
	"github.com/arbitex/siem-connectors/emulator/siem/xsiam"
)

// SIEM is one entry.
type SIEM struct {
	Name  string // the connector's name, as in functions/<name>
	Title string // the product's
	ID    string // what its logical ids in template.yaml begin with

	// New starts the simulator.
	New func(siem.Options) (siem.Simulator, error)
	// Key is what tells an event apart in this SIEM where the wire format does not carry it whole: two events of one key are
	// the same there. nil when Accepted.Event holds the event's own bytes.
	Key func(event []byte) string
	// Took is the same of an event the SIEM took; nil with Key.
	Took func(siem.Accepted) string
	// Script is how it fails in the demo, in order of time.
	Script []Act
}

// Parameter is the template's parameter that deploys the connector.
func (s SIEM) Parameter() string { return "Enable" + s.ID }

// Function is the logical id of the connector's function.
func (s SIEM) Function() string { return s.ID + "Function" }

// Queue is the logical id of its queue.
func (s SIEM) Queue() string { return s.ID + "Queue" }

// Secret is the logical id of its secret.
func (s SIEM) Secret() string { return s.ID + "Secret" }

// Deploy splits a simulator's settings into what the template has a parameter for and what is left for the function's
// environment. A connector's variable has the parameter of its own name in the template's spelling: SPLUNK_HEC_URL is
// SplunkHecUrl.
func (s SIEM) Deploy(settings map[string]string) (parameters, environment map[string]string) {
	parameters, environment = map[string]string{s.Parameter(): "true"}, map[string]string{}
	for variable, value := range settings {
		words, ok := strings.CutPrefix(variable, strings.ToUpper(s.ID)+"_")
		if !ok {
			environment[variable] = value
			continue
		}
		parts := strings.Split(words, "_")
		for i, word := range parts {
			parts[i] = word[:1] + strings.ToLower(word[1:])
		}
		parameters[s.ID+strings.Join(parts, "")] = value
	}
	return parameters, environment
}

// List is all of them, in the order in which they are shown.
func List() []SIEM {
	return []SIEM{
		{Name: "splunk", Title: "Splunk HEC", ID: "Splunk", New: simulator(splunk.New), Script: splunkScript()},
		{Name: "sentinel", Title: "Microsoft Sentinel", ID: "Sentinel", New: simulator(sentinel.New), Script: sentinelScript()},
		{Name: "elastic", Title: "Elastic Security", ID: "Elastic", New: simulator(elastic.New), Script: elasticScript()},
		{Name: "datadog", Title: "Datadog", ID: "Datadog", New: simulator(datadog.New), Script: datadogScript()},
		{Name: "sumo", Title: "Sumo Logic", ID: "Sumo", New: simulator(sumo.New), Script: sumoScript()},
		{Name: "qradar", Title: "IBM QRadar", ID: "QRadar", New: simulator(qradar.New), Key: cefOfEvent, Took: cefOfMessage, Script: qradarScript()},
		{Name: "xsiam", Title: "Cortex XSIAM", ID: "XSIAM", New: simulator(xsiam.New), Script: xsiamScript()},
	}
}

// simulator makes a constructor of the interface out of one of the type.
func simulator[S siem.Simulator](open func(siem.Options) (S, error)) func(siem.Options) (siem.Simulator, error) {
	return func(o siem.Options) (siem.Simulator, error) { return open(o) }
}
