package telemetry_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/shared/telemetry"
)

func TestWrite(t *testing.T) {
	now := time.UnixMilli(1741824000123)
	var out bytes.Buffer
	telemetry.Write(&out, now, `my"stack`, "splunk",
		telemetry.Value{Name: "Received", Unit: telemetry.Count, Number: 0},
		telemetry.Value{Name: "Retried", Unit: telemetry.Count, Number: 0},
		telemetry.Value{Name: "BytesSent", Unit: telemetry.Bytes, Number: 1e15},
		telemetry.Value{Name: "Held", Unit: telemetry.Count, Number: 2},
	)
	const want = `{"_aws":{"Timestamp":1741824000123,"CloudWatchMetrics":[{"Namespace":"ArbitexSIEM",` +
		`"Dimensions":[["Stack","Connector"]],` +
		`"Metrics":[{"Name":"Received","Unit":"Count"},{"Name":"BytesSent","Unit":"Bytes"},{"Name":"Held",` +
		`"Unit":"Count"}]}]},` +
		`"Stack":"my\"stack","Connector":"splunk","Received":0,"BytesSent":1000000000000000,"Held":2}` + "\n"
	telemetry.Write(&out, now, "s", "c", telemetry.Counted("Replayed", 0)) // writes nothing
	if out.String() != want {
		t.Errorf("wrote %s\nwant  %s", out.String(), want)
	}
}

func TestMeter(t *testing.T) {
	var m telemetry.Meter
	m.Add(5)
	m.Add(7)
	if m.Requests != 2 || m.Bytes != 12 {
		t.Errorf("%+v, want 2 requests and 12 bytes", m)
	}
	(*telemetry.Meter)(nil).Add(1)
	(*telemetry.Meter)(nil).AddBackpressure()
}
