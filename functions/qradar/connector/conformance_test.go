package connector

import (
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
)

func TestConformance(t *testing.T) {
	connectortest.RunSyslog(t, connectortest.SyslogSuite{
		Open: Open,
		Settings: func(host, port string) map[string]string {
			return map[string]string{"QRADAR_SYSLOG_HOST": host, "QRADAR_SYSLOG_PORT": port}
		},
		Mark: "CEF:0|",
	})
}

func TestSettingsTable(t *testing.T) { connectortest.SettingsTable(t, Open, "../README.md") }
