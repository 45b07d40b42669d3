package connector

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
)

const testToken = "11111111-2222-3333-4444-secret-token"

func suite() connectortest.Suite {
	return connectortest.Suite{
		Open: Open,
		Settings: func(url, ca string) map[string]string {
			return map[string]string{"SPLUNK_HEC_URL": url, "SPLUNK_HEC_TLS_CA_BUNDLE": ca, "SPLUNK_HEC_TOKEN": testToken}
		},
		Secrets: []string{testToken},
		Accept: func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			fmt.Fprint(w, `{"text":"Success","code":0}`)
		},
		Refuse: func(w http.ResponseWriter, _ *http.Request, body []byte, bad string) {
			i := slices.IndexFunc(strings.Split(string(body), "\n"), func(line string) bool {
				return strings.Contains(line, bad)
			})
			if i < 0 {
				fmt.Fprint(w, `{"text":"Success","code":0}`)
				return
			}
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"text":"Invalid data format","code":6,"invalid-event-number":%d}`, i)
		},
	}
}

func TestConformance(t *testing.T) { connectortest.Run(t, suite()) }

// TestConformanceWithoutNumber plays a HEC, or a proxy, that does not say which event it refuses.
func TestConformanceWithoutNumber(t *testing.T) {
	s := suite()
	s.Refuse = func(w http.ResponseWriter, _ *http.Request, body []byte, bad string) {
		if !strings.Contains(string(body), bad) {
			fmt.Fprint(w, `{"text":"Success","code":0}`)
			return
		}
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"text":"Invalid data format","code":6}`)
	}
	connectortest.Run(t, s)
}
