package main

import (
	"bytes"
	"context"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/xsiam"
	"github.com/arbitex/siem-connectors/internal/pki"
)

// broken is one invalid setting.
type broken struct {
	connector string
	setting   string // that the check must name
	how       string
	step      string
	with      func(*bench)
}

// bench is a simulated SIEM and the settings of a connector for it.
type bench struct {
	sim     siem.Simulator
	env     map[string]string
	other   *pki.Authority // that signed nothing
	options siem.Options
}

// listener accepts on all loopback addresses, and reports the address that is in the certificate.
type listener struct{ net.Listener }

func (l listener) Addr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: l.Listener.Addr().(*net.TCPAddr).Port}
}

func listen() (net.Listener, error) {
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	return listener{l}, err
}

// wrongClock sets the SIEM's clock an hour ahead, in the authentication mode that signs the time.
func wrongClock(b *bench) {
	b.sim.Close()
	b.options.Now = func() time.Time { return time.Now().Add(time.Hour) }
	s, err := xsiam.NewMode(b.options, xsiam.Mode{Auth: "advanced", Body: "envelope"})
	if err != nil {
		panic(err)
	}
	b.sim = s
	maps.Copy(b.env, s.Settings())
	maps.Copy(b.env, s.Secret())
}

func set(name, value string) func(*bench) { return func(b *bench) { b.env[name] = value } }

// edit changes a part of a URL.
func edit(name string, change func(*url.URL)) func(*bench) {
	return func(b *bench) {
		u, err := url.Parse(b.env[name])
		if err != nil {
			panic(err)
		}
		change(u)
		b.env[name] = u.String()
	}
}

func host(name string) func(*bench) {
	return edit(name, func(u *url.URL) { u.Host = "siem.invalid:443" })
}
func port(name string) func(*bench) { return edit(name, func(u *url.URL) { u.Host = "127.0.0.1:1" }) }
func path(name, to string) func(*bench) {
	return edit(name, func(u *url.URL) { u.Path = to })
}

// otherCA trusts an authority that did not sign the SIEM's certificate.
func otherCA(name string) func(*bench) { return func(b *bench) { b.env[name] = b.other.PEM() } }

// otherName reaches the SIEM by a name that is not in its certificate.
func otherName(name string) func(*bench) {
	return edit(name, func(u *url.URL) { u.Host = net.JoinHostPort("127.0.0.2", u.Port()) })
}

func rotate(b *bench) { b.sim.Rotate() }

// breakages are the settings of all connectors that a check can find invalid, each broken alone.
func breakages() []broken {
	return []broken{
		{"splunk", "SPLUNK_HEC_URL", "is not set", "config", set("SPLUNK_HEC_URL", "")},
		{"splunk", "SPLUNK_HEC_URL", "plain http", "config", edit("SPLUNK_HEC_URL", func(u *url.URL) { u.Scheme = "http" })},
		{"splunk", "SPLUNK_HEC_URL", "another host", "dns", host("SPLUNK_HEC_URL")},
		{"splunk", "SPLUNK_HEC_URL", "another port", "connect", port("SPLUNK_HEC_URL")},
		{"splunk", "SPLUNK_HEC_URL", "a name that is not in the certificate", "tls", otherName("SPLUNK_HEC_URL")},
		{"splunk", "SPLUNK_HEC_URL", "another path", "request", path("SPLUNK_HEC_URL", "/services/nothing")},
		{"splunk", "SPLUNK_HEC_TLS_CA_BUNDLE", "another CA", "tls", otherCA("SPLUNK_HEC_TLS_CA_BUNDLE")},
		{"splunk", "SPLUNK_HEC_TLS_VERIFY", "neither true nor false", "config", set("SPLUNK_HEC_TLS_VERIFY", "maybe")},
		{"splunk", "SPLUNK_HEC_TOKEN", "unknown to Splunk", "auth",
			set("SPLUNK_HEC_TOKEN", "11111111-1111-4111-8111-111111111111")},
		{"splunk", "SPLUNK_HEC_TOKEN", "disabled in Splunk", "auth", rotate},

		{"sentinel", "SENTINEL_TENANT_ID", "another tenant", "auth", set("SENTINEL_TENANT_ID", "another")},
		{"sentinel", "SENTINEL_CLIENT_ID", "another application", "auth", set("SENTINEL_CLIENT_ID", "another")},
		{"sentinel", "SENTINEL_CLIENT_SECRET", "expired", "auth", rotate},
		{"sentinel", "SENTINEL_SCOPE", "another scope", "auth",
			set("SENTINEL_SCOPE", "https://another.example.com/.default")},
		{"sentinel", "SENTINEL_AUTHORITY_HOST", "another host", "dns", host("SENTINEL_AUTHORITY_HOST")},
		{"sentinel", "SENTINEL_AUTHORITY_HOST", "another port", "connect", port("SENTINEL_AUTHORITY_HOST")},
		{"sentinel", "SENTINEL_DCR_ENDPOINT", "another host", "dns", host("SENTINEL_DCR_ENDPOINT")},
		{"sentinel", "SENTINEL_DCR_ENDPOINT", "another port", "connect", port("SENTINEL_DCR_ENDPOINT")},
		{"sentinel", "SENTINEL_DCR_RULE_ID", "another rule", "request",
			set("SENTINEL_DCR_RULE_ID", "dcr-00000000000000000000000000000000")},
		{"sentinel", "SENTINEL_DCR_RULE_ID", "the resource ID", "config",
			set("SENTINEL_DCR_RULE_ID", "/subscriptions/x/rule")},
		{"sentinel", "SENTINEL_DCR_STREAM_NAME", "another stream", "request",
			set("SENTINEL_DCR_STREAM_NAME", "Custom-Another_CL")},
		{"sentinel", "Monitoring Metrics Publisher", "the role is missing", "auth", func(b *bench) {
			b.sim.Inject(siem.Fault{Kind: siem.Status, Status: 403, Body: `{"error":{"code":"OperationFailed","message":"no"}}`,
				On: func(r *http.Request) bool { return strings.Contains(r.URL.Path, "dataCollectionRules") }})
		}},

		{"elastic", "ELASTIC_URL", "another host", "dns", host("ELASTIC_URL")},
		{"elastic", "ELASTIC_URL", "another port", "connect", port("ELASTIC_URL")},
		{"elastic", "ELASTIC_URL", "a name that is not in the certificate", "tls", otherName("ELASTIC_URL")},
		{"elastic", "ELASTIC_TLS_CA_BUNDLE", "another CA", "tls", otherCA("ELASTIC_TLS_CA_BUNDLE")},
		{"elastic", "ELASTIC_TLS_CA_BUNDLE", "no certificate", "config",
			set("ELASTIC_TLS_CA_BUNDLE", "-----BEGIN CERTIFICATE-----\nx")},
		{"elastic", "ELASTIC_API_KEY", "revoked", "auth", rotate},
		{"elastic", "ELASTIC_INDEX", "a name that no index can have", "config", set("ELASTIC_INDEX", "a b")},
		{"elastic", "ELASTIC_INDEX", "an index that the key may not write to", "auth", func(b *bench) {
			b.sim.Inject(siem.Fault{Kind: siem.Status, Status: 200,
				Body: `{"has_all_requested":false,"index":{"arbitex-audit":{"create_doc":false}}}`,
				On:   func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "_has_privileges") }})
		}},
		{"elastic", "ELASTIC_OP_TYPE", "neither index nor create", "config", set("ELASTIC_OP_TYPE", "upsert")},

		{"datadog", "DATADOG_SITE", "no site", "config",
			func(b *bench) { b.env["DATADOG_SITE"], b.env["DATADOG_INTAKE_URL"] = "data dog", "" }},
		{"datadog", "DATADOG_INTAKE_URL", "another host", "dns", host("DATADOG_INTAKE_URL")},
		{"datadog", "DATADOG_INTAKE_URL", "another port", "connect", port("DATADOG_INTAKE_URL")},
		{"datadog", "DATADOG_API_KEY", "revoked, or of another site", "auth", rotate},

		{"sumo", "SUMO_HTTP_SOURCE_URL", "another host", "dns", host("SUMO_HTTP_SOURCE_URL")},
		{"sumo", "SUMO_HTTP_SOURCE_URL", "another port", "connect", port("SUMO_HTTP_SOURCE_URL")},
		{"sumo", "SUMO_HTTP_SOURCE_URL", "without its code", "config", path("SUMO_HTTP_SOURCE_URL", "/receiver/v1/http/")},
		{"sumo", "SUMO_HTTP_SOURCE_URL", "regenerated", "auth", rotate},

		{"qradar", "QRADAR_SYSLOG_HOST", "another host", "dns", set("QRADAR_SYSLOG_HOST", "siem.invalid")},
		{"qradar", "QRADAR_SYSLOG_PORT", "another port", "connect", set("QRADAR_SYSLOG_PORT", "1")},
		{"qradar", "QRADAR_SYSLOG_PORT", "no port", "config", set("QRADAR_SYSLOG_PORT", "65536")},
		{"qradar", "QRADAR_SYSLOG_PROTOCOL", "neither tcp, udp nor tls", "config", set("QRADAR_SYSLOG_PROTOCOL", "http")},
		{"qradar", "QRADAR_TLS_CA_BUNDLE", "another CA", "tls", otherCA("QRADAR_TLS_CA_BUNDLE")},
		{"qradar", "QRADAR_TLS_SERVER_NAME", "a name that is not in the certificate", "tls",
			set("QRADAR_TLS_SERVER_NAME", "another.example.com")},
		{"qradar", "QRADAR_TLS_CLIENT_CERT", "no longer accepted", "tls", rotate},
		{"qradar", "QRADAR_TLS_CLIENT_CERT", "is not set", "config", set("QRADAR_TLS_CLIENT_CERT", "")},
		{"qradar", "QRADAR_TLS_CLIENT_KEY", "of another certificate", "config", func(b *bench) {
			c := b.other.Client("another")
			b.env["QRADAR_TLS_CLIENT_KEY"] = c.KeyPEM
		}},

		{"xsiam", "XSIAM_URL", "another host", "dns", host("XSIAM_URL")},
		{"xsiam", "XSIAM_URL", "another port", "connect", port("XSIAM_URL")},
		{"xsiam", "XSIAM_URL", "another path", "request", path("XSIAM_URL", "/nothing")},
		{"xsiam", "XSIAM_API_KEY", "revoked", "auth", rotate},
		{"xsiam", "XSIAM_API_KEY_ID", "of another key", "auth", set("XSIAM_API_KEY_ID", "999999")},
		{"xsiam", "XSIAM_API_KEY_ID", "no number", "config", set("XSIAM_API_KEY_ID", "key")},
		{"xsiam", "XSIAM_AUTH", "does not fit the endpoint", "auth", set("XSIAM_AUTH", "token")},
		{"xsiam", "XSIAM_AUTH", "unknown", "config", set("XSIAM_AUTH", "basic")},
		{"xsiam", "clock", "an hour slow, with XSIAM_AUTH=advanced", "auth", wrongClock},

		{"splunk", "SIEM_SECRET_ID", "a secret that cannot be read", "secret", set("SIEM_SECRET_ID", "no-such-secret")},
		{"splunk", "SIEM_COMPRESSION", "unknown", "config", set("SIEM_COMPRESSION", "zstd")},
		{"splunk", "SIEM_REQUEST_TIMEOUT_SECONDS", "no number", "config", set("SIEM_REQUEST_TIMEOUT_SECONDS", "soon")},
	}
}

// newBench starts a SIEM. Connectors without a setting for a CA reach it by plain http: whom this process trusts is
// settled when it starts.
func newBench(t *testing.T, name string, other *pki.Authority) *bench {
	t.Helper()
	authority := pki.New("siemctl test CA")
	b := &bench{other: other, env: map[string]string{"AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "eu-central-1"}}
	options := siem.Options{Authority: authority, Plain: name != "splunk" && name != "elastic" && name != "qradar",
		Listen: listen}
	b.options = options
	b.sim = newSimulator(t, name, options)
	t.Cleanup(func() { b.sim.Close() }) // or the one that has taken its place
	maps.Copy(b.env, b.sim.Settings())
	maps.Copy(b.env, b.sim.Secret())
	return b
}

func (b *bench) check(t *testing.T, name string) checked {
	t.Helper()
	env := func(name string) string {
		if strings.Contains(name, "_SEARCH_") {
			t.Errorf("the check of %s reads %s, a search credential", b.sim.Name(), name)
		}
		return b.env[name]
	}
	a := &app{env: env, now: time.Now, out: term.New(&bytes.Buffer{}, &bytes.Buffer{}, env)}
	list, err := find([]string{name})
	if err != nil {
		t.Fatal(err)
	}
	r, err := a.checkHere(context.Background(), list[0], env)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestCheckNamesTheSetting breaks one setting at a time. The check must fail at the expected step and name the setting.
func TestCheckNamesTheSetting(t *testing.T) {
	other := pki.New("another CA")
	for _, c := range allConnectors() {
		if r := newBench(t, c.Name, other).check(t, c.Name); !r.OK {
			t.Fatalf("%s does not reach its SIEM with nothing broken: %s %s; %s", c.Name, r.Step, r.Detail, r.Hint)
		}
	}
	for _, c := range breakages() {
		b := newBench(t, c.connector, other)
		c.with(b)
		r := b.check(t, c.connector)
		said := r.Detail + "; " + r.Hint
		if r.OK || string(r.Step) != c.step || !strings.Contains(said, c.setting) {
			t.Errorf("%s, %s %s: ok %v, step %q, %s\nwant step %q, and the setting named", c.connector, c.setting, c.how, r.OK,
				r.Step, said, c.step)
		}
	}
}
