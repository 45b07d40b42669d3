package connector

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/local/siem/pki"
	simulated "github.com/arbitex/siem-connectors/local/siem/qradar"
	"github.com/arbitex/siem-connectors/shared/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/fault"
)

func TestSettingsTable(t *testing.T) {
	connectortest.SettingsTable(t, Open, "../README.md")
}

// misbehave starts a TCP server that treats its connections so, and returns the settings that lead to it.
func misbehave(t *testing.T, treat func(net.Conn)) map[string]string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan bool)
	t.Cleanup(func() {
		l.Close()
		close(done)
	})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			treat(c)
			go func() {
				<-done
				c.Close()
			}()
		}
	}()
	host, port, _ := net.SplitHostPort(l.Addr().String())
	return env("QRADAR_SYSLOG_HOST", host, "QRADAR_SYSLOG_PORT", port, "SIEM_REQUEST_TIMEOUT_SECONDS", "1")
}

// nowhere returns the settings that lead to a port on which nobody listens.
func nowhere(t *testing.T, protocol string) map[string]string {
	t.Helper()
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	host, port, _ := net.SplitHostPort(l.LocalAddr().String())
	return env("QRADAR_SYSLOG_HOST", host, "QRADAR_SYSLOG_PORT", port, "QRADAR_SYSLOG_PROTOCOL", protocol)
}

// TestAnswerTable brings about every row of the README's table, and compares what became of an event with what it says.
func TestAnswerTable(t *testing.T) {
	ca, err := pki.New("another CA")
	if err != nil {
		t.Fatal(err)
	}
	overTLS := map[string]string{"QRADAR_SYSLOG_PROTOCOL": "tls", "QRADAR_TLS_CA_BUNDLE": ca.PEM()}
	secure := simulate(t, simulated.Source{Protocol: "tls"}).Settings()
	plain := simulate(t, simulated.Source{Protocol: "tcp"}).Settings()
	long := fmt.Sprintf(`{"time":1,"activity_name":%q}`, strings.Repeat("n", 5000))
	many := fmt.Sprintf(`{"time":1,"activity_name":%q}`, strings.Repeat("n", 900_000))
	var rows [][]string
	for _, c := range []struct {
		shows string
		env   map[string]string
		body  string
	}{
		{"every byte acknowledged, the connection stands", plain, connectortest.Full},
		{"udp: sent", simulate(t, simulated.Source{Protocol: "udp"}).Settings(), connectortest.Full},
		{"the name does not resolve", env("QRADAR_SYSLOG_HOST", "qradar.invalid"), connectortest.Full},
		{"connection refused", nowhere(t, "tcp"), connectortest.Full},
		{"QRadar's certificate cannot be verified", with(secure, overTLS), connectortest.Full},
		{"QRadar refuses the client certificate, or its absence", simulate(t, simulated.Source{Protocol: "tls", Mutual: true}).Settings(), connectortest.Full},
		{"what listens there does not speak TLS", with(misbehave(t, func(c net.Conn) { _, _ = c.Write([]byte("220 at your service\r\n")) }), overTLS), connectortest.Full},
		{"the TLS handshake does not end", with(misbehave(t, func(net.Conn) {}), overTLS), connectortest.Full},
		{"closed or reset before the batch is confirmed", misbehave(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1))
			c.Close()
		}), connectortest.Full},
		{"not acknowledged in time", with(misbehave(t, func(c net.Conn) { _ = c.(*net.TCPConn).SetReadBuffer(4 << 10) }),
			map[string]string{"QRADAR_MAX_MESSAGE_BYTES": "1000000"}), many},
		{"udp: the port is unreachable", nowhere(t, "udp"), connectortest.Full},
		{"a message over the limit", plain, long},
	} {
		o := connectortest.Deliver(t, open(t, c.env), c.body)[0]
		rows = append(rows, append([]string{c.shows}, outcome(o)...))
	}
	connectortest.AnswerTable(t, "../README.md", rows)
}

// outcome says in the table's words at which step an event stopped, and what becomes of it.
func outcome(o deliver.Outcome) []string {
	step := "–"
	if o.Fault != nil && o.Fault.Step != "" {
		step = string(o.Fault.Step)
	}
	switch {
	case o.State == deliver.Delivered:
		return []string{step, "delivered"}
	case o.State == deliver.Rejected:
		return []string{step, "rejected"}
	case o.Fault.Kind == fault.Held || o.Fault.Kind == fault.Denied:
		return []string{step, "held"}
	}
	return []string{step, "retry"}
}
