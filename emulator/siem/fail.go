package siem

import (
	"io"
	"log"
	"net/http"
	"strings"
	"time"
)

// breakOff applies the faults that come before the body is read to its end. It does not return when the connection is to
// be dropped: [http.ErrAbortHandler] is net/http's way to do that, for HTTP/1 and HTTP/2 alike.
func (s *Server) breakOff(r *http.Request, f Fault) bool {
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

// instead answers in the handler's place, when the fault wants that; the body has been read.
func (s *Server) instead(w http.ResponseWriter, r *http.Request, f Fault) bool {
	switch f.Kind {
	case Status:
		answer := Answer{Status: f.Status, Header: f.Header, Body: f.Body}
		if answer.Status >= http.StatusBadRequest {
			s.refused(answer)
		}
		write(w, answer)
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

// maxEndless ends an endless answer that nobody hangs up on.
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
