package telemetry_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/shared/telemetry"
)

func TestWrite(t *testing.T) {
	now := time.UnixMilli(1741824000123)
	var out bytes.Buffer
	if err := telemetry.Write(&out, now, `my"stack`, "splunk",
		telemetry.Value{Name: "Received", Unit: telemetry.Count, Number: 0},
		telemetry.Value{Name: "Retried", Unit: telemetry.Count, Number: 0},
		telemetry.Value{Name: "BytesSent", Unit: telemetry.Bytes, Number: 1e15},
		telemetry.Value{Name: "Held", Unit: telemetry.Count, Number: 2},
	); err != nil {
		t.Fatal(err)
	}
	const want = `{"_aws":{"Timestamp":1741824000123,"CloudWatchMetrics":[{"Namespace":"ArbitexSIEM",` +
		`"Dimensions":[["Stack","Connector"]],` +
		`"Metrics":[{"Name":"Received","Unit":"Count"},{"Name":"BytesSent","Unit":"Bytes"},{"Name":"Held",` +
		`"Unit":"Count"}]}]},` +
		`"Stack":"my\"stack","Connector":"splunk","Received":0,"BytesSent":1000000000000000,"Held":2}` + "\n"
	if out.String() != want {
		t.Errorf("wrote %s\nwant  %s", out.String(), want)
	}
}

func TestWriteNothing(t *testing.T) {
	var out bytes.Buffer
	if err := telemetry.Write(&out, time.Now(), "s", "c",
		telemetry.Value{Name: "Replayed", Unit: telemetry.Count}); err != nil || out.Len() != 0 {
		t.Errorf("only a zero: wrote %q, %v, want nothing", out.String(), err)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("broken") }

func TestWriteFails(t *testing.T) {
	if err := telemetry.Write(brokenWriter{}, time.Now(), "s", "c",
		telemetry.Value{Name: "Received", Unit: telemetry.Count}); err == nil {
		t.Error("a failed write is not reported")
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
