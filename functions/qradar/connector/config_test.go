package connector

import (
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem/pki"
	"github.com/arbitex/siem-connectors/shared/syslogsend"
)

func TestDefaults(t *testing.T) {
	cfg := open(t, env()).cfg
	if cfg.sender.Network != syslogsend.TCP || cfg.sender.Address != "qradar.example.com:514" ||
		cfg.sender.Timeout != 10*time.Second ||
		cfg.octets || cfg.keys != page || cfg.maxMessage != 4096 || cfg.host != "platform.arbitex.ai" ||
		cfg.vendor != "Arbitex" || cfg.product != "ArbitexPlatform" || cfg.version != "1.0" {
		t.Errorf("defaults: %+v", cfg)
	}
	if cfg := open(t, env("QRADAR_SYSLOG_PROTOCOL", "UDP")).cfg; cfg.sender.Address != "qradar.example.com:514" ||
		cfg.maxMessage != 1024 {
		t.Errorf("defaults for udp: %+v", cfg)
	}
	ca, err := pki.New("CA")
	if err != nil {
		t.Fatal(err)
	}
	cfg = open(t, env("QRADAR_SYSLOG_PROTOCOL", "tls", "QRADAR_TLS_CA_BUNDLE", ca.PEM())).cfg
	if cfg.sender.Address != "qradar.example.com:6514" || cfg.maxMessage != 4096 || cfg.sender.RootCAs == nil {
		t.Errorf("defaults for tls: %+v", cfg)
	}
}

func TestAddresses(t *testing.T) {
	for host, want := range map[string]string{
		"10.1.2.3": "10.1.2.3:514", "::1": "[::1]:514", "[2001:db8::7]": "[2001:db8::7]:514",
		"fe80::1%eth0": "[fe80::1%eth0]:514",
	} {
		if got := open(t, env("QRADAR_SYSLOG_HOST", host)).cfg.sender.Address; got != want {
			t.Errorf("%s: address %s, want %s", host, got, want)
		}
	}
}

// TestProblems has every setting wrong at once, and each named in the one error.
func TestProblems(t *testing.T) {
	s := newSettings(map[string]string{
		"QRADAR_SYSLOG_HOST":           "https://qradar.example.com",
		"QRADAR_SYSLOG_PORT":           "65536",
		"QRADAR_SYSLOG_PROTOCOL":       "relp",
		"QRADAR_SYSLOG_FRAMING":        "nul",
		"QRADAR_CEF_KEYS":              "all",
		"QRADAR_CEF_DEVICE_VENDOR":     "a\nb",
		"QRADAR_CEF_DEVICE_PRODUCT":    "a\x00b",
		"QRADAR_CEF_DEVICE_VERSION":    "a\rb",
		"QRADAR_MAX_MESSAGE_BYTES":     "99",
		"QRADAR_TLS_CA_BUNDLE":         "/no/such/file.pem",
		"QRADAR_TLS_SERVER_NAME":       "a\nb",
		"QRADAR_TLS_CLIENT_CERT":       "-----BEGIN nothing",
		"SIEM_HOST":                    "a\nb",
		"SIEM_REQUEST_TIMEOUT_SECONDS": "0",
		"HTTPS_PROXY":                  "http://user:50%off@proxy:3128",
		"NO_PROXY":                     "[::1",
	})
	Open(s)
	for _, name := range []string{
		"QRADAR_SYSLOG_HOST", "QRADAR_SYSLOG_PORT", "QRADAR_SYSLOG_PROTOCOL", "QRADAR_SYSLOG_FRAMING", "QRADAR_CEF_KEYS",
		"QRADAR_CEF_DEVICE_VENDOR", "QRADAR_CEF_DEVICE_PRODUCT", "QRADAR_CEF_DEVICE_VERSION", "QRADAR_MAX_MESSAGE_BYTES",
		"QRADAR_TLS_CA_BUNDLE", "QRADAR_TLS_SERVER_NAME", "QRADAR_TLS_CLIENT_KEY", "SIEM_HOST",
		"SIEM_REQUEST_TIMEOUT_SECONDS",
		"HTTPS_PROXY", "NO_PROXY",
	} {
		if !strings.Contains(s.Err().Error(), name+": ") {
			t.Errorf("%s is wrong and not named in: %v", name, s.Err())
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
			`QRADAR_SYSLOG_HOST: expected the host name or address of the QRadar Console or Event Collector, without scheme and port, found "qradar:514"`},
		"no CA for tls": {[]string{"QRADAR_SYSLOG_PROTOCOL", "tls"},
			"QRADAR_TLS_CA_BUNDLE: expected the CA that signed QRadar's certificate"},
		"datagram limit": {[]string{"QRADAR_SYSLOG_PROTOCOL", "udp", "QRADAR_MAX_MESSAGE_BYTES", "65508"},
			"QRADAR_MAX_MESSAGE_BYTES: expected an integer from 100 to 65507"},
		"key without cert": {[]string{"QRADAR_TLS_CLIENT_KEY", "-----BEGIN PRIVATE KEY-----"},
			"QRADAR_TLS_CLIENT_CERT: expected the certificate of QRADAR_TLS_CLIENT_KEY"},
		"cert, not PEM": {[]string{"QRADAR_TLS_CLIENT_KEY", "-----BEGIN s3cret", "QRADAR_TLS_CLIENT_CERT", "-----BEGIN x"},
			"QRADAR_TLS_CLIENT_CERT: expected a PEM certificate"},
	} {
		s := newSettings(env(c.change...))
		Open(s)
		if err := s.Err(); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

func TestWarnings(t *testing.T) {
	s := newSettings(env("QRADAR_SYSLOG_PROTOCOL", "udp"))
	Open(s)
	if w := s.Warnings(); len(w) != 1 || !strings.Contains(w[0], "udp") {
		t.Errorf("warnings for udp: %q", w)
	}
	s = newSettings(env())
	Open(s)
	if w := s.Warnings(); syslogsend.Confirms == (len(w) > 0) {
		t.Errorf("warnings for tcp: %q", w)
	}
}
