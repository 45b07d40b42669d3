package connector

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
)

func suite() connectortest.Suite {
	return connectortest.Suite{
		Open: Open,
		Settings: func(url, _ string) map[string]string {
			return map[string]string{"DATADOG_INTAKE_URL": url, "DATADOG_API_KEY": testKey}
		},
		PlainHTTP:    true,
		EmptyAccepts: true,
		Secrets:      []string{testKey},
		Accept:       func(w http.ResponseWriter, r *http.Request, _ []byte) { accept(w, r) },
		Refuse: func(w http.ResponseWriter, r *http.Request, body []byte, bad string) {
			if !strings.Contains(string(body), bad) {
				accept(w, r)
				return
			}
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"errors":[{"status":"400","title":"Bad Request","detail":"Invalid payload"}]}`)
		},
	}
}

func TestConformance(t *testing.T) { connectortest.Run(t, suite()) }

func TestSettingsTable(t *testing.T) { connectortest.SettingsTable(t, Open, "../README.md") }
