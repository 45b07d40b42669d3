package connector

import (
	"maps"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// env returns a complete configuration, changed by pairs of name and value.
func env(pairs ...string) map[string]string {
	e := map[string]string{"QRADAR_SYSLOG_HOST": "qradar.example.com"}
	for i := 0; i < len(pairs); i += 2 {
		e[pairs[i]] = pairs[i+1]
	}
	return e
}

func newSettings(e map[string]string) *settings.Settings {
	return settings.New(func(name string) string { return e[name] }, nil)
}

func open(t testing.TB, e map[string]string) *connector {
	t.Helper()
	s := newSettings(e)
	c := Open(s).(*connector)
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.client.Close)
	return c
}

// with merges maps, the later over the earlier.
func with(all ...map[string]string) map[string]string {
	merged := map[string]string{}
	for _, m := range all {
		maps.Copy(merged, m)
	}
	return merged
}

// encode encodes one event, which must work.
func encode(t testing.TB, c deliver.Connector, body string) (record string, truncated bool) {
	t.Helper()
	const before = "what precedes is kept"
	b, truncated, err := c.Append([]byte(before), connectortest.Parse(t, body))
	if err != nil {
		t.Fatal(err)
	}
	record, ok := strings.CutPrefix(string(b), before)
	if !ok {
		t.Fatalf("Append changed what precedes the record: %.60q", b)
	}
	return record, truncated
}
