package siem

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Config configures the [Server] of an HTTP simulator.
type Config struct {
	// Handle processes one request. It is called concurrently.
	Handle func(*Request) Answer
	// MaxBody is the product's limit in decoded bytes. Handle gets a longer body with Problem [ErrTooLarge]. 0: 64 MiB.
	MaxBody int64
	// MaxWire is the limit in bytes on the wire, for products that have one. 0: MaxBody + 1 MiB.
	MaxWire int64
	// HTTP2 offers HTTP/2.
	HTTP2 bool
	// TLS is the TLS configuration without the certificate, for example with client certificates. nil: the default.
	TLS *tls.Config
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

// Server is the HTTPS server of an HTTP simulator. It reads and decodes bodies within bounds, applies faults and keeps
// the journal. A simulator embeds it for Accepted, Stats, Inject, Close and the methods of [Journal] and [Faults].
type Server struct {
	Journal
	Faults

	options Options
	config  Config
	server  *http.Server
	address string
	done    chan struct{}
	once    sync.Once
}

// Serve starts a server on the listener of the options.
func Serve(o Options, c Config) (*Server, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
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
		return nil, fmt.Errorf("listening: %w", err)
	}
	s.address = listener.Addr().String()
	if err := s.start(listener); err != nil {
		listener.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) start(listener net.Listener) error {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(s.config.HTTP2)
	s.server = &http.Server{
		Handler: s, Protocols: protocols, ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: discardLog(), // net/http logs connections that are dropped on purpose
	}
	if s.options.Plain {
		go func() { _ = s.server.Serve(listener) }() // ends with Close
		return nil
	}
	certificate, err := s.options.Authority.Server("127.0.0.1", "localhost")
	if err != nil {
		return err
	}
	s.server.TLSConfig = s.config.TLS.Clone()
	if s.server.TLSConfig == nil {
		s.server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	s.server.TLSConfig.Certificates = []tls.Certificate{certificate.TLS}
	go func() { _ = s.server.ServeTLS(listener, "", "") }() // ends with Close
	return nil
}

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

// Trust adds the settings that make a connector without a CA variable trust this server, or accept plain HTTP.
func (s *Server) Trust(settings map[string]string) {
	if s.options.Plain {
		settings["SIEM_ALLOW_HTTP"] = "true"
	} else if s.options.CAFile != "" {
		settings["SSL_CERT_FILE"] = s.options.CAFile
	}
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

// Accept records the events that no fault loses.
func (s *Server) Accept(events ...Accepted) {
	s.Journal.Accept(slices.DeleteFunc(events, func(e Accepted) bool { return s.Loses(e.ID) })...)
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
