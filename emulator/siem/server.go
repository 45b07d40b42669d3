package siem

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Config is what an HTTP simulator tells its [Server].
type Config struct {
	// Handle judges one request. It runs concurrently with itself.
	Handle func(*Request) Answer
	// MaxBody is the product's limit in decoded bytes; a longer body reaches Handle with [ErrTooLarge] as its Problem. 0 = 64 MiB.
	MaxBody int64
	// MaxWire is the limit in bytes as they come over the wire, for products that count those; 0 = MaxBody + 1 MiB.
	MaxWire int64
	// HTTP2 offers HTTP/2 as the product's front does.
	HTTP2 bool
	// TLS is a base for the TLS configuration (client certificates, say); the certificate is added. nil is good.
	TLS *tls.Config
}

// Answer is a simulator's answer. A status of 400 or more is counted as refused, 401 and 403 as authentication failures.
type Answer struct {
	Status int
	Header map[string]string
	Body   string
	// Reason is what the refusal is counted under ("403 code 4"); empty stands for the status.
	Reason string
	// Detail is what went wrong in words, for Stats().LastProblem.
	Detail string
}

// Server is the HTTPS server under an HTTP simulator: it reads and decodes bodies within bounds, applies faults, counts and
// keeps. Embed it to get Accepted, Stats, Inject, Close and the methods of [Journal] and [Faults].
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
		ErrorLog: discardLog(), // a connection we drop on purpose is no news
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

// URL is the server's base URL, without a slash at its end.
func (s *Server) URL() string {
	if s.options.Plain {
		return "http://" + s.address
	}
	return "https://" + s.address
}

// CA is the PEM text of the certificate that signed the server's.
func (s *Server) CA() string { return s.options.Authority.PEM() }

// Options are the simulator's options with the defaults filled in.
func (s *Server) Options() Options { return s.options }

// Trust adds to settings what makes a connector without a CA variable of its own trust this server, or take plain http.
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

// ServeHTTP is the handler behind the listener, for a test that has its own.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fault, faulty := s.Next(r)
	if faulty && s.breakOff(r, fault) {
		return
	}
	request := s.read(w, r)
	s.Arrived(request.Wire)
	if faulty && s.instead(w, r, fault) {
		return
	}
	answer := s.config.Handle(request)
	if answer.Status >= http.StatusBadRequest {
		s.refused(answer)
	} else if fault, ok := s.Unanswered(r); ok {
		s.Refuse("no answer", "")
		if fault.Kind == AcceptHang {
			s.hang(r)
		}
		panic(http.ErrAbortHandler)
	}
	write(w, answer)
}

func (s *Server) refused(a Answer) {
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
