package connector

import (
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/shared/settings"
)

func TestConfigNamesEverythingMissing(t *testing.T) {
	s := newSettings(nil)
	Open(s) // survives it
	err := s.Err()
	if err == nil {
		t.Fatal("no settings, no error")
	}
	for _, name := range []string{
		"SENTINEL_TENANT_ID", "SENTINEL_CLIENT_ID", "SENTINEL_CLIENT_SECRET", "SENTINEL_DCR_ENDPOINT", "SENTINEL_DCR_RULE_ID",
		"SENTINEL_DCR_STREAM_NAME",
	} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s is missing, and not named in %v", name, err)
		}
	}
}

func TestConfigNamesWhatIsWrong(t *testing.T) {
	for name, wrong := range map[string]string{
		"SENTINEL_DCR_ENDPOINT":   "http://dce.example.com",
		"SENTINEL_AUTHORITY_HOST": "login.microsoftonline.com",
		"SENTINEL_DCR_RULE_ID": "/subscriptions/1/resourceGroups/2/providers/Microsoft.Insights/" +
			"dataCollectionRules/3",
		"SENTINEL_SCOPE":               "a\nb",
		"SENTINEL_TENANT_ID":           "a\rb",
		"SENTINEL_CLIENT_ID":           "a\x00b",
		"SENTINEL_CLIENT_SECRET":       clientSecret + "\nb",
		"SENTINEL_DCR_STREAM_NAME":     "a\nb",
		"SIEM_COMPRESSION":             "zstd",
		"SIEM_REQUEST_TIMEOUT_SECONDS": "0",
		"SIEM_ALLOW_HTTP":              "perhaps",
	} {
		s := newSettings(env(name, wrong))
		Open(s)
		err := s.Err()
		if err == nil || !strings.Contains(err.Error(), name) || strings.Count(err.Error(), "expected") != 1 {
			t.Errorf("%s=%q: %v", name, wrong, err)
		}
		if err != nil && strings.Contains(err.Error(), clientSecret) {
			t.Errorf("the secret shows in %v", err)
		}
	}
}

func TestConfig(t *testing.T) {
	for _, test := range []struct {
		env            map[string]string
		url, authority string
	}{
		{
			env(), "https://dce.example.com/dataCollectionRules/dcr-0123456789abcdef/streams/Custom-ArbitexAudit_CL?api-version=2023-01-01",
			"https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/oauth2/v2.0/token",
		},
		{
			env("SENTINEL_DCR_ENDPOINT", " https://dce.example.us/ ", "SENTINEL_AUTHORITY_HOST",
				"https://login.microsoftonline.us/",
				"SENTINEL_TENANT_ID", "corp.example.us", "SENTINEL_DCR_STREAM_NAME", "Custom-a b?c/%41"),
			"https://dce.example.us/dataCollectionRules/dcr-0123456789abcdef/streams/Custom-a%20b%3Fc%2F%2541?api-version=2023-01-01",
			"https://login.microsoftonline.us/corp.example.us/oauth2/v2.0/token",
		},
		{
			env("SENTINEL_DCR_ENDPOINT", "https://proxy.example.com/azure", "SENTINEL_TENANT_ID", "a/../b"),
			"https://proxy.example.com/azure/dataCollectionRules/dcr-0123456789abcdef/streams/Custom-ArbitexAudit_CL?api-version=2023-01-01",
			"https://login.microsoftonline.com/a%2F..%2Fb/oauth2/v2.0/token",
		},
	} {
		s := newSettings(test.env)
		cfg := readConfig(s)
		if err := s.Err(); err != nil {
			t.Error(err)
			continue
		}
		if got := cfg.url.String(); got != test.url {
			t.Errorf("url %s, want %s", got, test.url)
		}
		if got := cfg.authority.String(); got != test.authority {
			t.Errorf("authority %s, want %s", got, test.authority)
		}
		if !strings.HasPrefix(cfg.url.Path, "/") || !strings.HasPrefix(cfg.authority.Path, "/") {
			t.Error("a path does not begin with a slash")
		}
	}
}

func TestConfigScopeAndCompression(t *testing.T) {
	cfg := readConfig(newSettings(env()))
	if cfg.scope != "https://monitor.azure.com/.default" || !cfg.http.Gzip {
		t.Errorf("defaults: scope %q, gzip %v", cfg.scope, cfg.http.Gzip)
	}
	cfg = readConfig(newSettings(env("SENTINEL_SCOPE", "https://monitor.azure.us/.default", "SIEM_COMPRESSION", "none")))
	if cfg.scope != "https://monitor.azure.us/.default" || cfg.http.Gzip {
		t.Errorf("scope %q, gzip %v", cfg.scope, cfg.http.Gzip)
	}
}

func TestSecretComesFromTheSecret(t *testing.T) {
	e := env()
	delete(e, "SENTINEL_CLIENT_SECRET")
	s := settings.New(func(name string) string { return e[name] },
		map[string]string{"SENTINEL_CLIENT_SECRET": clientSecret})
	if cfg := readConfig(s); s.Err() != nil || cfg.secret.Reveal() != clientSecret {
		t.Errorf("secret not taken: %v", s.Err())
	}
}
