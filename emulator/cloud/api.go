package cloud

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	neturl "net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/internal/samtemplate"
)

// api serves all AWS services of a deployment at one address, for clients with one endpoint (the AWS CLI, siemctl). It
// implements Lambda, the stack's resources, the functions' logs and metrics, and passes everything else to moto. The
// signature of a request, which is not verified, names the service.
type api struct {
	cloud *Cloud
	moto  http.Handler
}

// ServeAPI starts the API and returns its address for AWS_ENDPOINT_URL. It runs until ctx ends or the cloud stops.
func (c *Cloud) ServeAPI(ctx context.Context) (endpoint string, err error) {
	target, err := neturl.Parse(c.moto.Endpoint())
	if err != nil {
		return "", fmt.Errorf("opening the API: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("opening the API: %w", err)
	}
	a := &api{cloud: c, moto: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			w.WriteHeader(http.StatusServiceUnavailable) // the caller has closed, or the cloud stops
		},
	}}
	server := &http.Server{Handler: a, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	go func() {
		select {
		case <-ctx.Done():
		case <-c.stopped:
		}
		_ = server.Close()
	}()
	return "http://" + listener.Addr().String(), nil
}

// ServeHTTP implements http.Handler.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	serve := map[string]func(w http.ResponseWriter, r *http.Request, body []byte){
		"lambda": a.lambda, "cloudformation": a.cloudFormation, "monitoring": a.metrics, "logs": a.logEvents,
	}[service(r)]
	if serve == nil {
		a.moto.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAPIBodyBytes))
	if err != nil {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	serve(w, r, body)
}

// service returns the service for which a request is signed: …Credential=AKIA/20260313/us-east-1/lambda/aws4_request,
// ….
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-signing-elements.html
func service(r *http.Request) string {
	_, scope, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	scope, _, _ = strings.Cut(scope, ",")
	if parts := strings.Split(scope, "/"); len(parts) == 5 {
		return parts[3]
	}
	return ""
}

// maxAPIBodyBytes bounds the body of a request.
const maxAPIBodyBytes = 6 << 20

// resource is one of the stack's resources, as CloudFormation lists them.
type resource struct {
	ID       string    `xml:"LogicalResourceId"`
	Physical string    `xml:"PhysicalResourceId"`
	Type     string    `xml:"ResourceType"`
	Status   string    `xml:"ResourceStatus"`
	Updated  time.Time `xml:"LastUpdatedTimestamp"`
}

type listing struct {
	XMLName   xml.Name   `xml:"http://cloudformation.amazonaws.com/doc/2010-05-15/ ListStackResourcesResponse"`
	Resources []resource `xml:"ListStackResourcesResult>StackResourceSummaries>member"`
}

// cloudFormation implements ListStackResources, the only action that siemctl needs.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ListStackResources.html
func (a *api) cloudFormation(w http.ResponseWriter, _ *http.Request, body []byte) {
	form, _ := neturl.ParseQuery(string(body)) // an invalid body has no Action
	w.Header().Set("Content-Type", "text/xml")
	if form.Get("Action") != "ListStackResources" || form.Get("StackName") != StackName {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(w, "<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code><Message>Stack with id "+
			"%s does not exist</Message></Error></ErrorResponse>",
			escapeXML(form.Get("StackName")))
		return
	}
	_ = xml.NewEncoder(w).Encode(listing{Resources: a.cloud.resources()})
}

func escapeXML(text string) string {
	var out bytes.Buffer
	_ = xml.EscapeText(&out, []byte(text))
	return out.String()
}

// resources returns the deployed resources in the order of their logical ids.
func (c *Cloud) resources() []resource {
	var list []resource
	add := func(kind, id, physical string) {
		list = append(list, resource{ID: id, Physical: physical, Type: kind, Status: "CREATE_COMPLETE",
			Updated: time.Now().UTC()})
	}
	for _, id := range slices.Sorted(maps.Keys(c.made.queues)) {
		add(samtemplate.TypeQueue, id, c.made.queues[id].url)
	}
	for _, id := range slices.Sorted(maps.Keys(c.made.buckets)) {
		add(samtemplate.TypeBucket, id, c.made.buckets[id])
	}
	for _, id := range slices.Sorted(maps.Keys(c.made.secrets)) {
		add(samtemplate.TypeSecret, id, c.made.secrets[id])
	}
	for _, id := range slices.Sorted(maps.Keys(c.functions)) {
		add("AWS::Lambda::Function", id, functionName(id))
		add("AWS::Logs::LogGroup", strings.TrimSuffix(id, "Function")+"LogGroup", logGroup(id))
	}
	for _, id := range slices.Sorted(maps.Keys(c.pollers)) {
		add("AWS::Lambda::EventSourceMapping", id, id) // its UUID
	}
	return list
}

// lambda implements the actions of Lambda that siemctl needs: Invoke, GetFunctionConfiguration, GetFunctionUrlConfig,
// and those that read, enable and disable event source mappings, whose UUIDs are their logical ids.
// https://docs.aws.amazon.com/lambda/latest/api/API_Operations.html
func (a *api) lambda(w http.ResponseWriter, r *http.Request, body []byte) {
	mux := http.NewServeMux()
	mux.HandleFunc("/{version}/event-source-mappings/{id}", func(w http.ResponseWriter, r *http.Request) {
		a.mapping(w, r, body)
	})
	for pattern, serve := range map[string]func(w http.ResponseWriter, r *http.Request, functionID string, body []byte){
		"/{version}/tags/{function}":                        a.tags,
		"POST /{version}/functions/{function}/invocations":  a.invoke,
		"GET /{version}/functions/{function}/configuration": a.configuration,
		"GET /{version}/functions/{function}/url":           a.functionURL,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			name := r.PathValue("function")
			id := a.cloud.byName(name)
			if id == "" {
				lambdaError(w, http.StatusNotFound, "ResourceNotFoundException", "Function not found: "+name)
				return
			}
			serve(w, r, id, body)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		lambdaError(w, http.StatusNotFound, "ResourceNotFoundException", "nothing local answers "+r.Method+" "+r.URL.Path)
	})
	mux.ServeHTTP(w, r)
}

func lambdaError(w http.ResponseWriter, status int, kind, text string) {
	w.Header().Set("X-Amzn-ErrorType", kind)
	lambdaAnswer(w, status, map[string]string{"Type": "User", "Message": text})
}

func lambdaAnswer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// byName returns the logical id of the function with that name, "" if there is none.
func (c *Cloud) byName(name string) string {
	for id := range c.functions {
		if functionName(id) == name || functionARN(id) == name {
			return id
		}
	}
	return ""
}

// invoke implements Invoke, always with the type RequestResponse.
func (a *api) invoke(w http.ResponseWriter, r *http.Request, id string, payload []byte) {
	result, err := a.cloud.Invoke(r.Context(), id, payload)
	if err != nil {
		lambdaError(w, http.StatusInternalServerError, "ServiceException", err.Error())
		return
	}
	w.Header().Set("X-Amzn-Requestid", result.RequestID)
	w.Header().Set("X-Amz-Executed-Version", "$LATEST")
	if result.Error != nil {
		w.Header().Set("X-Amz-Function-Error", "Unhandled")
	}
	_, _ = w.Write(result.Payload)
}

func (a *api) configuration(w http.ResponseWriter, _ *http.Request, id string, _ []byte) {
	f, err := a.cloud.template.Function(id, a.cloud.made)
	if err != nil {
		lambdaError(w, http.StatusInternalServerError, "ServiceException", err.Error())
		return
	}
	maps.Copy(f.Environment, a.cloud.o.Environment[id])
	lambdaAnswer(w, http.StatusOK, map[string]any{
		"FunctionName": functionName(id), "FunctionArn": functionARN(id),
		"Environment": map[string]any{"Variables": f.Environment},
		"MemorySize":  f.MemoryMB, "Timeout": int(f.Timeout.Seconds()),
	})
}

func (a *api) functionURL(w http.ResponseWriter, _ *http.Request, id string, _ []byte) {
	base := a.cloud.URL(id)
	if base == "" {
		lambdaError(w, http.StatusNotFound, "ResourceNotFoundException", "The resource you requested does not exist.")
		return
	}
	lambdaAnswer(w, http.StatusOK, map[string]string{
		"FunctionUrl": base + "/", "FunctionArn": functionARN(id), "AuthType": "AWS_IAM", "InvokeMode": "BUFFERED",
	})
}

// maxHistory is how many lines of a function's log are kept.
const maxHistory = 2000

// history keeps the latest lines that the functions printed, by log group.
type history struct {
	mu     sync.Mutex
	groups map[string][]logEvent
	next   int
}

// logEvent is a line of a log as CloudWatch Logs returns it.
type logEvent struct {
	ID   string `json:"eventId"`
	At   int64  `json:"timestamp"` // Unix milliseconds
	Text string `json:"message"`
}

// logGroup is the physical name of a function's log group.
func logGroup(functionID string) string { return "/aws/lambda/" + functionName(functionID) }

func (h *history) add(functionID, line string, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.groups == nil {
		h.groups = map[string][]logEvent{}
	}
	h.next++
	group := logGroup(functionID)
	h.groups[group] = append(h.groups[group], logEvent{strconv.Itoa(h.next), at.UnixMilli(), line})
	if rest := len(h.groups[group]) - maxHistory; rest > 0 {
		h.groups[group] = h.groups[group][rest:]
	}
}

// since returns the lines of a group from a time on.
func (h *history) since(group string, from int64) []logEvent {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := []logEvent{}
	for _, e := range h.groups[group] {
		if e.At >= from {
			list = append(list, e)
		}
	}
	return list
}

// logEvents answers FilterLogEvents without a filter pattern, on one page.
// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html
func (a *api) logEvents(w http.ResponseWriter, r *http.Request, body []byte) {
	var in struct {
		Group string `json:"logGroupName"`
		From  int64  `json:"startTime"`
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if json.Unmarshal(body, &in) != nil || !strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".FilterLogEvents") {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"__type": "InvalidParameterException",
			"message": "only FilterLogEvents is supported"})
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"events": a.cloud.history.since(in.Group, in.From)})
}
