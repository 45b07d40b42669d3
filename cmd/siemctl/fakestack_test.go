package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/arbitex/siem-connectors/shared/connectors"
)

// fakeStack is a deployed stack named siem with the connectors splunk and sumo, at one endpoint for all services. The
// responses of its functions are fixed. The caller of the stack named denied has no permission to read metrics, alarms
// and dead letters. The replay function of the stack named nourl has no URL.
type fakeStack struct {
	mu      sync.Mutex
	secret  string
	search  string // the secret of search credentials, which does not exist if ""
	server  *httptest.Server
	changes int // calls of the replay function that are not dry runs
	tag     string
	updates []string // of event source mappings
	fresh   *freshStack
	start   time.Time
	asked   func() // called at the next request; may be nil

	receipts    []string          // lines of the logs in the stack named receipts, which has every connector
	environment map[string]string // of its functions
	letters     map[string]string // objects of the bucket
}

func newFakeStack(t *testing.T, change ...func(*fakeStack)) *fakeStack {
	t.Helper()
	f := &fakeStack{secret: `{"SPLUNK_HEC_TOKEN":"stored-token"}`, start: time.Now(), fresh: new(freshStack),
		letters: storedLetters()}
	f.tag = fmt.Sprintf("held since=2026-03-13T10:00:00Z at=2026-03-13T10:00:04Z next=%s wait=60 interval=300 "+
		"failures=4 concurrency=10 batch=100 sent=1 message=m",
		f.start.Add(10*time.Minute).UTC().Format(time.RFC3339))
	for _, c := range change {
		c(f)
	}
	f.server = httptest.NewUnstartedServer(f) // a request reads f.server
	f.server.Start()
	t.Cleanup(f.server.Close)
	return f
}

// TestStack runs the scripts that need a stack but no functions.
func TestStack(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/stack", RequireExplicitExec: true, RequireUniqueNames: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "interrupt": interrupt,
			"columns": columns, "secret": secretIs, "changed": changedTo},
		Setup: func(env *testscript.Env) error {
			f := newFakeStack(t)
			env.Values["stack"] = f
			env.Setenv("TLS_URL", strings.Replace(f.server.URL, "http:", "https:", 1)) // which does not speak TLS
			return setup(f.server.URL)(env)
		},
	})
}

// changedTo checks what the event source mapping and the tag of the stack named guarded were changed to: a pattern.
func changedTo(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: changed pattern")
	}
	f := ts.Value("stack").(*fakeStack)
	f.mu.Lock()
	defer f.mu.Unlock()
	if text := strings.Join(append(f.updates, f.tag), "\n"); !regexp.MustCompile(args[0]).MatchString(text) {
		ts.Fatalf("changed to %s", text)
	}
}

// secretIs checks what a secret holds: secret '{"A":"b"}' that of the connectors, secret /search ” that of search
// credentials.
func secretIs(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: secret [/search] json")
	}
	f := ts.Value("stack").(*fakeStack)
	f.mu.Lock()
	defer f.mu.Unlock()
	have := f.secret
	if len(args) == 2 {
		have = f.search
	}
	if have != args[len(args)-1] {
		ts.Fatalf("the secret is %s", have)
	}
}

// columns checks that no line of standard output is longer: columns 80.
func columns(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: columns n")
	}
	var most int
	_, err := fmt.Sscan(args[0], &most)
	ts.Check(err)
	for line := range strings.SplitSeq(ts.ReadFile("stdout"), "\n") {
		if n := len([]rune(line)); n > most {
			ts.Fatalf("%d columns: %s", n, line)
		}
	}
}

// ServeHTTP implements http.Handler.
func (f *fakeStack) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	if f.asked != nil {
		f.asked()
		f.asked = nil
	}
	f.mu.Unlock()
	body, _ := io.ReadAll(r.Body) // a broken request is answered like an empty one
	target := r.Header.Get("X-Amz-Target")
	switch {
	case strings.HasSuffix(r.URL.Path, "/api/admin/siem/replay-dead-letter") && r.Method == http.MethodPost:
		f.replay(w, body)
	case strings.HasSuffix(r.URL.Path, "/api/admin/siem/replay-dead-letter"):
		_, _ = io.WriteString(w, `{"pending":{"splunk":1234,"unknown":3},"oldest":"2026-03-13T00:00:00Z"}`)
	case strings.Contains(r.URL.Path, "/tags/"):
		f.tags(w, r.Method, body)
	case strings.Contains(r.URL.Path, "fresh") || strings.HasSuffix(target, ".SendMessageBatch"):
		f.fresh.serve(w, r, body, f)
	case strings.HasSuffix(r.URL.Path, "/event-source-mappings/mapping-guarded"):
		f.guarded(w, r.Method, body)
	case strings.Contains(r.URL.Path, "/event-source-mappings/"):
		state := "Enabled"
		if strings.HasSuffix(r.URL.Path, "sumo") {
			state = "Disabling"
		}
		fmt.Fprintf(w, `{"State":%q}`, state)
	case strings.HasSuffix(r.URL.Path, "/configuration") && strings.Contains(r.URL.Path, "/receipts-"):
		_ = json.NewEncoder(w).Encode(map[string]any{"Environment": map[string]any{"Variables": f.environment}})
	case strings.HasSuffix(r.URL.Path, "/configuration"):
		_, _ = io.WriteString(w,
			`{"Environment":{"Variables":{"SPLUNK_HEC_URL":"https://splunk.example.com:8088","SIEM_DEAD_LETTER_PATH":"s3://bucket/dead"}}}`)
	case strings.HasSuffix(r.URL.Path, "/nourl-replay/url"):
		notFound(w)
	case strings.HasSuffix(r.URL.Path, "/invocations"):
		var call struct {
			RawPath        string
			RequestContext struct{ HTTP struct{ Method string } }
		}
		_ = json.Unmarshal(body, &call) // the response shows what was read
		_ = json.NewEncoder(w).Encode(map[string]any{"statusCode": 200, "body": fmt.Sprintf(`{"pending":{"unknown":%d}}`,
			len(call.RequestContext.HTTP.Method+call.RawPath))})
	case strings.HasSuffix(r.URL.Path, "/url"):
		fmt.Fprintf(w, `{"FunctionUrl":"%s/"}`, f.server.URL)
	case strings.HasSuffix(target, ".GetQueueAttributes"):
		_, _ = io.WriteString(w,
			`{"Attributes":{"ApproximateNumberOfMessages":"12345","ApproximateNumberOfMessagesNotVisible":"7","ApproximateNumberOfMessagesDelayed":"0"}}`)
	case strings.HasPrefix(target, "secretsmanager."):
		f.secrets(w, target, body)
	case strings.HasSuffix(target, ".FilterLogEvents"):
		f.logs(w, body)
	case strings.Contains(r.URL.Path, "/GraniteServiceVersion20100801/"):
		f.metrics(w, r.URL.Path, body)
	case strings.HasPrefix(r.URL.Path, "/bucket"):
		f.bucket(w, r)
	default:
		f.resources(w, body)
	}
}

// notFound answers that a resource does not exist.
func notFound(w http.ResponseWriter) {
	w.Header().Set("X-Amzn-ErrorType", "ResourceNotFoundException")
	w.WriteHeader(http.StatusNotFound)
	_, _ = io.WriteString(w, `{"__type":"ResourceNotFoundException","message":"The resource does not exist."}`)
}

// replay answers as if two dead letters of Splunk matched.
func (f *fakeStack) replay(w http.ResponseWriter, body []byte) {
	var request replayRequest
	_ = json.Unmarshal(body, &request) // siemctl writes JSON
	f.mu.Lock()
	defer f.mu.Unlock()
	if !request.DryRun {
		f.changes++
	}
	what := "replayed"
	if request.Discard {
		what = "discarded"
	}
	fmt.Fprintf(w, `{"%s":2,"skipped":0,"by_connector":{"splunk":2},"remaining":0,"dry_run":%v,"errors":[]}`, what,
		request.DryRun)
}

// changed is the number of calls of the replay function that were not dry runs.
func (f *fakeStack) changed() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changes
}

// resources answers ListStackResources.
func (f *fakeStack) resources(w http.ResponseWriter, body []byte) {
	form, _ := url.ParseQuery(string(body))
	stack := form.Get("StackName")
	known := slices.Contains([]string{"siem", "denied", "nourl", "guarded", "receipts"}, stack)
	if !known && (stack != "fresh" || !f.fresh.deployed()) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w,
			`<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code><Message>Stack with id %s does not exist</Message></Error></ErrorResponse>`, stack)
		return
	}
	physical := map[string]string{
		"ReplayFunction": stack + "-replay", "ReplayLogGroup": "/aws/lambda/replay",
		"DeadLetterQueue": f.server.URL + "/1/dlq", "DeadLetterErrorsAlarm": stack + "-DeadLetter-errors",
	}
	deployed := []string{"splunk", "sumo"}
	if stack == "receipts" {
		deployed = connectors.Names()
	}
	for _, id := range deployed {
		name := strings.ToLower(id)
		maps.Copy(physical, map[string]string{
			id + "Function": stack + "-" + name, id + "FunctionQueue": "mapping-" + name,
			id + "Queue":  f.server.URL + "/1/" + name,
			id + "Secret": "arn:" + name, id + "LogGroup": "/aws/lambda/" +
				map[bool]string{true: "receipts-"}[stack == "receipts"] + name,
		})
	}
	if stack == "guarded" {
		physical["GuardFunction"], physical["splunkFunctionQueue"] = "guarded-guard", "mapping-guarded"
	}
	if stack == "fresh" {
		physical["splunkFunctionQueue"] = "mapping-fresh"
	}
	var members strings.Builder
	for _, id := range slices.Sorted(maps.Keys(physical)) {
		fmt.Fprintf(&members,
			"<member><LogicalResourceId>%s</LogicalResourceId><PhysicalResourceId>%s</PhysicalResourceId></member>", id,
			physical[id])
	}
	fmt.Fprintf(w,
		`<ListStackResourcesResponse><ListStackResourcesResult><StackResourceSummaries>%s</StackResourceSummaries></ListStackResourcesResult></ListStackResourcesResponse>`, members.String())
}

// guarded is the mapping of Splunk in the stack named guarded. The guard has disabled it.
func (f *fakeStack) guarded(w http.ResponseWriter, method string, body []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	state := "Disabled"
	if method == http.MethodPut {
		f.updates = append(f.updates, string(body))
	}
	if n := len(f.updates); n > 0 && strings.Contains(f.updates[n-1], `"Enabled":true`) {
		state = "Enabled"
	}
	fmt.Fprintf(w, `{"State":%q,"FunctionArn":"arn:aws:lambda:us-east-1:1:function:guarded-splunk:live",`+
		`"BatchSize":2,"ScalingConfig":{"MaximumConcurrency":7}}`, state)
}

func (f *fakeStack) tags(w http.ResponseWriter, method string, body []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if method == http.MethodGet {
		_ = json.NewEncoder(w).Encode(map[string]any{"Tags": map[string]string{"arbitex:guard": f.tag}})
		return
	}
	var in struct{ Tags map[string]string }
	_ = json.Unmarshal(body, &in) // the SDK writes JSON
	f.tag = in.Tags["arbitex:guard"]
	w.WriteHeader(http.StatusNoContent)
}

func (f *fakeStack) secrets(w http.ResponseWriter, target string, body []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var in struct{ SecretID, Name, SecretString string }
	_ = json.Unmarshal(body, &in) // the SDK writes JSON
	secret := &f.secret
	if strings.HasSuffix(in.SecretID+in.Name, "/search") {
		secret = &f.search
	}
	switch {
	case in.Name == "" && secret == &f.search && f.search == "":
		notFound(w)
	case strings.HasSuffix(target, ".GetSecretValue"):
		_ = json.NewEncoder(w).Encode(map[string]string{"SecretString": *secret})
	default:
		*secret = in.SecretString
		_, _ = io.WriteString(w, `{}`)
	}
}

// logs answers FilterLogEvents. A line of sumo appears only after the first request, as if it had just been written.
func (f *fakeStack) logs(w http.ResponseWriter, body []byte) {
	var in struct {
		LogGroupName, NextToken string
		StartTime, EndTime      int64
	}
	_ = json.Unmarshal(body, &in) // the SDK writes JSON
	if strings.Contains(in.LogGroupName, "/receipts-") {
		f.receiptLines(w, in.NextToken, in.StartTime)
		return
	}
	lines := map[string][]string{
		"/aws/lambda/splunk": {
			"START RequestId: 1 Version: $LATEST",
			`{"time":"2026-03-13T00:00:00Z","level":"INFO","msg":"batch","connector":"splunk","received":100,"delivered":98,"retried":0,"dead_lettered":2,"requests":1,"bytes_sent":5000,"milliseconds":340}`,
			`{"time":"2026-03-13T00:00:01Z","level":"WARN","msg":"batch","connector":"splunk","received":10,"delivered":0,"retried":10,"dead_lettered":0,"requests":1,"bytes_sent":500,"milliseconds":40,"failures":{"status 503":10}}`,
			`{"_aws":{"Timestamp":1},"Connector":"splunk","Received":100}`,
			"2026-03-13T00:00:02Z 1 Task timed out after 30.00 seconds \u009b2J",
		},
		"/aws/lambda/sumo": {`{"time":"2026-03-13T00:00:03Z","level":"INFO","msg":"batch","connector":"sumo","received":1,"delivered":1,"retried":0,"dead_lettered":0,"milliseconds":5}`},
	}[in.LogGroupName]
	if lines == nil {
		notFound(w)
		return
	}
	var out logPage
	for i, line := range lines {
		out.Events = append(out.Events, logEvent{fmt.Sprint(i), f.start.UnixMilli() + int64(i), line})
	}
	_ = json.NewEncoder(w).Encode(out)
}

type logEvent struct {
	EventID   string `json:"eventId"`
	Timestamp int64  `json:"timestamp"`
	Message   string `json:"message"`
}

type logPage struct {
	Events []logEvent `json:"events"`
	Next   string     `json:"nextToken,omitempty"`
}

// receiptLines answers FilterLogEvents with 100 lines on a page.
func (f *fakeStack) receiptLines(w http.ResponseWriter, token string, from int64) {
	const perPage = 100
	var start int
	_, _ = fmt.Sscan(token, &start) // the first page has no token
	end := min(start+perPage, len(f.receipts))
	var out logPage
	for i, line := range f.receipts[start:end] {
		out.Events = append(out.Events, logEvent{fmt.Sprint(start + i), from, line})
	}
	if end < len(f.receipts) {
		out.Next = fmt.Sprint(end)
	}
	_ = json.NewEncoder(w).Encode(out)
}

func (f *fakeStack) metrics(w http.ResponseWriter, path string, body []byte) {
	w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
	w.Header().Set("Content-Type", "application/cbor")
	root, _ := cbor.Decode(body)
	if strings.Contains(string(body), "denied-") {
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write(cbor.Encode(cbor.Map{"__type": cbor.String("AccessDenied"),
			"message": cbor.String("not authorized to perform cloudwatch:DescribeAlarms")}))
		return
	}
	now := &cbor.Tag{ID: 1, Value: cbor.Float64(float64(f.start.Unix()))}
	if strings.HasSuffix(path, "/DescribeAlarms") {
		var alarms cbor.List
		for _, name := range []string{"siem-splunk-down", "siem-DeadLetter-errors", "siem-other-errors"} {
			alarms = append(alarms, cbor.Map{"AlarmName": cbor.String(name), "StateUpdatedTimestamp": now})
		}
		_, _ = w.Write(cbor.Encode(cbor.Map{"MetricAlarms": alarms}))
		return
	}
	values := map[string]float64{"delivered0": 1_234_567, "filtered0": 12, "oldest0": 185, "backpressure0": 3}
	var results cbor.List
	queries, _ := root.(cbor.Map)["MetricDataQueries"].(cbor.List)
	for _, q := range queries {
		id, _ := q.(cbor.Map)["Id"].(cbor.String)
		result := cbor.Map{"Id": id, "StatusCode": cbor.String("Complete"), "Timestamps": cbor.List{}, "Values": cbor.List{}}
		if n, ok := values[string(id)]; ok {
			result["Timestamps"], result["Values"] = cbor.List{now}, cbor.List{cbor.Float64(n)}
		}
		results = append(results, result)
	}
	_, _ = w.Write(cbor.Encode(cbor.Map{"MetricDataResults": results}))
}

// storedLetters is an object with two dead letters. The error of one has control characters and is long.
func storedLetters() map[string]string {
	text := fmt.Sprintf(`{"timestamp":"2026-03-13T00:00:00.000Z","connector":"splunk","error":"status 400, code 6: \"%s\"","event":{"time":1773360000000,"x":"a`+
		"\u009b\u0085\u007f\u202e"+`b"},"attempts":1,"message_id":"m-1","replays":0}`+"\n", strings.Repeat("long ", 40)) +
		fmt.Sprintf(`{"timestamp":"2026-03-13T00:00:00.000Z","connector":"splunk","error":"%s","event":{"time":1773360000000},"attempts":5,"message_id":"m-2","replays":0}`+
			"\n", strings.Repeat("given up after 5 attempts ", 8)+"\u009b")
	return map[string]string{"dead/pending/connector=splunk/date=2026-03-13/a.jsonl": text}
}

// bucket answers the requests of S3 for the objects of dead letters.
func (f *fakeStack) bucket(w http.ResponseWriter, r *http.Request) {
	const etag = `"1"`
	if r.URL.Query().Get("list-type") == "" {
		w.Header().Set("ETag", etag)
		http.ServeContent(w, r, "", f.start, strings.NewReader(f.letters[strings.TrimPrefix(r.URL.Path, "/bucket/")]))
		return
	}
	contents := ""
	for key, text := range f.letters {
		if strings.HasPrefix(key, r.URL.Query().Get("prefix")) {
			contents += fmt.Sprintf("<Contents><Key>%s</Key><Size>%d</Size><ETag>%s</ETag>"+
				"<LastModified>%s</LastModified></Contents>", key, len(text), etag, f.start.UTC().Format(time.RFC3339))
		}
	}
	fmt.Fprintf(w, `<ListBucketResult><IsTruncated>false</IsTruncated>%s</ListBucketResult>`, contents)
}
