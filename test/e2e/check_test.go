package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/pki"
	"github.com/arbitex/siem-connectors/emulator/siem/sentinel"
)

// TestCheck checks that each connector's connection check succeeds, and that it names the step at which it fails. A
// check writes no event.
func TestCheck(t *testing.T) {
	for _, a := range w.order {
		t.Run(a.Name, func(t *testing.T) {
			before := len(a.Accepted())
			got := check(t, w.deployed(t, a.Function()))
			if !got.OK || got.Step != "" || got.Detail != "" || got.Connector != a.Name {
				t.Errorf("the way is good, and the check says %+v", got)
			}
			for i, c := range failingChecks(t, a) {
				t.Run([]string{"config", "secret", "dns", "connect", "tls", "auth", "request"}[i], func(t *testing.T) {
					if c.fault.Kind != siem.Heal {
						a.Inject(c.fault)
						defer a.Inject(siem.Fault{Kind: siem.Heal, Name: c.fault.Name})
					}
					got := check(t, beside(t, w.function(t, a, c.env)))
					if got.OK || got.Step != c.step || got.Detail == "" || got.Connector != a.Name {
						t.Errorf("the check says %+v, want step %s", got, c.step)
					}
					if !strings.Contains(got.Detail+got.Hint, c.names) {
						t.Errorf("the check says %+v, want %q named", got, c.names)
					}
				})
			}
			if n := len(a.Accepted()) - before; n > 0 {
				t.Errorf("the checks have written %d events", n)
			}
		})
	}
}

// failingCheck is a configuration whose check fails at a step.
type failingCheck struct {
	step  string
	env   map[string]string
	fault siem.Fault
	names string // what the answer has to name
}

func failingChecks(t *testing.T, a *actor) []failingCheck {
	t.Helper()
	full := w.full(t, a)
	with := func(changes map[string]string) map[string]string {
		env := maps.Clone(full)
		maps.Copy(env, changes)
		return env
	}
	to := func(host, port string) map[string]string {
		if a.Name == "qradar" {
			return with(map[string]string{a.traits().address: host, "QRADAR_SYSLOG_PORT": port})
		}
		return with(map[string]string{a.traits().address: fmt.Sprintf(a.traits().form, host+":"+port)})
	}
	stranger := must(pki.New("another CA"))(t)
	strangers := w.folder + "/stranger.pem"
	if err := stranger.WriteFile(strangers); err != nil {
		t.Fatal(err)
	}
	untrusted := with(map[string]string{"SSL_CERT_FILE": strangers})
	for name := range untrusted {
		if strings.HasSuffix(name, "_CA_BUNDLE") {
			untrusted[name] = stranger.PEM()
		}
	}
	at := a.traits()
	variable, missing := at.required[len(at.required)-1], map[string]string{"SIEM_SECRET_ID": w.secret(t, "{}")}
	if a.Name == "qradar" {
		missing = map[string]string{at.address: " "}
	}
	checks := []failingCheck{
		{step: "config", env: with(missing), names: variable},
		{step: "secret", env: with(map[string]string{"SIEM_SECRET_ID": "nobody-made-it"}), names: "nobody-made-it"},
		{step: "dns", env: to("nobody.invalid", "443"), names: "nobody.invalid"},
		{step: "connect", env: to("127.0.0.1", "1"), names: "127.0.0.1"},
		{step: "tls", env: untrusted, names: "CA"},
		{step: "auth", env: with(map[string]string{"SIEM_SECRET_ID": w.secret(t, encode(refusedSecret(t, a)))})},
		{step: "request", env: full, names: "418", fault: siem.Fault{
			Kind: siem.Status, Status: http.StatusTeapot, Name: "teapot",
			On: func(r *http.Request) bool { return !sentinel.IsToken(r) },
		}},
	}
	// its credential is refused in the handshake or right after it, and there is no request that could fail
	if a.Name == "qradar" {
		checks[5].step, checks[5].names = "tls", "QRADAR_TLS_CLIENT_CERT"
		checks = checks[:6]
	}
	return checks
}

// refusedSecret is a credential in the right form that the SIEM refuses.
func refusedSecret(t *testing.T, a *actor) map[string]string {
	t.Helper()
	if a.Name == "qradar" {
		client := must(w.ca.Client("somebody else"))(t)
		return map[string]string{"QRADAR_TLS_CLIENT_CERT": client.CertPEM, "QRADAR_TLS_CLIENT_KEY": client.KeyPEM}
	}
	out := a.Secret()
	for name, value := range out {
		if !strings.HasSuffix(name, "_ID") {
			out[name] = value[:len(value)-3] + "abc"
		}
	}
	if a.Name == "elastic" {
		out["ELASTIC_API_KEY"] = "unknown-id-of-a-key:unknown-key-of-an-id"
	}
	w.vault.keep(out)
	return out
}
