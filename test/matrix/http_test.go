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

// answer is what a SIEM does with a request. It has read nothing of the body yet.
type answer func(*exchange)

// exchange is one request on its way to an answer.
type exchange struct {
	s    *siem
	w    http.ResponseWriter
	r    *http.Request
	ids  []string // of the events in it, once the body has been read
	body []byte
}

// siem is an HTTP SIEM that does what a cell says.
type siem struct {
	target *target
	answer func(n int) answer // to request n, counted from 1; nil is the best
	token  answer             // to a request for an access token; nil gives one
	server *http.Server
	url    string
	gone   chan struct{}

	mu        sync.Mutex
	requests  int
	bodies    [][]byte
	headers   []http.Header
	accepted  map[string]int // by event
	elsewhere int            // requests that a redirect led to
}

func newSIEM(l net.Listener, secure *tls.Config, target *target, a attempt) *siem {
	s := &siem{target: target, answer: a.answer, token: a.token, accepted: map[string]int{}, gone: make(chan struct{}), url: "https://" + l.Addr().String()}
	s.server = &http.Server{Handler: s, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute, TLSConfig: secure.Clone()}
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
	e := &exchange{s: s, w: w, r: r}
	switch {
	case strings.HasPrefix(r.URL.Path, "/elsewhere"):
		s.mu.Lock()
		s.elsewhere++
		s.mu.Unlock()
		return
	case strings.HasPrefix(r.URL.Path, tokenPath) && s.token != nil:
		s.token(e)
		return
	case strings.HasPrefix(r.URL.Path, tokenPath):
		e.text(http.StatusOK, `{"token_type":"Bearer","expires_in":3600,"access_token":"`+tokenCanary+`"}`)
		return
	}
	s.mu.Lock()
	s.requests++
	n := s.requests
	s.mu.Unlock()
	s.answer(n)(e)
}

// read reads the body once, and finds out which events are in it.
func (e *exchange) read() {
	if e.body != nil {
		return
	}
	var from io.Reader = e.r.Body
	if e.r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(e.r.Body)
		if err != nil {
			return
		}
		from = z
	}
	e.body, _ = io.ReadAll(from)
	e.s.mu.Lock()
	e.s.bodies, e.s.headers = append(e.s.bodies, e.body), append(e.s.headers, e.r.Header)
	e.s.mu.Unlock()
	for i := range maxEvents {
		if id := eventID(i); strings.Contains(string(e.body), id) {
			e.ids = append(e.ids, id)
		}
	}
}

// took notes that the SIEM has events.
func (e *exchange) took(ids ...string) {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	for _, id := range ids {
		e.s.accepted[id]++
	}
}

// accept answers as the SIEM does when all is well.
func (e *exchange) accept() {
	e.read()
	e.took(e.ids...)
	status, text := e.s.target.success(e)
	e.text(status, text)
}

// text answers with a text.
func (e *exchange) text(status int, text string) {
	e.w.Header().Set("Content-Type", "application/json")
	e.w.WriteHeader(status)
	_, _ = io.WriteString(e.w, text)
}

// hijack takes the connection away from the server.
func (e *exchange) hijack() net.Conn {
	c, _, err := http.NewResponseController(e.w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	return c
}

// hang waits until the function or the cell has ended.
func (e *exchange) hang() {
	select {
	case <-e.s.gone:
	case <-e.r.Context().Done():
	}
}

// status answers with a status, and echoes the request, as some proxies do: no secret of it may show anywhere.
func status(code int, header ...string) answer {
	return func(e *exchange) {
		e.read()
		for i := 0; i+1 < len(header); i += 2 {
			e.w.Header().Set(header[i], header[i+1])
		}
		e.text(code, echo(e.r))
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

// says answers with a status and a body.
func says(code int, body string, header ...string) answer {
	return func(e *exchange) {
		e.read()
		if code/100 == 2 { // whoever counts that as delivered may
			e.took(e.ids...)
		}
		for i := 0; i+1 < len(header); i += 2 {
			e.w.Header().Set(header[i], header[i+1])
		}
		if code == http.StatusNoContent || body == "" {
			e.w.WriteHeader(code)
			return
		}
		e.text(code, body)
	}
}

// good is the status of a success.
func (e *exchange) good() int {
	code, _ := e.s.target.success(e)
	if code == http.StatusNoContent { // which has no body to break
		code = http.StatusOK
	}
	return code
}

func resetBefore(e *exchange) { reset(e.hijack()) }

func resetDuring(e *exchange) {
	_, _ = io.CopyN(io.Discard, e.r.Body, e.r.ContentLength/2)
	reset(e.hijack())
}

func closeDuring(e *exchange) {
	_, _ = io.CopyN(io.Discard, e.r.Body, e.r.ContentLength/2)
	_ = e.hijack().Close()
}

func resetAfter(e *exchange) {
	e.read()
	reset(e.hijack())
}

func closeAfter(e *exchange) {
	e.read()
	_ = e.hijack().Close()
}

// closeInHeader ends the connection within the answer's header.
func closeInHeader(e *exchange) {
	e.read()
	c := e.hijack()
	_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Ty")
	_ = c.Close()
}

// closeInBody ends it within the body.
func closeInBody(e *exchange) {
	e.read()
	e.took(e.ids...)
	code := e.good()
	c := e.hijack()
	_, _ = io.WriteString(c, "HTTP/1.1 "+strconv.Itoa(code)+" OK\r\nContent-Length: 1000\r\n\r\n{\"text\":")
	_ = c.Close()
}

func blackHole(e *exchange) {
	e.read()
	e.hang()
}

// late answers well, and in time.
func late(e *exchange) {
	e.read()
	timer := time.NewTimer(200 * time.Millisecond)
	defer timer.Stop()
	<-timer.C
	e.accept()
}

// drip sends an answer so slowly that it never ends.
func drip(e *exchange) {
	e.read()
	c := e.hijack()
	defer c.Close()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for text := "HTTP/1.1 200 OK\r\nX-Slow: "; ; text = text[1:] + "x" {
		if _, err := io.WriteString(c, text[:1]); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-e.s.gone:
			return
		}
	}
}

// endless sends a success with a body that does not end.
func endless(e *exchange) {
	e.read()
	e.took(e.ids...)
	e.w.WriteHeader(e.good())
	for filler := []byte(strings.Repeat(" ", 32<<10)); ; {
		if _, err := e.w.Write(filler); err != nil {
			return
		}
	}
}

// endlessHeader sends a header that does not end.
func endlessHeader(e *exchange) {
	e.read()
	c := e.hijack()
	defer c.Close()
	_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n")
	for err == nil {
		_, err = io.WriteString(c, "X-More: "+strings.Repeat("x", 1000)+"\r\n")
	}
}

// endlessContinue sends one provisional answer after the other.
func endlessContinue(e *exchange) {
	e.read()
	c := e.hijack()
	defer c.Close()
	var err error
	for err == nil {
		_, err = io.WriteString(c, "HTTP/1.1 102 Processing\r\n\r\n")
	}
}

// notHTTP answers in another protocol.
func notHTTP(e *exchange) {
	e.read()
	c := e.hijack()
	_, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.9\r\n")
	_ = c.Close()
}

// truncated answers with the first half of a success, as a whole answer.
func truncated(e *exchange) {
	e.read()
	e.took(e.ids...)
	code, text := e.s.target.success(e)
	e.text(code, text[:len(text)/2])
}

// garbage answers with a success that is a web page.
func garbage(e *exchange) { says(e.good(), "<html><body>Welcome to nginx!</body></html>")(e) }

// bomb answers with a success whose body nobody should unpack.
func bomb() answer {
	var packed bytes.Buffer
	z, _ := gzip.NewWriterLevel(&packed, gzip.BestSpeed) // the level is valid
	filler := make([]byte, 1<<20)
	for range 64 {
		_, _ = z.Write(filler)
	}
	_ = z.Close()
	return func(e *exchange) {
		e.read()
		e.took(e.ids...)
		e.w.Header().Set("Content-Encoding", "gzip")
		e.w.WriteHeader(e.good())
		_, _ = e.w.Write(packed.Bytes())
	}
}

// redirect leads to another place.
func redirect(code int) answer {
	return func(e *exchange) {
		e.read()
		e.w.Header().Set("Location", e.s.url+"/elsewhere"+e.r.URL.Path)
		e.w.WriteHeader(code)
	}
}

// refuses answers with a when the event i is in the request, else well.
func refuses(i int, a answer) answer {
	return func(e *exchange) {
		e.read()
		if !slices.Contains(e.ids, eventID(i)) {
			e.accept()
			return
		}
		a(e)
	}
}
