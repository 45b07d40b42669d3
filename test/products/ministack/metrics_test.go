package ministack

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// watched returns the metrics of ours that an alarm or the dashboard reads.
func watched(t *testing.T, template object) (names []string) {
	t.Helper()
	for _, r := range template["Resources"].(object) {
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		patterns := map[string]string{
			"AWS::CloudWatch::Alarm":     `"MetricName":"(\w+)","Namespace":"ArbitexSIEM"`,
			"AWS::CloudWatch::Dashboard": `(?:\$\{Own\}|OR [\\"]+)(\w+)`,
		}
		pattern, ok := patterns[r.(object)["Type"].(string)]
		if !ok {
			continue
		}
		for _, m := range regexp.MustCompile(pattern).FindAllSubmatch(text, -1) {
			if name := string(m[1]); name != "Throttles" { // Lambda's
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// holdsAndFilters has a 404 hold an event, and sends one that the setting of the severity filters.
func (s *stack) holdsAndFilters(name string) {
	s.siems[name].Inject(siem.Fault{Kind: siem.Status, Status: http.StatusNotFound, Times: 1})
	s.send(name, event("held"))
	s.arrive(name, "held")
	s.send(name, strings.Replace(event("filtered"), `"severity_id":1`, `"severity_id":0`, 1))
	s.empty(name)
}

// isNearlyFull has Splunk accept an event with the notice that its queues are nearly full.
func (s *stack) isNearlyFull() {
	s.siems["splunk"].Inject(siem.Fault{Kind: siem.Product, Code: "24", Times: 1})
	s.send("splunk", event("nearly-full"))
	s.arrive("splunk", "nearly-full")
}

// metrics checks that the functions have written each watched metric, with the dimensions that it is read with.
func (s *stack) metrics() {
	if len(s.watched) < 10 {
		s.t.Fatalf("the template reads only %v", s.watched)
	}
	s.eventually("every watched metric is written", func() error {
		text, err := os.ReadFile(s.log)
		if err != nil {
			return err
		}
		written := map[string]bool{"DrainFailed": true} // S3 does not fail here
		for line := range strings.Lines(string(text)) {
			if start := strings.Index(line, `{"_aws":`); start >= 0 {
				if err := readMetrics(line[start:], written); err != nil {
					s.t.Fatalf("%v: %s", err, line)
				}
			}
		}
		for _, name := range s.watched {
			if !written[name] {
				return fmt.Errorf("no function has written %s", name)
			}
		}
		return nil
	})
}

// readMetrics adds the metrics of a line in the embedded metric format, and returns what its specification forbids.
func readMetrics(line string, written map[string]bool) error {
	var root struct {
		AWS struct {
			Timestamp         int64
			CloudWatchMetrics []struct {
				Namespace  string
				Dimensions [][]string
				Metrics    []struct{ Name, Unit string }
			}
		} `json:"_aws"`
		Stack, Connector string
	}
	members := object{}
	if err := json.Unmarshal([]byte(line), &root); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(line), &members); err != nil {
		return err
	}
	if root.AWS.Timestamp == 0 || len(root.AWS.CloudWatchMetrics) != 1 || root.Stack != stackName || root.Connector == "" {
		return fmt.Errorf("timestamp %d, stack %q, connector %q", root.AWS.Timestamp, root.Stack, root.Connector)
	}
	directive := root.AWS.CloudWatchMetrics[0]
	if directive.Namespace != "ArbitexSIEM" || fmt.Sprint(directive.Dimensions) != "[[Stack Connector]]" {
		return fmt.Errorf("namespace %q, dimensions %v", directive.Namespace, directive.Dimensions)
	}
	for _, m := range directive.Metrics {
		if _, ok := members[m.Name].(float64); !ok || !slices.Contains([]string{"Count", "Bytes", "Milliseconds"}, m.Unit) {
			return fmt.Errorf("%s in %s is %v", m.Name, m.Unit, members[m.Name])
		}
		written[m.Name] = true
	}
	return nil
}
