package connector

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/shared/settings"
)

const bare = "VuaCfGcBCdbkQm-e5aOx:ui2lp2axTNmsyakw9tvNnw"

// problems opens a connector and returns what is wrong with its configuration.
func problems(t *testing.T, env map[string]string) []string {
	t.Helper()
	s := settings.New(func(name string) string { return env[name] }, nil)
	if Open(s) == nil {
		t.Fatal("no connector")
	}
	err := s.Err()
	if err == nil {
		return nil
	}
	var list *settings.Error
	if !errors.As(err, &list) {
		t.Fatalf("%T: %v", err, err)
	}
	return list.Problems
}

func TestDefaults(t *testing.T) {
	env := map[string]string{"ELASTIC_URL": "https://h", "ELASTIC_API_KEY": encodedKey}
	if p := problems(t, env); p != nil {
		t.Fatal(p)
	}
	cfg := open(t, env).cfg
	if cfg.index != "arbitex-audit" || cfg.pipeline != "" || cfg.create || cfg.http.Insecure || !cfg.http.Gzip ||
		cfg.http.RootCAs != nil {
		t.Errorf("%+v", cfg)
	}
}

func TestSettings(t *testing.T) {
	cfg := open(t, map[string]string{
		"ELASTIC_URL": "http://h:9200/es", "SIEM_ALLOW_HTTP": "true", "ELASTIC_API_KEY": bare,
		"ELASTIC_INDEX":    "logs-arbitex.audit-default",
		"ELASTIC_PIPELINE": "p", "ELASTIC_OP_TYPE": "CREATE", "ELASTIC_TLS_VERIFY": "false", "SIEM_COMPRESSION": "none",
	}).cfg
	if cfg.url.String() != "http://h:9200/es" || cfg.index != "logs-arbitex.audit-default" || cfg.pipeline != "p" ||
		!cfg.create {
		t.Errorf("%+v", cfg)
	}
	if !cfg.http.Insecure || cfg.http.Gzip {
		t.Errorf("http %+v", cfg.http)
	}
	if want := base64.StdEncoding.EncodeToString([]byte(bare)); cfg.key.Reveal() != want || want != encodedKey {
		t.Errorf("key %q, want %q", cfg.key.Reveal(), want)
	}
}

func TestTLSVerifyWarning(t *testing.T) {
	env := map[string]string{"ELASTIC_URL": "https://h", "ELASTIC_API_KEY": "k", "ELASTIC_TLS_VERIFY": "false"}
	s := settings.New(func(name string) string { return env[name] }, nil)
	Open(s)
	if w := s.Warnings(); len(w) != 1 || !strings.Contains(w[0], "ELASTIC_TLS_VERIFY") {
		t.Errorf("warnings %q", w)
	}
}

// TestEverythingWrongAtOnce: one error names every problem.
func TestEverythingWrongAtOnce(t *testing.T) {
	p := problems(t, map[string]string{
		"ELASTIC_URL": "http://user@h", "ELASTIC_API_KEY": " ", "ELASTIC_INDEX": "a b", "ELASTIC_OP_TYPE": "update",
		"ELASTIC_PIPELINE": "a\nb", "ELASTIC_TLS_VERIFY": "maybe", "ELASTIC_TLS_CA_BUNDLE": "/no/such/file",
		"SIEM_COMPRESSION": "zstd", "SIEM_REQUEST_TIMEOUT_SECONDS": "0",
	})
	for _, name := range []string{
		"ELASTIC_URL", "ELASTIC_API_KEY", "ELASTIC_INDEX", "ELASTIC_OP_TYPE", "ELASTIC_PIPELINE", "ELASTIC_TLS_VERIFY",
		"ELASTIC_TLS_CA_BUNDLE", "SIEM_COMPRESSION", "SIEM_REQUEST_TIMEOUT_SECONDS",
	} {
		if n := len(slices.DeleteFunc(slices.Clone(p), func(s string) bool {
			return !strings.HasPrefix(s, name+":")
		})); n != 1 {
			t.Errorf("%s is named %d times in %q", name, n, p)
		}
	}
	if len(p) != 9 {
		t.Errorf("%d problems: %q", len(p), p)
	}
	if got := problems(t, nil); len(got) != 2 || !strings.Contains(got[0]+got[1], "ELASTIC_URL") ||
		!strings.Contains(got[0]+got[1], "ELASTIC_API_KEY") {
		t.Errorf("nothing set: %q", got)
	}
}

func TestIndexNames(t *testing.T) {
	for name, want := range map[string]bool{
		"arbitex-audit": true, "logs-arbitex.audit-default": true, "Alias": true, ".hidden": true, "größe": true, "a+b": true,
		strings.Repeat("a", 255): true, strings.Repeat("a", 256): false, strings.Repeat("ä", 128): false, ".": false,
		"..": false,
		"-a": false, "_a": false, "+a": false, "a b": false, "a,b": false, "a#b": false, "a:b": false, "a*": false,
		"a?":  false,
		`a"b`: false, "a/b": false, `a\b`: false, "<a>": false, "a|b": false,
	} {
		p := problems(t, map[string]string{"ELASTIC_URL": "https://h", "ELASTIC_API_KEY": "k", "ELASTIC_INDEX": name})
		if (p == nil) != want {
			t.Errorf("%q: %q", name, p)
		}
	}
}

func TestKeyIsHiddenInEveryForm(t *testing.T) {
	for _, key := range []string{bare, encodedKey} {
		redactor := open(t, map[string]string{"ELASTIC_URL": "https://h", "ELASTIC_API_KEY": key}).cfg.http.Redactor
		for _, form := range []string{encodedKey, "ui2lp2axTNmsyakw9tvNnw"} {
			if got := redactor.Redact("no "+form+" known", 1000); strings.Contains(got, form) {
				t.Errorf("%s set: %s", key, got)
			}
		}
	}
}
