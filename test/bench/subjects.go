package main

import (
	"net"
	"path/filepath"
)

// subject is what is measured.
type subject struct {
	name    string
	wire    string // what it speaks to the sink
	gzip    bool
	ours    bool
	measure func(s *sink, w *work) (result, error)
}

// subjects are what is measured, the floor first.
func subjects(builds, peers string) []subject {
	floor := filepath.Join(peers, "floor")
	all := []subject{
		{name: "nothing", wire: "–", measure: lambda(floor, func(*sink) map[string]string { return map[string]string{"FLOOR_NOTHING": "true"} })},
		{name: "floor", wire: "lines", measure: lambda(floor, func(s *sink) map[string]string { return map[string]string{"FLOOR_URL": s.url("/floor")} })},
		{name: "floor", wire: "lines", gzip: true, measure: lambda(floor, func(s *sink) map[string]string {
			return map[string]string{"FLOOR_URL": s.url("/floor"), "FLOOR_GZIP": "true"}
		})},
	}
	for _, c := range connectors {
		for _, compression := range []string{"none", "gzip"} {
			if c.name == "qradar" && compression == "gzip" {
				continue
			}
			all = append(all, subject{c.name, c.wire, compression == "gzip", true, lambda(filepath.Join(builds, c.name, "bootstrap"), c.with(compression))})
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

// plainDaemon looks at nothing, and so does less than all others.
const plainDaemon = "syslog-ng, as it is"

// connector is the settings that lead a connector to the sink.
type connector struct {
	name, wire string
	env        func(*sink) map[string]string
}

// with adds the settings that all connectors have.
func (c connector) with(compression string) func(*sink) map[string]string {
	return func(s *sink) map[string]string {
		env := c.env(s)
		env["SIEM_QUEUE_URL"], env["SIEM_DEAD_LETTER_QUEUE_URL"] = s.url("/q"), s.url("/d")
		env["SIEM_ALLOW_HTTP"], env["SIEM_COMPRESSION"] = "true", compression
		return env
	}
}

var connectors = [...]connector{
	{"splunk", "HEC", func(s *sink) map[string]string {
		return map[string]string{"SPLUNK_HEC_URL": s.url(""), "SPLUNK_HEC_TOKEN": "token"}
	}},
	{"elastic", "bulk", func(s *sink) map[string]string {
		return map[string]string{"ELASTIC_URL": s.url(""), "ELASTIC_API_KEY": "aWQ6a2V5"}
	}},
	{"sumo", "lines", func(s *sink) map[string]string {
		return map[string]string{"SUMO_HTTP_SOURCE_URL": s.url("/receiver/v1/http/code")}
	}},
	{"datadog", "array", func(s *sink) map[string]string {
		return map[string]string{"DATADOG_INTAKE_URL": s.url(""), "DATADOG_API_KEY": "key"}
	}},
	{"sentinel", "array", func(s *sink) map[string]string {
		return map[string]string{
			"SENTINEL_TENANT_ID": "11111111-1111-1111-1111-111111111111", "SENTINEL_CLIENT_ID": "22222222-2222-2222-2222-222222222222",
			"SENTINEL_CLIENT_SECRET": "secret", "SENTINEL_DCR_ENDPOINT": s.url(""), "SENTINEL_DCR_RULE_ID": "dcr-00000000000000000000000000000000",
			"SENTINEL_DCR_STREAM_NAME": "Custom-ArbitexAudit_CL", "SENTINEL_AUTHORITY_HOST": s.url(""),
		}
	}},
	{"xsiam", "envelope", func(s *sink) map[string]string {
		return map[string]string{"XSIAM_URL": s.url(""), "XSIAM_API_KEY": "key", "XSIAM_API_KEY_ID": "7"}
	}},
	{"qradar", "CEF", func(s *sink) map[string]string {
		host, port, _ := net.SplitHostPort(s.tcp.Addr().String()) // a listener's address always splits
		return map[string]string{"QRADAR_SYSLOG_HOST": host, "QRADAR_SYSLOG_PORT": port}
	}},
}
