package repo

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestAlarmsLinkToTheRunbook: each alarm's description ends with a link to a section that exists, and each section of the
// runbook that is about an alarm is linked to.
func TestAlarmsLinkToTheRunbook(t *testing.T) {
	runbook, err := os.ReadFile("docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	var sections []string
	for _, m := range regexp.MustCompile(`(?m)^## (.+)$`).FindAllStringSubmatch(string(runbook), -1) {
		sections = append(sections, strings.ReplaceAll(strings.ToLower(m[1]), " ", "-"))
	}
	var linked []string
	for _, file := range []string{"template.yaml", "alarms.yaml"} {
		for id, resource := range readTemplateFile(t, file).resources.pairs() {
			if resource.text("Type") != "AWS::CloudWatch::Alarm" {
				continue
			}
			_, anchor, found := strings.Cut(resource.get("Properties").text("AlarmDescription"), " ${RunbookUrl}#")
			if !found || !slices.Contains(sections, anchor) {
				t.Errorf("%s: %s: its description links to no section of docs/runbook.md: %q", file, id, anchor)
			}
			linked = append(linked, anchor)
			checkActions(t, file, id, resource)
		}
	}
	for _, section := range sections {
		if !slices.Contains(linked, section) && !slices.Contains([]string{"first-steps", "without-an-alarm"}, section) {
			t.Errorf("docs/runbook.md: no alarm links to #%s", section)
		}
	}
}

// checkActions holds an alarm to telling the topic, when there is one, of its beginning and its end.
func checkActions(t *testing.T, file, id string, alarm *value) {
	t.Helper()
	for _, name := range []string{"AlarmActions", "OKActions"} {
		const want = `!If [HasAlarmTopic, [!Ref AlarmTopicArn], !Ref "AWS::NoValue"]`
		if have := alarm.get("Properties").get(name).source(); have != want {
			t.Errorf("%s: %s: %s: want %s, have %q", file, id, name, want, have)
		}
	}
	if alarm.get("Properties").text("TreatMissingData") != "notBreaching" {
		t.Errorf("%s: %s: without events there are no metrics, and that is no alarm", file, id)
	}
}

// TestWatchedMetricsAreWritten: an alarm or a widget on a metric that nobody writes never shows anything.
func TestWatchedMetricsAreWritten(t *testing.T) {
	written := writtenMetrics(t)
	for _, r := range []struct {
		file    string
		metrics *regexp.Regexp
	}{
		{"template.yaml", regexp.MustCompile(`\{ArbitexSIEM,Connector\} MetricName=\\"(\w+)\\"`)},
		{"template.yaml", regexp.MustCompile(`Namespace: ArbitexSIEM\n\s+MetricName: (\w+)\n`)},
		{"alarms.yaml", regexp.MustCompile(`Namespace: ArbitexSIEM\n\s+MetricName: (\w+)\n`)},
		{"alarms.yaml", regexp.MustCompile(`Namespace: ArbitexSIEM, MetricName: (\w+),`)},
	} {
		data, err := os.ReadFile(r.file)
		if err != nil {
			t.Fatal(err)
		}
		found := r.metrics.FindAllStringSubmatch(string(data), -1)
		if len(found) == 0 {
			t.Errorf("%s: nothing matches %s", r.file, r.metrics)
		}
		for _, m := range found {
			if !slices.Contains(written, m[1]) {
				t.Errorf("%s: nothing writes the metric %s, only %v", r.file, m[1], written)
			}
		}
	}
}

// writtenMetrics lists the names of metrics that stand in the sources of shared/.
func writtenMetrics(t *testing.T) []string {
	t.Helper()
	name := regexp.MustCompile(`(?:count\(|Name: )"([A-Z]\w+)"`)
	var names []string
	for _, source := range sources(t) {
		if !strings.HasPrefix(source, "shared/") || strings.HasSuffix(source, "_test.go") {
			continue
		}
		data, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range name.FindAllStringSubmatch(string(data), -1) {
			names = append(names, m[1])
		}
	}
	return names
}

func TestDashboardIsJSONOfWidgetsThatDoNotOverlap(t *testing.T) {
	body := readTemplate(t).properties("Dashboard").get("DashboardBody").node.Content[0].Value
	body = strings.NewReplacer("${Failures}", "", "${Costs}", "", "${!", "${").Replace(body)
	var dashboard struct {
		Widgets []struct {
			X, Y, Width, Height int
			Type                string
			Properties          map[string]any
		}
	}
	if err := json.Unmarshal([]byte(body), &dashboard); err != nil {
		t.Fatalf("DashboardBody: %v", err)
	}
	taken := map[string]int{}
	for i, w := range dashboard.Widgets {
		if w.X+w.Width > 24 {
			t.Errorf("widget %d: wider than the 24 columns of a dashboard", i)
		}
		for x := w.X; x < w.X+w.Width; x++ {
			for y := w.Y; y < w.Y+w.Height; y++ {
				cell := fmt.Sprint(x, ",", y)
				if other, ok := taken[cell]; ok {
					t.Fatalf("widget %d lies over widget %d", i, other)
				}
				taken[cell] = i
			}
		}
		if w.Type == "metric" && w.Properties["title"] == "" {
			t.Errorf("widget %d: has no title", i)
		}
	}
	if len(dashboard.Widgets) < 10 {
		t.Errorf("want a widget for each of what the operator asks, have %d", len(dashboard.Widgets))
	}
}

// TestRolesNameOnlyWhatTheCodeCalls: each action of a function's role is one that its code calls, one that Lambda makes in
// its name (taking messages, writing logs), or one that a service makes with the customer's key.
func TestRolesNameOnlyWhatTheCodeCalls(t *testing.T) {
	calls := map[string]string{ // action to what the code of shared/ says when it calls it
		"sqs:ChangeMessageVisibility": "ChangeMessageVisibilityBatch(", "sqs:SendMessage": "SendMessageBatch(",
		"secretsmanager:GetSecretValue": "GetSecretValue(", "s3:PutObject": ".PutObject(", "s3:GetObject": ".GetObject(",
		"s3:DeleteObject": ".DeleteObject", "s3:ListBucket": "ListObjectsV2",
	}
	byLambda := []string{
		"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "logs:CreateLogStream", "logs:PutLogEvents",
		"kms:Decrypt", "kms:GenerateDataKey", "sts:AssumeRole",
	}
	code := sharedCode(t)
	tmpl := readTemplate(t)
	roles := 0
	for id, resource := range tmpl.resources.pairs() {
		if resource.text("Type") != "AWS::IAM::Role" {
			continue
		}
		roles++
		for _, action := range actions(resource) {
			call, known := calls[action]
			if !slices.Contains(byLambda, action) && (!known || !strings.Contains(code, call)) {
				t.Errorf("%s: nothing calls %s", id, action)
			}
		}
	}
	if roles != 9 {
		t.Errorf("want a role for each of nine functions, have %d", roles)
	}
}

func actions(resource *value) []string {
	var list []string
	for _, statement := range resource.find("Action") {
		node := statement.get("Action").node
		if node.Kind == yaml.ScalarNode {
			list = append(list, node.Value)
		}
		for _, item := range node.Content {
			list = append(list, item.Value)
		}
	}
	return list
}

func sharedCode(t *testing.T) string {
	t.Helper()
	var code strings.Builder
	for _, source := range sources(t) {
		if strings.HasPrefix(source, "shared/") && !strings.HasSuffix(source, "_test.go") && !strings.Contains(source, "test/") {
			data, err := os.ReadFile(source)
			if err != nil {
				t.Fatal(err)
			}
			code.Write(data)
		}
	}
	return code.String()
}
