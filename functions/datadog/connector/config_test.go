package connector

import (
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// clientAt is the client of cfg with a fixed clock.
func clientAt(cfg config, now time.Time) *httpsend.Client {
	cfg.http.Now = func() time.Time { return now }
	return httpsend.New(cfg.http)
}

func TestDefaults(t *testing.T) {
	s := settings.New(env(map[string]string{"DATADOG_API_KEY": testKey}), nil)
	cfg := readConfig(s)
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	for _, check := range []struct{ what, got, want string }{
		{"intake", cfg.intake.String(), "https://http-intake.logs.datadoghq.com/api/v2/logs"},
		{"path", cfg.intake.RequestURI(), "/api/v2/logs"},
		{"validate", cfg.validate.String(), "https://api.datadoghq.com/api/v1/validate"},
		{"key", cfg.key.Reveal(), testKey},
		{"service", cfg.service, "arbitex"},
		{"source", cfg.source, "arbitex-audit"},
		{"tags", cfg.tags, "service:arbitex"},
		{"host", cfg.host, "platform.arbitex.ai"},
		{"setting", cfg.http.URLSetting, "DATADOG_SITE"},
	} {
		if check.got != check.want {
			t.Errorf("%s is %q, want %q", check.what, check.got, check.want)
		}
	}
	if cfg.eventTime || !cfg.http.Gzip || cfg.http.Timeout != 10*time.Second {
		t.Errorf("event time %v, gzip %v, timeout %v", cfg.eventTime, cfg.http.Gzip, cfg.http.Timeout)
	}
}

func TestSites(t *testing.T) {
	for _, site := range []string{
		"datadoghq.com", "us3.datadoghq.com", "us5.datadoghq.com", "datadoghq.eu", "ap1.datadoghq.com",
		"ap2.datadoghq.com", "uk1.datadoghq.com", "ddog-gov.com", "us2.ddog-gov.com",
	} {
		s := settings.New(env(map[string]string{"DATADOG_API_KEY": testKey, "DATADOG_SITE": site}), nil)
		cfg := readConfig(s)
		if err := s.Err(); err != nil || cfg.intake.Host != "http-intake.logs."+site || cfg.validate.Host != "api."+site {
			t.Errorf("%s: %v and %v, %v", site, cfg.intake, cfg.validate, err)
		}
	}
}

func TestIntakeURL(t *testing.T) {
	for url, want := range map[string]string{
		"https://intake.example.com":              "https://intake.example.com/api/v2/logs",
		"https://intake.example.com/":             "https://intake.example.com/api/v2/logs",
		"https://proxy.example.com/datadog":       "https://proxy.example.com/datadog/api/v2/logs",
		"https://intake.example.com/api/v2/logs":  "https://intake.example.com/api/v2/logs",
		"https://proxy.example.com/x/api/v2/logs": "https://proxy.example.com/x/api/v2/logs",
	} {
		// The site is not used then.
		s := settings.New(env(map[string]string{"DATADOG_API_KEY": testKey, "DATADOG_INTAKE_URL": url,
			"DATADOG_SITE": "dd.example.com"}), nil)
		cfg := readConfig(s)
		if err := s.Err(); err != nil || cfg.intake.String() != want || cfg.validate != nil ||
			cfg.http.URLSetting != "DATADOG_INTAKE_URL" {
			t.Errorf("%s: %v, %v, validate %v, setting %s", url, cfg.intake, err, cfg.validate, cfg.http.URLSetting)
		}
	}
}

func TestTags(t *testing.T) {
	for tags, want := range map[string]string{
		"":                                "service:arbitex",
		"env:production":                  "env:production,service:arbitex",
		"env:production,team:security":    "env:production,team:security,service:arbitex",
		" env:production , team:a b ,, ,": "env:production,team:a b,service:arbitex",
	} {
		if got := joinTags(tags, "arbitex"); got != want {
			t.Errorf("%q makes %q, want %q", tags, got, want)
		}
	}
}

func TestEverySettingWrongInOneError(t *testing.T) {
	wrong := map[string]string{
		"DATADOG_SITE": "datadoghq.org", "DATADOG_SERVICE": "a,b", "DATADOG_EVENT_TIME": "maybe", "DATADOG_SOURCE": "a\nb",
		"DATADOG_TAGS": "a\tb", "SIEM_HOST": "a\x00b", "SIEM_COMPRESSION": "zip", "SIEM_REQUEST_TIMEOUT_SECONDS": "0",
		"SIEM_ALLOW_HTTP": "si",
	}
	s := settings.New(env(wrong), map[string]string{})
	Open(s) // must survive it all
	err := s.Err()
	if err == nil {
		t.Fatal("no error")
	}
	for name := range wrong {
		if strings.Count(err.Error(), name+": ") != 1 {
			t.Errorf("%s is not named once in %v", name, err)
		}
	}
	for _, want := range []string{"DATADOG_API_KEY: expected the API key", `found "datadoghq.org"`, "uk1.datadoghq.com"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in %v", want, err)
		}
	}
}

func TestBadIntakeURL(t *testing.T) {
	for _, url := range []string{"http://intake.example.com", "intake.example.com", "https://u:p@intake.example.com",
		"https://intake.example.com?dd-api-key=" + testKey} {
		s := settings.New(env(map[string]string{"DATADOG_API_KEY": testKey, "DATADOG_INTAKE_URL": url}), nil)
		Open(s)
		if err := s.Err(); err == nil || !strings.Contains(err.Error(), "DATADOG_INTAKE_URL: ") {
			t.Errorf("%s: %v", url, err)
		}
	}
}
