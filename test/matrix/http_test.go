package matrix

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// responder handles a request to a SIEM, whose body has not been read.
type responder func(*request)

// request is one request to a SIEM.
type request struct {
	s    *siem
	w    http.ResponseWriter
	r    *http.Request
	ids  []string // of the events in it, after read
	body []byte
}

// siem is an HTTP SIEM with the responses of a cell.
type siem struct {
	target  *target
	respond func(n int) responder // to request n, counted from 1
	token   responder             // to a request for an access token; nil grants one
	server  *http.Server
	url     string
	gone    chan struct{}

	mu        sync.Mutex
	requests  int
	bodies    [][]byte
	headers   []http.Header
	accepted  map[string]int // by event
	elsewhere int            // requests that a redirect led to
}

func newSIEM(l net.Listener, secure *tls.Config, target *target, a attempt) *siem {
	s := &siem{target: target, respond: a.respond, token: a.token, accepted: map[string]int{}, gone: make(chan struct{}),
		url: "https://" + l.Addr().String()}
	s.server = &http.Server{Handler: s, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute,
		TLSConfig: secure.Clone()}
	go func() {
		if secure == nil {
			_ = s.server.Serve(l)
		} else {
			_ = s.server.ServeTLS(l, "", "")
		}
	}()
	return s
}

func (s *siem) close() {
	close(s.gone)
	_ = s.server.Close()
}

// ServeHTTP implements http.Handler.
func (s *siem) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := &request{s: s, w: w, r: r}
	switch {
	case strings.HasPrefix(r.URL.Path, "/elsewhere"):
		s.mu.Lock()
		s.elsewhere++
		s.mu.Unlock()
		return
	case strings.HasPrefix(r.URL.Path, tokenPath) && s.token != nil:
		s.token(q)
		return
	case strings.HasPrefix(r.URL.Path, tokenPath):
		q.text(http.StatusOK, `{"token_type":"Bearer","expires_in":3600,"access_token":"`+tokenCanary+`"}`)
		return
	}
	s.mu.Lock()
	s.requests++
	n := s.requests
	s.mu.Unlock()
	s.respond(n)(q)
}

// read reads the body once, and finds the events in it.
func (q *request) read() {
	if q.body != nil {
		return
	}
	var from io.Reader = q.r.Body
	if q.r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(q.r.Body)
		if err != nil {
			return
		}
		from = z
	}
	q.body, _ = io.ReadAll(from)
	q.s.mu.Lock()
	q.s.bodies, q.s.headers = append(q.s.bodies, q.body), append(q.s.headers, q.r.Header)
	q.s.mu.Unlock()
	for i := range maxEvents {
		if id := eventID(i); strings.Contains(string(q.body), id) {
			q.ids = append(q.ids, id)
		}
	}
}

// took records that the SIEM accepted events.
func (q *request) took(ids ...string) {
	q.s.mu.Lock()
	defer q.s.mu.Unlock()
	for _, id := range ids {
		q.s.accepted[id]++
	}
}

// accept accepts the request.
func (q *request) accept() {
	q.read()
	q.took(q.ids...)
	status, text := q.s.target.success(q)
	q.text(status, text)
}

// text responds with JSON.
func (q *request) text(status int, text string) {
	q.w.Header().Set("Content-Type", "application/json")
	q.w.WriteHeader(status)
	_, _ = io.WriteString(q.w, text)
}

// hijack takes the connection from the server.
func (q *request) hijack() net.Conn {
	c, _, err := http.NewResponseController(q.w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	return c
}

// hang waits until the connection or the SIEM is closed.
func (q *request) hang() {
	select {
	case <-q.s.gone:
	case <-q.r.Context().Done():
	}
}

// status responds with a status, and echoes the request, as some proxies do. No secret of it may be in any output.
func status(code int, header ...string) responder {
	return func(q *request) {
		q.read()
		for i := 0; i+1 < len(header); i += 2 {
			q.w.Header().Set(header[i], header[i+1])
		}
		q.text(code, echo(q.r))
	}
}

func echo(r *http.Request) string {
	var b strings.Builder
	b.WriteString("you sent " + r.URL.String())
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		if name != "User-Agent" && name != "Content-Length" {
			b.WriteString(" " + name + ": " + r.Header.Get(name))
		}
	}
	return b.String()
}

// reply responds with a status and a body.
func reply(code int, body string, header ...string) responder {
	return func(q *request) {
		q.read()
		if code/100 == 2 { // a connector may count it as delivered
			q.took(q.ids...)
		}
		for i := 0; i+1 < len(header); i += 2 {
			q.w.Header().Set(header[i], header[i+1])
		}
		if code == http.StatusNoContent || body == "" {
			q.w.WriteHeader(code)
			return
		}
		q.text(code, body)
	}
}

// good is the status of a success that may have a body.
func (q *request) good() int {
	code, _ := q.s.target.success(q)
	if code == http.StatusNoContent {
		code = http.StatusOK
	}
	return code
}

func resetBefore(q *request) { reset(q.hijack()) }

func closeBefore(q *request) { _ = q.hijack().Close() }

func resetDuring(q *request) {
	_, _ = io.CopyN(io.Discard, q.r.Body, q.r.ContentLength/2)
	reset(q.hijack())
}

func closeDuring(q *request) {
	_, _ = io.CopyN(io.Discard, q.r.Body, q.r.ContentLength/2)
	_ = q.hijack().Close()
}

func resetAfter(q *request) {
	q.read()
	reset(q.hijack())
}

func closeAfter(q *request) {
	q.read()
	_ = q.hijack().Close()
}

// closeInHeader closes the connection within the response's header.
func closeInHeader(q *request) {
	q.read()
	c := q.hijack()
	_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Ty")
	_ = c.Close()
}

// closeInBody closes it within the body of a success.
func closeInBody(q *request) {
	q.read()
	q.took(q.ids...)
	code := q.good()
	c := q.hijack()
	_, _ = io.WriteString(c, "HTTP/1.1 "+strconv.Itoa(code)+" OK\r\nContent-Length: 1000\r\n\r\n{\"text\":")
	_ = c.Close()
}

func blackHole(q *request) {
	q.read()
	q.hang()
}

// late accepts the request after a while.
func late(q *request) {
	q.read()
	timer := time.NewTimer(200 * time.Millisecond)
	defer timer.Stop()
	<-timer.C
	q.accept()
}

// drip sends a response that does not end in time.
func drip(q *request) {
	q.read()
	c := q.hijack()
	defer c.Close()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for text := "HTTP/1.1 200 OK\r\nX-Slow: "; ; text = text[1:] + "x" {
		if _, err := io.WriteString(c, text[:1]); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-q.s.gone:
			return
		}
	}
}

// endless sends a success with an endless body.
func endless(q *request) {
	q.read()
	q.took(q.ids...)
	q.w.WriteHeader(q.good())
	for filler := []byte(strings.Repeat(" ", 32<<10)); ; {
		if _, err := q.w.Write(filler); err != nil {
			return
		}
	}
}

// endlessHeader sends an endless header.
func endlessHeader(q *request) {
	q.read()
	c := q.hijack()
	defer c.Close()
	_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n")
	for err == nil {
		_, err = io.WriteString(c, "X-More: "+strings.Repeat("x", 1000)+"\r\n")
	}
}

// endlessContinue sends provisional responses.
func endlessContinue(q *request) {
	q.read()
	c := q.hijack()
	defer c.Close()
	var err error
	for err == nil {
		_, err = io.WriteString(c, "HTTP/1.1 102 Processing\r\n\r\n")
	}
}

// notHTTP responds in another protocol.
func notHTTP(q *request) {
	q.read()
	c := q.hijack()
	_, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.9\r\n")
	_ = c.Close()
}

const page = "<html><body>Welcome to nginx!</body></html>"

// webPage responds with a web page and the status of a success.
func webPage(q *request) { reply(q.good(), page)(q) }

// goodText is the body of a success.
func (q *request) goodText() string {
	_, text := q.s.target.success(q)
	return text
}

// refusal responds with a status, and a body that depends on the SIEM.
func refusal(code int, body func(*request) string) responder {
	return func(q *request) { reply(code, body(q))(q) }
}

// zipped is refusal with a body in gzip, although the request asks for none.
func zipped(code int, body func(*request) string) responder {
	return func(q *request) {
		q.read()
		if code/100 == 2 {
			q.took(q.ids...)
			code = q.good()
		}
		q.w.Header().Set("Content-Encoding", "gzip")
		q.w.WriteHeader(code)
		z := gzip.NewWriter(q.w)
		_, _ = io.WriteString(z, body(q))
		_ = z.Close()
	}
}

// early responds before the body is read, and closes the connection.
func early(code int, header ...string) responder {
	return func(q *request) {
		c := q.hijack()
		lines := strings.Join(append(header, "Content-Length: 0", "Connection: close"), "\r\n")
		_, _ = io.WriteString(c, "HTTP/1.1 "+strconv.Itoa(code)+" Early\r\n"+lines+"\r\n\r\n")
		_ = c.Close()
	}
}

// earlyAbove is early for a request of more than limit bytes.
func earlyAbove(limit int64, code int) responder {
	return func(q *request) {
		if q.r.ContentLength > limit {
			early(code)(q)
			return
		}
		q.accept()
	}
}

// earlySuccess reads the beginning of the request, responds with a success, and stops reading.
func earlySuccess(q *request) {
	_, _ = io.CopyN(io.Discard, q.r.Body, 1000)
	c := q.hijack()
	_, _ = io.WriteString(c, "HTTP/1.1 "+strconv.Itoa(q.good())+" OK\r\nContent-Length: 2\r\n\r\n{}")
	<-q.s.gone
	_ = c.Close()
}

// bomb responds with a success whose body decompresses to 64 MiB.
func bomb() responder {
	var packed bytes.Buffer
	z, _ := gzip.NewWriterLevel(&packed, gzip.BestSpeed) // the level is valid
	filler := make([]byte, 1<<20)
	for range 64 {
		_, _ = z.Write(filler)
	}
	_ = z.Close()
	return func(q *request) {
		q.read()
		q.took(q.ids...)
		q.w.Header().Set("Content-Encoding", "gzip")
		q.w.WriteHeader(q.good())
		_, _ = q.w.Write(packed.Bytes())
	}
}

// redirect redirects to another path, which records that it was followed.
func redirect(code int) responder {
	return func(q *request) {
		q.read()
		q.w.Header().Set("Location", q.s.url+"/elsewhere"+q.r.URL.Path)
		q.w.WriteHeader(code)
	}
}

// refuses responds with a to a request with event i, and accepts any other.
func refuses(i int, a responder) responder {
	return func(q *request) {
		q.read()
		if !slices.Contains(q.ids, eventID(i)) {
			q.accept()
			return
		}
		a(q)
	}
}
