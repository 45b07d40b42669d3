package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/arbitex/siem-connectors/emulator/lambda/runtimeapi"
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
	status, body := success(r.URL.Path, s.take(r))
	if strings.HasSuffix(r.URL.Path, "/_bulk") {
		w.Header().Set("X-Elastic-Product", "Elasticsearch")
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
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

// daemon measures a syslog server that follows a file and forwards new lines over TCP, from the moment when the events
// are appended to the arrival of the last line.
func daemon(name string, config func(*sink, *work, string) string, args func(dir string) []string) func(*sink,
	*work) (result, error) {
	return func(s *sink, w *work) (result, error) {
		program, err := find(name)
		if err != nil {
			return result{}, err
		}
		dir, err := os.MkdirTemp("", "bench")
		if err != nil {
			return result{}, err
		}
		defer os.RemoveAll(dir)
		in := filepath.Join(dir, "in")
		for path, text := range map[string]string{in: "", filepath.Join(dir, "conf"): config(s, w, in)} {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				return result{}, err
			}
		}
		cmd := exec.Command(program, args(dir)...)
		var said bytes.Buffer
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			return result{}, err
		}
		defer cmd.Wait()         //nolint:errcheck // it was killed
		defer cmd.Process.Kill() //nolint:errcheck // it may have ended by itself
		text, err := os.ReadFile(w.file)
		if err != nil {
			return result{}, err
		}
		lines := strings.SplitAfterN(string(text), "\n", warmUp*w.batch+1)
		if err := add(s, in, strings.Join(lines[:len(lines)-1], ""), len(lines)-1); err != nil {
			return result{}, fmt.Errorf("warming up: %w; it said %.1000q", err, said.String())
		}
		counted, before := s.counts(), runtimeapi.CPU(cmd.Process.Pid)
		if err := add(s, in, string(text), w.count); err != nil {
			return result{}, err
		}
		r, err := account(counted, s.counts(), w.count, runtimeapi.CPU(cmd.Process.Pid)-before)
		r.rss = peakRSS(cmd.Process.Pid)
		return r, err
	}
}

// add appends lines to the file, and waits until they have arrived.
func add(s *sink, file, text string, lines int) error {
	want := s.events.Load() + int64(lines)
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	for end := time.Now().Add(time.Minute); s.events.Load() < want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("%d lines are missing", want-s.events.Load())
		}
	}
	return nil
}

// find returns the path of a daemon: an installed one, or the one of `make syslog-daemons`.
func find(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	return exec.LookPath(filepath.Join("build", "bin", name))
}

// cef is the message of the QRadar connector, with the daemon's names of an event's fields.
func cef(open, separator, end string) string {
	field := func(path string) string { return open + strings.ReplaceAll(path, ".", separator) + end }
	return "<134>1 - platform.arbitex.ai ArbitexPlatform - " + field("api.request.uid") +
		" - CEF:0|Arbitex|ArbitexPlatform|1.0|" +
		field("class_uid") + "|" + field("api.operation") + "|3|rt=" + field("time") + " suser=" +
		field("actor.user.email_addr") +
		" duid=" + field("actor.user.uid") + " act=" + field("unmapped.policy_action") + " model=" +
		field("unmapped.model_id") +
		" tokenIn=" + field("unmapped.tokens_input") + " tokenOut=" + field("unmapped.tokens_output") +
		" cs1Label=PolicyAction cs1=" + field("unmapped.policy_action") + " cs2Label=DlpLabels cs2=" +
		field("unmapped.dlp_labels") +
		" cs3Label=GroupIds cs3=" + field("actor.user.groups")
}

func rsyslogConfig(s *sink, w *work, in string) string {
	host, port, _ := net.SplitHostPort(s.tcp.Addr().String()) // a listener's address always splits
	return fmt.Sprintf(`global(workDirectory=%q maxMessageSize="64k")
module(load="imfile") module(load="mmjsonparse")
main_queue(queue.type="FixedArray" queue.size="100000" queue.dequeueBatchSize="%d")
template(name="cef" type="string" string="%s\n")
input(type="imfile" file=%q tag="arbitex")
action(type="mmjsonparse" cookie="")
action(type="omfwd" protocol="tcp" target=%q port=%q template="cef")
`, filepath.Dir(in), w.batch, cef("%$!", "!", "%"), in, host, port)
}

func rsyslogArgs(dir string) []string {
	return []string{"-n", "-f", filepath.Join(dir, "conf"), "-i", filepath.Join(dir, "pid")}
}

func syslogNGConfig(s *sink, w *work, in string) string {
	return syslogNG(s, w, in, cef("${.e.", ".", "}"), "parser p { json-parser(prefix(\".e.\")); };\n", "parser(p); ")
}

// syslogNGPlain forwards lines without parsing.
func syslogNGPlain(s *sink, w *work, in string) string {
	return syslogNG(s, w, in, "${MESSAGE}", "", "")
}

func syslogNG(s *sink, w *work, in, template, parser, parse string) string {
	host, port, _ := net.SplitHostPort(s.tcp.Addr().String()) // a listener's address always splits
	return fmt.Sprintf("@version: 3.35\noptions { stats-freq(0); log-msg-size(65536); flush-lines(%d); };\n", w.batch) +
		fmt.Sprintf("source s { file(%q flags(no-parse) follow-freq(0.1) log-iw-size(10000) log-fetch-limit(1000)); };\n",
			in) + parser +
		fmt.Sprintf("destination d { network(%q port(%s) transport(\"tcp\") template(\"%s\\n\") log-fifo-size(200000)); };\n",
			host, port, template) +
		"log { source(s); " + parse + "destination(d); flags(flow-control); };\n"
}

func syslogNGArgs(dir string) []string {
	return []string{
		"--foreground", "--no-caps", "--stderr", "--cfgfile", filepath.Join(dir, "conf"), "--persist-file",
		filepath.Join(dir, "persist"),
		"--control", filepath.Join(dir, "ctl"), "--pidfile", filepath.Join(dir, "pid"),
	}
}
