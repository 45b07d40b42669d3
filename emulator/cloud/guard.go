package cloud

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go/encoding/cbor"

	"github.com/arbitex/siem-connectors/internal/downalarm"
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
	c.alarms = downalarm.New(downalarm.Config{
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

// settings are the tags of the functions, and the settings of the event source mappings.
type settings struct {
	mu       sync.Mutex
	tags     map[string]map[string]string // by the function's ARN
	mappings map[string]*mappingSettings  // by logical id
}

type mappingSettings struct {
	function    string // ARN
	batchSize   int
	concurrency int // 0: no maximum
}

func newSettings() *settings {
	return &settings{tags: map[string]map[string]string{}, mappings: map[string]*mappingSettings{}}
}

func (s *settings) add(m samtemplate.Mapping, function string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mappings[m.ID] = &mappingSettings{functionARN(function), m.BatchSize, m.MaximumConcurrency}
}

// tags responds to ListTags, TagResource and UntagResource.
// https://docs.aws.amazon.com/lambda/latest/api/API_TagResource.html
func (a *api) tags(w http.ResponseWriter, r *http.Request, id string, body []byte) {
	arn := functionARN(id)
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
// while; here it is complete with the response. MaximumConcurrency is kept, and has no effect.
// https://docs.aws.amazon.com/lambda/latest/api/API_UpdateEventSourceMapping.html
func (a *api) mapping(w http.ResponseWriter, r *http.Request, body []byte) {
	id := r.PathValue("id")
	poller, ok := a.cloud.pollers[id]
	if !ok {
		lambdaError(w, http.StatusNotFound, "ResourceNotFoundException", "The resource you requested does not exist.")
		return
	}
	status := http.StatusOK
	if r.Method == http.MethodPut {
		enabled, batchSize, err := a.cloud.settings.change(id, body)
		if err != nil {
			lambdaError(w, http.StatusBadRequest, "InvalidParameterValueException", err.Error())
			return
		}
		poller.SetBatchSize(batchSize)
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
	m := *a.cloud.settings.mappings[id]
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

// change changes a mapping's settings. It returns its batch size, and whether it is to be enabled, nil if that does not
// change.
func (s *settings) change(id string, body []byte) (enabled *bool, batchSize int, err error) {
	var in struct {
		Enabled       *bool
		BatchSize     *int
		ScalingConfig *struct{ MaximumConcurrency int }
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, 0, fmt.Errorf("expected JSON: %w", err)
	}
	if c := in.ScalingConfig; c != nil && c.MaximumConcurrency != 0 && c.MaximumConcurrency < 2 {
		return nil, 0, fmt.Errorf("MaximumConcurrency: expected at least 2, found %d", c.MaximumConcurrency)
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
	return in.Enabled, m.batchSize, nil
}

// series keeps what the functions have printed in the embedded metric format, a sum by minute, for CloudWatch to
// answer.
type series struct {
	mu   sync.Mutex
	sums map[point]float64
}

type point struct {
	metric, connector string
	minute            int64 // Unix time / 60
}

// take records a line of a function's output if it contains metrics.
func (s *series) take(line string) {
	connector, at, sums, _ := downalarm.Metrics([]byte(line))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sums == nil {
		s.sums = map[point]float64{}
	}
	for name, n := range sums {
		s.sums[point{name, connector, at.Unix() / 60}] += n
	}
}

// between returns the sums of a metric by period in seconds, the latest first.
func (s *series) between(metric, connector string, from, to, period int64) (times, values cbor.List) {
	s.mu.Lock()
	defer s.mu.Unlock()
	period = max(60, period)
	for at := to / period * period; at > from-period; at -= period {
		sum, found := 0.0, false
		for minute := at / 60; minute < (at+period)/60; minute++ {
			n, ok := s.sums[point{metric, connector, minute}]
			sum, found = sum+n, found || ok
		}
		if found {
			times = append(times, &cbor.Tag{ID: 1, Value: cbor.Float64(at)})
			values = append(values, cbor.Float64(sum))
		}
	}
	return times, values
}

// metrics implements GetMetricData for sums of single metrics, which siemctl requests.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html
// https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html
func (a *api) metrics(w http.ResponseWriter, r *http.Request, body []byte) {
	w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
	w.Header().Set("Content-Type", "application/cbor")
	if strings.HasSuffix(r.URL.Path, "/operation/DescribeAlarms") { // there are no alarms here
		_, _ = w.Write(cbor.Encode(cbor.Map{"MetricAlarms": cbor.List{}}))
		return
	}
	root, err := cbor.Decode(body)
	if err != nil || !strings.HasSuffix(r.URL.Path, "/operation/GetMetricData") {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write(cbor.Encode(cbor.Map{"__type": cbor.String("InvalidParameterValue"),
			"message": cbor.String("only GetMetricData and DescribeAlarms are supported")}))
		return
	}
	from, to := seconds(member(root, "StartTime")), seconds(member(root, "EndTime"))
	var results cbor.List
	queries, _ := member(root, "MetricDataQueries").(cbor.List)
	for _, q := range queries {
		stat := member(q, "MetricStat")
		dimensions, _ := member(stat, "Metric", "Dimensions").(cbor.List)
		var connector string
		for _, d := range dimensions {
			connector = text(member(d, "Value"))
		}
		times, values := a.cloud.logs.metrics.between(text(member(stat, "Metric", "MetricName")), connector, from, to,
			seconds(member(stat, "Period")))
		results = append(results, cbor.Map{"Id": member(q, "Id"), "StatusCode": cbor.String("Complete"), "Timestamps": times,
			"Values": values})
	}
	_, _ = w.Write(cbor.Encode(cbor.Map{"MetricDataResults": results}))
}

func member(v cbor.Value, path ...string) cbor.Value {
	for _, key := range path {
		m, _ := v.(cbor.Map)
		v = m[key]
	}
	return v
}

func text(v cbor.Value) string {
	s, _ := v.(cbor.String)
	return string(s)
}

// seconds returns a number, or a time as Unix seconds.
func seconds(v cbor.Value) int64 {
	switch n := v.(type) {
	case *cbor.Tag:
		return seconds(n.Value)
	case cbor.Uint:
		return int64(n) //nolint:gosec // times and periods
	case cbor.Float64:
		return int64(n)
	case cbor.Float32:
		return int64(n)
	}
	return 0
}
