package runtimeapi

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// invocation is one payload on its way through a process.
type invocation struct {
	id      string
	trace   string
	payload []byte
	taken   chan struct{} // closed when the process has it
	done    chan struct{} // closed when the process has answered; the fields below are set then

	takenAt    time.Time
	doneAt     time.Time
	payloadOut []byte
	failure    *Error
}

func newInvocation(number int, payload []byte) *invocation {
	return &invocation{
		// A function may rely on the shape of an id, never on its randomness.
		id:      fmt.Sprintf("00000000-0000-4000-8000-%012x", number),
		trace:   fmt.Sprintf("Root=1-%08x-%024x;Sampled=0", time.Now().Unix(), number),
		payload: payload,
		taken:   make(chan struct{}),
		done:    make(chan struct{}),
	}
}

// duration is the time the process had the invocation: until it answered, else until now.
func (inv *invocation) duration() time.Duration {
	select {
	case <-inv.taken:
	default:
		return 0
	}
	select {
	case <-inv.done:
		return inv.doneAt.Sub(inv.takenAt)
	default:
		return time.Since(inv.takenAt)
	}
}

// document is the error as Lambda's caller gets it.
func (e *Error) document() []byte {
	data, _ := json.Marshal(map[string]string{"errorType": e.Type, "errorMessage": e.Message}) // strings always marshal
	return data
}

// handler is the Runtime API.
func (i *instance) handler() http.Handler {
	const base = "/2018-06-01/runtime/"
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+base+"invocation/next", i.serveNext)
	mux.HandleFunc("POST "+base+"invocation/{id}/response", func(w http.ResponseWriter, r *http.Request) {
		i.serveAnswer(w, r, false)
	})
	mux.HandleFunc("POST "+base+"invocation/{id}/error", func(w http.ResponseWriter, r *http.Request) {
		i.serveAnswer(w, r, true)
	})
	mux.HandleFunc("POST "+base+"init/error", i.serveInitError)
	return mux
}

// serveNext blocks until there is an invocation, and hands it out.
func (i *instance) serveNext(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	if i.init == 0 {
		i.init = time.Since(i.started)
	}
	i.mu.Unlock()
	var inv *invocation
	select {
	case inv = <-i.next:
	case <-r.Context().Done():
		return
	}
	i.mu.Lock()
	i.current = inv
	i.mu.Unlock()
	inv.takenAt = time.Now()
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Lambda-Runtime-Aws-Request-Id", inv.id)
	h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(inv.takenAt.Add(i.cfg.Timeout).UnixMilli(), 10))
	h.Set("Lambda-Runtime-Invoked-Function-Arn", i.cfg.ARN)
	h.Set("Lambda-Runtime-Trace-Id", inv.trace)
	close(inv.taken)
	_, _ = w.Write(inv.payload)
}

// serveAnswer takes the answer to the current invocation, good or bad.
func (i *instance) serveAnswer(w http.ResponseWriter, r *http.Request, failed bool) {
	i.mu.Lock()
	inv := i.current
	i.mu.Unlock()
	if inv == nil || inv.id != r.PathValue("id") {
		http.Error(w, `{"errorType":"InvalidRequestID","errorMessage":"no such invocation"}`, http.StatusBadRequest)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxPayloadBytes+1))
	if err != nil {
		return // the connection broke: the process will end, or be ended
	}
	if len(body) > maxPayloadBytes {
		body, failed = (&Error{"Function.ResponseSizeTooLarge", "response payload size exceeded 6 MB"}).document(), true
	}
	// A runtime whose handler fails while it streams its answer says so in a trailer.
	if kind := r.Trailer.Get("Lambda-Runtime-Function-Error-Type"); kind != "" {
		body, failed = (&Error{kind, "the handler failed while it wrote its answer"}).document(), true
	}
	i.mu.Lock()
	i.current = nil
	i.mu.Unlock()
	inv.doneAt, inv.payloadOut = time.Now(), body
	if failed {
		inv.failure = parseError(body)
	}
	close(inv.done)
	accept(w)
}

// serveInitError takes word that the process could not come up. It is expected to end itself then.
func (i *instance) serveInitError(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxPayloadBytes))
	if err != nil {
		return
	}
	i.mu.Lock()
	i.initError = parseError(body)
	i.mu.Unlock()
	accept(w)
}

func accept(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, `{"status":"OK"}`+"\n")
}

// parseError reads an error document; one that cannot be read is the message itself.
func parseError(body []byte) *Error {
	var d struct {
		ErrorType    string `json:"errorType"`
		ErrorMessage string `json:"errorMessage"`
	}
	if err := json.Unmarshal(body, &d); err != nil || d.ErrorType == "" && d.ErrorMessage == "" {
		return &Error{"Runtime.Unknown", string(body)}
	}
	return &Error{d.ErrorType, d.ErrorMessage}
}
