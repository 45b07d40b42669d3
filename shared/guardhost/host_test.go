package guardhost

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/arbitex/siem-connectors/internal/downalarm"
	"github.com/arbitex/siem-connectors/shared/guard"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
)

// account is a Lambda API with one connector, and the guard's queue.
type account struct {
	guard.Mapping // of the connector; without a state, there is none

	tags      map[string]string
	checkOK   bool
	replay    string // response of the replay function
	status    int    // of the next PUT; 0 = 200
	errorType string
	requests  []string
	hidden    []int32
	hideFails bool
}

const (
	arn       = "arn:aws:lambda:eu-central-1:123456789012:function:prod-splunk"
	mappingID = "2b733gdc-8ac3-cdf5-af3a-1827b3b11284"
)

func (a *account) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.requests = append(a.requests, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+string(body)))
	w.Header().Set("Content-Type", "application/json")
	switch {
	case a.State != "" && strings.HasPrefix(r.URL.Path, "/2015-03-31/event-source-mappings/"+mappingID):
		a.mapping(w, r, body)
	case r.URL.Path == "/2017-03-31/tags/"+arn && r.Method == http.MethodGet:
		_ = json.NewEncoder(w).Encode(map[string]any{"Tags": a.tags})
	case r.URL.Path == "/2017-03-31/tags/"+arn && r.Method == http.MethodPost:
		var in struct{ Tags map[string]string }
		_ = json.Unmarshal(body, &in)
		maps.Copy(a.tags, in.Tags)
		w.WriteHeader(http.StatusNoContent)
	case r.URL.Path == "/2015-03-31/functions/prod-splunk/invocations":
		fmt.Fprintf(w, `{"connector":"splunk","ok":%t}`, a.checkOK)
	case r.URL.Path == "/2015-03-31/functions/prod-replay/invocations":
		if a.replay == "" {
			w.Header().Set("X-Amz-Function-Error", "Unhandled")
		}
		_, _ = io.WriteString(w, a.replay)
	default:
		w.Header().Set("X-Amzn-Errortype", "ResourceNotFoundException")
		w.WriteHeader(http.StatusNotFound)
	}
}

func (a *account) mapping(w http.ResponseWriter, r *http.Request, body []byte) {
	if a.status != 0 && r.Method == http.MethodPut {
		w.Header().Set("X-Amzn-Errortype", a.errorType)
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, `{}`)
		return
	}
	if r.Method == http.MethodPut {
		var in struct {
			Enabled       *bool
			BatchSize     *int
			ScalingConfig *struct{ MaximumConcurrency int }
		}
		_ = json.Unmarshal(body, &in)
		change := guard.Change{Enabled: in.Enabled, BatchSize: in.BatchSize}
		if in.ScalingConfig != nil {
			change.Concurrency = &in.ScalingConfig.MaximumConcurrency
		}
		a.Apply(change)
		a.State = strings.Replace(a.State, "ing", "ed", 1) // at once
		w.WriteHeader(http.StatusAccepted)
	}
	out := map[string]any{"UUID": mappingID, "State": a.State, "BatchSize": a.BatchSize, "FunctionArn": arn + ":live"}
	if a.Concurrency > 0 {
		out["ScalingConfig"] = map[string]any{"MaximumConcurrency": a.Concurrency}
	}
	if a.Provisioned {
		out["ProvisionedPollerConfig"] = map[string]any{"MinimumPollers": 2}
	}
	_ = json.NewEncoder(w).Encode(out)
}

func (a *account) ChangeMessageVisibilityBatch(_ context.Context, in *sqs.ChangeMessageVisibilityBatchInput,
	_ ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error) {
	a.hidden = append(a.hidden, in.Entries[0].VisibilityTimeout)
	if a.hideFails {
		code := "InvalidParameterValue"
		return &sqs.ChangeMessageVisibilityBatchOutput{Failed: []types.BatchResultErrorEntry{{Code: &code}}}, nil
	}
	return &sqs.ChangeMessageVisibilityBatchOutput{}, nil
}

func (a *account) SendMessageBatch(context.Context, *sqs.SendMessageBatchInput,
	...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	panic("the guard sends no message")
}

// scene is the guard's function in an account, with the message of an alarm.
type scene struct {
	*account
	t       *testing.T
	f       *lambdahost.Function
	out     bytes.Buffer
	now     time.Time
	message []byte
}

// newScene makes a scene. A change is a variable to unset, or name=value.
func newScene(t *testing.T, change ...string) *scene {
	t.Helper()
	s := &scene{t: t, now: time.Date(2026, 3, 13, 10, 0, 0, 0, time.UTC), account: &account{
		Mapping: guard.Mapping{State: "Enabled", Concurrency: 10, BatchSize: 100},
		tags:    map[string]string{"Team": "soc"},
		replay:  `{"statusCode":200,"body":"{\"replayed\":7,\"skipped\":0,\"remaining\":0}"}`,
	}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	env := map[string]string{
		"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_ENDPOINT_URL": server.URL,
		"AWS_MAX_ATTEMPTS": "1",
		"SIEM_QUEUE_URL":   "https://sqs/guard", "REPLAY_FUNCTION_NAME": "prod-replay", "SIEM_STACK": "prod",
		"SPLUNK_FUNCTION_NAME": "prod-splunk", "SPLUNK_MAPPING_ID": mappingID,
	}
	for _, c := range change {
		name, value, _ := strings.Cut(c, "=")
		env[name] = value
	}
	d := lambdahost.Deps{Env: func(name string) string { return env[name] }, Out: &s.out,
		Now: func() time.Time { return s.now }, SQS: s}
	s.f = New(d, newClient(d.Env))
	body, _ := json.Marshal(string(downalarm.Event("prod-splunk-down", "e", s.now)))
	s.message = fmt.Appendf(nil, `{"Records":[{"messageId":"m-1","receiptHandle":"r","body":%s,`+
		`"attributes":{"SentTimestamp":"%d"}}]}`, body, s.now.UnixMilli())
	return s
}

const (
	kept    = `{"batchItemFailures":[{"itemIdentifier":"m-1"}]}`
	deleted = `{"batchItemFailures":[]}`
)

// keeps invokes the guard, which must keep the message and hide it for that time.
func (s *scene) keeps(seconds int32) {
	s.t.Helper()
	s.invoke(kept)
	if got := s.hidden[len(s.hidden)-1]; got != seconds {
		s.t.Errorf("hidden for %d s, want %d", got, seconds)
	}
}

func (s *scene) invoke(want string) {
	s.t.Helper()
	response, err := s.f.Invoke(s.t.Context(), bytes.Clone(s.message))
	if err != nil || string(response) != want {
		s.t.Fatalf("%s %v, want %s\n%s", response, err, want, &s.out)
	}
}

func (s *scene) pass(d time.Duration) { s.now = s.now.Add(d) }

// bodies returns the bodies of the requests that contain a text.
func (s *scene) bodies(text string) (all []string) {
	for _, r := range s.requests {
		if _, body, found := strings.Cut(r, " {"); found && strings.Contains(r, text) {
			all = append(all, "{"+body)
		}
	}
	return all
}

// TestHold: hold, check, resume, replay, by the calls of AWS.
func TestHold(t *testing.T) {
	s := newScene(t)
	s.keeps(60)
	if s.State != "Disabled" || s.Concurrency != 10 || s.tags["Team"] != "soc" ||
		!strings.HasPrefix(s.tags["arbitex:guard"], "held since=2026-03-13T10:00:00Z") {
		t.Fatal(s.State, s.tags)
	}
	s.pass(time.Minute)
	s.keeps(120)
	s.checkOK = true
	s.pass(2 * time.Minute)
	s.keeps(60)
	if s.State != "Enabled" || s.Concurrency != 2 || s.BatchSize != 100 {
		t.Errorf("%+v", s.Mapping)
	}
	s.pass(time.Minute)
	s.keeps(300)
	if s.Concurrency != 10 {
		t.Errorf("%+v", s.Mapping)
	}
	s.pass(5 * time.Minute)
	s.invoke(deleted)
	s.pass(time.Minute)
	s.invoke(deleted) // SQS delivers it again
	if !strings.HasPrefix(s.tags["arbitex:guard"], "done ") {
		t.Error(s.tags)
	}
	for text, times := range map[string]int{`"GuardHeld":1}`: 1, `"GuardResumed":1}`: 1, `"Connector":"splunk"`: 2,
		`"replayed":7`: 1, `"from":"held","to":"resumed"`: 1} {
		if strings.Count(s.out.String(), text) != times {
			t.Errorf("want %d times %s in\n%s", times, text, &s.out)
		}
	}
	if got, want := s.bodies("PUT"), []string{`{"Enabled":false}`,
		`{"Enabled":true,"ScalingConfig":{"MaximumConcurrency":2}}`,
		`{"ScalingConfig":{"MaximumConcurrency":10}}`}; !slices.Equal(got, want) {
		t.Errorf("changes of the mapping: %v", got)
	}
	var in struct {
		RawPath        string
		RequestContext struct{ HTTP struct{ Method, Path string } }
		Headers        map[string]string
		Body           string
	}
	if replays := s.bodies("prod-replay"); len(replays) != 1 || json.Unmarshal([]byte(replays[0]), &in) != nil ||
		in.RequestContext.HTTP.Method != "POST" || in.RequestContext.HTTP.Path != "/api/admin/siem/replay-dead-letter" ||
		in.Headers["content-type"] != "application/json" ||
		in.Body != `{"connector":"splunk","from":"2026-03-13T09:50:00Z","limit":5000,`+
			`"reason":"given up after","to":"2026-03-13T10:19:00Z"}` {
		t.Errorf("replays: %v", replays)
	}
}

// TestReplayPassesOthers: calls of the replay that only pass dead letters that do not match are progress. The guard
// calls again at once, and calls no operator.
func TestReplayPassesOthers(t *testing.T) {
	s := newScene(t)
	const tag = "replaying since=2026-03-13T08:00:00Z at=2026-03-13T08:50:00Z next=2026-03-13T09:59:00Z " +
		"wait=60 interval=60 failures=0 concurrency=10 batch=100 sent=1 message=m-1"
	s.tags["arbitex:guard"] = tag
	s.replay = `{"statusCode":200,"body":"{\"replayed\":0,\"remaining\":9,\"passed\":300}"}`
	for range 3 {
		s.keeps(1)
		if s.tags["arbitex:guard"] != tag || strings.Contains(s.out.String(), "ERROR") {
			t.Fatalf("%s\n%s", s.tags, &s.out)
		}
		s.pass(time.Minute)
	}
	s.replay = strings.Replace(s.replay, "300", "0", 1)
	if _, err := s.f.Invoke(t.Context(), s.message); err == nil || s.hidden[len(s.hidden)-1] != 120 {
		t.Errorf("no progress: %v, hidden %v", err, s.hidden)
	}
}

// TestNoLimit: a mapping without MaximumConcurrency, and one in provisioned mode.
func TestNoLimit(t *testing.T) {
	for provisioned, want := range map[bool][]string{
		false: {`{"Enabled":false}`, `{"Enabled":true,"ScalingConfig":{"MaximumConcurrency":2}}`, `{"ScalingConfig":{}}`},
		true:  {`{"Enabled":false}`, `{"Enabled":true}`},
	} {
		s := newScene(t)
		s.Concurrency, s.Provisioned, s.checkOK = 0, provisioned, true
		for range 3 {
			s.invoke(kept)
			s.pass(time.Minute)
		}
		if got := s.bodies("PUT"); !slices.Equal(got, want) {
			t.Errorf("provisioned %t: %v", provisioned, got)
		}
	}
}

// TestFailures lists failures of AWS at the start of a hold. The message stays.
func TestFailures(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*account)
		hidden  int32
	}{
		"in use":              {func(a *account) { a.status, a.errorType = 400, "ResourceInUseException" }, 15},
		"conflict":            {func(a *account) { a.status, a.errorType = 409, "ResourceConflictException" }, 15},
		"denied":              {func(a *account) { a.status, a.errorType = 403, "AccessDeniedException" }, 60},
		"visibility":          {func(a *account) { a.hideFails = true }, 60},
		"the mapping updates": {func(a *account) { a.State = "Updating" }, 15},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			c.prepare(s.account)
			s.keeps(c.hidden)
		})
	}
}

// TestRemoved: the mapping was deleted with its connector.
func TestRemoved(t *testing.T) {
	s := newScene(t)
	s.State = ""
	s.invoke(deleted)
	if len(s.requests) != 1 || s.tags["arbitex:guard"] != "" {
		t.Error(s.requests, s.tags)
	}
}

func TestSettings(t *testing.T) {
	for _, missing := range [][]string{
		{"SIEM_QUEUE_URL", "REPLAY_FUNCTION_NAME"}, {"SPLUNK_FUNCTION_NAME"}, {"SPLUNK_MAPPING_ID"},
	} {
		s := newScene(t, missing...)
		for range 2 {
			_, err := s.f.Invoke(t.Context(), bytes.Clone(s.message))
			for _, name := range missing {
				if err == nil || !strings.Contains(err.Error(), name) {
					t.Errorf("%v: %v", missing, err)
				}
			}
		}
	}
}

// TestMinute: the timers of a demonstration are shorter, and at least a second.
func TestMinute(t *testing.T) {
	s := newScene(t, "GUARD_MINUTE_SECONDS=2")
	for _, want := range []int32{2, 4, 8, 10} {
		s.keeps(want)
		s.pass(time.Duration(want) * time.Second)
	}
}
