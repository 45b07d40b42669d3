package connector

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/pki"
	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/internal/testkit/testenv"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/failure"
)

// daemon is a syslog server as Debian builds it, which writes what it receives, line by line, to the file out.
type daemon struct {
	name   string
	config func(d *instance) string
	args   func(dir string) []string
}

// instance is a daemon with what it listens to.
type instance struct {
	daemon
	dir, port string
	transport string // udp, tcp, tls
	octets    bool
	mutual    bool
	command   *exec.Cmd
	output    bytes.Buffer
	ca        *pki.Authority
}

func (d *instance) out() string { return filepath.Join(d.dir, "out") }

func daemons() []daemon {
	return []daemon{
		{"rsyslogd", rsyslogConfig, func(dir string) []string {
			return []string{"-n", "-f", filepath.Join(dir, "conf"), "-i", filepath.Join(dir, "pid")}
		}},
		{"syslog-ng", syslogNGConfig, func(dir string) []string {
			return []string{
				"--foreground", "--no-caps", "--stderr", "--cfgfile", filepath.Join(dir, "conf"), "--persist-file",
				filepath.Join(dir, "persist"),
				"--control", filepath.Join(dir, "ctl"), "--pidfile", filepath.Join(dir, "pid"),
			}
		}},
	}
}

// rsyslogConfig uses imtcp's default, which detects octet counting or newlines.
func rsyslogConfig(d *instance) string {
	conf := fmt.Sprintf("global(workDirectory=%q maxMessageSize=\"64k\"", d.dir)
	input := `module(load="imudp") input(type="imudp" address="127.0.0.1" port="` + d.port + `")`
	if d.transport != "udp" {
		input = `module(load="imtcp") input(type="imtcp" address="127.0.0.1" port="` + d.port + `")`
	}
	if d.transport == "tls" {
		conf += fmt.Sprintf(` defaultNetstreamDriver="ossl" defaultNetstreamDriverCAFile=%q `+
			`defaultNetstreamDriverCertFile=%q defaultNetstreamDriverKeyFile=%q`,
			filepath.Join(d.dir, "ca.pem"), filepath.Join(d.dir, "cert.pem"), filepath.Join(d.dir, "key.pem"))
		mode := "anon"
		if d.mutual {
			mode = "x509/certvalid"
		}
		input = strings.Replace(input, `load="imtcp"`, `load="imtcp" streamDriver.mode="1" streamDriver.authMode="`+mode+`"`,
			1)
	}
	return conf + ")\n" + input + "\n" + `template(name="raw" type="string" string="%rawmsg%\n")` + "\n" +
		fmt.Sprintf(`action(type="omfile" file=%q template="raw")`, d.out()) + "\n"
}

func syslogNGConfig(d *instance) string {
	driver := "network"
	if d.octets {
		driver = "syslog"
	}
	source := fmt.Sprintf(`%s(ip("127.0.0.1") port(%s) transport(%q) flags(no-parse)`, driver, d.port, d.transport)
	if d.transport == "tls" {
		verify := "optional-untrusted"
		if d.mutual {
			verify = "required-trusted"
		}
		source += fmt.Sprintf(` tls(ca-file(%q) cert-file(%q) key-file(%q) peer-verify(%s))`,
			filepath.Join(d.dir, "ca.pem"), filepath.Join(d.dir, "cert.pem"), filepath.Join(d.dir, "key.pem"), verify)
	}
	return "@version: 3.35\noptions { flush-lines(0); stats-freq(0); log-msg-size(65536); };\n" +
		"source s { " + source + "); };\n" +
		fmt.Sprintf("destination d { file(%q template(\"${MESSAGE}\\n\")); };\n", d.out()) +
		"log { source(s); destination(d); };\n"
}

// program finds a daemon: installed, or as `make syslog-daemons` unpacks it.
func (d *daemon) program(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath(d.name); err == nil {
		return path
	}
	path, err := filepath.Abs(filepath.Join("../../../build/bin", d.name))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		testenv.Missing(t, d.name+" is not on this machine; `make syslog-daemons` gets it")
	}
	return path
}

// prepare writes what the daemon needs into a folder of its own.
func (d *instance) prepare(t *testing.T) {
	t.Helper()
	d.dir = t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, d.port, _ = net.SplitHostPort(l.Addr().String())
	l.Close()
	d.ca = pki.New("a collector's CA")
	server := d.ca.Server("127.0.0.1")
	for name, text := range map[string]string{"ca.pem": d.ca.PEM(), "cert.pem": server.CertPEM, "key.pem": server.KeyPEM,
		"conf": d.config(d)} {
		if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (d *instance) start(t *testing.T) {
	t.Helper()
	d.command = exec.Command(d.program(t), d.args(d.dir)...)
	d.command.Stdout, d.command.Stderr = &d.output, &d.output
	if err := d.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.kill)
}

// kill ends the daemon the hard way.
func (d *instance) kill() {
	if d.command != nil {
		_ = d.command.Process.Kill()
		_ = d.command.Wait()
		d.command = nil
	}
}

func (d *instance) env(t *testing.T) map[string]string {
	t.Helper()
	e := env("QRADAR_SYSLOG_HOST", "127.0.0.1", "QRADAR_SYSLOG_PORT", d.port, "QRADAR_SYSLOG_PROTOCOL", d.transport,
		"QRADAR_TLS_CA_BUNDLE", d.ca.PEM(), "QRADAR_CEF_KEYS", "standard", "QRADAR_MAX_MESSAGE_BYTES", "60000")
	if d.octets {
		e["QRADAR_SYSLOG_FRAMING"] = "octet-counted"
	}
	if d.mutual {
		client := d.ca.Client("arbitex")
		e["QRADAR_TLS_CLIENT_CERT"], e["QRADAR_TLS_CLIENT_KEY"] = client.CertPEM, client.KeyPEM
	}
	return e
}

// deliverUntil delivers events again and again until the daemon, which may be starting, has taken them all.
func (d *instance) deliverUntil(t *testing.T, c deliver.Connector, bodies ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		outcomes := connectortest.Deliver(t, c, bodies...)
		if outcomes[0].State == deliver.Delivered {
			connectortest.CheckOutcomes(t, d.name, outcomes, "delivered")
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			d.kill()
			t.Fatalf("%s took nothing: %v; it says:\n%s", d.name, outcomes[0].Fault, &d.output)
		}
	}
}

// received waits until the file has as many lines as wanted, and returns them.
func (d *instance) received(t *testing.T, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		b, err := os.ReadFile(d.out())
		if err == nil && bytes.Count(b, []byte("\n")) >= n {
			return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			d.kill()
			t.Fatalf("%s has %d of %d lines; it says:\n%s", d.name, bytes.Count(b, []byte("\n")), n, &d.output)
		}
	}
}

// lines are the messages that the events make.
func lines(t *testing.T, e map[string]string, bodies []string) []string {
	t.Helper()
	c := open(t, with(e, map[string]string{"QRADAR_SYSLOG_FRAMING": ""}))
	all := make([]string, len(bodies))
	for i, body := range bodies {
		all[i], _ = encode(t, c, body)
	}
	return all
}

const (
	nasty = `{"time":1741824000123,"activity_name":"a|b\\c=d\n\r\t\u0000\u007f\u0085\u2028 é€🙂",` +
		`"actor":{"user":{"uid":"x act=block\n<134>1 ","groups":["no group"]}}}`
	long = `{"time":1741824000123,"unmapped":{"dlp_labels":["`
)

// TestDaemons has real syslog servers receive every transport and framing, byte for byte.
func TestDaemons(t *testing.T) {
	for _, daemon := range daemons() {
		for name, listen := range map[string]instance{
			"udp":                       {transport: "udp"},
			"tcp, newline":              {transport: "tcp"},
			"tcp, octet-counted":        {transport: "tcp", octets: true},
			"tls, newline":              {transport: "tls"},
			"tls, octet-counted":        {transport: "tls", octets: true},
			"mutual TLS, newline":       {transport: "tls", mutual: true},
			"mutual TLS, octet-counted": {transport: "tls", mutual: true, octets: true},
		} {
			t.Run(daemon.name+"/"+name, func(t *testing.T) {
				daemon.program(t)
				d := &instance{daemon: daemon, transport: listen.transport, octets: listen.octets, mutual: listen.mutual}
				d.prepare(t)
				d.start(t)
				e := d.env(t)
				c := open(t, e)
				events, _ := generated(100)
				events = append(events, nasty, connectortest.FullEvent, long+strings.Repeat("é", 10_000)+`"]}}`)
				d.deliverUntil(t, c, events[0])
				for i := 1; i < len(events); i += 34 {
					connectortest.Delivered(t, c, events[i:min(i+34, len(events))]...)
				}
				want := lines(t, e, events)
				got := d.received(t, len(want))
				for i := range got {
					if i >= len(want) || got[i] != want[i] {
						t.Fatalf("line %d of %d is %q", i, len(got), got[i])
					}
				}
			})
		}
	}
}

// TestDaemonRefusesTheCertificate comes without one.
func TestDaemonRefusesTheCertificate(t *testing.T) {
	for _, daemon := range daemons() {
		t.Run(daemon.name, func(t *testing.T) {
			daemon.program(t)
			d := &instance{daemon: daemon, transport: "tls", mutual: true}
			d.prepare(t)
			d.start(t)
			good := d.env(t)
			d.deliverUntil(t, open(t, good), connectortest.FullEvent)
			bare := with(good, map[string]string{"QRADAR_TLS_CLIENT_CERT": "", "QRADAR_TLS_CLIENT_KEY": ""})
			held(t, connectortest.Deliver(t, open(t, bare), nasty), failure.TLS)
			d.deliverUntil(t, open(t, good), connectortest.SampleEvent)
			for _, line := range d.received(t, 2) {
				if strings.Contains(line, "block") {
					t.Errorf("an event came over a refused connection: %q", line)
				}
			}
		})
	}
}

// TestDaemonIsKilled kills the daemon between batches and starts it again: everything that was called delivered is
// there.
func TestDaemonIsKilled(t *testing.T) {
	for _, daemon := range daemons() {
		t.Run(daemon.name, func(t *testing.T) {
			daemon.program(t)
			d := &instance{daemon: daemon, transport: "tcp"}
			d.prepare(t)
			d.start(t)
			e := d.env(t)
			c := open(t, e)
			events, _ := generated(20)
			d.deliverUntil(t, c, events[:10]...)
			d.received(t, 10)
			d.kill()
			for _, o := range connectortest.Deliver(t, c, events[10:]...) {
				if o.State != deliver.Retry || o.Fault.Kind != failure.Transient {
					t.Fatalf("with the daemon dead: %+v, want a retry", o)
				}
			}
			d.start(t)
			d.deliverUntil(t, c, events[10:]...)
			seen := strings.Join(d.received(t, 20), "\n")
			for i, line := range lines(t, e, events) {
				if !strings.Contains(seen, line) {
					t.Errorf("event %d is lost", i)
				}
			}
		})
	}
}
