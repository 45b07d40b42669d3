package connector

import (
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/shared/settings"
)

func TestConfigNamesEverythingMissing(t *testing.T) {
	s := newSettings(nil)
	Open(s) // survives it
	for _, name := range []string{"XSIAM_URL", "XSIAM_API_KEY", "XSIAM_API_KEY_ID"} {
		if err := s.Err(); err == nil || !strings.Contains(err.Error(), name+":") {
			t.Errorf("%s is missing, and not named in %v", name, err)
		}
	}
	s = newSettings(map[string]string{"XSIAM_AUTH": "token"})
	Open(s)
	if err := s.Err(); err == nil || strings.Contains(err.Error(), "XSIAM_API_KEY_ID") {
		t.Errorf("a collector's token needs no ID: %v", err)
	}
}

func TestConfigNamesWhatIsWrong(t *testing.T) {
	for name, wrong := range map[string]string{
		"XSIAM_URL":                    "http://api.example.com",
		"XSIAM_API_KEY":                apiKey + "\nb",
		"XSIAM_API_KEY_ID":             "abc",
		"XSIAM_AUTH":                   "basic",
		"XSIAM_BODY":                   "array",
		"XSIAM_LOG_TYPE":               "a\nb",
		"XSIAM_DATASET":                "a\nb",
		"SIEM_COMPRESSION":             "zstd",
		"SIEM_REQUEST_TIMEOUT_SECONDS": "-1",
		"SIEM_ALLOW_HTTP":              "perhaps",
	} {
		s := newSettings(env(name, wrong))
		Open(s)
		err := s.Err()
		if err == nil || !strings.Contains(err.Error(), name+":") || strings.Count(err.Error(), "expected") != 1 {
			t.Errorf("%s=%q: %v", name, wrong, err)
		}
		if err != nil && strings.Contains(err.Error(), apiKey) {
			t.Errorf("the key shows in %v", err)
		}
	}
}

func TestConfigURL(t *testing.T) {
	for given, want := range map[string]string{
		"https://api-x.xdr.au.paloaltonetworks.com":               "https://api-x.xdr.au.paloaltonetworks.com/logs/v1/event",
		"https://api-x.xdr.au.paloaltonetworks.com/":              "https://api-x.xdr.au.paloaltonetworks.com/logs/v1/event",
		"https://api-x.xdr.au.paloaltonetworks.com/logs/v1/event": "https://api-x.xdr.au.paloaltonetworks.com/logs/v1/event",
		"https://proxy.example.com/cortex":                        "https://proxy.example.com/cortex",
	} {
		s := newSettings(env("XSIAM_URL", given))
		cfg := readConfig(s)
		if s.Err() != nil || cfg.url.String() != want || cfg.url.RequestURI() != strings.TrimPrefix(want, "https://"+
			cfg.url.Host) {
			t.Errorf("%s: %v, want %s (%v)", given, cfg.url, want, s.Err())
		}
	}
}

func TestConfigDefaults(t *testing.T) {
	cfg := readConfig(newSettings(env()))
	if cfg.auth != "hmac" || !cfg.envelope || cfg.http.Gzip || cfg.dataset != "arbitex_audit_raw" ||
		cfg.logType != "arbitex_audit" {
		t.Errorf("%+v", cfg)
	}
	cfg = readConfig(newSettings(env("XSIAM_AUTH", "TOKEN")))
	if cfg.auth != "token" || cfg.envelope {
		t.Errorf("%+v", cfg)
	}
}

func TestKeyComesFromTheSecret(t *testing.T) {
	e := env()
	delete(e, "XSIAM_API_KEY")
	s := settings.New(func(name string) string { return e[name] }, map[string]string{"XSIAM_API_KEY": apiKey})
	if cfg := readConfig(s); s.Err() != nil || cfg.key.Reveal() != apiKey {
		t.Errorf("key not taken: %v", s.Err())
	}
}
