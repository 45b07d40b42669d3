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

// CheckResult is the answer to the connection check. Step, Detail and Hint tell what failed. Hint alone is a note.
type CheckResult struct {
	Connector    string       `json:"connector"`
	OK           bool         `json:"ok"`
	Step         failure.Step `json:"step,omitempty"`
	Detail       string       `json:"detail,omitempty"`
	Hint         string       `json:"hint,omitempty"`
	Milliseconds int64        `json:"milliseconds"`
}

// check tries the way to the SIEM. Whatever is wrong is in the answer, never an invocation error.
func (c *Connector) check(ctx context.Context) []byte {
	start := c.world.Now()
	result := CheckResult{Connector: c.name, OK: true}
	note, f := c.tryConnection(ctx)
	if result.Hint = note; f != nil {
		result.OK, result.Step, result.Hint = false, f.Step, f.Hint
		if result.Step == "" {
			result.Step = failure.Request
		}
		told := *f
		told.Hint = ""
		result.Detail = told.Error()
	}
	result.Milliseconds = c.world.Now().Sub(start).Milliseconds()
	answer, _ := json.Marshal(result) // strings and numbers always marshal
	return answer
}

// tryConnection returns the failure of the connection, nil if it works, and then a note. The secret is always read again, so that a check
// shows what has just been mended.
func (c *Connector) tryConnection(ctx context.Context) (note string, f *failure.Error) {
	defer func() {
		if p := recover(); p != nil {
			f = &failure.Error{Step: failure.Request, Detail: fmt.Sprintf("the check panicked: %T", p)}
		}
	}()
	opened, err := c.holder.renew(ctx)
	var wrong *settings.Error
	switch {
	case errors.As(err, &wrong):
		return "", &failure.Error{Step: failure.Config, Detail: wrong.Error(), Hint: "set each variable named, in the function's environment or as a key of its secret"}
	case err != nil:
		return "", failure.Of(err)
	}
	checker, ok := opened.connector.(deliver.Checker)
	if !ok {
		return "", &failure.Error{Step: failure.Request, Detail: "this connector has no check"}
	}
	f = failure.Of(checker.Check(ctx))
	if noter, ok := checker.(deliver.Noter); ok && f == nil {
		note = noter.Note(ctx)
	}
	return note, f
}
