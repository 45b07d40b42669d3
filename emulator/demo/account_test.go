package demo

import (
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/catalog"
	"github.com/arbitex/siem-connectors/emulator/system"
	"github.com/arbitex/siem-connectors/shared/connectors"
)

// violator is a SIEM that took what the wire format forbids.
type violator struct{ siem.Simulator }

func (violator) Stats() siem.Stats { return siem.Stats{Violations: []string{"no channel"}} }

func TestComplainNamesViolationsAndAlteredEvents(t *testing.T) {
	s, out, _ := testScreen(ScreenChoice{})
	l := books(one)
	took(l, `{"metadata":{"uid":"1"},"n":1.5}`)
	splunk := &system.SIEM{SIEM: catalog.SIEM{Connector: connectors.Connector{Name: "splunk"}}, Simulator: violator{}}
	d := &demo{screen: s, actors: []*actor{{SIEM: splunk, ledger: l}}}
	if d.complain() {
		t.Error("a violation was not reported")
	}
	for _, want := range []string{"splunk: no channel", "never enqueued", `\"n\":1.5`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q does not say %q", out.String(), want)
		}
	}
}
