package cloud

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/arbitex/siem-connectors/emulator/lambda/alarms"
	"github.com/arbitex/siem-connectors/internal/samtemplate"
	"github.com/arbitex/siem-connectors/shared/connectors"
)

const (
	guardFunction = "GuardFunction"
	guardQueue    = "GuardQueue"
)

// startAlarms starts the alarms that the guard acts on, and gives the guard the address of the Lambda API. Without a
// guard in the template, it does nothing.
func (c *Cloud) startAlarms(ctx context.Context) error {
	functions := c.template.IDs(samtemplate.TypeFunction)
	if !slices.Contains(functions, guardFunction) {
		return nil
	}
	endpoint, err := c.ServeAPI(ctx)
	if err != nil {
		return err
	}
	environment := maps.Clone(c.o.Environment)
	if environment == nil {
		environment = map[string]map[string]string{}
	}
	environment[guardFunction] = map[string]string{"AWS_ENDPOINT_URL_LAMBDA": endpoint}
	maps.Copy(environment[guardFunction], c.o.Environment[guardFunction])
	c.o.Environment = environment
	names := slices.DeleteFunc(connectors.Names(), func(name string) bool {
		return !slices.Contains(functions, name+"Function")
	})
	c.alarms = alarms.New(alarms.Config{
		Stack: StackName, Connectors: names, Period: c.o.AlarmPeriod,
		Send: func(ctx context.Context, event []byte) error {
			_, err := c.sqs.SendMessage(ctx, &sqs.SendMessageInput{
				QueueUrl: aws.String(c.Queue(guardQueue)), MessageBody: aws.String(string(event)),
			})
			return err
		},
		Problem: func(err error) { c.logs.print("alarms", err.Error()) },
	})
	go c.alarms.Run(ctx)
	return nil
}

// settings are the tags of the functions, and the settings of the event source mappings. The pollers keep those that
// they started with.
type settings struct {
	mu       sync.Mutex
	tags     map[string]map[string]string // by the function's ARN
	mappings map[string]mappingSettings   // by logical id
}

type mappingSettings struct {
	function    string // ARN
	batchSize   int
	concurrency int // 0: no maximum
}

func newSettings() *settings {
	return &settings{tags: map[string]map[string]string{}, mappings: map[string]mappingSettings{}}
}

func (s *settings) add(m samtemplate.Mapping, function string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mappings[m.ID] = mappingSettings{functionARN(function), m.BatchSize, m.MaximumConcurrency}
}

// tags responds to ListTags, TagResource and UntagResource.
// https://docs.aws.amazon.com/lambda/latest/api/API_TagResource.html
func (a *api) tags(w http.ResponseWriter, r *http.Request, arn string) {
	if a.cloud.byName(arn) == "" {
		a.noFunction(w, arn)
		return
	}
	body, ok := readBody(w, r)
	if !ok {
		return
	}
	s := a.cloud.settings
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r.Method {
	case http.MethodGet:
		lambdaAnswer(w, http.StatusOK, map[string]any{"Tags": s.tags[arn]})
		return
	case http.MethodPost:
		var in struct{ Tags map[string]string }
		if err := json.Unmarshal(body, &in); err != nil || len(in.Tags) == 0 {
			lambdaError(w, http.StatusBadRequest, "InvalidParameterValueException", "expected Tags")
			return
		}
		if s.tags[arn] == nil {
			s.tags[arn] = map[string]string{}
		}
		maps.Copy(s.tags[arn], in.Tags)
	case http.MethodDelete:
		for _, key := range r.URL.Query()["tagKeys"] {
			delete(s.tags[arn], key)
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// mapping responds to GetEventSourceMapping and UpdateEventSourceMapping. In AWS, enabling and disabling takes a
// while; here it is complete with the response. BatchSize and MaximumConcurrency are kept, and have no effect.
// https://docs.aws.amazon.com/lambda/latest/api/API_UpdateEventSourceMapping.html
func (a *api) mapping(w http.ResponseWriter, r *http.Request, id string) {
	poller, ok := a.cloud.pollers[id]
	if !ok {
		lambdaError(w, http.StatusNotFound, "ResourceNotFoundException", "The resource you requested does not exist.")
		return
	}
	status := http.StatusOK
	if r.Method == http.MethodPut {
		body, ok := readBody(w, r)
		if !ok {
			return
		}
		enabled, err := a.cloud.settings.change(id, body)
		if err != nil {
			lambdaError(w, http.StatusBadRequest, "InvalidParameterValueException", err.Error())
			return
		}
		if enabled != nil {
			poller.SetEnabled(*enabled)
		}
		status = http.StatusAccepted
	}
	state := "Disabled"
	if poller.Enabled() {
		state = "Enabled"
	}
	a.cloud.settings.mu.Lock()
	m := a.cloud.settings.mappings[id]
	a.cloud.settings.mu.Unlock()
	out := map[string]any{
		"UUID": id, "State": state, "StateTransitionReason": "User action",
		"FunctionArn": m.function, "BatchSize": m.batchSize,
	}
	if m.concurrency > 0 {
		out["ScalingConfig"] = map[string]int{"MaximumConcurrency": m.concurrency}
	}
	lambdaAnswer(w, status, out)
}

// change changes a mapping's settings, and returns whether it is to be enabled, nil if that does not change.
func (s *settings) change(id string, body []byte) (enabled *bool, err error) {
	var in struct {
		Enabled       *bool
		BatchSize     *int
		ScalingConfig *struct{ MaximumConcurrency int }
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, fmt.Errorf("expected JSON: %w", err)
	}
	if c := in.ScalingConfig; c != nil && c.MaximumConcurrency != 0 && c.MaximumConcurrency < 2 {
		return nil, fmt.Errorf("MaximumConcurrency: expected at least 2, found %d", c.MaximumConcurrency)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.mappings[id]
	if in.BatchSize != nil {
		m.batchSize = *in.BatchSize
	}
	if in.ScalingConfig != nil {
		m.concurrency = in.ScalingConfig.MaximumConcurrency
	}
	s.mappings[id] = m
	return in.Enabled, nil
}
