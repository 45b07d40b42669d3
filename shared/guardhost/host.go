// Package guardhost runs the guard in Lambda: its settings and its AWS clients. It is not part of lambdahost because
// the connectors' binaries would otherwise contain the client of Lambda.
package guardhost

import (
	"time"

	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/guard"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// Run serves the invocations of the guard's function. It does not return.
func Run() {
	d := lambdahost.System()
	lambdahost.Start(New(d, &client{env: d.Env}))
}

// New returns the handler. It reads the settings at the first invocation.
func New(d lambdahost.Deps, l guard.Lambda) *lambdahost.Function {
	return lambdahost.NewFunction(d, func(s *settings.Settings) (lambdahost.Handler, error) { return open(s, d, l) })
}

func open(s *settings.Settings, d lambdahost.Deps, l guard.Lambda) (*guard.Guard, error) {
	g := &guard.Guard{
		Stack: s.String("SIEM_STACK", "local"), Lambda: l, Now: d.Now, Log: d.Logger(s), Metrics: d.Out,
		Queue:      &queue{sqs: d.SQS, url: s.Required("SIEM_QUEUE_URL", "the URL of the guard's own queue")},
		Replay:     s.Required("REPLAY_FUNCTION_NAME", "the name or the ARN of the replay function"),
		Retention:  time.Duration(s.Int("SIEM_QUEUE_RETENTION_DAYS", 14, 1, 14)) * 24 * time.Hour,
		Minute:     time.Duration(s.Int("GUARD_MINUTE_SECONDS", 60, 1, 60)) * time.Second,
		Connectors: map[string]guard.Target{},
	}
	for _, c := range connectors.All() {
		function, mapping := c.Variable("FUNCTION_NAME"), c.Variable("MAPPING_ID")
		if !s.Set(function) && !s.Set(mapping) {
			continue // not deployed
		}
		g.Connectors[c.Name] = guard.Target{
			Function: s.Required(function, "the name or the ARN of the connector's function, because "+mapping+" is set"),
			Mapping:  s.Required(mapping, "the UUID of the event source mapping, because "+function+" is set"),
		}
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	return g, nil
}
