package e2e

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/internal/pki"
)

// gate is a recording proxy between the functions and AWS, the Runtime API and the SIEMs that use HTTP. It can end a
// function's process at a given request. It has one door for each function and each SIEM.
type gate struct {
	mu    sync.Mutex
	doors map[string]*door
	aws   *url.URL
	tape  []*exchange
	plan  *plan
}

// exchange is a request and its response.
type exchange struct {
	step
	path    string
	header  http.Header
	request []byte
	status  int // 0 means no response
	answer  []byte
	began   time.Time
	ended   time.Time // zero means no response
}

// step identifies a request in a run of a function.
type step struct {
	door string // a function's, or "siem:" and the SIEM's
	name string // operation: "SendMessageBatch", "PutObject …", "next", "response", "POST"
	n    int    // number of earlier requests with that name
}

func (s step) String() string { return fmt.Sprintf("%s of %s, number %d", s.name, s.door, s.n+1) }

// moment is a point in time of a step.
type moment string

const (
	before moment = "before" // the gate has the request, but the other side does not
	during moment = "during" // the other side has half of the request
	after  moment = "after"  // the other side has responded, but the function does not have the response
)

// plan is an action at a moment of a step. It runs once.
type plan struct {
	step
	when  moment
	do    func()
	count map[step]int // steps since the plan was made, with n = 0
	done  bool
}

// door is a listener with its target.
type door struct {
	gate   *gate
	name   string
	target *url.URL // of a SIEM; nil for a function
	client *http.Client
	server *http.Server
	url    string
}

func newGate() *gate { return &gate{doors: map[string]*door{}} }

// setAWS sets the endpoint of AWS.
func (g *gate) setAWS(endpoint string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.aws, _ = url.Parse(endpoint)
}

// function returns the AWS_ENDPOINT_URL of a function.
func (g *gate) function(name string) string {
	d, err := g.open(name, nil, nil)
	if err != nil {
		panic(err) // no free port on loopback
	}
	return d.url
}

// runtime returns the prefix of the Runtime API's address for a function.
func (g *gate) runtime(name string) string {
	return strings.TrimPrefix(g.function(name), "http://") + runtimePrefix
}

const runtimePrefix = "/runtime"

// siem opens the door of a SIEM, and returns its URL.
func (g *gate) siem(name, target string, ca *pki.Authority) (string, error) {
	to, err := url.Parse(target)
	if err != nil {
		return "", err
	}
	d, err := g.open("siem:"+name, to, ca)
	if err != nil {
		return "", err
	}
	return d.url, nil
}

func (g *gate) open(name string, target *url.URL, ca *pki.Authority) (*door, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if d := g.doors[name]; d != nil {
		return d, nil
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &door{gate: g, name: name, target: target, url: "http://" + listener.Addr().String()}
	transport := &http.Transport{DisableCompression: true}
	d.client = &http.Client{Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	d.server = &http.Server{Handler: d, ReadHeaderTimeout: time.Minute, ErrorLog: quiet}
	if ca != nil {
		certificate := ca.Server("127.0.0.1", "localhost")
		transport.TLSClientConfig = &tls.Config{RootCAs: ca.Pool()}
		transport.DisableKeepAlives = true // a request on a kept connection may be sent again
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{certificate.TLS}})
		d.url = strings.Replace(d.url, "http:", "https:", 1)
	}
	go func() { _ = d.server.Serve(listener) }()
	g.doors[name] = d
	return d, nil
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, d := range g.doors {
		_ = d.server.Close()
	}
}

// maxBody bounds what passes through; an invocation has at most 6 MB.
const maxBody = 16 << 20

func (d *door) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		panic(http.ErrAbortHandler) // the function has ended
	}
	e := &exchange{
		step: step{door: d.name, name: d.describe(r)}, path: r.URL.RequestURI(), header: r.Header.Clone(), request: body,
		began: time.Now(),
	}
	d.gate.begin(e)
	d.gate.reach(e, before)
	answer, content, err := d.pass(r, e, body)
	if err != nil {
		panic(http.ErrAbortHandler) // the other side closed the connection
	}
	d.gate.end(e, answer.StatusCode, content)
	d.gate.reach(e, after)
	maps.Copy(rw.Header(), answer.Header)
	rw.WriteHeader(answer.StatusCode)
	_, _ = rw.Write(content)
}

// pass forwards a request, and returns the response with its body.
func (d *door) pass(r *http.Request, e *exchange, body []byte) (*http.Response, []byte, error) {
	to := d.destination(r)
	if to == nil {
		return nil, nil, errors.New("the door has no target yet")
	}
	out := r.Clone(r.Context())
	out.URL, out.Host, out.RequestURI = to, "", ""
	out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	if d.gate.due(e, during) {
		half := bytes.NewReader(body[:len(body)/2])
		out.Body = io.NopCloser(io.MultiReader(half, broken{func() { d.gate.reach(e, during) }}))
	}
	answer, err := d.client.Do(out)
	if err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(io.LimitReader(answer.Body, maxBody))
	return answer, content, err
}

// broken is a body that ends with an error after do.
type broken struct{ do func() }

func (b broken) Read([]byte) (n int, err error) {
	defer func() {
		if recover() != nil { // reach aborts the handler
			err = io.ErrUnexpectedEOF
		}
	}()
	b.do()
	return 0, io.ErrUnexpectedEOF
}

// destination returns the URL of a request's target.
func (d *door) destination(r *http.Request) *url.URL {
	to := *r.URL
	to.Scheme = "http"
	if d.target != nil {
		to.Scheme, to.Host = d.target.Scheme, d.target.Host
		return &to
	}
	if rest, ok := strings.CutPrefix(r.URL.Path, runtimePrefix+"/"); ok {
		address, tail, _ := strings.Cut(rest, "/")
		to.Host, to.Path, to.RawPath = address, "/"+tail, ""
		return &to
	}
	d.gate.mu.Lock()
	defer d.gate.mu.Unlock()
	if d.gate.aws == nil {
		return nil
	}
	to.Host = d.gate.aws.Host
	return &to
}

// describe returns the name of a request.
func (d *door) describe(r *http.Request) string {
	switch {
	case d.target != nil:
		return r.Method
	case strings.HasPrefix(r.URL.Path, runtimePrefix+"/"):
		return path.Base(r.URL.Path)
	}
	if target := r.Header.Get("X-Amz-Target"); target != "" {
		return target[strings.LastIndexByte(target, '.')+1:]
	}
	return describeS3(r)
}

// describeS3 returns a request's S3 operation and folder.
func describeS3(r *http.Request) string {
	folder := r.URL.Path
	if r.URL.Query().Has("list-type") {
		folder = "/" + r.URL.Query().Get("prefix")
	}
	for _, known := range []string{"pending", "replayed", "progress", "replay.lock"} {
		if strings.Contains(folder, "/"+known) {
			folder = known
		}
	}
	operation := map[string]string{http.MethodGet: "GetObject", http.MethodPut: "PutObject",
		http.MethodDelete: "DeleteObject", http.MethodHead: "HeadObject"}[r.Method]
	if r.URL.Query().Has("list-type") {
		operation = "ListObjects"
	}
	return operation + " " + folder
}

// begin records a request.
func (g *gate) begin(e *exchange) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tape = append(g.tape, e)
	if p := g.plan; p != nil {
		e.n = p.count[e.step]
		p.count[step{door: e.door, name: e.name}]++
	}
}

func (g *gate) end(e *exchange, status int, content []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e.status, e.answer, e.ended = status, content, time.Now()
}

// reach runs the plan if this is its moment. It then aborts the request and does not return.
func (g *gate) reach(e *exchange, when moment) {
	if !g.due(e, when) {
		return
	}
	g.mu.Lock()
	p := g.plan
	first := !p.done
	p.done = true
	g.mu.Unlock()
	if first {
		p.do()
		panic(http.ErrAbortHandler)
	}
}

func (g *gate) due(e *exchange, when moment) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.plan
	return p != nil && !p.done && p.when == when && p.step == e.step
}

// watch sets the plan. The steps are counted from now.
func (g *gate) watch(s step, when moment, do func()) (carriedOut func() bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := &plan{step: s, when: when, do: do, count: map[step]int{}}
	g.plan = p
	return func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return p.done
	}
}

// since returns the requests of a door that ended after mark, or of all doors if the name is empty, in the order of
// their beginning.
func (g *gate) since(mark time.Time, name string) []exchange {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []exchange
	for _, e := range g.tape {
		last := e.ended // without a response, only the beginning is known
		if last.IsZero() {
			last = e.began
		}
		if (name == "" || e.door == name) && !last.Before(mark) {
			out = append(out, *e)
		}
	}
	return out
}

// named returns the exchanges with that name.
func named(exchanges []exchange, name string) []exchange {
	return slices.DeleteFunc(slices.Clone(exchanges), func(e exchange) bool { return e.name != name })
}

// quiet discards the servers' messages about connections that tests abort.
var quiet = log.New(io.Discard, "", 0)
