package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// sink takes everything: HTTP, answered as each SIEM does, and lines over TCP.
type sink struct {
	http net.Listener
	tcp  net.Listener
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
	s := &sink{h, t}
	go http.Serve(h, http.HandlerFunc(s.answer)) //nolint:errcheck,gosec // until the listener is closed; a benchmark's sink
	go s.swallow()
	return s, nil
}

func (s *sink) close() {
	_ = s.http.Close()
	_ = s.tcp.Close()
}

func (s *sink) url(path string) string { return "http://" + s.http.Addr().String() + path }

func (s *sink) answer(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	switch {
	case strings.HasSuffix(r.URL.Path, "/token"):
		_, _ = io.WriteString(w, `{"token_type":"Bearer","expires_in":3599,"access_token":"a-token"}`)
	case strings.HasSuffix(r.URL.Path, "/_bulk"):
		n, _ := strconv.Atoi(os.Getenv("BENCH_BATCH"))
		if n == 0 {
			n = 100
		}
		_, _ = io.WriteString(w, `{"errors":false,"items":[`+strings.TrimSuffix(strings.Repeat(`{"index":{"status":201}},`, n), ",")+`]}`)
	case strings.Contains(r.URL.Path, "dataCollectionRules"):
		w.WriteHeader(http.StatusNoContent)
	case strings.HasSuffix(r.URL.Path, "/api/v2/logs"):
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `{}`)
	case strings.HasPrefix(r.URL.Path, "/services"):
		_, _ = io.WriteString(w, `{"text":"Success","code":0}`)
	}
}

func (s *sink) swallow() {
	for {
		conn, err := s.tcp.Accept()
		if err != nil {
			return
		}
		go func() {
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}()
	}
}

// subjects are what is measured, the floor first.
func subjects(builds, floor string) []subject {
	all := []subject{
		{"floor", floor, func(s *sink) map[string]string { return map[string]string{"FLOOR_URL": s.url("/floor")} }},
		{"floor gzip", floor, func(s *sink) map[string]string {
			return map[string]string{"FLOOR_URL": s.url("/floor"), "FLOOR_GZIP": "true"}
		}},
	}
	for _, c := range connectors {
		for _, compression := range []string{"none", "gzip"} {
			if c.name == "qradar" && compression == "gzip" {
				continue
			}
			name := c.name
			if compression == "gzip" {
				name += " gzip"
			}
			all = append(all, subject{name, filepath.Join(builds, c.name, "bootstrap"), func(s *sink) map[string]string {
				env := c.env(s)
				env["SIEM_QUEUE_URL"], env["SIEM_DEAD_LETTER_QUEUE_URL"] = s.url("/q"), s.url("/d")
				env["SIEM_ALLOW_HTTP"], env["SIEM_COMPRESSION"] = "true", compression
				return env
			}})
		}
	}
	return all
}

// connectors are the settings that lead each connector to the sink.
var connectors = []struct {
	name string
	env  func(*sink) map[string]string
}{
	{"splunk", func(s *sink) map[string]string {
		return map[string]string{"SPLUNK_HEC_URL": s.url(""), "SPLUNK_HEC_TOKEN": "token"}
	}},
	{"elastic", func(s *sink) map[string]string {
		return map[string]string{"ELASTIC_URL": s.url(""), "ELASTIC_API_KEY": "aWQ6a2V5"}
	}},
	{"sumo", func(s *sink) map[string]string {
		return map[string]string{"SUMO_HTTP_SOURCE_URL": s.url("/receiver/v1/http/code")}
	}},
	{"datadog", func(s *sink) map[string]string {
		return map[string]string{"DATADOG_INTAKE_URL": s.url(""), "DATADOG_API_KEY": "key"}
	}},
	{"sentinel", func(s *sink) map[string]string {
		return map[string]string{"SENTINEL_TENANT_ID": "11111111-1111-1111-1111-111111111111", "SENTINEL_CLIENT_ID": "22222222-2222-2222-2222-222222222222",
			"SENTINEL_CLIENT_SECRET": "secret", "SENTINEL_DCR_ENDPOINT": s.url(""), "SENTINEL_DCR_RULE_ID": "dcr-00000000000000000000000000000000",
			"SENTINEL_DCR_STREAM_NAME": "Custom-ArbitexAudit_CL", "SENTINEL_AUTHORITY_HOST": s.url("")}
	}},
	{"xsiam", func(s *sink) map[string]string {
		return map[string]string{"XSIAM_URL": s.url(""), "XSIAM_API_KEY": "key", "XSIAM_API_KEY_ID": "7"}
	}},
	{"qradar", func(s *sink) map[string]string {
		host, port, _ := net.SplitHostPort(s.tcp.Addr().String())
		return map[string]string{"QRADAR_SYSLOG_HOST": host, "QRADAR_SYSLOG_PORT": port}
	}},
}

// peakRSS is the largest resident set of a running process of that binary, in bytes; 0 where the system does not tell.
func peakRSS(bootstrap string) int64 {
	want, err := filepath.Abs(bootstrap)
	if err != nil {
		return 0
	}
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range processes {
		if exe, err := os.Readlink(p + "/exe"); err != nil || exe != want {
			continue
		}
		status, err := os.Open(p + "/status")
		if err != nil {
			continue
		}
		defer status.Close() //nolint:errcheck // only read
		for lines := bufio.NewScanner(status); lines.Scan(); {
			var kilobytes int64
			if n, _ := fmt.Sscanf(lines.Text(), "VmHWM: %d kB", &kilobytes); n == 1 {
				return kilobytes * 1000
			}
		}
	}
	return 0
}
