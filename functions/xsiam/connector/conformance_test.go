package connector

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
)

// unsentKey is a key that is never sent: with these authentication methods, the server receives only signatures.
const unsentKey = "unsent-key-of-the-tenant"

func suite(auth, key string) connectortest.Suite {
	accept := func(w http.ResponseWriter, _ *http.Request, _ []byte) { w.WriteHeader(http.StatusAccepted) }
	return connectortest.Suite{
		Open: Open,
		Settings: func(url, _ string) map[string]string {
			return env("XSIAM_URL", url, "XSIAM_AUTH", auth, "XSIAM_API_KEY", key)
		},
		PlainHTTP:    true,
		Secrets:      []string{key},
		Accept:       accept,
		EmptyAccepts: true,
		Refuse: func(w http.ResponseWriter, r *http.Request, body []byte, bad string) {
			if strings.Contains(string(body), bad) {
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(w, `{"error":"malformed event"}`)
				return
			}
			accept(w, r, body)
		},
	}
}

func TestConformance(t *testing.T) {
	for auth, key := range map[string]string{"hmac": unsentKey, "token": apiKey, "standard": apiKey,
		"advanced": unsentKey} {
		t.Run(auth, func(t *testing.T) {
			t.Parallel() // each waits a second for a server that never answers
			connectortest.Run(t, suite(auth, key))
		})
	}
}

func TestSettingsTable(t *testing.T) { connectortest.SettingsTable(t, Open, "../README.md") }
