package siem

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// beforeBody applies the faults that take effect before the body is read completely. It reports whether it has sent the
// response. To drop a connection it panics with [http.ErrAbortHandler], which net/http supports for HTTP/1 and HTTP/2.
func (s *Server) beforeBody(w http.ResponseWriter, r *http.Request, f Fault) bool {
	switch f.Kind {
	case CloseBefore:
		s.broken(f, 0)
	case CloseDuring:
		half := r.ContentLength / 2
		if half <= 0 {
			half = 512
		}
		n, _ := io.CopyN(io.Discard, r.Body, half)
		s.broken(f, n)
	case Early:
		n, _ := io.CopyN(io.Discard, r.Body, f.Read)
		s.Arrived(n)
		s.early(w, r, f)
		return true
	case Slow:
		s.wait(r, f.Delay)
	}
	return false
}

func (s *Server) broken(f Fault, wire int64) {
	s.Arrived(wire)
	s.Refuse(f.Kind.String(), "")
	panic(http.ErrAbortHandler)
}

// early sends a response while the client is still sending. It writes to the connection, because net/http would read
// the rest of the body first. The kernel of a server that closes with unread data resets the connection.
func (s *Server) early(w http.ResponseWriter, r *http.Request, f Fault) {
	s.refused(f.response())
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil { // HTTP/2
		write(w, f.response())
		return
	}
	defer conn.Close()
	header := maps.Clone(f.Header)
	if !f.Stay {
		if header == nil {
			header = map[string]string{}
		}
		header["Connection"] = "close"
	}
	_, _ = io.WriteString(conn, raw(f.Status, header, f.Body))
	if f.Stay {
		s.hang(r)
	}
}

// raw returns a response as it is on the wire.
func raw(status int, header map[string]string, body string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	for _, name := range slices.Sorted(maps.Keys(header)) {
		fmt.Fprintf(&b, "%s: %s\r\n", name, header[name])
	}
	if status != http.StatusNoContent {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	return b.String() + "\r\n" + body
}

func (f Fault) response() Answer { return Answer{Status: f.Status, Header: f.Header, Body: f.Body} }

// instead sends the response of a fault instead of processing the request, and reports whether it did.
func (s *Server) instead(w http.ResponseWriter, r *http.Request, f Fault) bool {
	switch f.Kind {
	case Status:
		s.refused(f.response())
		write(w, f.response())
	case CloseAfter:
		s.Refuse(f.Kind.String(), "")
		panic(http.ErrAbortHandler)
	case Endless:
		s.Refuse(f.Kind.String(), "")
		s.endless(w, r, f.Status)
	default:
		return false
	}
	return true
}

// afterAccepting applies a fault to the response to an accepted request.
func (s *Server) afterAccepting(w http.ResponseWriter, r *http.Request, f Fault, a Answer) {
	if f.Kind == Compressed {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		_, _ = io.WriteString(z, a.Body)
		_ = z.Close()
		a.Header = maps.Clone(a.Header)
		if a.Header == nil {
			a.Header = map[string]string{}
		}
		a.Header["Content-Encoding"], a.Body = "gzip", out.String()
		write(w, a)
		return
	}
	s.Refuse("no answer", "")
	switch f.Kind {
	case AcceptHang:
		s.hang(r)
	case AcceptCut:
		cut(w, a)
	}
	panic(http.ErrAbortHandler)
}

// cut sends half of a response, whose Content-Length announces all of it.
func cut(w http.ResponseWriter, a Answer) {
	if a.Status == http.StatusNoContent {
		a.Status = http.StatusOK // a 204 has no body
	}
	if a.Body == "" {
		a.Body = "{}\n"
	}
	for name, value := range a.Header {
		w.Header().Set(name, value)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(a.Body)))
	w.WriteHeader(a.Status)
	_, _ = io.WriteString(w, a.Body[:len(a.Body)/2])
	_ = http.NewResponseController(w).Flush()
}

// maxEndless bounds an endless response that no client closes.
const maxEndless = 1 << 30

func (s *Server) endless(w http.ResponseWriter, r *http.Request, status int) {
	if status == 0 {
		status = http.StatusOK
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	chunk := []byte(strings.Repeat(" ", 32<<10))
	for sent := 0; sent < maxEndless; sent += len(chunk) {
		select {
		case <-s.done:
			return
		case <-r.Context().Done():
			return
		default:
		}
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

// hang waits until the client or the simulator closes.
func (s *Server) hang(r *http.Request) {
	select {
	case <-s.done:
	case <-r.Context().Done():
	}
}

func (s *Server) wait(r *http.Request, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.done:
	case <-r.Context().Done():
	}
}

func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }
