package settings_test

import (
	"strings"
	"testing"
)

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
		"only.example:8443": true, "only.example:443": false, "localhost:443": true, "127.0.0.1:443": true, "[::1]:443": true,
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
