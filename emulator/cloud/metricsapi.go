package cloud

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"

	"github.com/arbitex/siem-connectors/shared/telemetry"
)

// series keeps what the functions have printed in the embedded metric format, a sum by minute, for CloudWatch to
// answer.
type series struct {
	mu   sync.Mutex
	sums map[point]float64
}

type point struct {
	metric, connector string
	minute            int64 // Unix time / 60
}

// take records a line of a function's output if it contains metrics.
func (s *series) take(line string) {
	if !strings.Contains(line, `"_aws"`) {
		return
	}
	var root struct {
		AWS struct {
			Timestamp         int64
			CloudWatchMetrics []struct {
				Namespace string
				Metrics   []struct{ Name string }
			}
		} `json:"_aws"`
		Connector string
	}
	var values map[string]any
	if json.Unmarshal([]byte(line), &root) != nil || json.Unmarshal([]byte(line), &values) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sums == nil {
		s.sums = map[point]float64{}
	}
	for _, directive := range root.AWS.CloudWatchMetrics {
		for _, m := range directive.Metrics {
			if n, ok := values[m.Name].(float64); ok && directive.Namespace == telemetry.Namespace {
				s.sums[point{m.Name, root.Connector, root.AWS.Timestamp / time.Minute.Milliseconds()}] += n
			}
		}
	}
}

// between returns the sums of a metric by period in seconds, the latest first.
func (s *series) between(metric, connector string, from, to, period int64) (times, values cbor.List) {
	s.mu.Lock()
	defer s.mu.Unlock()
	period = max(60, period)
	for at := to / period * period; at > from-period; at -= period {
		sum, found := 0.0, false
		for minute := at / 60; minute < (at+period)/60; minute++ {
			n, ok := s.sums[point{metric, connector, minute}]
			sum, found = sum+n, found || ok
		}
		if found {
			times = append(times, &cbor.Tag{ID: 1, Value: cbor.Float64(at)})
			values = append(values, cbor.Float64(sum))
		}
	}
	return times, values
}

// metrics implements GetMetricData for sums of single metrics, which siemctl requests.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html
// https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html
func (a *api) metrics(w http.ResponseWriter, r *http.Request) {
	body, ok := readBody(w, r)
	if !ok {
		return
	}
	w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
	w.Header().Set("Content-Type", "application/cbor")
	if strings.HasSuffix(r.URL.Path, "/operation/DescribeAlarms") { // there are no alarms here
		_, _ = w.Write(cbor.Encode(cbor.Map{"MetricAlarms": cbor.List{}}))
		return
	}
	root, err := cbor.Decode(body)
	if err != nil || !strings.HasSuffix(r.URL.Path, "/operation/GetMetricData") {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write(cbor.Encode(cbor.Map{"__type": cbor.String("InvalidParameterValue"),
			"message": cbor.String("only GetMetricData and DescribeAlarms are supported")}))
		return
	}
	from, to := seconds(member(root, "StartTime")), seconds(member(root, "EndTime"))
	var results cbor.List
	queries, _ := member(root, "MetricDataQueries").(cbor.List)
	for _, q := range queries {
		stat := member(q, "MetricStat")
		dimensions, _ := member(stat, "Metric", "Dimensions").(cbor.List)
		var connector string
		for _, d := range dimensions {
			connector = text(member(d, "Value"))
		}
		times, values := a.cloud.logs.metrics.between(text(member(stat, "Metric", "MetricName")), connector, from, to,
			seconds(member(stat, "Period")))
		results = append(results, cbor.Map{"Id": member(q, "Id"), "StatusCode": cbor.String("Complete"), "Timestamps": times,
			"Values": values})
	}
	_, _ = w.Write(cbor.Encode(cbor.Map{"MetricDataResults": results}))
}

func member(v cbor.Value, path ...string) cbor.Value {
	for _, key := range path {
		m, _ := v.(cbor.Map)
		v = m[key]
	}
	return v
}

func text(v cbor.Value) string {
	s, _ := v.(cbor.String)
	return string(s)
}

// seconds returns a number, or a time as Unix seconds.
func seconds(v cbor.Value) int64 {
	switch n := v.(type) {
	case *cbor.Tag:
		return seconds(n.Value)
	case cbor.Uint:
		return int64(n) //nolint:gosec // times and periods
	case cbor.Float64:
		return int64(n)
	case cbor.Float32:
		return int64(n)
	}
	return 0
}
