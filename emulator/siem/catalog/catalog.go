// Package catalog lists the simulated SIEMs with the data that the emulator needs. A connector of the list in
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
	// Key identifies an event in a SIEM whose wire format does not carry the whole event: events with one key are equal
	// there. nil: Accepted.Event holds the event.
	Key func(event []byte) string
	// Took returns the key of an accepted event; nil together with Key.
	Took func(siem.Accepted) string
	// Script is the sequence of failures in the demo.
	Script []Act
}

// Function returns the logical id of the connector's function.
func (s SIEM) Function() string { return s.Name + "Function" }

// Queue returns the logical id of its queue.
func (s SIEM) Queue() string { return s.Name + "Queue" }

// Secret returns the logical id of its secret.
func (s SIEM) Secret() string { return s.Name + "Secret" }

// Parameters returns the template's parameters that deploy the connectors of these SIEMs. The emulator has no alarms,
// and so no guard.
func Parameters(list []SIEM) map[string]string {
	names := make([]string, len(list))
	for i, s := range list {
		names[i] = s.Name
	}
	return map[string]string{"Connectors": strings.Join(names, ","), "EnableGuard": "false"}
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
