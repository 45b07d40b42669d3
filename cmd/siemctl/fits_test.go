package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/shared/event"
)

// TestFits: an event that a SIEM does not accept whole is reported, by the limit of each SIEM.
func TestFits(t *testing.T) {
	var e event.Event
	body := fmt.Appendf(nil, `{"time":1773360000000,"class_uid":6003,"metadata":{"uid":"a"},"raw":"%s"}`,
		strings.Repeat("x", 1_040_000))
	if err := new(event.Parser).Parse(body, &e); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	all := fits(allConnectors(), func(string) string { return "" })
	for i := range all {
		f := &all[i]
		problem := f.take(&e)
		got[f.Connector] = fmt.Sprintf("%d fit, %d truncated, %d rejected", f.Encoded, f.Truncated, f.Rejected)
		if (problem != "") != (f.Rejected == 1) || f.Rejected == 1 && !strings.Contains(problem, "1000000") {
			t.Errorf("%s: %q", f.Connector, problem)
		}
	}
	const whole, short, dead = "1 fit, 0 truncated, 0 rejected", "1 fit, 1 truncated, 0 rejected",
		"0 fit, 0 truncated, 1 rejected"
	for name, want := range map[string]string{
		"splunk": whole, "sentinel": short, "elastic": whole, "datadog": short, "sumo": dead, "qradar": whole, "xsiam": whole,
	} {
		if got[name] != want {
			t.Errorf("%s: %s, want %s", name, got[name], want)
		}
	}
	if empty := all[1].Empty; empty["ModelId"] != 1 || empty["TimeGenerated"] != 0 {
		t.Errorf("sentinel's empty columns: %v", empty)
	}
}
