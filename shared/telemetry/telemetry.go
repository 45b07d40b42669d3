// Package telemetry counts and reports what the functions do. It writes metrics in the CloudWatch embedded metric
// format: one JSON line on standard output, which CloudWatch Logs turns into metrics without a request of ours.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
package telemetry

import (
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/arbitex/siem-connectors/shared/jsonscan"
)

// Namespace is the namespace of all metrics.
const Namespace = "ArbitexSIEM"

// The units of the metrics.
const (
	Count        = "Count"
	Bytes        = "Bytes"
	Milliseconds = "Milliseconds"
)

// Value is the value of one metric.
type Value struct {
	Name   string
	Unit   string
	Number float64
}

// Counted is the value of a metric that counts.
func Counted(name string, n int) Value { return Value{Name: name, Unit: Count, Number: float64(n)} }

// Always reports whether a metric is written even when its value is zero. The alarms that compare metrics need these in
// every line. CloudWatch bills each metric written, so the others are omitted when they are zero.
func Always(name string) bool {
	switch name {
	case "Received", "Delivered", "Requests", "BytesSent", "DeliveryMilliseconds":
		return true
	}
	return false
}

// Write writes values with the dimensions Stack and Connector as one line, in one call of w.Write. It omits values that
// are zero, except those that Always names, and writes no line if no value is left. An error of standard output cannot
// be reported anywhere.
func Write(w io.Writer, now time.Time, stack, connector string, values ...Value) {
	values = slices.DeleteFunc(values, func(v Value) bool { return v.Number == 0 && !Always(v.Name) })
	if len(values) == 0 {
		return
	}
	line := append(make([]byte, 0, 1024), `{"_aws":{"Timestamp":`...)
	line = strconv.AppendInt(line, now.UnixMilli(), 10)
	line = append(line, `,"CloudWatchMetrics":[{"Namespace":"`+Namespace+`","Dimensions":[["Stack","Connector"]],`+
		`"Metrics":[`...)
	for i, v := range values {
		if i > 0 {
			line = append(line, ',')
		}
		line = append(line, `{"Name":"`...)
		line = append(line, v.Name...)
		line = append(line, `","Unit":"`...)
		line = append(line, v.Unit...)
		line = append(line, `"}`...)
	}
	line = append(line, `]}]},"Stack":`...)
	line = jsonscan.AppendQuoted(line, stack)
	line = append(line, `,"Connector":`...)
	line = jsonscan.AppendQuoted(line, connector)
	for _, v := range values {
		line = append(line, ',', '"')
		line = append(line, v.Name...)
		line = append(line, '"', ':')
		line = strconv.AppendFloat(line, v.Number, 'f', -1, 64)
	}
	_, _ = w.Write(append(line, "}\n"...))
}

// Meter counts the requests of one batch. It is not safe for concurrent use. A nil Meter counts nothing.
type Meter struct {
	Requests     int   // requests begun, including those for credentials
	Bytes        int64 // bytes of request bodies on the wire, after compression
	Backpressure int   // requests that the SIEM accepted with the notice that its queues are nearly full

	Disconnected bool // a connection broke after a request had begun: the next requests use new connections
}

// Add counts one request with a body of so many bytes on the wire.
func (m *Meter) Add(bytes int) {
	if m == nil {
		return
	}
	m.Requests++
	m.Bytes += int64(bytes)
}

// AddBackpressure counts one accepted request whose response says that the SIEM's queues are nearly full.
func (m *Meter) AddBackpressure() {
	if m != nil {
		m.Backpressure++
	}
}
