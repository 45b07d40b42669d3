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
	"github.com/arbitex/siem-connectors/shared/lambdahost"
)

// account is a Lambda API with one connector, and the guard's queue.
type account struct {
	state       string
	concurrency *int
	batch       int
	provisioned bool
	gone        bool
	tags        map[string]string
	checkOK     bool
	replay      string // response of the replay function
	status      int    // of the next PUT; 0 = 200
	errorType   string
	requests    []string
	hidden      []int32
	hideFails   bool
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
	case !a.gone && strings.HasPrefix(r.URL.Path, "/2015-03-31/event-source-mappings/"+mappingID):
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
			ScalingConfig *struct{ MaximumConcurrency *int }
		}
		_ = json.Unmarshal(body, &in)
		if in.Enabled != nil {
			a.state = map[bool]string{true: "Enabled", false: "Disabled"}[*in.Enabled]
		}
		if in.BatchSize != nil {
			a.batch = *in.BatchSize
		}
		if in.ScalingConfig != nil {
			a.concurrency = in.ScalingConfig.MaximumConcurrency
		}
		w.WriteHeader(http.StatusAccepted)
	}
	out := map[string]any{"UUID": mappingID, "State": a.state, "BatchSize": a.batch, "FunctionArn": arn + ":live"}
	if a.concurrency != nil {
		out["ScalingConfig"] = map[string]any{"MaximumConcurrency": *a.concurrency}
	}
	if a.provisioned {
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

// function returns the guard's handler in an account, and its output.
func function(t *testing.T, a *account, change ...string) (*lambdahost.Function, *bytes.Buffer, *time.Time) {
	t.Helper()
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	env := map[string]string{
		"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_ENDPOINT_URL": server.URL,
		"AWS_MAX_ATTEMPTS": "1",
		"SIEM_QUEUE_URL":   "https://sqs/guard", "REPLAY_FUNCTION_NAME": "prod-replay", "SIEM_STACK": "prod",
		"SPLUNK_FUNCTION_NAME": "prod-splunk", "SPLUNK_MAPPING_ID": mappingID,
	}
	for _, c := range change { // a variable to unset, or name=value
		if name, value, ok := strings.Cut(c, "="); ok {
			env[name] = value
		} else {
			delete(env, name)
		}
	}
	now := time.Date(2026, 3, 13, 10, 0, 0, 0, time.UTC)
	var out bytes.Buffer
	w := lambdahost.Deps{Env: func(name string) string { return env[name] }, Out: &out,
		Now: func() time.Time { return now }, SQS: a}
	return New(w, newClient(w.Env)), &out, &now
}

func newAccount() *account {
	ten := 10
	return &account{state: "Enabled", concurrency: &ten, batch: 100, tags: map[string]string{"Team": "soc"},
		replay: `{"statusCode":200,"body":"{\"replayed\":7,\"skipped\":0,\"remaining\":0}"}`}
}

func payload(now time.Time) []byte {
	body, _ := json.Marshal(string(downalarm.Event("prod-splunk-down", "e", now)))
	return fmt.Appendf(nil, `{"Records":[{"messageId":"m-1","receiptHandle":"r","body":%s,`+
		`"attributes":{"SentTimestamp":"%d"}}]}`, body, now.UnixMilli())
}

const (
	kept    = `{"batchItemFailures":[{"itemIdentifier":"m-1"}]}`
	deleted = `{"batchItemFailures":[]}`
)

// TestHold: hold, check, resume, replay, by the calls of AWS.
func TestHold(t *testing.T) {
	a := newAccount()
	f, out, now := function(t, a)
	message := payload(*now)
	invoke := func(want string, hidden int32, after time.Duration) {
		t.Helper()
		*now = now.Add(after)
		response, err := f.Invoke(t.Context(), bytes.Clone(message))
		if err != nil || string(response) != want {
			t.Fatalf("%s %v\n%s", response, err, out)
		}
		if want == kept && a.hidden[len(a.hidden)-1] != hidden {
			t.Errorf("hidden for %d s, want %d", a.hidden[len(a.hidden)-1], hidden)
		}
	}
	invoke(kept, 60, 0)
	if a.state != "Disabled" || *a.concurrency != 10 || a.tags["Team"] != "soc" ||
		!strings.HasPrefix(a.tags["arbitex:guard"], "held since=2026-03-13T10:00:00Z") {
		t.Fatal(a.state, a.tags)
	}
	invoke(kept, 120, time.Minute)
	a.checkOK = true
	invoke(kept, 60, 2*time.Minute)
	if a.state != "Enabled" || *a.concurrency != 2 || a.batch != 100 {
		t.Error(a.state, *a.concurrency, a.batch)
	}
	invoke(kept, 300, time.Minute)
	if *a.concurrency != 10 {
		t.Error(*a.concurrency)
	}
	invoke(deleted, 0, 5*time.Minute)
	invoke(deleted, 0, time.Minute) // SQS delivers it again
	if !strings.HasPrefix(a.tags["arbitex:guard"], "done ") {
		t.Error(a.tags)
	}
	checkOutput(t, out.String())
	checkRequests(t, a.requests)
}

func checkOutput(t *testing.T, out string) {
	t.Helper()
	for _, want := range []string{`"GuardHeld":1}`, `"GuardResumed":1}`, `"replayed":7`, `"from":"held","to":"resumed"`,
		`"Connector":"splunk"`} {
		if strings.Count(out, want) != 1 && want != `"Connector":"splunk"` {
			t.Errorf("want once %s in\n%s", want, out)
		}
	}
}

func checkRequests(t *testing.T, requests []string) {
	t.Helper()
	var puts, invocations []string
	for _, r := range requests {
		switch {
		case strings.HasPrefix(r, "PUT"):
			_, body, _ := strings.Cut(r, " {")
			puts = append(puts, "{"+body)
		case strings.Contains(r, "prod-replay"):
			_, body, _ := strings.Cut(r, "invocations ")
			invocations = append(invocations, body)
		}
	}
	if want := []string{`{"Enabled":false}`, `{"Enabled":true,"ScalingConfig":{"MaximumConcurrency":2}}`,
		`{"ScalingConfig":{"MaximumConcurrency":10}}`}; !slices.Equal(puts, want) {
		t.Errorf("changes of the mapping: %v", puts)
	}
	var in struct {
		RawPath        string
		RequestContext struct{ HTTP struct{ Method, Path string } }
		Headers        map[string]string
		Body           string
	}
	if len(invocations) != 1 || json.Unmarshal([]byte(invocations[0]), &in) != nil ||
		in.RequestContext.HTTP.Method != "POST" || in.RequestContext.HTTP.Path != "/api/admin/siem/replay-dead-letter" ||
		in.Headers["content-type"] != "application/json" ||
		in.Body != `{"connector":"splunk","from":"2026-03-13T09:50:00Z","limit":5000,`+
			`"reason":"given up after","to":"2026-03-13T10:19:00Z"}` {
		t.Errorf("replays: %v", invocations)
	}
}

// TestReplayPassesOthers: calls of the replay that only pass dead letters that do not match are progress. The guard
// calls again at once, and calls no operator.
func TestReplayPassesOthers(t *testing.T) {
	a := newAccount()
	f, out, now := function(t, a)
	a.tags["arbitex:guard"] = "replaying since=2026-03-13T08:00:00Z at=2026-03-13T08:50:00Z next=2026-03-13T09:59:00Z " +
		"wait=60 interval=60 failures=0 concurrency=10 batch=100 sent=1 message=m-1"
	a.replay = `{"statusCode":200,"body":"{\"replayed\":0,\"remaining\":9,\"passed\":300}"}`
	tag := a.tags["arbitex:guard"]
	for range 3 {
		response, err := f.Invoke(t.Context(), payload(*now))
		if err != nil || string(response) != kept || a.hidden[len(a.hidden)-1] != 1 || a.tags["arbitex:guard"] != tag ||
			strings.Contains(out.String(), "ERROR") {
			t.Fatalf("%s %v, hidden %v, %s\n%s", response, err, a.hidden, a.tags, out)
		}
		*now = now.Add(time.Minute)
	}
	a.replay = strings.Replace(a.replay, "300", "0", 1)
	if _, err := f.Invoke(t.Context(), payload(*now)); err == nil || a.hidden[len(a.hidden)-1] != 120 {
		t.Errorf("no progress: %v, hidden %v", err, a.hidden)
	}
}

// TestNoLimit: a mapping without MaximumConcurrency, and one in provisioned mode.
func TestNoLimit(t *testing.T) {
	for provisioned, want := range map[bool][]string{
		false: {`{"Enabled":false}`, `{"Enabled":true,"ScalingConfig":{"MaximumConcurrency":2}}`, `{"ScalingConfig":{}}`},
		true:  {`{"Enabled":false}`, `{"Enabled":true}`},
	} {
		a := newAccount()
		a.concurrency, a.provisioned, a.checkOK = nil, provisioned, true
		f, _, now := function(t, a)
		message := payload(*now)
		for range 3 {
			if response, err := f.Invoke(t.Context(), bytes.Clone(message)); err != nil || string(response) != kept {
				t.Fatal(string(response), err)
			}
			*now = now.Add(time.Minute)
		}
		var puts []string
		for _, r := range a.requests {
			if strings.HasPrefix(r, "PUT") {
				_, body, _ := strings.Cut(r, " {")
				puts = append(puts, "{"+body)
			}
		}
		if !slices.Equal(puts, want) {
			t.Errorf("provisioned %t: %v", provisioned, puts)
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
		"the mapping updates": {func(a *account) { a.state = "Updating" }, 15},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAccount()
			c.prepare(a)
			f, out, now := function(t, a)
			response, err := f.Invoke(t.Context(), payload(*now))
			if err != nil || string(response) != kept || a.hidden[len(a.hidden)-1] != c.hidden {
				t.Errorf("%s %v, hidden %v\n%s", response, err, a.hidden, out)
			}
		})
	}
}

// TestRemoved: the mapping was deleted with its connector, or the connector is no longer deployed.
func TestRemoved(t *testing.T) {
	a := newAccount()
	a.gone = true
	f, _, now := function(t, a)
	if response, err := f.Invoke(t.Context(), payload(*now)); err != nil || string(response) != deleted ||
		len(a.requests) != 1 {
		t.Errorf("%s %v %v", response, err, a.requests)
	}
	message := bytes.ReplaceAll(payload(*now), []byte("splunk"), []byte("elastic"))
	if response, err := f.Invoke(t.Context(), bytes.Clone(message)); err != nil || string(response) != deleted ||
		len(a.requests) != 1 {
		t.Errorf("%s %v %v", response, err, a.requests)
	}
}

func TestSettings(t *testing.T) {
	for _, missing := range [][]string{
		{"SIEM_QUEUE_URL", "REPLAY_FUNCTION_NAME"}, {"SPLUNK_FUNCTION_NAME"}, {"SPLUNK_MAPPING_ID"},
	} {
		f, _, now := function(t, newAccount(), missing...)
		for range 2 {
			_, err := f.Invoke(t.Context(), payload(*now))
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
	a := newAccount()
	f, _, now := function(t, a, "GUARD_MINUTE_SECONDS=2")
	message := payload(*now)
	for _, want := range []int32{2, 4, 8, 10} {
		if _, err := f.Invoke(t.Context(), bytes.Clone(message)); err != nil || a.hidden[len(a.hidden)-1] != want {
			t.Errorf("%v, hidden %v, want %d", err, a.hidden, want)
		}
		*now = now.Add(time.Duration(want) * time.Second)
	}
}
