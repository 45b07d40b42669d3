package lambdahost

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// CheckResult is the response to the connection check. Step, Detail and Hint describe the failure. Hint alone is a
// note.
type CheckResult struct {
	Connector    string       `json:"connector"`
	OK           bool         `json:"ok"`
	Step         failure.Step `json:"step,omitempty"`
	Detail       string       `json:"detail,omitempty"`
	Hint         string       `json:"hint,omitempty"`
	Milliseconds int64        `json:"milliseconds"`
}

// check checks the connection to the SIEM. A failure is part of the response, never an invocation error.
func (c *Connector) check(ctx context.Context) []byte {
	start := c.deps.Now()
	result := CheckResult{Connector: c.name, OK: true}
	note, f := c.tryConnection(ctx)
	if result.Hint = note; f != nil {
		result.OK, result.Step, result.Hint = false, f.Step, f.Hint
		if result.Step == "" {
			result.Step = failure.Request
		}
		shown := *f
		shown.Hint = ""
		result.Detail = shown.Error()
	}
	result.Milliseconds = c.deps.Now().Sub(start).Milliseconds()
	response, _ := json.Marshal(result) // strings and numbers always marshal
	return response
}

// tryConnection returns the failure of the connection; if it works, nil and a note. It always reads the secret again,
// so that a check shows the effect of a correction at once.
func (c *Connector) tryConnection(ctx context.Context) (note string, f *failure.Error) {
	defer func() {
		if p := recover(); p != nil {
			f = &failure.Error{Step: failure.Request, Detail: fmt.Sprintf("the check panicked: %T", p)}
		}
	}()
	used, _ := c.cache.cache.Current()
	instance, err := c.cache.cache.Renew(ctx, used, c.cache.cache.Loads(), c.cache.load)
	var wrong *settings.Error
	switch {
	case err != nil && !errors.As(err, &f) && errors.As(err, &wrong):
		return "", &failure.Error{
			Step: failure.Config, Detail: wrong.Error(),
			Hint: "set each variable named, in the function's environment or as a key of its secret",
		}
	case err != nil:
		return "", failure.Of(err)
	}
	checker, ok := instance.connector.(deliver.Checker)
	if !ok {
		return "", &failure.Error{Step: failure.Request, Detail: "this connector has no check"}
	}
	if err := checker.Check(ctx); err != nil {
		return "", failure.Of(redacting{redactor: instance.redactor}.redact(err))
	}
	if noter, ok := checker.(deliver.Noter); ok {
		note = noter.Note(ctx)
	}
	return note, nil
}
