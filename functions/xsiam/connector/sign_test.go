package connector

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/shared/secret"
)

// TestSignatures compares with values computed by another implementation (Python's hmac and hashlib).
func TestSignatures(t *testing.T) {
	s := &signer{key: secret.New(apiKey), keyID: "42"}
	n := strings.Repeat("N", 64)
	const want = "523adbad8d8312bc0ac45dea015d914ee12b98b542b4c2c4ba075200b61a8141"
	if got := s.hmac(n).header.Get("X-Xdr-Hmac-Sha256"); got != want {
		t.Errorf("hmac %s", got)
	}
	h := s.advanced(n, moment()).header
	if got := h.Get("Authorization"); got != "2eb1ed0775d47f77b569d0c528f702f1ad7842b142075dd54166424c51317e06" {
		t.Errorf("advanced %s", got)
	}
	if h.Get("X-Xdr-Timestamp") != "1773360000000" || h.Get("X-Xdr-Nonce") != n || h.Get("X-Xdr-Auth-Id") != "42" {
		t.Errorf("%v", h)
	}
}

func TestHeaders(t *testing.T) {
	for auth, want := range map[string][]string{
		"hmac":     {"Content-Type", "X-Xdr-Auth-Id", "X-Xdr-Hmac-Sha256", "X-Xdr-Nonce"},
		"token":    {"Authorization", "Content-Type"},
		"standard": {"Authorization", "Content-Type", "X-Xdr-Auth-Id"},
		"advanced": {"Authorization", "Content-Type", "X-Xdr-Auth-Id", "X-Xdr-Nonce", "X-Xdr-Timestamp"},
	} {
		s := newTenant(t)
		c := s.open(t, "XSIAM_AUTH", auth)
		for range 2 {
			if f := send(t, c); f != nil {
				t.Fatal(f)
			}
		}
		r := s.requests()
		got := maps.Clone(r[0].header)
		for _, common := range []string{"User-Agent", "Content-Length", "Accept-Encoding"} {
			delete(got, common)
		}
		if keys := slices.Sorted(maps.Keys(got)); !slices.Equal(keys, want) {
			t.Errorf("%s: headers %v, want %v", auth, keys, want)
		}
		sendsKey := got.Get("Authorization") == apiKey
		if want := auth == "token" || auth == "standard"; sendsKey != want {
			t.Errorf("%s: Authorization %q", auth, got.Get("Authorization"))
		}
		first, second := r[0].header.Get("X-Xdr-Nonce"), r[1].header.Get("X-Xdr-Nonce")
		if slices.Contains(want, "X-Xdr-Nonce") &&
			(first == second || !regexp.MustCompile(`^[A-Za-z0-9]{64}$`).MatchString(first)) {
			t.Errorf("%s: nonces %q and %q", auth, first, second)
		}
		checkSignature(t, auth, r[1].header)
	}
}

// checkSignature signs again what the header says was signed.
func checkSignature(t *testing.T, auth string, h http.Header) {
	t.Helper()
	s := &signer{key: secret.New(apiKey), keyID: "42"}
	switch auth {
	case "hmac":
		if want := s.hmac(h.Get("X-Xdr-Nonce")).header.Get("X-Xdr-Hmac-Sha256"); h.Get("X-Xdr-Hmac-Sha256") != want {
			t.Errorf("signature %s, want %s", h.Get("X-Xdr-Hmac-Sha256"), want)
		}
	case "advanced":
		if want := s.advanced(h.Get("X-Xdr-Nonce"), moment()).header.Get("Authorization"); h.Get("Authorization") != want {
			t.Errorf("signature %s, want %s", h.Get("Authorization"), want)
		}
	}
}
