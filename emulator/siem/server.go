package siem

import (
	"compress/gzip"
	"compress/zlib"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"mime"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Config configures the [Server] of an HTTP simulator.
type Config struct {
	// Name is the connector's name.
	Name string
	// Handle processes one request. It is called concurrently.
	Handle func(*Request) Answer
	// MaxBody is the product's limit in decoded bytes. Handle gets a longer body with Problem [ErrTooLarge]. 0: 64 MiB.
	MaxBody int64
	// MaxWire is the limit in bytes on the wire, for products that have one. 0: MaxBody + 1 MiB.
	MaxWire int64
}

// Answer is a simulator's response. A status of 400 or more counts as refused, 401 and 403 count as authentication
// failures.
type Answer struct {
	Status int
	Header map[string]string
	Body   string
	// Reason is the name under which the refusal is counted, for example "403 code 4". Empty: the status.
	Reason string
	// Detail describes the problem, for Stats().LastProblem.
	Detail string
}

// with returns the response with another header.
func (a Answer) with(name, value string) Answer {
	header := map[string]string{}
	maps.Copy(header, a.Header)
	header[name] = value
	a.Header = header
	return a
}

// JSON returns a response with a value as its body, which must marshal.
func JSON(status int, body any) Answer {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return Answer{Status: status, Header: map[string]string{"Content-Type": "application/json"}, Body: string(text)}
}

// Server is the HTTPS server of an HTTP simulator. It reads and decodes bodies within bounds, applies faults and keeps
// the journal. A simulator embeds it for Accepted, Stats, Inject, Close and the methods of [Journal] and [Faults].
type Server struct {
	Base

	options Options
	config  Config
	server  *http.Server
	address string
	done    chan struct{}
	once    sync.Once
}

// Serve starts a server on the listener of the options.
func Serve(o Options, c Config) (*Server, error) {
	o = o.withDefaults()
	if c.MaxBody == 0 {
		c.MaxBody = 64 << 20
	}
	if c.MaxWire == 0 {
		c.MaxWire = c.MaxBody + 1<<20
	}
	s := &Server{options: o, config: c, done: make(chan struct{})}
	s.Now = o.Now
	listener, err := o.Listen()
	if err != nil {
		return nil, fmt.Errorf("starting the %s simulator: listening: %w", c.Name, err)
	}
	s.address = listener.Addr().String()
	s.start(listener)
	return s, nil
}

func (s *Server) start(listener net.Listener) {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	s.server = &http.Server{
		Handler: s, Protocols: protocols, ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: log.New(io.Discard, "", 0), // net/http logs connections that are dropped on purpose
	}
	if s.options.Plain {
		go func() { _ = s.server.Serve(listener) }() // ends with Close
		return
	}
	s.server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12,
		Certificates: []tls.Certificate{s.options.Authority.Server("127.0.0.1", "localhost").TLS}}
	go func() { _ = s.server.ServeTLS(listener, "", "") }() // ends with Close
}

// Name implements [Simulator].
func (s *Server) Name() string { return s.config.Name }

// URL returns the server's base URL without a trailing slash.
func (s *Server) URL() string {
	if s.options.Plain {
		return "http://" + s.address
	}
	return "https://" + s.address
}

// CA returns the PEM text of the CA certificate.
func (s *Server) CA() string { return s.options.Authority.PEM() }

// Options returns the simulator's options with the defaults.
func (s *Server) Options() Options { return s.options }

// Trust adds the settings that make a client trust this server, or accept plain HTTP, and returns all. bundle is the
// client's variable for a CA bundle; without one, the CA is in a file.
func (s *Server) Trust(settings map[string]string, bundle string) map[string]string {
	switch {
	case s.options.Plain:
		settings["SIEM_ALLOW_HTTP"] = "true"
	case bundle != "":
		settings[bundle] = s.CA()
	case s.options.CAFile != "":
		settings["SSL_CERT_FILE"] = s.options.CAFile
	}
	return settings
}

// Search returns siemctl's search settings for an API of this server. The names of all begin with prefix.
func (s *Server) Search(prefix string, credential map[string]string) map[string]string {
	settings := map[string]string{prefix + "URL": s.URL()}
	for name, value := range credential {
		settings[prefix+name] = value
	}
	return s.Trust(settings, prefix+"CA_BUNDLE")
}

// Close stops the server and drops every connection.
func (s *Server) Close() error {
	s.once.Do(func() { close(s.done) })
	return s.server.Close()
}

// ServeHTTP is the server's handler, for tests with a listener of their own.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fault, faulty := s.Next(r)
	if faulty && s.beforeBody(w, r, fault) {
		return
	}
	request := s.read(w, r)
	s.Arrived(request.Wire)
	if !faulty {
		fault, faulty = s.Holding(r, request.Body)
	}
	if faulty && s.instead(w, r, fault) {
		return
	}
	answer := s.config.Handle(request)
	s.refused(answer)
	if answer.Status < http.StatusBadRequest {
		if fault, ok := s.OfAccepted(r); ok {
			s.afterAccepting(w, r, fault, answer)
			return
		}
	}
	write(w, answer)
}

// refused counts a response with status 400 or more.
func (s *Server) refused(a Answer) {
	if a.Status < http.StatusBadRequest {
		return
	}
	reason := a.Reason
	if reason == "" {
		reason = strconv.Itoa(a.Status)
	}
	if a.Status == http.StatusUnauthorized || a.Status == http.StatusForbidden {
		s.AuthFailed()
	}
	s.Refuse(reason, a.Detail)
}

func write(w http.ResponseWriter, a Answer) {
	for name, value := range a.Header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(a.Status)
	_, _ = w.Write([]byte(a.Body))
}

// The problems of a body that cannot be decoded.
var (
	ErrTooLarge = errors.New("body is larger than the limit")
	ErrEncoding = errors.New("body does not match its Content-Encoding")
)

// Request is a request with its decoded body.
type Request struct {
	*http.Request
	// Body is the decoded body, owned by the handler, and cut at the limit if Problem is [ErrTooLarge].
	Body []byte
	// Wire is the size of the body on the wire.
	Wire int64
	// Encoding is the Content-Encoding in lower case, "" for none.
	Encoding string
	// Problem is nil, or wraps [ErrTooLarge] or [ErrEncoding], or is the error of reading.
	Problem error
}

type counted struct {
	io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

// read reads at most MaxWire bytes of the body, and decodes them to at most MaxBody bytes.
func (s *Server) read(w http.ResponseWriter, r *http.Request) *Request {
	request := &Request{Request: r, Encoding: strings.ToLower(r.Header.Get("Content-Encoding"))}
	wire := &counted{Reader: http.MaxBytesReader(w, r.Body, s.config.MaxWire)}
	request.Body, request.Problem = decode(wire, request.Encoding, s.config.MaxBody)
	if _, ok := errors.AsType[*http.MaxBytesError](request.Problem); ok {
		request.Problem = ErrTooLarge
	}
	// Read the rest: closing a connection with unread data resets it, and the client may lose the response.
	_, _ = io.Copy(io.Discard, wire)
	request.Wire = wire.n
	return request
}

func decode(wire io.Reader, encoding string, limit int64) ([]byte, error) {
	decoded := wire
	var err error
	switch encoding {
	case "", "identity":
	case "gzip":
		decoded, err = gzip.NewReader(wire)
	case "deflate":
		decoded, err = zlib.NewReader(wire)
	default:
		err = fmt.Errorf("unknown encoding %q", encoding)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEncoding, err)
	}
	body, err := io.ReadAll(io.LimitReader(decoded, limit+1))
	if int64(len(body)) > limit {
		return body[:limit], ErrTooLarge
	}
	if err != nil && decoded != wire {
		err = fmt.Errorf("%w: %w", ErrEncoding, err)
	}
	return body, err
}

// MaxEvents is the largest number of events in one request, which the wire format limits.
const MaxEvents = 100

// CheckRequest records violations of the wire format that every HTTP SIEM accepts: the content type, a query string,
// bytes that are not UTF-8.
func (s *Server) CheckRequest(r *Request, contentType, query string) {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != contentType {
		s.Violate("content type is %q, not %s", r.Header.Get("Content-Type"), contentType)
	}
	if r.URL.RawQuery != query {
		s.Violate("the query of the url is %q, not %q", r.URL.RawQuery, query)
	}
	if !utf8.Valid(r.Body) {
		s.Violate("the body is not utf-8")
	}
}

// CheckCount records a violation if a request has more than [MaxEvents] events.
func (s *Server) CheckCount(n int) {
	if n > MaxEvents {
		s.Violate("more than %d events in a request", MaxEvents)
	}
}

// CheckKeys records a violation if the keys of an object are not these, in this order.
func (j *Journal) CheckKeys(object json.RawMessage, what string, want []string) {
	if got := Keys(object); !slices.Equal(got, want) {
		j.Violate("%s are %s, not %s", what, strings.Join(got, " "), strings.Join(want, " "))
	}
}
