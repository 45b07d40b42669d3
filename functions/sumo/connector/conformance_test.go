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
			return map[string]string{"SUMO_HTTP_SOURCE_URL": url + testPath}
		},
		PlainHTTP:    true,
		EmptyAccepts: true,
		Secrets:      []string{testPath, testPath[len(sourcePath):]},
		Accept:       func(w http.ResponseWriter, r *http.Request, _ []byte) { accept(w, r) },
		Refuse: func(w http.ResponseWriter, _ *http.Request, body []byte, bad string) {
			if strings.Contains(string(body), bad) {
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(w, `{"id":"A1B2C-D3E4F","status":400,"code":"parameter.invalid","message":"no","errors":[]}`)
			}
		},
	}
}

func TestConformance(t *testing.T) { connectortest.Run(t, suite()) }

func TestSettingsTable(t *testing.T) { connectortest.SettingsTable(t, Open, "../README.md") }
