// Package metrics writes CloudWatch metrics in the embedded metric format: one JSON line on standard output, which
// CloudWatch Logs turns into metrics without a call of ours.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
package telemetry

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/arbitex/siem-connectors/shared/jsonscan"
)

// Namespace holds all our metrics.
const Namespace = "ArbitexSIEM"

// The units in use.
const (
	Count        = "Count"
	Bytes        = "Bytes"
	Milliseconds = "Milliseconds"
)

// Value is one metric's value.
type Value struct {
	Name   string
	Unit   string
	Number float64
}

// Write writes values with the dimension Connector as one line, in one call of w. Without values it writes nothing.
func Write(w io.Writer, now time.Time, connector string, values ...Value) error {
	if len(values) == 0 {
		return nil
	}
	line := append(make([]byte, 0, 1024), `{"_aws":{"Timestamp":`...)
	line = strconv.AppendInt(line, now.UnixMilli(), 10)
	line = append(line, `,"CloudWatchMetrics":[{"Namespace":"`+Namespace+`","Dimensions":[["Connector"]],"Metrics":[`...)
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
	line = append(line, `]}]},"Connector":`...)
	line = jsonscan.AppendQuoted(line, connector)
	for _, v := range values {
		line = append(line, ',', '"')
		line = append(line, v.Name...)
		line = append(line, '"', ':')
		line = strconv.AppendFloat(line, v.Number, 'f', -1, 64)
	}
	if _, err := w.Write(append(line, "}\n"...)); err != nil {
		return fmt.Errorf("writing metrics: %w", err)
	}
	return nil
}
