package lambdahost

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/shared/settings"
	"github.com/arbitex/siem-connectors/shared/version"
)

// TestFirstLogLineNamesTheVersion also covers a derived logger, which the guard uses.
func TestFirstLogLineNamesTheVersion(t *testing.T) {
	field := `"version":"` + version.Version + `"`
	for name, derive := range map[string]func(*slog.Logger) *slog.Logger{
		"logger":         func(l *slog.Logger) *slog.Logger { return l },
		"derived logger": func(l *slog.Logger) *slog.Logger { return l.With(slog.String("connector", "splunk")) },
	} {
		var out bytes.Buffer
		log := Deps{Out: &out}.Logger(settings.New(func(string) string { return "" }, nil))
		log.Debug("below the level")
		derive(log).Info("first")
		derive(log).Info("second")
		log.Info("third")
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 3 || !strings.Contains(lines[0], field) || strings.Contains(lines[1]+lines[2], field) {
			t.Errorf("%s: want %s in the first of three lines, have\n%s", name, field, out.String())
		}
	}
}

func TestFailedInvocationNamesTheVersion(t *testing.T) {
	w := &world{env: map[string]string{}}
	failing := NewConnector("test", nil, Deps{Env: func(string) string { return "" }, Out: w})
	_, err := (&logging{failing, w}).Invoke(context.Background(), []byte(`not JSON`))
	if want := `"version":"` + version.Version + `"`; err == nil || !strings.Contains(w.out.String(), want) {
		t.Errorf("error %v; want %s in the log, have %s", err, want, w.out.String())
	}
}
