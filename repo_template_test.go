package repo

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/arbitex/siem-connectors/shared/connectors"
)

func TestTemplateDeploysEachConnector(t *testing.T) {
	tmpl := readTemplate(t)
	for _, c := range connectors.All() {
		t.Run(c.Name, func(t *testing.T) {
			for part, condition := range map[string]string{
				"Queue": "Enabled", "QueuePolicy": "Enabled", "Secret": "Enabled", "LogGroup": "Enabled", "Role": "Enabled",
				"Function": "Enabled", "Subscription": "Subscribed", "Alarms": "Watched",
			} {
				resource := tmpl.resources.get(c.ID + part)
				if resource.text("Condition") != c.ID+condition {
					t.Errorf("%s%s: want Condition %[1]s%[3]s, have %[4]q", c.ID, part, condition, resource.text("Condition"))
				}
			}
			checkMapping(t, tmpl, c.ID, "{MaximumConcurrency: !Ref MaximumConcurrency}")
			redrive := tmpl.properties(c.ID + "Queue").get("RedrivePolicy").source()
			if !strings.Contains(redrive, "!GetAtt DeadLetterQueue.Arn") || !strings.Contains(redrive, "!Ref MaxAttempts") {
				t.Errorf("%sQueue: want a redrive to DeadLetterQueue after MaxAttempts, have %q", c.ID, redrive)
			}
		})
	}
}

func TestTemplateDeploysTheDrain(t *testing.T) {
	checkMapping(t, readTemplate(t), "DeadLetter", "{MaximumConcurrency: 2}")
}

// checkMapping holds a function's event source mapping to what its code relies on.
func checkMapping(t *testing.T, tmpl template, id, concurrency string) {
	t.Helper()
	mapping := tmpl.properties(id + "Function").get("Events").get("Queue").get("Properties")
	for name, want := range map[string]string{
		"Queue":                          "!GetAtt " + id + "Queue.Arn",
		"BatchSize":                      "100",
		"MaximumBatchingWindowInSeconds": "5",
		"FunctionResponseTypes":          "[ReportBatchItemFailures]",
		"ScalingConfig":                  concurrency,
	} {
		if have := mapping.get(name).source(); have != want {
			t.Errorf("%sFunction's mapping: %s: want %s, have %q", id, name, want, have)
		}
	}
}

func TestTemplateBlocksHaveOneShape(t *testing.T) {
	tmpl := readTemplate(t)
	first := tmpl.block(connectors.All()[0])
	for _, c := range connectors.All()[1:] {
		have := tmpl.block(c)
		for i, line := range first {
			if i >= len(have) || have[i] != line {
				t.Errorf("%s: line %d of its block: want %q as in %s's, have %q", c.ID, i+1, line, connectors.All()[0].ID, at(have, i))
				break
			}
		}
		if len(have) > len(first) {
			t.Errorf("%s: %q goes beyond the shape of %s's block", c.ID, have[len(first)], connectors.All()[0].ID)
		}
	}
}

func TestTemplateKnowsEveryQueue(t *testing.T) {
	tmpl := readTemplate(t)
	for _, function := range []string{"DeadLetterFunction", "ReplayFunction"} {
		environment := tmpl.environment(function)
		for _, c := range connectors.All() {
			want := `!If [` + c.ID + `Enabled, !Ref ` + c.ID + `Queue, !Ref "AWS::NoValue"]`
			if have := environment[c.Variable("QUEUE_URL")].source(); have != want {
				t.Errorf("%s: %sQUEUE_URL: want %s, have %q", function, c.Variable(""), want, have)
			}
		}
	}
}

// TestTemplateQueuesOutlastTheirFunctions: a queue hides messages for six time-outs of its function and the window, and the
// alarm speaks at four fifths of one.
func TestTemplateQueuesOutlastTheirFunctions(t *testing.T) {
	tmpl := readTemplate(t)
	window := func(function string) int {
		return tmpl.properties(function).get("Events").get("Queue").get("Properties").get("MaximumBatchingWindowInSeconds").number(t)
	}
	drain := tmpl.root.get("Globals").get("Function").get("Timeout").number(t)
	if have, want := tmpl.properties("DeadLetterQueue").get("VisibilityTimeout").number(t), 6*drain+window("DeadLetterFunction"); have != want {
		t.Errorf("DeadLetterQueue: VisibilityTimeout: want %d, have %d", want, have)
	}
	for _, c := range connectors.All() {
		for where, v := range map[*value]string{
			tmpl.properties(c.ID + "Function").get("Timeout"):                              "!Ref FunctionTimeoutSeconds",
			tmpl.properties(c.ID + "Queue").get("VisibilityTimeout"):                       "!FindInMap [FunctionTimeout, !Ref FunctionTimeoutSeconds, Visibility]",
			tmpl.properties(c.ID + "Alarms").get("Parameters").get("DurationMilliseconds"): "!FindInMap [FunctionTimeout, !Ref FunctionTimeoutSeconds, Alarm]",
		} {
			if have := where.source(); have != v {
				t.Errorf("%s: want %s, have %q", c.ID, v, have)
			}
		}
		for text, derived := range tmpl.root.get("Mappings").get("FunctionTimeout").pairs() {
			seconds, err := strconv.Atoi(text)
			if err != nil {
				t.Fatal(err)
			}
			if have, want := derived.get("Visibility").number(t), 6*seconds+window(c.ID+"Function"); have != want {
				t.Errorf("Mappings: %d s: Visibility: want six time-outs and %s's window, %d, have %d", seconds, c.ID, want, have)
			}
			if have, want := derived.get("Alarm").number(t), seconds*800; have != want {
				t.Errorf("Mappings: %d s: Alarm: want four fifths, %d ms, have %d", seconds, want, have)
			}
		}
	}
}

// TestTemplateSetsEveryVariable: what a connector's README lists as a setting can be set by deploying, unless it is a
// credential, which is a key of the secret. What README.md lists for all is there too.
func TestTemplateSetsEveryVariable(t *testing.T) {
	tmpl := readTemplate(t)
	globals := tmpl.root.get("Globals").get("Function").get("Environment").get("Variables").pairs()
	row := regexp.MustCompile("(?m)^\\| (`[A-Z]+_[A-Z0-9_]+`(?:, `[A-Z0-9_]+`)*) \\|.*$")
	settings := func(file string) (names []string) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range row.FindAllStringSubmatch(string(data), -1) {
			if regexp.MustCompile("(?i)a key of the (secret|JSON)").MatchString(m[0]) {
				continue
			}
			for name := range strings.SplitSeq(m[1], ", ") {
				names = append(names, strings.Trim(name, "`"))
			}
		}
		return names
	}
	common := settings("README.md")
	if len(common) < 12 {
		t.Fatalf("README.md lists the variables %v", common)
	}
	for _, c := range connectors.All() {
		own := tmpl.environment(c.ID + "Function")
		names := settings("functions/" + c.Name + "/README.md")
		if len(names) < 5 {
			t.Fatalf("%s's README lists the variables %v", c.Name, names)
		}
		for _, name := range append(names, common...) {
			switch {
			case own[name] != nil, globals[name] != nil:
			case name == "SIEM_COMPRESSION" && c.Name == "qradar": // it has none
			case name == "SIEM_DEAD_LETTER_PATH", strings.HasSuffix(name, "_QUEUE_URL"): // the drain's and the replay's
			case strings.HasPrefix(name, "AWS_"): // Lambda's own
			default:
				t.Errorf("%s: %s cannot be set by deploying", c.Name, name)
			}
		}
	}
}

func TestTemplateKeepsWhatHoldsEvents(t *testing.T) {
	tmpl := readTemplate(t)
	for id, resource := range tmpl.resources.pairs() {
		if kind := resource.text("Type"); kind != "AWS::SQS::Queue" && kind != "AWS::S3::Bucket" {
			continue
		}
		for _, policy := range []string{"DeletionPolicy", "UpdateReplacePolicy"} {
			if resource.text(policy) != "Retain" {
				t.Errorf("%s: want %s Retain, have %q", id, policy, resource.text(policy))
			}
		}
	}
}

func TestTemplateExpiresNoDeadLetter(t *testing.T) {
	rules := readTemplate(t).properties("DeadLetterBucket").get("LifecycleConfiguration").get("Rules")
	harmless := []string{"Id", "Status", "Prefix", "AbortIncompleteMultipartUpload"}
	for _, rule := range rules.find("Id") {
		folder := strings.TrimPrefix(rule.text("Prefix"), "${DeadLetterPrefix}/")
		if slices.Contains([]string{"ledger/", "partial/", "replay.lock"}, folder) {
			continue // what a replay notes for itself
		}
		if rule.text("Id") == "replayed" && folder == "replayed/" || rule.text("Id") == "old-versions-of-what-was-pending" && folder == "pending/" {
			checkExpiresOnRequest(t, rule, folder)
			continue
		}
		for key := range rule.pairs() {
			if !slices.Contains(harmless, key) {
				t.Errorf("DeadLetterBucket: rule %s: %s may delete dead letters", rule.text("Id"), key)
			}
		}
	}
}

// checkExpiresOnRequest holds the two rules for what has been put back to reaching nothing that is pending: a current
// version in pending/ is never deleted, and nothing at all before the days that the operator has asked for.
func checkExpiresOnRequest(t *testing.T, rule *value, folder string) {
	t.Helper()
	days := "!Ref ReplayedRetentionDays"
	switch folder {
	case "pending/":
		if rule.get("NoncurrentVersionExpiration").text("NoncurrentDays") != "ReplayedRetentionDays" {
			t.Errorf("rule %s: want NoncurrentDays %s", rule.text("Id"), days)
		}
		for key := range rule.pairs() {
			if !slices.Contains([]string{"Id", "Status", "Prefix", "NoncurrentVersionExpiration"}, key) {
				t.Errorf("rule %s: %s may delete what is pending", rule.text("Id"), key)
			}
		}
	default:
		if have := rule.get("ExpirationInDays").source(); have != days {
			t.Errorf("rule %s: want ExpirationInDays %s, have %q", rule.text("Id"), days, have)
		}
	}
}

func TestTemplateGrantsNoMoreThanNamedActions(t *testing.T) {
	tmpl := readTemplate(t)
	statements := 0
	for id, resource := range tmpl.resources.pairs() {
		for _, statement := range resource.find("Effect") {
			if statement.text("Effect") != "Allow" || resource.text("Type") == "AWS::EC2::VPCEndpoint" {
				continue // an endpoint's policy grants nothing, it only lets through
			}
			statements++
			if actions := statement.get("Action").source(); actions == "" || strings.Contains(actions, "*") {
				t.Errorf("%s: %s: want its actions by name, have %q", id, statement.text("Sid"), actions)
			}
			if statement.text("Resource") == "*" && statement.text("Sid") != "AttachToVpc" {
				t.Errorf("%s: %s: is allowed on everything", id, statement.text("Sid"))
			}
		}
	}
	if statements == 0 {
		t.Fatal("found no statement")
	}
}

func TestTemplateParametersAreDescribedBoundGroupedAndUsed(t *testing.T) {
	tmpl := readTemplate(t)
	groups := tmpl.root.get("Metadata").source() + "\n"
	uses := tmpl.root.get("Resources").source() + tmpl.root.get("Conditions").source() + tmpl.root.get("Globals").source()
	for name, parameter := range tmpl.root.get("Parameters").pairs() {
		if parameter.text("Description") == "" {
			t.Errorf("%s: has no Description", name)
		}
		if !slices.ContainsFunc([]string{"AllowedPattern", "AllowedValues", "MinValue"}, func(key string) bool { return parameter.get(key) != nil }) {
			t.Errorf("%s: has no constraint", name)
		}
		if n := strings.Count(groups, "- "+name+"\n"); n != 1 {
			t.Errorf("%s: want it in one parameter group, is in %d", name, n)
		}
		if !slices.Contains(strings.FieldsFunc(uses, func(r rune) bool { return !strings.ContainsRune(":_", r) && !isLetter(r) }), name) {
			t.Errorf("%s: is not used", name)
		}
	}
}

func TestTemplateSaysWhatBreaksWhenAResourceFails(t *testing.T) {
	tmpl := readTemplate(t)
	for i := 0; i+1 < len(tmpl.resources.node.Content); i += 2 {
		key := tmpl.resources.node.Content[i]
		if comment := strings.TrimLeft(key.HeadComment, "# \n"); len(comment) < 20 || strings.HasPrefix(comment, "----") && !strings.Contains(comment, "\n") {
			t.Errorf("%s: has no comment that says what breaks when it fails", key.Value)
		}
	}
}

func TestTemplateKeepsToWhatTheLocalSystemReads(t *testing.T) {
	known := []string{"!Ref", "!Sub", "!GetAtt", "!If", "!Equals", "!Not", "!And", "!Or", "!Join", "!FindInMap", "!Condition"}
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") && !slices.Contains(known, n.Tag) {
			t.Errorf("line %d: %s is none of %v", n.Line, n.Tag, known)
		}
		if strings.HasPrefix(n.Value, "Fn::") {
			t.Errorf("line %d: %s: want the short form", n.Line, n.Value)
		}
		for _, child := range n.Content {
			walk(child)
		}
	}
	walk(readTemplate(t).root.node)
}

// template is template.yaml as it stands, its intrinsic functions unresolved.
type template struct{ root, resources *value }

// value is a place in the template. A nil one stands for what is not there.
type value struct{ node *yaml.Node }

func readTemplate(t *testing.T) template {
	t.Helper()
	return readTemplateFile(t, "template.yaml")
}

func readTemplateFile(t *testing.T, name string) template {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		t.Fatal(err)
	}
	root := &value{document.Content[0]}
	return template{root, root.get("Resources")}
}

func (t template) properties(id string) *value { return t.resources.get(id).get("Properties") }

func (t template) environment(function string) map[string]*value {
	return t.properties(function).get("Environment").get("Variables").pairs()
}

// block gives a connector's resources as lines without comments, without what is the connector's own: its names, its
// descriptions and its settings.
func (t template) block(c connectors.Connector) []string {
	var lines []string
	for i := 0; i+1 < len(t.resources.node.Content); i += 2 {
		id := t.resources.node.Content[i].Value
		if !strings.HasPrefix(id, c.ID) {
			continue
		}
		for line := range strings.Lines(id + "\n" + (&value{t.resources.node.Content[i+1]}).source()) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, c.Variable("")) || strings.HasPrefix(line, "Description:") || strings.HasPrefix(line, "#") {
				continue
			}
			lines = append(lines, strings.ReplaceAll(strings.ReplaceAll(line, c.ID, "X"), c.Name, "x"))
		}
	}
	return lines
}

func (v *value) get(key string) *value {
	if v == nil || v.node.Kind != yaml.MappingNode {
		return nil
	}
	return v.pairs()[key]
}

func (v *value) pairs() map[string]*value {
	pairs := map[string]*value{}
	if v == nil || v.node.Kind != yaml.MappingNode {
		return pairs
	}
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		pairs[v.node.Content[i].Value] = &value{v.node.Content[i+1]}
	}
	return pairs
}

// find lists the mappings anywhere below that have the key.
func (v *value) find(key string) []*value {
	var found []*value
	if v.get(key) != nil {
		found = append(found, v)
	}
	for _, child := range v.node.Content {
		found = append(found, (&value{child}).find(key)...)
	}
	return found
}

// text is the scalar at a key, "" when there is none.
func (v *value) text(key string) string {
	if at := v.get(key); at != nil && at.node.Kind == yaml.ScalarNode {
		return at.node.Value
	}
	return ""
}

func (v *value) number(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(v.source()))
	if err != nil {
		t.Fatalf("want a number: %v", err)
	}
	return n
}

// source is the value as YAML, "" when it is not there.
func (v *value) source() string {
	if v == nil {
		return ""
	}
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(v.node); err != nil {
		return err.Error()
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "nothing more"
}

func isLetter(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}
