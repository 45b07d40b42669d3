package main

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"github.com/arbitex/siem-connectors/shared/jsonscan"
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
	{"splunk", "HEC", false, 69, [2]int{1, 3}, func(s *sink) map[string]string {
		return map[string]string{"SPLUNK_HEC_URL": s.url(""), "SPLUNK_HEC_TOKEN": "token"}
	}},
	{"elastic", "bulk", false, 70, [2]int{1, 1}, func(s *sink) map[string]string {
		return map[string]string{"ELASTIC_URL": s.url(""), "ELASTIC_API_KEY": "aWQ6a2V5"}
	}},
	{"sumo", "lines", false, 62, [2]int{1, 3}, func(s *sink) map[string]string {
		return map[string]string{"SUMO_HTTP_SOURCE_URL": s.url("/receiver/v1/http/code")}
	}},
	{"datadog", "array", false, 69, [2]int{1, 1}, func(s *sink) map[string]string {
		return map[string]string{"DATADOG_INTAKE_URL": s.url(""), "DATADOG_API_KEY": "key"}
	}},
	{"sentinel", "array", false, 63, [2]int{1, 3}, func(s *sink) map[string]string {
		return map[string]string{
			"SENTINEL_TENANT_ID":     "11111111-1111-1111-1111-111111111111",
			"SENTINEL_CLIENT_ID":     "22222222-2222-2222-2222-222222222222",
			"SENTINEL_CLIENT_SECRET": "secret", "SENTINEL_DCR_ENDPOINT": s.url(""),
			"SENTINEL_DCR_RULE_ID":     "dcr-00000000000000000000000000000000",
			"SENTINEL_DCR_STREAM_NAME": "Custom-ArbitexAudit_CL", "SENTINEL_AUTHORITY_HOST": s.url(""),
		}
	}},
	{"xsiam", "envelope", false, 80, [2]int{1, 2}, func(s *sink) map[string]string {
		return map[string]string{"XSIAM_URL": s.url(""), "XSIAM_API_KEY": "key", "XSIAM_API_KEY_ID": "7"}
	}},
	{"qradar", "CEF", true, 46, [2]int{}, func(s *sink) map[string]string {
		host, port, _ := net.SplitHostPort(s.tcp.Addr().String()) // a listener's address always splits
		return map[string]string{"QRADAR_SYSLOG_HOST": host, "QRADAR_SYSLOG_PORT": port}
	}},
}

// success returns the response of the SIEM at path to a request of n events.
func success(path string, n int) (status int, body string) {
	switch {
	case strings.HasSuffix(path, "/token"):
		return 200, `{"token_type":"Bearer","expires_in":3599,"access_token":"a-token"}`
	case strings.HasSuffix(path, "/_bulk"):
		return 200, `{"errors":false,"items":[` +
			strings.TrimSuffix(strings.Repeat(`{"index":{"status":201}},`, n), ",") + `]}`
	case strings.Contains(path, "dataCollectionRules"):
		return 204, ""
	case strings.HasSuffix(path, "/api/v2/logs"):
		return 202, "{}"
	case strings.HasPrefix(path, "/services"):
		return 200, `{"text":"Success","code":0}`
	}
	return 200, ""
}

// makePayloads returns SQS events with count distinct OCSF events of about size bytes, batch per invocation.
func makePayloads(count, batch, size int) [][]byte { return makeMessages(count, batch, 1, size) }

// makeMessages is makePayloads with several events per message.
func makeMessages(count, batch, perMessage, size int) [][]byte {
	var all [][]byte
	for from := 0; from < count; from += batch {
		p := []byte(`{"Records":[`)
		for n := from; n < min(from+batch, count); n += perMessage {
			if n > from {
				p = append(p, ',')
			}
			p = fmt.Appendf(p, `{"messageId":"059f36b4-87a3-44ab-83d2-%012d","receiptHandle":"%s","body":`, n,
				strings.Repeat("AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a", 5))
			p = jsonscan.AppendQuoted(p, makeBody(n, perMessage, size))
			p = fmt.Appendf(p, `,"attributes":{"ApproximateReceiveCount":"1","SentTimestamp":"1545082649183",`+
				`"SenderId":"AIDAIENQZJOLO23YVJ4VO","ApproximateFirstReceiveTimestamp":"1545082649185"},`+
				`"messageAttributes":{},"md5OfBody":"e4e68fb7bd0e697a0ae8f1bb342846b3","eventSource":"aws:sqs",`+
				`"eventSourceARN":"arn:aws:sqs:eu-central-1:123456789012:queue","awsRegion":"eu-central-1"}`)
		}
		all = append(all, append(p, `]}`...))
	}
	return all
}

// makeBody returns a message's body: event n, or an array of the events from n on.
func makeBody(n, events, size int) string {
	if events == 1 {
		return makeEvent(n, size)
	}
	list := make([]string, events)
	for i := range list {
		list[i] = makeEvent(n+i, size)
	}
	return "[" + strings.Join(list, ",") + "]"
}

// lines returns the same events, one per line.
func lines(count, size int) string {
	var b strings.Builder
	for n := range count {
		b.WriteString(makeEvent(n, size))
		b.WriteByte('\n')
	}
	return b.String()
}

// marker is in every event once, and in no other text of a connector.
const marker = "src_endpoint"

// makeEvent returns event n: the fields that a connector reads, and different words up to the size. A small event has
// few of the fields.
func makeEvent(n, size int) string {
	e := fmt.Sprintf(`{"class_uid":6003,"category_uid":6,"activity_id":1,"type_uid":600301,"time":%d,"severity_id":1,`+
		`"actor":{"user":{"uid":"user_%d","name":"user %d","email_addr":"user%d@example.com",`+
		`"groups":[{"uid":"finance-team"},{"uid":"team-%d"}]}},`+
		`"api":{"request":{"uid":"%08x-0000-4000-8000-%012x"},"operation":"chat_completion"},`+
		`"src_endpoint":{"ip":"10.1.%d.%d"},"metadata":{"uid":"evt-%d","version":"1.1.0","product":{"name":"Arbitex",`+
		`"vendor_name":"Arbitex"}},`+
		`"unmapped":{"model_id":"gpt-4o","policy_action":"allow","dlp_labels":["pii","secret-%d"],"tokens_input":%d,`+
		`"tokens_output":%d},"message":"`,
		1741824000000+n, n%977, n%977, n%977, n%13, n*7919, n, n/256%256, n%256, n, n%5, n%4096, n%1024)
	if size < len(e) {
		e = fmt.Sprintf(`{"time":%d,"class_uid":6003,"metadata":{"uid":"evt-%d"},"src_endpoint":{"ip":"10.1.%d.%d"},`+
			`"message":"`, 1741824000000+n, n, n/256%256, n%256)
	}
	var b strings.Builder
	b.WriteString(e)
	for x := uint32(n)*2654435761 + 1; b.Len() < size-2; x = x*1664525 + 1013904223 {
		b.WriteString(words[x>>24%uint32(len(words))])
		b.WriteByte(' ')
	}
	text := b.String()
	return text[:max(len(e), min(len(text), size-2))] + `"}`
}

var words = strings.Fields("policy request allowed model prompt redacted reviewed account token session region " +
	"budget limit exceeded normal audit export search summary draft contract invoice customer ticket incident response " +
	"latency cache retry queue event")
