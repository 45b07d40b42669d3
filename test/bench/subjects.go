package main

import (
	"net"
	"path/filepath"
)

// subject is one sender with one compression.
type subject struct {
	name    string
	wire    string // format on the wire
	gzip    bool
	ours    bool
	measure func(s *sink, w *work) (result, error)
}

// subjects returns what is measured, the floor first.
func subjects(builds, peers string) []subject {
	floor := filepath.Join(peers, "floor")
	all := []subject{
		{name: "nothing", wire: "–", measure: lambda(floor,
			func(*sink) map[string]string { return map[string]string{"FLOOR_NOTHING": "true"} })},
		{name: "floor", wire: "lines", measure: lambda(floor,
			func(s *sink) map[string]string { return map[string]string{"FLOOR_URL": s.url("/floor")} })},
		{name: "floor", wire: "lines", gzip: true, measure: lambda(floor, func(s *sink) map[string]string {
			return map[string]string{"FLOOR_URL": s.url("/floor"), "FLOOR_GZIP": "true"}
		})},
	}
	for _, c := range senders {
		for _, compression := range []string{"none", "gzip"} {
			if c.stream && compression == "gzip" {
				continue
			}
			all = append(all, subject{c.name, c.wire, compression == "gzip", true,
				lambda(filepath.Join(builds, c.name, "bootstrap"), c.with(compression))})
		}
	}
	for _, gzip := range []bool{false, true} {
		all = append(
			all,
			subject{"Collector", "HEC", gzip, false, fed(filepath.Join(peers, "collector"), "/services/collector", gzip)},
			subject{"Elastic's client", "bulk", gzip, false, fed(filepath.Join(peers, "elastic"), "", gzip)},
		)
	}
	return append(
		all,
		subject{"rsyslog", "CEF", false, false, daemon("rsyslogd", rsyslogConfig, rsyslogArgs)},
		subject{"syslog-ng", "CEF", false, false, daemon("syslog-ng", syslogNGConfig, syslogNGArgs)},
		subject{plainDaemon, "lines", false, false, daemon("syslog-ng", syslogNGPlain, syslogNGArgs)},
	)
}

// plainDaemon forwards without parsing, so it does less than all others.
const plainDaemon = "syslog-ng, as it is"

// sender is a connector: the settings that lead it to the sink, and the limits that `make guards` checks.
type sender struct {
	name, wire string
	stream     bool    // no requests and no compression: a stream of messages
	perBatch   float64 // most allocations of a batch of 100 events; net/http makes about 40 of them, the contexts 16
	requests   [2]int  // of a batch of 100 events: of 907 bytes; of 20,000 bytes
	success    string  // body of a 200 from the SIEM in memory, unless memory.reply knows it by its path
	env        func(*sink) map[string]string
}

// with adds the settings of all connectors.
func (c sender) with(compression string) func(*sink) map[string]string {
	return func(s *sink) map[string]string {
		env := c.env(s)
		env["SIEM_QUEUE_URL"], env["SIEM_DEAD_LETTER_QUEUE_URL"] = s.url("/q"), s.url("/d")
		env["SIEM_ALLOW_HTTP"], env["SIEM_COMPRESSION"] = "true", compression
		return env
	}
}

// senders has one entry per connector.
var senders = [...]sender{
	{"splunk", "HEC", false, 69, [2]int{1, 3}, "", func(s *sink) map[string]string {
		return map[string]string{"SPLUNK_HEC_URL": s.url(""), "SPLUNK_HEC_TOKEN": "token"}
	}},
	{"elastic", "bulk", false, 70, [2]int{1, 1}, "", func(s *sink) map[string]string {
		return map[string]string{"ELASTIC_URL": s.url(""), "ELASTIC_API_KEY": "aWQ6a2V5"}
	}},
	{"sumo", "lines", false, 62, [2]int{1, 3}, "", func(s *sink) map[string]string {
		return map[string]string{"SUMO_HTTP_SOURCE_URL": s.url("/receiver/v1/http/code")}
	}},
	{"datadog", "array", false, 69, [2]int{1, 1}, "", func(s *sink) map[string]string {
		return map[string]string{"DATADOG_INTAKE_URL": s.url(""), "DATADOG_API_KEY": "key"}
	}},
	{"sentinel", "array", false, 63, [2]int{1, 3}, "", func(s *sink) map[string]string {
		return map[string]string{
			"SENTINEL_TENANT_ID":     "11111111-1111-1111-1111-111111111111",
			"SENTINEL_CLIENT_ID":     "22222222-2222-2222-2222-222222222222",
			"SENTINEL_CLIENT_SECRET": "secret", "SENTINEL_DCR_ENDPOINT": s.url(""),
			"SENTINEL_DCR_RULE_ID":     "dcr-00000000000000000000000000000000",
			"SENTINEL_DCR_STREAM_NAME": "Custom-ArbitexAudit_CL", "SENTINEL_AUTHORITY_HOST": s.url(""),
		}
	}},
	{"xsiam", "envelope", false, 80, [2]int{1, 2}, "", func(s *sink) map[string]string {
		return map[string]string{"XSIAM_URL": s.url(""), "XSIAM_API_KEY": "key", "XSIAM_API_KEY_ID": "7"}
	}},
	{"qradar", "CEF", true, 46, [2]int{}, "", func(s *sink) map[string]string {
		host, port, _ := net.SplitHostPort(s.tcp.Addr().String()) // a listener's address always splits
		return map[string]string{"QRADAR_SYSLOG_HOST": host, "QRADAR_SYSLOG_PORT": port}
	}},
}
