// Package splunk delivers events to a HEC that is not ours: the OpenTelemetry Collector's splunkhecreceiver, which is
// made to take what real forwarders send. What it understood of a request is compared with the events that went in.
//
// It is not Splunk in three ways that matter here: it holds numbers as 64-bit floats, so that events are compared as
// values and not as bytes; it looks at no token; its refusals do not say which event is at fault.
// https://github.com/open-telemetry/opentelemetry-collector-contrib/tree/main/receiver/splunkhecreceiver
package splunk

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net"
	"reflect"
	"testing"

	"github.com/open-telemetry/opentelemetry-collector-contrib/receiver/splunkhecreceiver"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configtls"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/receiver/receivertest"

	splunk "github.com/arbitex/siem-connectors/functions/splunk/connector"
	"github.com/arbitex/siem-connectors/internal/pki"
	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/failure"
)

const token = "11111111-2222-3333-4444-555555555555"

// collect starts a receiver with TLS that hands what it takes to next. It returns the settings to find and trust it.
func collect(t *testing.T, next consumer.Logs) map[string]string {
	t.Helper()
	authority := pki.New("test CA")
	certificate := authority.Server("127.0.0.1")
	address := freeAddress(t)
	for tries := 1; ; tries++ {
		err := start(t, address, certificate, next)
		if err == nil {
			break
		}
		if tries == 5 {
			t.Fatal(err)
		}
		address = freeAddress(t) // somebody else was quicker
	}
	return map[string]string{
		"SPLUNK_HEC_URL": "https://" + address, "SPLUNK_HEC_TLS_CA_BUNDLE": authority.PEM(), "SPLUNK_HEC_TOKEN": token,
		"SPLUNK_HEC_INDEX": "audit", "SPLUNK_HEC_SOURCE": `a "source"`, "SPLUNK_HEC_SOURCETYPE": "arbitex:audit",
		"SIEM_HOST": "gateway-1",
	}
}

// start starts a receiver on an address; it ends with the test.
func start(t *testing.T, address string, certificate pki.Certificate, next consumer.Logs) error {
	t.Helper()
	factory := splunkhecreceiver.NewFactory()
	cfg, ok := factory.CreateDefaultConfig().(*splunkhecreceiver.Config)
	if !ok {
		t.Fatalf("the receiver's configuration is a %T", factory.CreateDefaultConfig())
	}
	cfg.NetAddr.Endpoint = address
	cfg.AccessTokenPassthrough = true // or nothing would show whether it read the token
	secure := configtls.NewDefaultServerConfig()
	secure.CertPem, secure.KeyPem = configopaque.String(certificate.CertPEM), configopaque.String(certificate.KeyPEM)
	cfg.TLS = configoptional.Some(secure)
	receiver, err := factory.CreateLogs(t.Context(), receivertest.NewNopSettings(factory.Type()), cfg, next)
	if err != nil {
		t.Fatal(err)
	}
	if err := receiver.Start(t.Context(), componenttest.NewNopHost()); err != nil {
		return err
	}
	t.Cleanup(func() {
		if err := receiver.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return nil
}

// freeAddress is one that the receiver can listen on: it does not tell which port it was given for port 0.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// received lists the records in the order of their arrival, and checks what they say of their origin.
func received(t *testing.T, sink *consumertest.LogsSink) []plog.LogRecord {
	t.Helper()
	want := map[string]any{
		"host.name": "gateway-1", "com.splunk.source": `a "source"`, "com.splunk.sourcetype": "arbitex:audit",
		"com.splunk.index": "audit", "com.splunk.hec.access_token": token,
	}
	var all []plog.LogRecord
	for _, logs := range sink.AllLogs() {
		for _, resource := range logs.ResourceLogs().All() {
			if got := resource.Resource().Attributes().AsRaw(); !reflect.DeepEqual(got, want) {
				t.Errorf("origin %v, want %v", got, want)
			}
			for _, scope := range resource.ScopeLogs().All() {
				for _, record := range scope.LogRecords().All() {
					all = append(all, record)
				}
			}
		}
	}
	return all
}

// TestReceiverTakesEveryEvent delivers more events than one request holds.
func TestReceiverTakesEveryEvent(t *testing.T) {
	for _, compression := range []string{"gzip", "none"} {
		t.Run(compression, func(t *testing.T) {
			sink := new(consumertest.LogsSink)
			env := collect(t, sink)
			env["SIEM_COMPRESSION"] = compression
			bodies := connectortest.Generated(7, 1200)
			connectortest.Delivered(t, connectortest.Read(t, env, splunk.Open), bodies...)
			if n := len(sink.AllLogs()); n < 2 {
				t.Errorf("%d requests, want more", n)
			}
			records := received(t, sink)
			if len(records) != len(bodies) {
				t.Fatalf("it has %d of %d events", len(records), len(bodies))
			}
			for i, body := range bodies {
				compare(t, i, body, records[i])
			}
		})
	}
}

// compare wants a record to be the event: its time to the millisecond, and every value in it.
func compare(t *testing.T, i int, body string, record plog.LogRecord) {
	t.Helper()
	var want map[string]any
	if err := json.Unmarshal([]byte(body), &want); err != nil {
		t.Fatal(err)
	}
	// A float holds a time of today to a quarter of a microsecond.
	if ms := math.Round(float64(record.Timestamp()) / 1e6); ms != want["time"] {
		t.Errorf("event %d: time %.0f, want %.0f", i, ms, want["time"])
	}
	if got := record.Body().AsRaw(); !reflect.DeepEqual(got, any(want)) {
		t.Errorf("event %d: arrived as %v, want %v", i, got, want)
	}
}

// TestReceiverFails: the consumer behind the receiver refuses events once. The receiver responds with a 500 that is not
// in HEC's format.
func TestReceiverFails(t *testing.T) {
	env := collect(t, consumertest.NewErr(errors.New("the queue is full")))
	c := connectortest.Read(t, env, splunk.Open)
	for i, o := range connectortest.Deliver(t, c, connectortest.Generated(8, 3)...) {
		if o.State != deliver.Retry || o.Fault.Kind != failure.Transient || o.Fault.Status != 500 {
			t.Errorf("event %d: %v, want a retry for status 500", i, o.Fault)
		}
	}
}

// TestCheckWritesNothing: the check succeeds, with and without compression, and no event arrives.
func TestCheckWritesNothing(t *testing.T) {
	for _, compression := range []string{"gzip", "none"} {
		sink := new(consumertest.LogsSink)
		env := collect(t, sink)
		env["SIEM_COMPRESSION"] = compression
		c, ok := connectortest.Read(t, env, splunk.Open).(deliver.Checker)
		if !ok {
			t.Fatal("no check")
		}
		if err := c.Check(t.Context()); err != nil {
			t.Errorf("%s: %v", compression, err)
		}
		if n := sink.LogRecordCount(); n != 0 {
			t.Errorf("%s: the check wrote %d events", compression, n)
		}
	}
}
