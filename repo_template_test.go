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

// CloudFormation accepts a template of 51,200 bytes in a request. The other limits are ours: a reader's patience.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
const (
	maxTemplateBytes = 51_200
	maxTemplateLines = 1000
	maxParameters    = 30
)

func TestTemplateIsSmall(t *testing.T) {
	data, err := os.ReadFile("template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	parameters := len(readTemplate(t).root.get("Parameters").pairs())
	if lines := bytes.Count(data, []byte("\n")); lines > maxTemplateLines || len(data) > maxTemplateBytes ||
		parameters > maxParameters {
		t.Errorf("template.yaml: %d lines, %d bytes, %d parameters; want at most %d, %d, %d",
			lines, len(data), parameters, maxTemplateLines, maxTemplateBytes, maxParameters)
	}
}

// TestTemplateListsTheConnectors compares every list of connectors in the template with the list in shared/connectors.
func TestTemplateListsTheConnectors(t *testing.T) {
	tmpl := readTemplate(t)
	names := connectors.Names()
	parameter := func(name, key string) []string {
		v := tmpl.root.get("Parameters").get(name).get(key)
		if v.node.Kind == yaml.ScalarNode {
			return strings.Split(v.node.Value, ",")
		}
		var list []string
		for _, n := range v.node.Content {
			list = append(list, n.Value)
		}
		return list
	}
	for what, have := range map[string][]string{
		"Connectors: AllowedValues":      parameter("Connectors", "AllowedValues"),
		"Connectors: Default":            parameter("Connectors", "Default"),
		"ConnectorsInVpc: AllowedValues": parameter("ConnectorsInVpc", "AllowedValues")[1:],
	} {
		if !slices.Equal(have, names) {
			t.Errorf("template.yaml: %s: %v, want %v", what, have, names)
		}
	}
	if n := len(parameter("MaximumConcurrency", "Default")); n != len(names) {
		t.Errorf("template.yaml: MaximumConcurrency: Default has %d numbers, want %d", n, len(names))
	}
	enqueue, dashboard := tmpl.properties("EnqueuePolicy").source(), tmpl.properties("Dashboard").source()
	deployed := tmpl.root.get("Conditions").get("Fn::ForEach::PerConnector").node.Content[1]
	if have := (&value{deployed}).source(); have != "["+strings.Join(names, ", ")+"]" {
		t.Errorf("template.yaml: Conditions: PerConnector: %s, want %v", have, names)
	}
	mapping := tmpl.root.get("Mappings").get("Connector").pairs()
	for i, c := range connectors.All() {
		if m := mapping[c.Name]; m.text("Index") != strconv.Itoa(i) || m.text("Title") != c.Title {
			t.Errorf("template.yaml: Mappings.Connector.%s: %s, want Index %d and Title %s", c.Name, m.source(), i, c.Title)
		}
		if !regexp.MustCompile(`\$\{Q\}` + c.Name + `Queue-\*[",]`).MatchString(enqueue) {
			t.Errorf("template.yaml: EnqueuePolicy does not allow the queue of %s", c.Name)
		}
		if !strings.Contains(dashboard, "${"+c.Name+"}") || !strings.Contains(dashboard, "!If ["+c.Name+"On, ") ||
			!strings.Contains(dashboard, "${AWS::StackName}-"+c.Name+"-") {
			t.Errorf("template.yaml: Dashboard does not show the alarms of %s", c.Name)
		}
	}
	if len(mapping) != len(names) {
		t.Errorf("template.yaml: Mappings.Connector has %d entries, want %d", len(mapping), len(names))
	}
}

// TestTemplateMappings checks the properties of event source mappings that the functions' code relies on.
func TestTemplateMappings(t *testing.T) {
	tmpl := readTemplate(t)
	for id, queue := range map[string]string{
		"${C}Function":       `{'Fn::GetAtt': [!Sub "${C}Queue", Arn]}`,
		"DeadLetterFunction": "!GetAtt DeadLetterQueue.Arn",
	} {
		mapping := tmpl.properties(id).get("Events").get("Queue").get("Properties")
		for name, want := range map[string]string{
			"Queue": queue, "BatchSize": "100", "MaximumBatchingWindowInSeconds": "5",
			"FunctionResponseTypes": "[ReportBatchItemFailures]",
		} {
			if have := mapping.get(name).source(); have != want {
				t.Errorf("%s: %s: want %s, have %q", id, name, want, have)
			}
		}
		if mapping.get("ScalingConfig") == nil {
			t.Errorf("%s: no ScalingConfig: a SIEM that is down would be called by ever more functions", id)
		}
		if mapping.get("Enabled") != nil {
			t.Errorf("%s: Enabled is set: a deployment would resume what an operator or the guard has stopped", id)
		}
	}
	redrive := tmpl.properties("${C}Queue").get("RedrivePolicy").source()
	if !strings.Contains(redrive, "!GetAtt DeadLetterQueue.Arn") || !strings.Contains(redrive, "!Ref MaxAttempts") {
		t.Errorf("${C}Queue: want a redrive to DeadLetterQueue after MaxAttempts, have %q", redrive)
	}
}

// TestTemplateQueuesOutlastTheirFunctions: a visibility timeout is six timeouts of the function and the batching
// window.
// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
func TestTemplateQueuesOutlastTheirFunctions(t *testing.T) {
	tmpl := readTemplate(t)
	const window = 5
	global := tmpl.root.get("Globals").get("Function").get("Timeout").number(t)
	guard := tmpl.properties("GuardFunction").get("Timeout").number(t)
	for id, want := range map[string]int{"DeadLetterQueue": 6*global + window, "GuardQueue": 6*guard + window} {
		if have := tmpl.properties(id).get("VisibilityTimeout").number(t); have != want {
			t.Errorf("%s: VisibilityTimeout %d, want %d", id, have, want)
		}
	}
	for text, derived := range tmpl.root.get("Mappings").get("FunctionTimeout").pairs() {
		seconds, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		if have, want := derived.get("Visibility").number(t), 6*seconds+window; have != want {
			t.Errorf("Mappings.FunctionTimeout.%s: Visibility %d, want %d", text, have, want)
		}
	}
	for text, derived := range tmpl.root.get("Mappings").get("Retention").pairs() {
		days, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		seconds, expiring := derived.get("Seconds").number(t), derived.get("expiring").number(t)
		if seconds != days*86400 || expiring*4 != seconds*3 {
			t.Errorf("Mappings.Retention.%s: %d and %d seconds, want the days and three quarters", text, seconds, expiring)
		}
	}
}

func TestTemplateRetainsEvents(t *testing.T) {
	for _, r := range readTemplate(t).resources() {
		kind := r.text("Type")
		if kind != "AWS::SQS::Queue" && kind != "AWS::S3::Bucket" || r.id == "GuardQueue" {
			continue
		}
		if r.text("DeletionPolicy") != "RetainExceptOnCreate" || r.text("UpdateReplacePolicy") != "Retain" {
			t.Errorf("%s: want DeletionPolicy RetainExceptOnCreate and UpdateReplacePolicy Retain", r.id)
		}
	}
}

// TestTemplateExpiresNoPendingDeadLetter: lifecycle rules delete replayed dead letters, and only if the operator asks.
func TestTemplateExpiresNoPendingDeadLetter(t *testing.T) {
	rules := readTemplate(t).properties("DeadLetterBucket").get("LifecycleConfiguration").get("Rules")
	for _, rule := range rules.find("Id") {
		for key, v := range rule.pairs() {
			have, prefix := v.source(), rule.text("Prefix")
			switch {
			case slices.Contains([]string{"Id", "Status", "Prefix", "AbortIncompleteMultipartUpload",
				"ExpiredObjectDeleteMarker"}, key):
			case key == "ExpirationInDays" && prefix == "${DeadLetterPrefix}/replayed/" && have == "!Ref ReplayedRetentionDays":
			case prefix == "${DeadLetterPrefix}/progress/", prefix == "${DeadLetterPrefix}/replay.lock": // no letters
			case key == "NoncurrentVersionExpiration" && prefix == "${DeadLetterPrefix}/replayed/":
			case key == "NoncurrentVersionExpiration" && prefix == "${DeadLetterPrefix}/pending/" &&
				strings.Contains(have, "!Ref ReplayedRetentionDays"):
			default:
				t.Errorf("rule %s: %s: %s may delete dead letters", rule.text("Id"), key, have)
			}
		}
	}
}

func TestTemplateGrantsNamedActions(t *testing.T) {
	statements := 0
	for _, r := range readTemplate(t).resources() {
		for _, statement := range r.find("Effect") {
			if statement.text("Effect") != "Allow" || r.text("Type") == "AWS::EC2::VPCEndpoint" {
				continue // an endpoint policy grants nothing
			}
			statements++
			sid := statement.text("Sid")
			if actions := statement.get("Action").source(); actions == "" || strings.Contains(actions, "*") {
				t.Errorf("%s: %s: want named actions, have %q", r.id, sid, actions)
			}
			if statement.text("Resource") == "*" && sid != "AttachToVpc" && sid != "GetToken" {
				t.Errorf("%s: %s: allows every resource", r.id, sid)
			}
		}
	}
	if statements < 20 {
		t.Errorf("found only %d statements", statements)
	}
}

func TestTemplateParameters(t *testing.T) {
	tmpl := readTemplate(t)
	uses := tmpl.root.get("Resources").source() + tmpl.root.get("Conditions").source() + tmpl.root.get("Globals").source()
	for name, parameter := range tmpl.root.get("Parameters").pairs() {
		if parameter.text("Description") == "" || parameter.get("Default") == nil {
			t.Errorf("%s: want a Description and a Default", name)
		}
		if !slices.ContainsFunc([]string{"AllowedPattern", "AllowedValues", "MinValue"},
			func(key string) bool { return parameter.get(key) != nil }) {
			t.Errorf("%s: has no constraint", name)
		}
		words := func(r rune) bool { return !strings.ContainsRune(":_", r) && !isLetter(r) }
		if !slices.Contains(strings.FieldsFunc(uses, words), name) {
			t.Errorf("%s: is not used", name)
		}
	}
}

func TestTemplateStatesTheEffectOfAFailure(t *testing.T) {
	for _, r := range readTemplate(t).resources() {
		if len(r.comment) < 20 {
			t.Errorf("%s: want a comment that states the effect of its failure, have %q", r.id, r.comment)
		}
	}
}

func TestTemplateHasNoAliases(t *testing.T) {
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		if n.Kind == yaml.AliasNode || n.Anchor != "" {
			t.Errorf("line %d: CloudFormation does not support YAML aliases", n.Line)
		}
		for _, child := range n.Content {
			walk(child)
		}
	}
	walk(readTemplate(t).root.node)
}

func isLetter(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}

// template is template.yaml with its intrinsic functions unresolved.
type template struct{ root *value }

// value is a node of the template; nil means absent.
type value struct{ node *yaml.Node }

func readTemplate(t *testing.T) template {
	t.Helper()
	data, err := os.ReadFile("template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		t.Fatal(err)
	}
	return template{&value{document.Content[0]}}
}

// resource is a resource of the template. The id of one in a loop is a pattern such as ${C}Queue.
type resource struct {
	*value
	id, comment string
}

// resources returns all resources, those of loops included, in the order of the file.
func (t template) resources() []resource { return resourcesOf(t.root.get("Resources").node) }

func resourcesOf(n *yaml.Node) []resource {
	var all []resource
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, v := n.Content[i], n.Content[i+1]
		if strings.HasPrefix(key.Value, "Fn::ForEach::") {
			inner := resourcesOf(v.Content[2])
			if len(inner) > 0 && inner[0].comment == "" {
				inner[0].comment = v.Content[2].HeadComment + key.HeadComment
			}
			all = append(all, inner...)
			continue
		}
		all = append(all, resource{&value{v}, key.Value, strings.TrimLeft(key.HeadComment, "# ")})
	}
	return all
}

// resource returns the resource with that id or pattern.
func (t template) resource(id string) *value {
	for _, r := range t.resources() {
		if r.id == id {
			return r.value
		}
	}
	return nil
}

func (t template) properties(id string) *value { return t.resource(id).get("Properties") }

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

// find returns the mappings below v that have the key.
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

// text returns the scalar at a key, or "".
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

// source returns the value as YAML, or "".
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
