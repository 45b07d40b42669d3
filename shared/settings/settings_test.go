package settings_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/pki"
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
	once := s.Err()
	everything(s)
	err := s.Err()
	if err == nil {
		t.Fatal("no error")
	}
	if err.Error() != once.Error() {
		t.Errorf("a variable that is read twice is reported twice:\n%v", err)
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
	s = with(nil, nil)
	s.Problem("UNSET", "9", "at most 8")
	if text := s.Err().Error(); text != `configuration: UNSET: expected at most 8, found "9"` {
		t.Errorf("a default is not shown: %s", text)
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
	marked := with(map[string]string{"NUMBER": "\uFEFF7"}, map[string]string{"NAME": "\uFEFF x "})
	if n, name := marked.Int("NUMBER", 1, 1, 9), marked.Required("NAME", "a name"); n != 7 || name != "x" {
		t.Errorf("%d, %q: a byte order mark that an editor put before a value belongs to it", n, name)
	}
	if err := errors.Join(s.Err(), marked.Err()); err != nil {
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
		"https://host:88088":    "absolute URL",
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
		case err == nil || u.String() != "" || !strings.Contains(err.Error(), want):
			t.Errorf("%s: %v %v, want an error with %q", in, u, err, want)
		case strings.Contains(err.Error(), "pw"):
			t.Errorf("%s: the password shows in %v", in, err)
		}
	}
	s := with(map[string]string{"URL": "http://host", "SIEM_ALLOW_HTTP": "true"}, nil)
	if u := s.URL("URL", "", "a URL"); u.Host != "host" || s.Err() != nil {
		t.Errorf("http is not let pass: %v", s.Err())
	}
}

var testCert = strings.TrimSpace(pki.New("a test's CA").PEM())

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

// TestBundleIsReadWholeOrNotAtAll: for a bundle with an unreadable block, the problem names the variable and the number
// of the block.
func TestBundleIsReadWholeOrNotAtAll(t *testing.T) {
	const end = "-----END CERTIFICATE-----"
	corrupt := strings.Replace(testCert, "MIIB", "MIIC", 1) // its length is wrong
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, []byte(testCert), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ text, problem string }{
		"path":                {file, ""},
		"escaped line breaks": {strings.ReplaceAll(testCert, "\n", `\n`), ""},
		"two":                 {testCert + "\n" + testCert, ""},
		"comments": {"# root\nsubject=CN = x\n" + testCert + "\n\n# issuing, valid until 2030\r\n" +
			strings.ReplaceAll(testCert, "\n", "\r\n") + "\nend\n", ""},
		"byte order mark":     {"\uFEFF" + testCert, ""},
		"indented":            {"  " + strings.ReplaceAll(testCert, "\n", "\n  "), ""},
		"second corrupt":      {testCert + "\n" + corrupt, "block 2 is not a valid certificate"},
		"second not base64":   {testCert + "\n" + strings.Replace(testCert, "MIIB", "M!!B", 1), "block 2 cannot be read"},
		"joined":              {testCert + testCert, "block 1 does not begin and end"},
		"text glued in front": {testCert + "\n# next: " + testCert, "block 2 does not begin and end"},
		"text glued behind":   {testCert + " and\n" + testCert, "block 1 does not begin and end"},
		"no end":              {testCert + "\n" + strings.Replace(testCert, end, "", 1), "block 2 has no end"},
		"end missing between": {strings.Replace(testCert, end, "", 1) + testCert, "block 1 does not begin and end"},
		"stray end":           {testCert + "\n" + end, "block 2 does not begin and end"},
		"other type": {testCert + "\n-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
			"block 2 is a PRIVATE KEY"},
		"empty file": {empty, "the file is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			s := with(map[string]string{"CA": test.text}, nil)
			pool, err := s.CABundle("CA"), s.Err()
			if (pool != nil) != (test.problem == "") || (err == nil) != (test.problem == "") {
				t.Fatalf("pool %t, %v", pool != nil, err)
			}
			if err != nil && (!strings.Contains(err.Error(), "CA: expected") || !strings.Contains(err.Error(), test.problem) ||
				strings.Contains(err.Error(), "-----")) {
				t.Errorf("%v, want %q, and not the text itself", err, test.problem)
			}
		})
	}
	if pool := with(nil, nil).CABundle("CA"); pool != nil {
		t.Error("without a bundle, the system's CAs are meant")
	}
}

// TestClientCertificateNamesTheWrongVariable: a problem of the key is reported for the key's variable.
func TestClientCertificateNamesTheWrongVariable(t *testing.T) {
	client := pki.New("CA").Client("client")
	good, goodKey := client.CertPEM, client.KeyPEM
	encrypted := strings.ReplaceAll(goodKey, "PRIVATE", "ENCRYPTED PRIVATE")
	combined := filepath.Join(t.TempDir(), "both.pem")
	if err := os.WriteFile(combined, []byte(goodKey+good), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("\uFEFF"), 0o600); err != nil {
		t.Fatal(err)
	}
	legacy := "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END EC " +
		"PRIVATE KEY-----\n"
	for name, test := range map[string]struct{ cert, key, names, text string }{
		"both":           {good, goodKey, "", ""},
		"one file":       {combined, combined, "", ""},
		"encrypted":      {good, encrypted, "KEY: expected", "encrypted with a passphrase"},
		"encrypted, old": {good, legacy, "KEY: expected", "encrypted with a passphrase"},
		"no key":         {good, good, "KEY: expected", "no private key"},
		"empty key":      {good, empty, "KEY: expected", "the file is empty"},
		"empty cert":     {empty, goodKey, "CERT: expected", "the file is empty"},
		"no certificate": {goodKey, goodKey, "CERT: expected", "no certificate"},
		"corrupt chain":  {good + strings.Replace(good, "MI", "MM", 1), goodKey, "CERT: expected", "block 2"},
		"do not fit":     {testCert, goodKey, "CERT: expected", "fits the key KEY"},
	} {
		t.Run(name, func(t *testing.T) {
			s := with(map[string]string{"CERT": test.cert, "KEY": test.key}, nil)
			cert := s.ClientCertificate("CERT", "KEY")
			err := s.Err()
			if (cert != nil) != (test.names == "") || (err == nil) != (test.names == "") {
				t.Fatalf("certificate %t, %v", cert != nil, err)
			}
			if err != nil && (!strings.Contains(err.Error(), test.names) || !strings.Contains(err.Error(), test.text) ||
				strings.Count(err.Error(), "expected") != 1) {
				t.Errorf("%v, want only %q with %q", err, test.names, test.text)
			}
		})
	}
}

// TestProxyIsParsedOrRefused: a value that cannot be used is a problem, and never means that there is no proxy.
func TestProxyIsParsedOrRefused(t *testing.T) {
	for text, want := range map[string]string{
		"http://proxy.example:3128": "http://proxy.example:3128", "proxy.example:3128\n": "http://proxy.example:3128",
		" https://proxy.example/ ": "https://proxy.example:443", "http://proxy.example": "http://proxy.example:80",
		"http://svc:50%25off@proxy.example:3128": "http://svc:50%25off@proxy.example:3128",
		"http://[fd00::1]:3128":                  "http://[fd00::1]:3128",
		"":                                       "none",
		"http://svc:50%off@host:3128":            "", "http://svc:a#b@host": "", "http://svc:a/b@host": "",
		"http://svc:a?b@host": "", "socks5://host:1080": "",
		"http://host:0": "", "http://host:99999": "", "http://": "", "http://host:port": "", "http://host/path": "",
		"://host": "", "http://a b": "",
		"http://1:2#x@host:3128": "",
	} {
		for _, source := range []string{"environment", "secret"} {
			values := map[string]string{"HTTPS_PROXY": text}
			s := with(values, nil)
			if source == "secret" {
				s = with(nil, values)
			}
			p, err := s.Proxy(), s.Err()
			switch {
			case want == "" && (p != nil || err == nil || !strings.Contains(err.Error(), "HTTPS_PROXY: expected http")):
				t.Errorf("%q from the %s: %+v, %v, want a problem", text, source, p, err)
			case want == "" && (strings.Contains(err.Error(), "off") || strings.Contains(err.Error(), "svc")):
				t.Errorf("%q from the %s: the error shows the password: %v", text, source, err)
			case want == "none" && (p != nil || err != nil):
				t.Errorf("%q: %+v, %v, want no proxy", text, p, err)
			case want != "" && want != "none" && (p == nil || err != nil || p.URL.String() != want):
				t.Errorf("%q from the %s: %+v, %v, want %s", text, source, p, err, want)
			}
		}
	}
}

func TestNoProxy(t *testing.T) {
	s := with(map[string]string{"HTTPS_PROXY": "http://proxy", "NO_PROXY": " siem.example , " +
		".corp.example,*.apps.example,10.0.0.0/8,192.0.2.7,[2001:db8::1]:443,only.example:8443,"}, nil)
	p := s.Proxy()
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]bool{
		"siem.example:443": true, "SIEM.example.:443": true, "a.siem.example:443": true, "notsiem.example:443": false,
		"corp.example:443": false, "a.corp.example:443": true, "apps.example:443": false, "x.apps.example:443": true,
		"10.1.2.3:443": true, "11.1.2.3:443": false, "192.0.2.7:8088": true, "192.0.2.8:8088": false,
		"[2001:db8::1]:443": true, "[2001:db8::1]:444": false,
		"only.example:8443": true, "only.example:443": false, "localhost:443": false, "127.0.0.1:443": false,
		"other.example:443": false,
	} {
		if got := p.Bypasses(address); got != want {
			t.Errorf("%s bypasses the proxy: %t, want %t", address, got, want)
		}
	}
	all := with(map[string]string{"HTTPS_PROXY": "http://proxy", "NO_PROXY": "*"}, nil).Proxy()
	if !all.Bypasses("other.example:443") {
		t.Error("* does not name every host")
	}
	for _, wrong := range []string{"http://siem.example", "10.0.0.0/33", "siem.example:https", "siem.example:0", "a b",
		"siem.example/path", ".", "[::1", "::1]"} {
		s := with(map[string]string{"NO_PROXY": wrong}, nil)
		if s.Proxy(); s.Err() == nil || !strings.Contains(s.Err().Error(), "NO_PROXY") {
			t.Errorf("%q: %v, want a problem", wrong, s.Err())
		}
	}
}

// FuzzSettings: whatever a variable holds, each accessor returns something usable, what is refused is said with the
// variable's name on one line, and nothing that came from the secret is shown.
func FuzzSettings(f *testing.F) {
	for _, seed := range []string{
		"", " ", "true", "YES", "0", "17", "-1", "99999999999999999999", "gzip", "https://host", "https://u:p@host/",
		"http://host", "https://host?q#f",
		"https://[::1", "%zz", "a\r\nb", "\x00", "\xff\xfe", "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----",
		"/no/such/file", strings.Repeat("x", 5000),
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, value string, fromSecret bool) {
		env, values := map[string]string{}, map[string]string{}
		if fromSecret {
			values["NAME"] = value
		} else {
			env["NAME"] = value
		}
		s := settings.New(func(name string) string { return env[name] }, values)
		if n := s.Int("NAME", 5, 1, 10); n < 1 || n > 10 {
			t.Errorf("Int is %d", n)
		}
		if o := s.OneOf("NAME", "gzip", "none"); o != "gzip" && o != "none" {
			t.Errorf("OneOf is %q", o)
		}
		if u := s.URL("NAME", "", "an address"); u.String() != "" && (u.Host == "" || u.Scheme != "https" ||
			u.User != nil || u.RawQuery != "") {
			t.Errorf("URL is %v", u)
		}
		s.Bool("NAME", false)
		s.CABundle("NAME")
		s.SecretURL("NAME", "an address")
		for _, text := range []string{s.String("NAME", ""), s.Required("NAME", "a text"),
			s.Secret("NAME", false, "a credential").Reveal()} {
			if strings.ContainsAny(text, "\r\n\x00") {
				t.Errorf("a text of more than one line: %q", text)
			}
		}
		err := s.Err()
		if err == nil {
			return
		}
		if !strings.Contains(err.Error(), "NAME: expected ") || strings.ContainsAny(err.Error(), "\r\n") {
			t.Errorf("the error does not name the variable on one line: %q", err)
		}
		if secret := strings.TrimSpace(value); fromSecret && len(secret) >= 16 && strings.Contains(err.Error(), secret) {
			t.Errorf("the error shows the secret: %q", err)
		}
	})
}
