package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
)

// sink accepts everything: HTTP with each SIEM's success response, and lines over TCP. It counts events, to prove that
// every subject delivered all of them.
type sink struct {
	http net.Listener
	tcp  net.Listener

	events   atomic.Int64
	requests atomic.Int64
	bytes    atomic.Int64 // as they came: compressed, without headers
	buffers  sync.Pool
}

func newSink() (*sink, error) {
	h, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &sink{http: h, tcp: t, buffers: sync.Pool{New: func() any { return new(bytes.Buffer) }}}
	go http.Serve(h, http.HandlerFunc(s.answer)) //nolint:errcheck // until the listener is closed; a benchmark's sink
	go s.listen()
	return s, nil
}

func (s *sink) close() {
	_ = s.http.Close()
	_ = s.tcp.Close()
}

func (s *sink) url(path string) string { return "http://" + s.http.Addr().String() + path }

// counts is what the sink has received.
type counts struct{ events, requests, bytes int64 }

func (s *sink) counts() counts { return counts{s.events.Load(), s.requests.Load(), s.bytes.Load()} }

func (s *sink) answer(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet || r.Method == http.MethodHead { // Elastic's client asks who is there
		w.Header().Set("X-Elastic-Product", "Elasticsearch")
		_, _ = io.WriteString(w, `{"version":{"number":"9.0.0"}}`)
		return
	}
	n := s.take(r)
	switch {
	case strings.HasSuffix(r.URL.Path, "/token"):
		_, _ = io.WriteString(w, `{"token_type":"Bearer","expires_in":3599,"access_token":"a-token"}`)
	case strings.HasSuffix(r.URL.Path, "/_bulk"):
		w.Header().Set("X-Elastic-Product", "Elasticsearch")
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"errors":false,"items":[`+strings.TrimSuffix(strings.Repeat(`{"index":{"status":201}},`,
			n), ",")+`]}`)
	case strings.Contains(r.URL.Path, "dataCollectionRules"):
		w.WriteHeader(http.StatusNoContent)
	case strings.HasSuffix(r.URL.Path, "/api/v2/logs"):
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `{}`)
	case strings.HasPrefix(r.URL.Path, "/services"):
		_, _ = io.WriteString(w, `{"text":"Success","code":0}`)
	}
}

// take reads a request's body and counts its events.
func (s *sink) take(r *http.Request) (events int) {
	raw, plain := s.buffers.Get().(*bytes.Buffer), s.buffers.Get().(*bytes.Buffer)
	defer s.buffers.Put(raw)
	defer s.buffers.Put(plain)
	raw.Reset()
	plain.Reset()
	n, _ := raw.ReadFrom(r.Body) // what is cut off is missed in the count
	text := raw
	if r.Header.Get("Content-Encoding") == "gzip" {
		if z, err := gzip.NewReader(raw); err == nil {
			_, _ = plain.ReadFrom(z)
			text = plain
		}
	}
	events = bytes.Count(text.Bytes(), []byte(marker))
	s.events.Add(int64(events))
	s.requests.Add(1)
	s.bytes.Add(n)
	return events
}

func (s *sink) listen() {
	for {
		conn, err := s.tcp.Accept()
		if err != nil {
			return
		}
		go s.swallow(conn)
	}
}

// swallow counts lines.
func (s *sink) swallow(conn net.Conn) {
	defer conn.Close()
	buf := make([]byte, 256<<10)
	for {
		n, err := conn.Read(buf)
		s.events.Add(int64(bytes.Count(buf[:n], []byte("\n"))))
		s.bytes.Add(int64(n))
		if err != nil {
			return
		}
	}
}
