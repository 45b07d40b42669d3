package settings_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/shared/settings"
)

func with(env map[string]string, secret map[string]string) *settings.Settings {
	return settings.New(func(name string) string { return env[name] }, secret)
}

// everything reads one setting of each type.
func everything(s *settings.Settings) {
	s.Required("NAME", "a name")
	s.String("OPTION", "x")
	s.Secret("TOKEN", true, "a token")
	s.Bool("FLAG", true)
	s.Int("NUMBER", 5, 1, 9)
	s.OneOf("CHOICE", "one", "two")
	s.URL("URL", "", "the endpoint")
	s.SecretURL("SECRET_URL", "the secret endpoint")
	s.CABundle("CA")
	s.ClientCertificate("CERT", "KEY")
}

func TestAllProblemsAtOnce(t *testing.T) {
	s := with(map[string]string{"FLAG": "maybe", "NUMBER": "10", "CHOICE": "three", "URL": "http://plain",
		"CA": "/no/such/file", "CERT": "x", "OPTION": "a\nb"},
		map[string]string{"SECRET_URL": "ftp://hunter2"})
	everything(s)
	err := s.Err()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"NAME: expected a name, is not set",
		"TOKEN: expected a token (a key of the secret SIEM_SECRET_ID), is not set",
		`FLAG: expected true or false, found "maybe"`,
		`NUMBER: expected an integer from 1 to 9, found "10"`,
		`CHOICE: expected one of one, two, found "three"`,
		`URL: expected the endpoint: https (SIEM_ALLOW_HTTP=true would let http pass), found "http://plain"`,
		"SECRET_URL: expected the secret endpoint: the scheme https, found something else (hidden)",
		`CA: expected PEM certificates, or the path of a file of them (no such file can be read), found "/no/such/file"`,
		"CERT: expected", "KEY: expected", "OPTION: expected one line",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("missing %q in:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a value of the secret shows: %v", err)
	}
}

// TestByteOrderMark: a mark that an editor put before a value does not belong to it.
func TestByteOrderMark(t *testing.T) {
	s := with(map[string]string{"NUMBER": "\uFEFF7"}, map[string]string{"NAME": "\uFEFF x "})
	if n, name := s.Int("NUMBER", 1, 1, 9), s.Required("NAME", "a name"); n != 7 || name != "x" || s.Err() != nil {
		t.Errorf("%d, %q, %v", n, name, s.Err())
	}
}

func TestPrecedence(t *testing.T) {
	s := with(map[string]string{"NAME": " env ", "OPTION": "  "}, map[string]string{"NAME": "secret",
		"OPTION": " from secret "})
	if got := s.Required("NAME", ""); got != "env" {
		t.Errorf("the environment does not win, or white space is kept: %q", got)
	}
	if got := s.String("OPTION", "default"); got != "from secret" {
		t.Errorf("an empty variable does not give way to the secret: %q", got)
	}
	if got := s.String("NONE", "default"); got != "default" {
		t.Errorf("default: %q", got)
	}
	if err := s.Err(); err != nil {
		t.Error(err)
	}
}

func TestURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://host":          "https://host/",
		"https://host:8088/a/b": "https://host:8088/a/b",
		"http://host":           "https (SIEM_ALLOW",
		"host":                  "absolute URL",
		"host:8088":             "absolute URL",
		"https://":              "absolute URL",
		"https://:8088":         "absolute URL",
		"https://user:pw@host":  "no user or password",
		"https://host/?token=x": "no query",
		"https://host/#x":       "no query",
		"https://ho st/":        "absolute URL",
		"ftp://host":            "the scheme https",
	} {
		s := with(map[string]string{"URL": in}, nil)
		u := s.URL("URL", "", "a URL")
		switch err := s.Err(); {
		case strings.HasPrefix(want, "https://"):
			if err != nil || u.String() != want {
				t.Errorf("%s: %v %v, want %s", in, u, err, want)
			}
		case err == nil || u != nil || !strings.Contains(err.Error(), want):
			t.Errorf("%s: %v %v, want an error with %q", in, u, err, want)
		case strings.Contains(err.Error(), "pw"):
			t.Errorf("%s: the password shows in %v", in, err)
		}
	}
	s := with(map[string]string{"URL": "http://host", "SIEM_ALLOW_HTTP": "true"}, nil)
	if u := s.URL("URL", "", "a URL"); u == nil || s.Err() != nil {
		t.Errorf("http is not let pass: %v", s.Err())
	}
}

const testCert = `-----BEGIN CERTIFICATE-----
MIIBhTCCASugAwIBAgIQIRi6zePL6mKjOipn+dNuaTAKBggqhkjOPQQDAjASMRAw
DgYDVQQKEwdBY21lIENvMB4XDTE3MTAyMDE5NDMwNloXDTE4MTAyMDE5NDMwNlow
EjEQMA4GA1UEChMHQWNtZSBDbzBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABD0d
7VNhbWvZLWPuj/RtHFjvtJBEwOkhbN/BnnE8rnZR8+sbwnc/KhCk3FhnpHZnQz7B
5aETbbIgmuvewdjvSBSjYzBhMA4GA1UdDwEB/wQEAwICpDATBgNVHSUEDDAKBggr
BgEFBQcDATAPBgNVHRMBAf8EBTADAQH/MCkGA1UdEQQiMCCCDmxvY2FsaG9zdDo1
NDUzgg4xMjcuMC4wLjE6NTQ1MzAKBggqhkjOPQQDAgNIADBFAiEA2zpJEPQyz6/l
Wf86aX6PepsntZv2GYlA5UpabfT2EZICICpJ5h/iI+i341gBmLiAFQOyTDT+/wQc
6MF9+Yw1Yy0t
-----END CERTIFICATE-----`

func TestCABundle(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, []byte(testCert), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"text": testCert, "path": file,
		"escaped line breaks": strings.ReplaceAll(testCert, "\n", `\n`)} {
		s := with(map[string]string{"CA": value}, nil)
		if pool := s.CABundle("CA"); pool == nil || s.Err() != nil {
			t.Errorf("%s: %v", name, s.Err())
		}
	}
	s := with(map[string]string{"CA": "-----BEGIN CERTIFICATE-----\nnonsense"}, nil)
	if pool := s.CABundle("CA"); pool != nil || s.Err() == nil {
		t.Error("nonsense is taken for certificates")
	}
	if pool := with(nil, nil).CABundle("CA"); pool != nil {
		t.Error("without a bundle, the system's CAs are meant")
	}
}

func TestAsked(t *testing.T) {
	s := with(nil, nil)
	everything(s)
	everything(s)
	names := map[string]settings.Setting{}
	for _, a := range s.Declared() {
		if _, twice := names[a.Name]; twice {
			t.Errorf("%s is listed twice", a.Name)
		}
		names[a.Name] = a
	}
	if a := names["TOKEN"]; !a.Required || !a.Secret {
		t.Errorf("TOKEN: %+v", a)
	}
	if a := names["NUMBER"]; a.Required || a.Default != "5" {
		t.Errorf("NUMBER: %+v", a)
	}
}

// TestTLSVerify: settings that disable the verification of certificates cause a warning.
func TestTLSVerify(t *testing.T) {
	for value, want := range map[string]bool{"": true, "true": true, "FALSE": false, "no": false} {
		s := with(map[string]string{"X_TLS_VERIFY": value}, nil)
		if got := s.TLSVerify("X_TLS_VERIFY"); got != want {
			t.Errorf("X_TLS_VERIFY=%q: %t, want %t", value, got, want)
		}
		if warned := strings.Contains(strings.Join(s.Warnings(), " "), "X_TLS_VERIFY=false"); warned == want {
			t.Errorf("X_TLS_VERIFY=%q: warned %t, want %t", value, warned, !want)
		}
	}
}
