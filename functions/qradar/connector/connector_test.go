package connector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
	simulated "github.com/arbitex/siem-connectors/emulator/siem/qradar"
	"github.com/arbitex/siem-connectors/emulator/siem/siemtest"
	"github.com/arbitex/siem-connectors/internal/pki"
	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/settings"
	"github.com/arbitex/siem-connectors/shared/syslogsend"
)

// env returns a complete configuration, changed by pairs of name and value.
func env(pairs ...string) map[string]string {
	e := map[string]string{"QRADAR_SYSLOG_HOST": "qradar.example.com"}
	for i := 0; i < len(pairs); i += 2 {
		e[pairs[i]] = pairs[i+1]
	}
	return e
}

func open(t testing.TB, e map[string]string) *connector {
	t.Helper()
	c := connectortest.Read(t, e, Open).(*connector)
	t.Cleanup(c.client.Close)
	return c
}

// with merges maps, the later over the earlier.
func with(all ...map[string]string) map[string]string {
	merged := map[string]string{}
	for _, m := range all {
		maps.Copy(merged, m)
	}
	return merged
}

// encode encodes one event, which must work.
func encode(t testing.TB, c deliver.Connector, body string) (record string, truncated bool) {
	t.Helper()
	const before = "what precedes is kept"
	b, truncated, err := c.Append([]byte(before), connectortest.Parse(t, body))
	if err != nil {
		t.Fatal(err)
	}
	record, ok := strings.CutPrefix(string(b), before)
	if !ok {
		t.Fatalf("Append changed what precedes the record: %.60q", b)
	}
	return record, truncated
}

// addressOf returns where a connector connects to.
func addressOf(t *testing.T, pairs ...string) (address string) {
	t.Helper()
	c := connectortest.Read(t, env(pairs...), func(s *settings.Settings) *connector {
		s.Dial = func(_ context.Context, network, to string) (net.Conn, error) {
			address = network + " " + to
			return nil, errors.New("no connection")
		}
		return Open(s).(*connector)
	})
	if c.Check(t.Context()) == nil {
		t.Error("the check succeeded without a connection")
	}
	return address
}

func TestAddresses(t *testing.T) {
	for want, pairs := range map[string][]string{
		"tcp qradar.example.com:514":  nil,
		"udp qradar.example.com:514":  {"QRADAR_SYSLOG_PROTOCOL", "UDP"},
		"tcp qradar.example.com:6514": {"QRADAR_SYSLOG_PROTOCOL", "tls", "QRADAR_TLS_CA_BUNDLE", pki.New("CA").PEM()},
		"tcp 10.1.2.3:99":             {"QRADAR_SYSLOG_HOST", "10.1.2.3", "QRADAR_SYSLOG_PORT", "99"},
		"tcp [::1]:514":               {"QRADAR_SYSLOG_HOST", "::1"},
		"tcp [2001:db8::7]:514":       {"QRADAR_SYSLOG_HOST", "[2001:db8::7]"},
		"tcp [fe80::1%eth0]:514":      {"QRADAR_SYSLOG_HOST", "fe80::1%eth0"},
	} {
		if got := addressOf(t, pairs...); got != want {
			t.Errorf("%q: address %s, want %s", pairs, got, want)
		}
	}
}

func TestProblem(t *testing.T) {
	for name, c := range map[string]struct {
		change []string
		want   string
	}{
		"no host": {[]string{"QRADAR_SYSLOG_HOST", ""}, "QRADAR_SYSLOG_HOST: expected the host name or address"},
		"host with a port": {[]string{"QRADAR_SYSLOG_HOST", "qradar:514"},
			`QRADAR_SYSLOG_HOST: expected the host name or address of the QRadar Console or Event Collector, ` +
				`without scheme and port, found "qradar:514"`},
		"no CA for tls": {[]string{"QRADAR_SYSLOG_PROTOCOL", "tls"},
			"QRADAR_TLS_CA_BUNDLE: expected the CA that signed QRadar's certificate"},
		"datagram limit": {[]string{"QRADAR_SYSLOG_PROTOCOL", "udp", "QRADAR_MAX_MESSAGE_BYTES", "65508"},
			"QRADAR_MAX_MESSAGE_BYTES: expected an integer from 100 to 65507"},
		"cert, not PEM": {[]string{"QRADAR_TLS_CLIENT_KEY", "-----BEGIN s3cret", "QRADAR_TLS_CLIENT_CERT", "-----BEGIN x"},
			"QRADAR_TLS_CLIENT_CERT: expected a PEM certificate"},
	} {
		s := connectortest.Settings(env(c.change...))
		Open(s)
		if err := s.Err(); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

func TestWarnings(t *testing.T) {
	s := connectortest.Settings(env("QRADAR_SYSLOG_PROTOCOL", "udp"))
	Open(s)
	if w := s.Warnings(); len(w) != 1 || !strings.Contains(w[0], "udp") {
		t.Errorf("warnings for udp: %q", w)
	}
	s = connectortest.Settings(env())
	Open(s)
	if w := s.Warnings(); syslogsend.Confirms == (len(w) > 0) {
		t.Errorf("warnings for tcp: %q", w)
	}
}

func TestConformance(t *testing.T) {
	connectortest.CheckAllocations(t, open(t, env()))
	connectortest.CheckSettings(t, Open, map[string]string{
		"QRADAR_SYSLOG_HOST": "https://qradar.example.com", "QRADAR_SYSLOG_PORT": "65536",
		"QRADAR_SYSLOG_PROTOCOL": "relp", "QRADAR_SYSLOG_FRAMING": "nul", "QRADAR_CEF_KEYS": "all",
		"QRADAR_CEF_DEVICE_VENDOR": "a\nb", "QRADAR_CEF_DEVICE_PRODUCT": "a\x00b", "QRADAR_CEF_DEVICE_VERSION": "a\rb",
		"QRADAR_MAX_MESSAGE_BYTES": "99", "QRADAR_TLS_CA_BUNDLE": "/no/such/file.pem", "QRADAR_TLS_SERVER_NAME": "a\nb",
		"SIEM_HOST": "a\nb", "SIEM_REQUEST_TIMEOUT_SECONDS": "0",
		"HTTPS_PROXY": "http://user:50%off@proxy:3128", "NO_PROXY": "[::1",
	})
}

func simulate(t *testing.T, source simulated.Source) *simulated.Simulator {
	t.Helper()
	return siemtest.Start(t, func(o siem.Options) (*simulated.Simulator, error) {
		return simulated.Start(o, source)
	}, siem.Options{})
}

// held fails when an event was delivered, or is retried for another reason than the set-up.
func held(t *testing.T, outcomes []deliver.Outcome, step failure.Step) {
	t.Helper()
	for i, o := range outcomes {
		if o.State != deliver.Retry || o.Fault.Kind != failure.Unauthorized && o.Fault.Kind != failure.Misconfigured ||
			o.Fault.Step != step {
			t.Fatalf("event %d: %+v, want it held at %s", i, o, step)
		}
	}
}

// arrived waits until the simulator has taken n events, and fails when it has not taken them whole, in order, and with
// nothing to complain of.
func arrived(t *testing.T, sim *simulated.Simulator, ids []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for len(sim.Accepted()) < len(ids) && ctx.Err() == nil {
		<-tick.C
	}
	if stats := sim.Stats(); len(stats.Violations) > 0 || len(sim.Accepted()) != len(ids) {
		t.Fatalf("%d of %d events arrived: %+v", len(sim.Accepted()), len(ids), stats)
	}
	for i, a := range sim.Accepted() {
		if a.ID != ids[i] {
			t.Fatalf("event %d is %s, want %s", i, a.ID, ids[i])
		}
	}
}

// generated makes n events, and their ids.
func generated(n int) (events, ids []string) {
	events = connectortest.Generated(1, n)
	for _, body := range events {
		ids = append(ids, siem.EventID([]byte(body)))
	}
	return events, ids
}

func TestDelivery(t *testing.T) {
	for name, source := range map[string]simulated.Source{
		"tcp, newline":               {Protocol: "tcp"},
		"tcp, octet-counted":         {Protocol: "tcp", Octets: true},
		"tls, newline":               {Protocol: "tls"},
		"tls, octet-counted":         {Protocol: "tls", Octets: true},
		"mutual TLS, newline":        {Protocol: "tls", Mutual: true},
		"mutual TLS, octet-counted":  {Protocol: "tls", Mutual: true, Octets: true},
		"udp":                        {Protocol: "udp", Payload: 4096},
		"tcp, newline, small limits": {Protocol: "tcp", Payload: 700},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim := simulate(t, source)
			c := open(t, with(sim.Settings(), sim.Secret(),
				map[string]string{"QRADAR_MAX_MESSAGE_BYTES": fmt.Sprint(max(700, source.Payload))}))
			events, ids := generated(250)
			if c.Check(t.Context()) != nil {
				t.Fatalf("check: %v", c.Check(t.Context()))
			}
			for i := 0; i < len(events); i += 50 {
				connectortest.Delivered(t, c, events[i:i+50]...)
				if source.Protocol == "udp" { // in order to not overflow the receiver's buffer
					arrived(t, sim, ids[:i+50])
				}
			}
			arrived(t, sim, ids)
		})
	}
}

// patient is a connection whose reads wait for the peer, which must close it: on a busy machine, a close may be later
// than a connector waits for it.
type patient struct{ *net.TCPConn }

// SetReadDeadline implements net.Conn.
func (p patient) SetReadDeadline(at time.Time) error {
	return p.TCPConn.SetReadDeadline(at.Add(time.Minute))
}

// TestRefusedCertificateIsHeld: neither the printed connector nor an error contains the client's key.
func TestRefusedCertificateIsHeld(t *testing.T) {
	sim := simulate(t, simulated.Source{Protocol: "tls", Mutual: true})
	secret := sim.Secret()
	sim.Rotate()
	for name, e := range map[string]map[string]string{
		"missing": sim.Settings(), "revoked": with(sim.Settings(), secret),
	} {
		c := connectortest.Read(t, e, func(s *settings.Settings) *connector {
			s.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				raw, err := new(net.Dialer).DialContext(ctx, network, address)
				if err != nil {
					return nil, err
				}
				return patient{raw.(*net.TCPConn)}, nil
			}
			return Open(s).(*connector)
		})
		outcomes := connectortest.Deliver(t, c, connectortest.FullEvent)
		held(t, outcomes, failure.TLS)
		f := failure.Of(c.Check(t.Context()))
		if f == nil || f.Step != failure.TLS || !strings.Contains(f.Hint,
			"QRADAR_TLS_CLIENT_CERT and QRADAR_TLS_CLIENT_KEY") {
			t.Errorf("%s: check says %v, want a hint at the client certificate", name, f)
		}
		text := fmt.Sprintf("%v %+v %#v %v %+v", c, c, c, outcomes[0].Fault, *outcomes[0].Fault) + f.Error()
		for line := range strings.Lines(secret["QRADAR_TLS_CLIENT_KEY"]) {
			line = strings.TrimSpace(line)
			if len(line) > 8 && !strings.HasPrefix(line, "-----") && strings.Contains(text, line) {
				t.Errorf("%s: the key shows in %q", name, text)
			}
		}
	}
	if n := len(sim.Accepted()); n != 0 {
		t.Errorf("%d events were taken over connections that were refused", n)
	}
}

// TestCheckSteps has the check fail at each step.
func TestCheckSteps(t *testing.T) {
	sim := simulate(t, simulated.Source{Protocol: "tls"})
	other := pki.New("another CA")
	plain := simulate(t, simulated.Source{Protocol: "tcp"})
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, closedPort, _ := net.SplitHostPort(closed.Addr().String())
	closed.Close()
	for name, c := range map[string]struct {
		env  map[string]string
		step failure.Step
		hint string
	}{
		"good": {sim.Settings(), "", ""},
		"name": {with(sim.Settings(), map[string]string{"QRADAR_SYSLOG_HOST": "qradar.invalid"}), failure.DNS,
			"QRADAR_SYSLOG_HOST"},
		"port": {with(sim.Settings(), map[string]string{"QRADAR_SYSLOG_PORT": closedPort}), failure.Connect,
			"QRADAR_SYSLOG_PORT"},
		"CA": {with(sim.Settings(), map[string]string{"QRADAR_TLS_CA_BUNDLE": other.PEM()}), failure.TLS,
			"set QRADAR_TLS_CA_BUNDLE to the CA that signed"},
		"peer name": {with(sim.Settings(), map[string]string{"QRADAR_TLS_SERVER_NAME": "other.example.com"}), failure.TLS,
			"QRADAR_TLS_SERVER_NAME"},
		"no TLS": {with(plain.Settings(), map[string]string{
			"QRADAR_SYSLOG_PROTOCOL": "tls", "QRADAR_TLS_CA_BUNDLE": other.PEM(), "SIEM_REQUEST_TIMEOUT_SECONDS": "4",
		}), failure.TLS, "handshake"},
	} {
		f := failure.Of(open(t, c.env).Check(t.Context()))
		switch {
		case c.step == "" && f != nil:
			t.Errorf("%s: %v", name, f)
		case c.step != "" && (f == nil || f.Step != c.step || !strings.Contains(f.Hint, c.hint)):
			t.Errorf("%s: %v, want step %s and a hint at %s", name, f, c.step, c.hint)
		}
	}
	if n := sim.Stats().Requests; n != 0 {
		t.Errorf("checks have written %d messages, want none", n)
	}
}

// TestOneDatagramARecord inspects the datagrams.
func TestOneDatagramARecord(t *testing.T) {
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	host, port, _ := net.SplitHostPort(l.LocalAddr().String())
	c := open(t, env("QRADAR_SYSLOG_HOST", host, "QRADAR_SYSLOG_PORT", port, "QRADAR_SYSLOG_PROTOCOL", "udp"))
	connectortest.Delivered(t, c, connectortest.FullEvent, `{"time":1}`)
	_ = l.SetReadDeadline(time.Now().Add(time.Minute))
	b := make([]byte, 2000)
	for _, want := range []string{pageMessage, "<134>1 1970-01-01T00:00:00.001Z "} {
		n, _, err := l.ReadFrom(b)
		if err != nil || !bytes.HasPrefix(b[:n], []byte(want)) || bytes.ContainsAny(b[:n], "\n") {
			t.Errorf("datagram %q (%v), want %s", b[:n], err, want)
		}
	}
}
