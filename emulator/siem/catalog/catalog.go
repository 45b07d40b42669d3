// Package catalog lists the simulated SIEMs with what the emulator needs to know of each. A connector of the list in
// shared/connectors has its simulator here and its script in scripts.go.
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
	"github.com/arbitex/siem-connectors/shared/connectors"
)

// SIEM is an entry of the list.
type SIEM struct {
	connectors.Connector

	// New starts the simulator.
	New func(siem.Options) (siem.Simulator, error)
	// Key identifies an event in a SIEM whose wire format does not carry the whole event: events with one key are equal there.
	// nil: Accepted.Event holds the event.
	Key func(event []byte) string
	// Took returns the key of an accepted event; nil together with Key.
	Took func(siem.Accepted) string
	// Script is the sequence of failures in the demo.
	Script []Act
}

// Parameter returns the template's parameter that deploys the connector.
func (s SIEM) Parameter() string { return "Enable" + s.ID }

// Function returns the logical id of the connector's function.
func (s SIEM) Function() string { return s.ID + "Function" }

// Queue returns the logical id of its queue.
func (s SIEM) Queue() string { return s.ID + "Queue" }

// Secret returns the logical id of its secret.
func (s SIEM) Secret() string { return s.ID + "Secret" }

// Deploy splits a simulator's settings into parameters of the template and variables of the function's environment. A
// connector's variable has a parameter with its name in the template's spelling: SPLUNK_HEC_URL is SplunkHecUrl.
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

// List returns the SIEMs in the order of connectors.All.
func List() []SIEM {
	simulators := map[string]SIEM{
		"splunk":   {New: simulator(splunk.New), Script: splunkScript()},
		"sentinel": {New: simulator(sentinel.New), Script: sentinelScript()},
		"elastic":  {New: simulator(elastic.New), Script: elasticScript()},
		"datadog":  {New: simulator(datadog.New), Script: datadogScript()},
		"sumo":     {New: simulator(sumo.New), Script: sumoScript()},
		"qradar":   {New: simulator(qradar.New), Key: cefOfEvent, Took: cefOfMessage, Script: qradarScript()},
		"xsiam":    {New: simulator(xsiam.New), Script: xsiamScript()},
	}
	var all []SIEM
	for _, c := range connectors.All() {
		s := simulators[c.Name]
		s.Connector = c
		all = append(all, s)
	}
	return all
}

// simulator converts the constructor of a simulator.
func simulator[S siem.Simulator](open func(siem.Options) (S, error)) func(siem.Options) (siem.Simulator, error) {
	return func(o siem.Options) (siem.Simulator, error) { return open(o) }
}
