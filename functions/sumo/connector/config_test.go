package connector

import (
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/shared/settings"
)

func TestDefaults(t *testing.T) {
	s := settings.New(env(nil), map[string]string{"SUMO_HTTP_SOURCE_URL": " https://collectors.sumologic.com" + testPath +
		"\n"})
	cfg := readConfig(s)
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	if cfg.url.Host != "collectors.sumologic.com" || cfg.url.RequestURI() != testPath || cfg.category != "arbitex/audit" ||
		cfg.host != "platform.arbitex.ai" {
		t.Errorf("%q, category %q, host %q", cfg.url, cfg.category, cfg.host)
	}
	if !cfg.http.Gzip || cfg.http.Timeout != 10*time.Second || cfg.http.URLSetting != "SUMO_HTTP_SOURCE_URL" {
		t.Errorf("%+v", cfg.http)
	}
}

func TestEverySettingWrongInOneError(t *testing.T) {
	wrong := map[string]string{
		"SUMO_HTTP_SOURCE_URL": "ftp://collectors.sumologic.com" + testPath, "SUMO_CATEGORY": "a\nb", "SUMO_HOST": "a\rb",
		"SIEM_COMPRESSION": "zip", "SIEM_REQUEST_TIMEOUT_SECONDS": "0", "SIEM_ALLOW_HTTP": "si",
	}
	s := settings.New(env(wrong), nil)
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
}

// TestBadURL: problems do not quote an invalid URL, because it may be a credential.
func TestBadURL(t *testing.T) {
	for _, url := range []string{
		"http://collectors.sumologic.com" + testPath, "collectors.sumologic.com" + testPath,
		"https://u:p@collectors.sumologic.com" + testPath,
		"https://collectors.sumologic.com" + testPath + "?a=b", "https://collectors.sumologic.com:x" + testPath, "https://" +
			testCode + "\x7f",
	} {
		for _, from := range []string{"environment", "secret"} {
			values := map[string]string{"SUMO_HTTP_SOURCE_URL": url}
			s := settings.New(env(values), nil)
			if from == "secret" {
				s = settings.New(env(nil), values)
			}
			Open(s)
			err := s.Err()
			if err == nil || !strings.Contains(err.Error(), "SUMO_HTTP_SOURCE_URL: ") || strings.Contains(err.Error(),
				testCode[:10]) {
				t.Errorf("%s in the %s: %v", url, from, err)
			}
		}
	}
}

func TestURLWithoutCode(t *testing.T) {
	for path, good := range map[string]bool{
		"": false, "/": false, "/receiver": false, "/receiver/v1/": false, "/receiver/v1/http": false,
		"/receiver/v1/http/":     false,
		"/receiver/v1/http/code": true, "/receiver/v1/http/code/": true, "/somewhere/else": true,
	} {
		s := settings.New(env(map[string]string{"SUMO_HTTP_SOURCE_URL": "https://collectors.sumologic.com" + path}), nil)
		Open(s)
		if err := s.Err(); (err == nil) != good {
			t.Errorf("%q: %v", path, err)
		}
	}
}
