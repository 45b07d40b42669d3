package deployed

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"github.com/arbitex/siem-connectors/shared/guard"
)

// Hold returns the state of the guard for a connector, nil if the guard never held it.
func (s *Stack) Hold(ctx context.Context, m *Mapping) (*guard.Hold, error) {
	if !s.Has("Guard") || m.function == "" {
		return nil, nil
	}
	out, err := s.lambda.ListTags(ctx, &lambda.ListTagsInput{Resource: &m.function})
	if err != nil {
		return nil, failed("reading the tags of "+m.function, err)
	}
	tag := out.Tags[guard.TagKey]
	if tag == "" {
		return nil, nil
	}
	hold, err := guard.ParseHold(tag)
	if err != nil {
		return nil, &Error{Doing: "reading the state of the guard of " + m.function, Err: err}
	}
	return hold, nil
}

// SetHold writes the state of the guard for a connector.
func (s *Stack) SetHold(ctx context.Context, m *Mapping, hold *guard.Hold) error {
	_, err := s.lambda.TagResource(ctx, &lambda.TagResourceInput{Resource: &m.function,
		Tags: map[string]string{guard.TagKey: hold.String()}})
	if err != nil {
		return failed("writing the tags of "+m.function, err)
	}
	return nil
}

// unqualified removes the version or alias from a function's ARN:
// arn:aws:lambda:<region>:<account>:function:<name>:<alias>.
func unqualified(arn string) string {
	if parts := strings.Split(arn, ":"); len(parts) > 7 {
		return strings.Join(parts[:7], ":")
	}
	return arn
}
