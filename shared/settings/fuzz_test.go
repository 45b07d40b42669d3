package settings

import (
	"strings"
	"testing"
)

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
		s := New(func(name string) string { return env[name] }, values)
		if n := s.Int("NAME", 5, 1, 10); n < 1 || n > 10 {
			t.Errorf("Int is %d", n)
		}
		if o := s.OneOf("NAME", "gzip", "none"); o != "gzip" && o != "none" {
			t.Errorf("OneOf is %q", o)
		}
		if u := s.URL("NAME", "", "an address"); u != nil && (u.Host == "" || u.Scheme != "https" || u.User != nil ||
			u.RawQuery != "") {
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
