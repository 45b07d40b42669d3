package connector

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
)

func suite() connectortest.Suite {
	isToken := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/oauth2/v2.0/token") }
	accept := func(w http.ResponseWriter, r *http.Request, _ []byte) {
		if isToken(r) {
			fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":3599,"access_token":%q}`, accessToken(1))
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
	return connectortest.Suite{
		Open: Open,
		Settings: func(url, _ string) map[string]string {
			return env("SENTINEL_DCR_ENDPOINT", url, "SENTINEL_AUTHORITY_HOST", url, "SENTINEL_CLIENT_SECRET",
				"a-secret-of-the-client")
		},
		PlainHTTP: true,
		Secrets:   []string{"a-secret-of-the-client", accessToken(1)},
		Accept:    accept,
		Refuse: func(w http.ResponseWriter, r *http.Request, body []byte, bad string) {
			if strings.Contains(string(body), bad) {
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(w, refusal("InvalidPayload"))
				return
			}
			accept(w, r, body)
		},
		EmptyAccepts: true,
		Delivers:     func(r *http.Request) bool { return !isToken(r) },
	}
}

func TestConformance(t *testing.T) { connectortest.Run(t, suite()) }

func TestSettingsTable(t *testing.T) { connectortest.SettingsTable(t, Open, "../README.md") }
