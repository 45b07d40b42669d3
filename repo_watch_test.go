package repo

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestAlarms checks every alarm: it links to its section of the runbook, notifies the topic of both changes, and treats
// missing data as good, because there are no metrics without events. Every section of the runbook belongs to an alarm.
func TestAlarms(t *testing.T) {
	sections := sectionsOf(readText(t, "docs/runbook.md"), "##")
	general := []string{"first-steps", "without-an-alarm"}
	var linked []string
	for _, r := range readTemplate(t).resources() {
		if r.text("Type") != "AWS::CloudWatch::Alarm" {
			continue
		}
		properties := r.get("Properties")
		for _, anchor := range anchors(properties.get("AlarmDescription").source()) {
			if !slices.Contains(sections, anchor) {
				t.Errorf("%s: docs/runbook.md has no section %q", r.id, anchor)
			}
			linked = append(linked, anchor)
		}
		name := properties.get("AlarmName").source() // a Sub with the variable of a loop may not name the stack
		if !strings.HasPrefix(name, `!Sub "${AWS::StackName}-`) && !strings.HasPrefix(name, `!Join ["-", [!Ref 'AWS::StackName', `) {
			t.Errorf("%s: AlarmName does not begin with the stack's name", r.id)
		}
		for _, name := range []string{"AlarmActions", "OKActions"} {
			const want = "!If [HasAlarmTopic, [!Ref AlarmTopicArn], !Ref 'AWS::NoValue']"
			if have := properties.get(name).source(); have != want && r.id != "${C}DownAlarm" { // the guard acts on that one
				t.Errorf("%s: %s: want %s, have %q", r.id, name, want, have)
			}
		}
		if properties.text("TreatMissingData") != "notBreaching" {
			t.Errorf("%s: want TreatMissingData notBreaching", r.id)
		}
	}
	for _, section := range sections {
		if !slices.Contains(linked, section) && !slices.Contains(general, section) {
			t.Errorf("docs/runbook.md: no alarm links to #%s", section)
		}
	}
	if len(linked) < 7 {
		t.Errorf("only %d links: %v", len(linked), linked)
	}
}

// anchors returns the section that a description links to, or those of a loop over ages.
func anchors(description string) []string {
	m := regexp.MustCompile(`\$\{RunbookUrl\}#([a-z-]+|\$\{A\})`).FindStringSubmatch(description)
	switch {
	case m == nil:
		return []string{"(no link)"}
	case m[1] == "${A}":
		return []string{"backlog", "expiring"}
	}
	return m[1:]
}

// TestWatchedMetricsAreWritten: every metric in an alarm or in the dashboard is written with these dimensions.
func TestWatchedMetricsAreWritten(t *testing.T) {
	written := writtenMetrics(t)
	text := readText(t, "template.yaml")
	for _, r := range []*regexp.Regexp{
		regexp.MustCompile(`(?:\$\{Own\}|\\" OR \\")(\w+)(?:\\"|\$)`),
		regexp.MustCompile(`Namespace: ArbitexSIEM,? *\n? *MetricName: (\w+)`),
	} {
		found := r.FindAllStringSubmatch(text, -1)
		if len(found) == 0 {
			t.Errorf("nothing matches %s", r)
		}
		for _, m := range found {
			if !slices.Contains(written, m[1]) && m[1] != "Throttles" { // Lambda's
				t.Errorf("no function writes the metric %s, only %v", m[1], written)
			}
		}
	}
}

// writtenMetrics returns the names of metrics in the sources of shared/.
func writtenMetrics(t *testing.T) []string {
	t.Helper()
	name := regexp.MustCompile(`(?:(?i:count(?:ed)?\()|Name: |(?:metric|done) :?=[^"\n]*)"([A-Z]\w+)"`)
	var names []string
	for _, m := range name.FindAllStringSubmatch(sharedCode(t), -1) {
		names = append(names, m[1])
	}
	return names
}

// TestRolesNameOnlyWhatTheCodeCalls: each action of a role is one that the code calls or one that Lambda performs with
// the role: it receives messages and writes logs.
func TestRolesNameOnlyWhatTheCodeCalls(t *testing.T) {
	calls := map[string]string{ // action to what the code of shared/ says when it calls it
		"sqs:ChangeMessageVisibility": "ChangeMessageVisibilityBatch(", "sqs:SendMessage": "SendMessageBatch(",
		"secretsmanager:GetSecretValue": "GetSecretValue(", "s3:PutObject": ".PutObject(", "s3:GetObject": ".GetObject(",
		"s3:DeleteObject": ".DeleteObject", "s3:ListBucket": "ListObjectsV2",
	}
	byLambda := []string{
		"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "logs:CreateLogStream", "logs:PutLogEvents",
		"sts:AssumeRole", "sts:GetWebIdentityToken", "sts:GetCallerIdentity",
	}
	code := sharedCode(t)
	tmpl := readTemplate(t)
	roles := 0
	for _, r := range tmpl.resources() {
		if kind := r.text("Type"); kind != "AWS::IAM::Role" && kind != "AWS::IAM::RolePolicy" ||
			strings.HasPrefix(r.id, "Guard") || r.id == "${C}GuardPolicy" {
			continue
		}
		roles++
		for _, action := range actions(r.value) {
			call, known := calls[action]
			if !slices.Contains(byLambda, action) && (!known || !strings.Contains(code, call)) {
				t.Errorf("%s: nothing calls %s", r.id, action)
			}
		}
	}
	if roles < 4 {
		t.Errorf("found only %d roles and policies", roles)
	}
}

// TestRolesNameOnlyTheirResources: each role may act on its own queue, secret, log group and prefixes only. The keys
// are actions, or services for all other actions.
func TestRolesNameOnlyTheirResources(t *testing.T) {
	const bucket = "${DeadLetterBucket.Arn}/${DeadLetterPrefix}/"
	want := map[string]map[string][]string{
		"DeadLetterRole": {
			"sqs": {"DeadLetterQueue.Arn"}, "s3:PutObject": {bucket + "pending/*"}, "logs": {"DeadLetterLogGroup.Arn"},
		},
		"ReplayRole": {
			"s3:GetObject": {bucket + "pending/*", bucket + "progress/*", bucket + "replay.lock"},
			"s3:PutObject": {bucket + "pending/*", bucket + "progress/*", bucket + "replay.lock",
				bucket + "replayed/*", bucket + "discarded/*"},
			"s3:DeleteObject": {bucket + "pending/*", bucket + "replay.lock"},
			"s3:ListBucket":   {"DeadLetterBucket.Arn"}, "logs": {"ReplayLogGroup.Arn"},
		},
		"${C}Role": {
			"sqs": {"${C}Queue Arn"}, "sqs:SendMessage": {"${C}Queue Arn", "DeadLetterQueue.Arn"},
			"secretsmanager": {"${C}Secret"}, "sts": {"*"}, "logs": {"${C}LogGroup Arn"},
		},
		"${C}ReplayPolicy": {"sqs:SendMessage": {"${C}Queue Arn"}},
		"GuardRole": {
			"sqs": {"GuardQueue.Arn"}, "lambda:InvokeFunction": {"ReplayFunction.Arn"}, "logs": {"GuardLogGroup.Arn"},
		},
	}
	tmpl := readTemplate(t)
	for id, allowed := range want {
		seen := map[string]bool{}
		for _, statement := range tmpl.resource(id).find("Resource") {
			for _, action := range actions(statement) {
				service, _, _ := strings.Cut(action, ":")
				key := service
				if allowed[action] != nil {
					key = action
				}
				seen[key] = true
				for _, have := range granted(statement.get("Resource").node) {
					if !slices.Contains(allowed[key], have) {
						t.Errorf("%s: %s on %s", id, action, have)
					}
				}
			}
		}
		for key := range allowed {
			if !seen[key] {
				t.Errorf("%s: no statement about %s", id, key)
			}
		}
	}
	for id, words := range map[string]string{
		"KmsPolicy": "kms:ViaService", "EnqueuePolicy": "kms:ViaService", "${Service}Endpoint": "aws:ResourceAccount",
		"VpcAccessPolicy": ":function:*",
	} {
		if !strings.Contains(tmpl.resource(id).source(), words) {
			t.Errorf("%s has no condition with %s", id, words)
		}
	}
}

// granted returns the resources of a statement: the scalars of each, joined.
func granted(n *yaml.Node) []string {
	attribute := len(n.Content) == 2 && n.Content[1].Value == "Arn" // the arguments of Fn::GetAtt
	if n.Kind == yaml.SequenceNode && !attribute {
		var all []string
		for _, item := range n.Content {
			all = append(all, granted(item)...)
		}
		return all
	}
	var words []string
	var walk func(*yaml.Node)
	walk = func(n *yaml.Node) {
		if n.Kind == yaml.ScalarNode && n.Value != "Fn::GetAtt" && n.Value != "Ref" {
			words = append(words, n.Value)
		}
		for _, child := range n.Content {
			walk(child)
		}
	}
	walk(n)
	return []string{strings.Join(words, " ")}
}

func actions(resource *value) []string {
	var list []string
	for _, statement := range resource.find("Action") {
		node := statement.get("Action").node
		switch {
		case node.Kind == yaml.ScalarNode:
			list = append(list, node.Value)
			continue
		case node.Tag == "!FindInMap": // the default is its last argument, and the mapping has one action more
			list = append(list, "sts:GetWebIdentityToken", node.Content[len(node.Content)-1].Content[1].Value)
			continue
		}
		for _, item := range node.Content {
			list = append(list, item.Value)
		}
	}
	return list
}

// sharedCode returns the sources of shared/, one after the other.
func sharedCode(t *testing.T) string {
	t.Helper()
	var code strings.Builder
	for _, source := range sources(t) {
		if strings.HasPrefix(source, "shared/") && !strings.HasSuffix(source, "_test.go") {
			code.WriteString(readText(t, source))
		}
	}
	return code.String()
}
