package cloud

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"

	"github.com/arbitex/siem-connectors/emulator/lambda/eventsource"
	"github.com/arbitex/siem-connectors/emulator/lambda/runtimeapi"
	"github.com/arbitex/siem-connectors/internal/samtemplate"
)

const (
	// defaultConcurrency is the concurrency of a mapping without a maximum.
	defaultConcurrency = 5
	// directInvocations is the number of additional instances for Invoke and for the function URL.
	directInvocations = 4
)

// binary returns the path of a function's bootstrap, for example splunk/bootstrap for SplunkFunction.
func (c *Cloud) binary(id string) string {
	return filepath.Join(c.o.Builds, shortName(id), "bootstrap")
}

// shortName returns the name of a function in the logs, for example splunk.
func shortName(id string) string { return strings.ToLower(strings.TrimSuffix(id, "Function")) }

func functionName(id string) string { return StackName + "-" + id }

func functionARN(id string) string {
	return fmt.Sprintf("arn:aws:lambda:%s:%s:function:%s", Region, AccountID, functionName(id))
}

// checkBuilds returns an error that names every missing binary.
func (c *Cloud) checkBuilds() error {
	var problems []error
	for _, id := range c.template.IDs(samtemplate.TypeFunction) {
		if _, err := os.Stat(c.binary(id)); err != nil {
			problems = append(problems, fmt.Errorf("looking for the binary of %s (`make build` makes it): %w", id, err))
		}
	}
	return errors.Join(problems...)
}

// startFunction prepares a function, and starts its URL and its mappings.
func (c *Cloud) startFunction(ctx context.Context, id string) error {
	f, err := c.template.Function(id, c.made)
	if err != nil {
		return err
	}
	env := map[string]string{"AWS_ENDPOINT_URL": c.moto.Endpoint()}
	for service, endpoint := range c.o.Endpoints {
		env["AWS_ENDPOINT_URL_"+service] = endpoint
	}
	maps.Copy(env, f.Environment)
	maps.Copy(env, c.o.Environment[id])
	fn := runtimeapi.New(runtimeapi.Config{
		Name: cmp.Or(f.Name, functionName(id)), ARN: functionARN(id), Bootstrap: c.binary(id), Region: Region,
		Environment: env, Timeout: f.Timeout, MemoryMB: f.MemoryMB, MaxInstances: maxInstances(f),
		Output: func(line string) {
			c.history.add(id, line, time.Now())
			if c.alarms != nil {
				c.alarms.Line([]byte(line))
			}
			c.logs.print(shortName(id), line)
		},
	})
	c.functions[id] = fn
	if f.URL {
		if c.urls[id], err = serveURL(ctx, id, fn); err != nil {
			return err
		}
		c.progress("%s is at %s", id, c.urls[id].base)
	}
	for _, m := range f.Mappings {
		if err := c.startMapping(ctx, id, m, fn); err != nil {
			return err
		}
	}
	return nil
}

// maxInstances returns the number of concurrent invocations of a function. Further ones wait; AWS would throttle them.
func maxInstances(f samtemplate.Function) int {
	if f.Reserved > 0 {
		return f.Reserved
	}
	n := directInvocations
	for _, m := range f.Mappings {
		n += cmp.Or(m.MaximumConcurrency, defaultConcurrency)
	}
	return n
}

func (c *Cloud) startMapping(ctx context.Context, id string, m samtemplate.Mapping, fn *runtimeapi.Function) error {
	q, err := c.made.byARN(m.QueueARN)
	if err != nil {
		return fmt.Errorf("starting the mapping %s: %w", m.ID, err)
	}
	cfg := eventsource.Config{
		QueueARN: m.QueueARN, Region: Region, BatchSize: m.BatchSize, Window: m.Window,
		MaximumConcurrency:      cmp.Or(m.MaximumConcurrency, defaultConcurrency),
		ReportBatchItemFailures: m.ReportBatchItemFailures, Enabled: m.Enabled,
		Queue: eventsource.SQS{Client: c.sqs, URL: q.url},
		Invoke: func(ctx context.Context, payload []byte) ([]byte, error) {
			r, err := fn.Invoke(ctx, payload)
			if err == nil && c.o.Observe != nil {
				c.o.Observe(id, payload, r)
			}
			return answer(r, err)
		},
		Problem: func(err error) { c.logs.print("mapping "+m.ID, err.Error()) },
	}
	if q.redrive != nil {
		cfg.Queue = c.sources.watch(cfg.Queue, q.arn)
	}
	if c.made.isDeadLetterQueue(q.arn) {
		cfg.Attributes = c.sources.attributes
	}
	c.settings.add(m, id)
	c.pollers[m.ID] = eventsource.Start(ctx, cfg)
	return nil
}

// answer returns the result of an invocation for its mapping. A function error is an error.
func answer(r runtimeapi.Result, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	if r.Error != nil {
		return nil, r.Error
	}
	return r.Payload, nil
}

// lines writes the lines of several writers to one writer.
type lines struct {
	metrics series
	printed func(line []byte)

	mu sync.Mutex
	to io.Writer
}

func (l *lines) print(source, line string) {
	l.metrics.take(line)
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = fmt.Fprintf(l.to, "%s | %s\n", source, line)
	if l.printed != nil {
		l.printed([]byte(line))
	}
}

// maxBodyBytes is the largest body of a function URL's request.
// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
const maxBodyBytes = 6 << 20

// url is a function URL. It converts requests to events of payload format 2.0, and a function's results to responses.
// It requires no signature, so the event has no caller.
// https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
type url struct {
	base   string
	id     string
	fn     *runtimeapi.Function
	server *http.Server
}

// serveURL starts a function URL, which runs until ctx ends or it is closed.
func serveURL(ctx context.Context, id string, fn *runtimeapi.Function) (*url, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("opening the URL of %s: %w", id, err)
	}
	u := &url{base: "http://" + listener.Addr().String(), id: strings.ToLower(id), fn: fn}
	u.server = &http.Server{
		ReadHeaderTimeout: time.Minute,
		// As in AWS, a caller that closes the connection does not stop the function: it runs with the deployment's context.
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { u.serve(ctx, w, r) }),
	}
	go func() { _ = u.server.Serve(listener) }()
	return u, nil
}

func (u *url) close() { _ = u.server.Close() }

func (u *url) serve(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		message(w, http.StatusRequestEntityTooLarge, "Request Too Long")
		return
	}
	if err != nil {
		return // the caller has closed
	}
	payload, err := json.Marshal(u.event(r, body))
	if err != nil {
		message(w, http.StatusBadRequest, "Bad Request")
		return
	}
	result, err := u.fn.Invoke(ctx, payload)
	if err != nil || result.Error != nil {
		message(w, http.StatusBadGateway, "Internal Server Error")
		return
	}
	respond(w, result.Payload)
}

// message returns a response of Lambda itself.
func message(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"Message": text})
}

// event is the request in the form of the function's event.
func (u *url) event(r *http.Request, body []byte) events.LambdaFunctionURLRequest {
	now := time.Now().UTC()
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	e := events.LambdaFunctionURLRequest{
		Version: "2.0", RawPath: r.URL.EscapedPath(), RawQueryString: r.URL.RawQuery,
		Headers: joined(r.Header, strings.ToLower), QueryStringParameters: joined(r.URL.Query(), strings.Clone),
		Cookies: cookies(r), IsBase64Encoded: isBinary(r.Header.Get("Content-Type"), body), Body: string(body),
	}
	e.Headers["host"] = r.Host
	e.Headers["x-forwarded-for"], e.Headers["x-forwarded-proto"] = host, "http"
	if e.IsBase64Encoded {
		e.Body = base64.StdEncoding.EncodeToString(body)
	}
	e.RequestContext = events.LambdaFunctionURLRequestContext{
		AccountID: "anonymous", RequestID: fmt.Sprintf("local-%d", now.UnixNano()), APIID: u.id, DomainName: r.Host,
		DomainPrefix: u.id,
		Time:         now.Format("02/Jan/2006:15:04:05 -0700"), TimeEpoch: now.UnixMilli(),
		HTTP: events.LambdaFunctionURLRequestContextHTTPDescription{
			Method: r.Method, Path: r.URL.EscapedPath(), Protocol: r.Proto, SourceIP: host, UserAgent: r.UserAgent(),
		},
	}
	return e
}

// joined joins the values of each name.
func joined(values map[string][]string, name func(string) string) map[string]string {
	out := make(map[string]string, len(values))
	for k, v := range values {
		if k != "Cookie" {
			out[name(k)] = strings.Join(v, ",")
		}
	}
	return out
}

func cookies(r *http.Request) []string {
	var out []string
	for _, c := range r.Cookies() {
		out = append(out, c.Name+"="+c.Value)
	}
	return out
}

// isBinary reports whether a body is encoded as base64: every body that is not declared as text, including forms.
func isBinary(contentType string, body []byte) bool {
	if len(body) == 0 {
		return false
	}
	if !utf8.Valid(body) {
		return true
	}
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return true
	}
	switch kind {
	case "application/json", "application/xml", "application/javascript":
		return false
	}
	return !strings.HasPrefix(kind, "text/") && !strings.HasSuffix(kind, "+json") && !strings.HasSuffix(kind, "+xml")
}

// respond writes a function's result. A result without statusCode is the body.
func respond(w http.ResponseWriter, payload []byte) {
	var probe struct {
		StatusCode *int `json:"statusCode"`
	}
	if err := json.Unmarshal(payload, &probe); err != nil || probe.StatusCode == nil {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(payload)
		return
	}
	var answer events.LambdaFunctionURLResponse
	err := json.Unmarshal(payload, &answer)
	body := []byte(answer.Body)
	if err == nil && answer.IsBase64Encoded {
		body, err = base64.StdEncoding.DecodeString(answer.Body)
	}
	if err != nil || answer.StatusCode < 200 || answer.StatusCode > 599 {
		message(w, http.StatusBadGateway, "Internal Server Error")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	for name, value := range answer.Headers {
		w.Header().Set(name, value)
	}
	for _, c := range answer.Cookies {
		w.Header().Add("Set-Cookie", c)
	}
	w.WriteHeader(answer.StatusCode)
	_, _ = w.Write(body)
}
