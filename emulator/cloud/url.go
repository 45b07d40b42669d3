package cloud

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"

	"github.com/arbitex/siem-connectors/emulator/lambda/runtimeapi"
)

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
