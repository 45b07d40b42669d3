package deployed

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/arbitex/siem-connectors/shared/guard"
)

// Invoke invokes a connector's function and returns the response.
func (s *Stack) Invoke(ctx context.Context, id string, payload []byte) ([]byte, error) {
	doing := "invoking the function of " + id
	out, err := s.lambda.Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String(s.physical[id+"Function"]),
		Payload: payload})
	if err != nil {
		return nil, failed(doing, err)
	}
	if out.FunctionError != nil {
		var e struct{ ErrorType, ErrorMessage string }
		_ = json.Unmarshal(out.Payload, &e) // without JSON, the kind of failure is all there is
		return nil, &Error{Doing: doing, Err: fmt.Errorf("the function failed (%s): %s: %s", *out.FunctionError, e.ErrorType,
			e.ErrorMessage)}
	}
	return out.Payload, nil
}

// Environment returns the environment of a function by the prefix of its logical ids.
func (s *Stack) Environment(ctx context.Context, id string) (map[string]string, error) {
	if env, ok := s.functions[id]; ok {
		return env, nil
	}
	out, err := s.lambda.GetFunctionConfiguration(ctx,
		&lambda.GetFunctionConfigurationInput{FunctionName: aws.String(s.physical[id+"Function"])})
	if err != nil {
		return nil, failed("reading the settings of the function of "+id, err)
	}
	env := map[string]string{}
	if out.Environment != nil {
		env = out.Environment.Variables
	}
	s.functions[id] = env
	return env, nil
}

// Mapping is the event source mapping of a connector's queue.
type Mapping struct {
	State       string // Enabled, Disabled, or a transition between them
	concurrency int    // MaximumConcurrency; 0 = not set
	batchSize   int    // messages
	function    string // ARN without a version or an alias
}

// Mapping reads the state of a connector's event source mapping.
func (s *Stack) Mapping(ctx context.Context, id string) (Mapping, error) {
	uuid, err := s.uuid(id)
	if err != nil {
		return Mapping{}, err
	}
	out, err := s.lambda.GetEventSourceMapping(ctx, &lambda.GetEventSourceMappingInput{UUID: &uuid})
	if err != nil {
		return Mapping{}, failed("reading the event source mapping of "+id, err)
	}
	m := Mapping{State: aws.ToString(out.State), batchSize: int(aws.ToInt32(out.BatchSize)),
		function: unqualified(aws.ToString(out.FunctionArn))}
	if out.ScalingConfig != nil {
		m.concurrency = int(aws.ToInt32(out.ScalingConfig.MaximumConcurrency))
	}
	return m, nil
}

// Kept returns the hold with the settings that a deployment has changed since: those that are not the guard's.
func (m *Mapping) Kept(hold *guard.Hold) *guard.Hold {
	h := *hold
	if m.concurrency != guard.Gradual {
		h.Concurrency = m.concurrency
	}
	if m.batchSize != guard.Gradual {
		h.BatchSize = m.batchSize
	}
	return &h
}

// SetMapping enables or disables a connector's event source mapping. The change takes some seconds. With a hold, it
// also restores the settings that the mapping had before the guard changed them.
func (s *Stack) SetMapping(ctx context.Context, id string, on bool, restore *guard.Hold) error {
	uuid, err := s.uuid(id)
	if err != nil {
		return err
	}
	in := &lambda.UpdateEventSourceMappingInput{UUID: &uuid, Enabled: &on}
	if restore != nil && restore.BatchSize > 0 {
		in.BatchSize = aws.Int32(int32(restore.BatchSize)) //nolint:gosec // at most 10,000
		in.ScalingConfig = &types.ScalingConfig{}          // an empty one removes the limit
		if restore.Concurrency > 0 {
			in.ScalingConfig.MaximumConcurrency = aws.Int32(int32(restore.Concurrency)) //nolint:gosec // at most 1,000
		}
	}
	if _, err = s.lambda.UpdateEventSourceMapping(ctx, in); err != nil {
		return failed("changing the event source mapping of "+id, err)
	}
	return nil
}

// uuid returns the id of a mapping. SAM names the resource after the function and its event.
func (s *Stack) uuid(id string) (string, error) {
	return s.resource(id+"FunctionQueue", "the event source mapping of "+id)
}

// replayPath is the path of the replay API.
const replayPath = "/api/admin/siem/replay-dead-letter"

// replayTimeout is longer than the longest run of a function, 15 minutes.
const replayTimeout = 16 * time.Minute

// maxReplayAnswer limits how much of a response is read.
const maxReplayAnswer = 1 << 20

// Replay sends a request to the replay function, and returns the status and the body of the response. It sends a signed
// request to the function's URL; if the function has no URL, it invokes the function with the payload of one.
func (s *Stack) Replay(ctx context.Context, method string, body []byte) (status int, answer []byte, err error) {
	name, err := s.resource("ReplayFunction", "the replay function")
	if err != nil {
		return 0, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, replayTimeout)
	defer cancel()
	out, err := s.lambda.GetFunctionUrlConfig(ctx, &lambda.GetFunctionUrlConfigInput{FunctionName: &name})
	if _, missing := errors.AsType[*types.ResourceNotFoundException](err); missing {
		return s.invokeReplay(ctx, method, body)
	}
	if err != nil {
		return 0, nil, failed("reading the replay function's URL", err)
	}
	return s.requestReplay(ctx, strings.TrimSuffix(aws.ToString(out.FunctionUrl), "/")+replayPath, method, body)
}

// invokeReplay is for regions without function URLs.
// https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
func (s *Stack) invokeReplay(ctx context.Context, method string, body []byte) (status int, answer []byte, err error) {
	payload, err := json.Marshal(map[string]any{
		"version": "2.0", "rawPath": replayPath, "headers": map[string]string{"content-type": "application/json"},
		"body":           string(body),
		"requestContext": map[string]any{"http": map[string]string{"method": method, "path": replayPath}},
	})
	if err != nil {
		return 0, nil, fmt.Errorf("writing the request: %w", err)
	}
	text, err := s.Invoke(ctx, "Replay", payload)
	if err != nil {
		return 0, nil, err
	}
	var response struct {
		StatusCode int    `json:"statusCode"`
		Body       string `json:"body"`
	}
	if err := json.Unmarshal(text, &response); err != nil || response.StatusCode == 0 {
		return 0, nil, &Error{Doing: "invoking the replay function",
			Err: fmt.Errorf("expected a response with a status code, found %.200q", text)}
	}
	return response.StatusCode, []byte(response.Body), nil
}

// requestReplay sends a signed request to the replay function's URL.
func (s *Stack) requestReplay(ctx context.Context, url, method string, body []byte) (status int, answer []byte,
	err error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, &Error{Doing: "calling the replay function", Err: err}
	}
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	if err := s.sign(ctx, req, body); err != nil {
		return 0, nil, err
	}
	resp, err := s.config.HTTPClient.Do(req)
	if err != nil {
		return 0, nil, failed("calling the replay function", err)
	}
	defer resp.Body.Close()
	if answer, err = io.ReadAll(io.LimitReader(resp.Body, maxReplayAnswer)); err != nil {
		return 0, nil, failed("reading the replay function's response", err)
	}
	if resp.StatusCode == http.StatusForbidden {
		return 0, nil, &Error{Doing: "calling the replay function",
			Err: errors.New("status 403: the request was not authorized"),
			Hint: "the caller needs lambda:InvokeFunctionUrl and lambda:InvokeFunction; the policy in the stack's output " +
				"ReplayCallerPolicyArn grants them"}
	}
	return resp.StatusCode, answer, nil
}

// sign signs a request for the service lambda: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
func (s *Stack) sign(ctx context.Context, req *http.Request, body []byte) error {
	credentials, err := s.config.Credentials.Retrieve(ctx)
	if err != nil {
		return &Error{Doing: "reading the AWS credentials", Err: err}
	}
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(ctx, credentials, req, hex.EncodeToString(sum[:]), "lambda", s.config.Region,
		time.Now()); err != nil {
		return &Error{Doing: "signing the call of the replay function", Err: err}
	}
	return nil
}

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
