package samtemplate

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/shared/connectors"
)

// named returns the name of each attribute as its value.
type named struct{}

func (named) Attribute(id, name string) (string, error) { return "<" + id + ":" + name + ">", nil }

func options(overrides ...string) Options {
	o := Options{Parameters: map[string]string{}, Region: "eu-west-1", AccountID: "123456789012", StackName: "siem"}
	for i := 0; i < len(overrides); i += 2 {
		o.Parameters[overrides[i]] = overrides[i+1]
	}
	return o
}

func load(t *testing.T, path string, o Options) *Template {
	t.Helper()
	tpl, err := Load(path, o)
	if err != nil {
		t.Fatal(err)
	}
	return tpl
}

// resolved returns the properties of a resource.
func resolved(tpl *Template, id string) (v any, err error) {
	err = try(func() { v = resolver{tpl, named{}}.resolve(tpl.resources[id].properties, id) })
	return v, err
}

func TestFunctionIsResolved(t *testing.T) {
	tpl := load(t, "testdata/all.yaml", options("Enable", "true", "Level", "info", "Attempts", "7"))
	got, err := tpl.Function("SplunkFunction", named{})
	if err != nil {
		t.Fatal(err)
	}
	want := Function{
		ID: "SplunkFunction", Timeout: 30 * time.Second, MemoryMB: 512, URL: true,
		Environment: map[string]string{
			"LEVEL": "info", "PLACE": "eu-west-1/123456789012", "QUEUE": "<Queue:>", "SECRET": "<Secret:>",
			"DEAD": "<Dead:QueueUrl>", "DEAD_PATH": "s3://<Bucket:>/dead/${Literal}", "BUCKET_ARN": "<Bucket:Arn>",
			"ATTEMPTS": "7", "NET": "net-2", "YES": "true",
		},
		Mappings: []Mapping{{
			ID: "SplunkFunctionQueue", FunctionID: "SplunkFunction", QueueARN: "<Queue:Arn>", BatchSize: 100,
			Window: 5 * time.Second, MaximumConcurrency: 4, ReportBatchItemFailures: true, Enabled: true,
		}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("function = %+v\nwant %+v", got, want)
	}
}

func TestConditions(t *testing.T) {
	off := load(t, "testdata/all.yaml", options())
	if got := off.IDs(TypeQueue); !slices.Equal(got, []string{"Dead"}) {
		t.Errorf("queues = %v, want the dead-letter queue alone", got)
	}
	if _, err := off.Function("SplunkFunction", named{}); err == nil ||
		!strings.Contains(err.Error(), "condition On is false") {
		t.Errorf("error = %v", err)
	}
	on := load(t, "testdata/all.yaml", options("Enable", "true"))
	if got := on.IDs(TypeQueue); !slices.Equal(got, []string{"Dead", "Queue"}) {
		t.Errorf("queues = %v", got)
	}
	f, err := on.Function("SplunkFunction", named{})
	if err != nil {
		t.Fatal(err)
	}
	if f.Mappings[0].Enabled {
		t.Error("neither Both nor Off holds, and yet the mapping is enabled")
	}
}

func TestQueueIsResolved(t *testing.T) {
	tpl := load(t, "testdata/all.yaml", options("Enable", "true"))
	got, err := tpl.Queue("Queue", named{})
	if err != nil {
		t.Fatal(err)
	}
	want := Queue{
		ID: "Queue", Name: "siem-a", Redrive: &Redrive{"<Dead:Arn>", 5},
		Attributes: map[string]string{"VisibilityTimeout": "185", "SqsManagedSseEnabled": "true"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("queue = %+v\nwant %+v", got, want)
	}
	dead, err := tpl.Queue("Dead", named{})
	if err != nil {
		t.Fatal(err)
	}
	allow := `{"redrivePermission":"byQueue","sourceQueueArns":["arn:aws:sqs:eu-west-1:123456789012:siem-a"]}`
	if got := dead.Attributes["RedriveAllowPolicy"]; got != allow {
		t.Errorf("allow policy = %s\nwant %s", got, allow)
	}
}

func TestBucketAndSecretAreResolved(t *testing.T) {
	tpl := load(t, "testdata/all.yaml", options("Enable", "true"))
	if b, err := tpl.Bucket("Bucket", named{}); err != nil || b != (Bucket{ID: "Bucket", Versioned: true}) {
		t.Errorf("bucket = %+v, %v", b, err)
	}
	if s, err := tpl.Secret("Secret", named{}); err != nil || s != (Secret{ID: "Secret", Value: "{}"}) {
		t.Errorf("secret = %+v, %v", s, err)
	}
	if _, err := tpl.Secret("Bucket", named{}); err == nil || !strings.Contains(err.Error(), "found AWS::S3::Bucket") {
		t.Errorf("error = %v", err)
	}
}

func TestInvalidParameters(t *testing.T) {
	_, err := Load("testdata/all.yaml", options("Enable", "yes", "Attempts", "1", "Level", "warning", "Nowhere", "x"))
	if err == nil {
		t.Fatal("invalid parameters were accepted")
	}
	for _, want := range []string{
		"parameter Enable: \"yes\" is not one of the allowed values", "parameter Attempts: 1 is outside MinValue 2",
		"parameter Level: \"warning\" does not match the pattern", "parameter Nowhere: not a parameter of the template",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %q: %v", want, err)
		}
	}
}

func TestRules(t *testing.T) {
	load(t, "testdata/all.yaml", options("Attempts", "99"))
	_, err := Load("testdata/all.yaml", options("Attempts", "99", "Enable", "true"))
	if err == nil || !strings.Contains(err.Error(), "LargeNeedsAttempts.Assertions[0]: 99 attempts are for no one") {
		t.Errorf("error = %v", err)
	}
}

// function makes a template of one function with the given properties.
func function(properties string) string {
	return "Resources:\n  F:\n    Type: AWS::Serverless::Function\n    Properties: " + properties
}

func TestUnsupportedIsAnError(t *testing.T) {
	for _, c := range []struct{ name, yaml, want string }{
		{"intrinsic", function(`{MemorySize: !Length [1]}`),
			"F.Properties.MemorySize.Fn::Length: intrinsic function not supported"},
		{"unknown ref", function(`{Environment: {Variables: {A: !Ref Nobody}}}`),
			`F.Properties.Environment.Variables.A.Ref: "Nobody" is not a resource`},
		{"not a string", function(`{FunctionName: [a]}`), "F.Properties.FunctionName: expected a string, found a list of 1"},
		{"not an integer", function(`{Timeout: soon}`), `F.Properties.Timeout: expected an integer, found "soon"`},
		{"event type", function(`{Events: {Tick: {Type: Schedule}}}`),
			`F.Properties.Events.Tick.Type: expected SQS, found "Schedule"`},
		{"filter", function(`{Events: {Q: {Type: SQS, Properties: {Queue: q, FilterCriteria: {}}}}}`),
			"Events.Q.Properties.FilterCriteria: this property of a SQS event is not supported"},
		{"window", function(`{Events: {Q: {Type: SQS, Properties: {Queue: q, BatchSize: 11}}}}`),
			"requires a batching window"},
		{"streaming", function(`{FunctionUrlConfig: {InvokeMode: RESPONSE_STREAM}}`),
			"FunctionUrlConfig.InvokeMode: this property of a function URL is not supported"},
		{"if", function(`{Timeout: !If [Nope, 1, 2]}`), `F.Properties.Timeout.Fn::If: "Nope" is not a condition`},
		{"sub", function(`{FunctionName: !Sub "${"}`), "F.Properties.FunctionName.Fn::Sub: ${ without }"},
		{"select", function(`{FunctionName: !Select [2, [a]]}`), `a list of 1 items has no item "2"`},
		{"find in map", function(`{FunctionName: !FindInMap [a, b, c]}`), "Mappings does not contain [a b c]"},
		{"condition elsewhere", function(`{Timeout: !Equals [1, 1]}`), "only valid in Conditions"},
		{"environment size", function(`{Environment: {Variables: {A: "` + strings.Repeat("x", 4096) + `"}}}`),
			"4097 bytes, Lambda accepts at most 4096"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tpl, err := parse([]byte(c.yaml), options())
			if err != nil {
				t.Fatal(err)
			}
			if _, err = tpl.Function("F", named{}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error = %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestInvalidTemplates(t *testing.T) {
	queue := "\nResources: {Q: {Type: AWS::SQS::Queue}}"
	for _, c := range []struct{ name, yaml, want string }{
		{"no mapping", "[1]", "expected a mapping of sections"},
		{"no resources", "Outputs: {}", "no Resources"},
		{"twice", "Resources: {Q: {Type: a}, Q: {Type: b}}", `line 1: duplicate key "Q"`},
		{"merge key", "Resources: {Q: {<<: {Type: a}}}", "does not support YAML merge keys"},
		{"alias", "Outputs: &a [*a]" + queue, "line 1: CloudFormation does not support YAML aliases"},
		{"no type", "Resources: {Q: {Properties: {}}}", "Q: type: expected a resource type, found nothing"},
		{"lambda", "Resources: {L: {Type: AWS::Lambda::Function}}",
			"L: resources of type AWS::Lambda::Function are not supported"},
		{"condition unknown", "Resources: {Q: {Type: AWS::SQS::Queue, Condition: X}}", `Q.Condition: "X" is not a condition`},
		{"circle", "Conditions: {A: !Condition B, B: !Condition A}" + queue, "the condition depends on itself"},
		{"condition function", "Conditions: {A: !Contains [1]}" + queue,
			"Conditions.A.Fn::Contains: condition function not supported"},
		{"condition on a resource", "Conditions: {A: !Equals [!Ref Q, 1]}" + queue, `"Q" is not a parameter`},
		{"not of two", "Conditions: {A: !Not [!Equals [1, 1], !Equals [1, 1]]}" + queue,
			"expected a list of 1 to 1 conditions"},
		{"parameter without value", "Parameters: {P: {Type: String}}" + queue, "parameter P: it has no default"},
		{"parameter type", "Parameters: {P: {Type: Colour, Default: 1}}" + queue, `type "Colour" is not supported`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := parse([]byte(c.yaml), options()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error = %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestQueueRefusesWhatItDoesNotSet(t *testing.T) {
	tpl, err := parse([]byte("Resources: {Q: {Type: AWS::SQS::Queue, Properties: {FifoQueue: true}}}"), options())
	if err != nil {
		t.Fatal(err)
	}
	if _, err = tpl.Queue("Q", named{}); err == nil || !strings.Contains(err.Error(), "Q.Properties.FifoQueue") {
		t.Errorf("error = %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(function(`{MemorySize: !Length [1]}`))
	f.Add("Conditions: {A: !Condition B, B: !Condition A}\nResources: {Q: {Type: AWS::SQS::Queue}}")
	f.Add("Resources: {Q: {Type: AWS::SQS::Queue, Properties: {QueueName: !Sub [\"${a}\", {a: !Ref Q}]}}}")
	f.Fuzz(func(t *testing.T, text string) {
		tpl, err := parse([]byte(text), options())
		if err != nil {
			return
		}
		for _, id := range tpl.IDs(TypeFunction) {
			if _, err := tpl.Function(id, named{}); err != nil && fmt.Sprint(err) == "" {
				t.Error("an error that says nothing")
			}
		}
	})
}

const template = "../../template.yaml"

func TestProjectTemplateRunsEachConnectorAlone(t *testing.T) {
	for _, name := range connectors.Names() {
		t.Run(name, func(t *testing.T) {
			tpl := load(t, template, options("Connectors", name))
			f, err := tpl.Function(name+"Function", named{})
			if err != nil {
				t.Fatal(err)
			}
			if f.Environment["SIEM_QUEUE_URL"] != "<"+name+"Queue:>" || f.Environment["SIEM_SECRET_ID"] != "<"+name+"Secret:>" {
				t.Errorf("environment = %v", f.Environment)
			}
			if len(f.Mappings) != 1 {
				t.Fatalf("mappings = %+v, want one", f.Mappings)
			}
			m := f.Mappings[0]
			if m.ID != name+"FunctionQueue" || m.BatchSize != 100 || m.Window != 5*time.Second || !m.Enabled ||
				!m.ReportBatchItemFailures || m.MaximumConcurrency < 2 {
				t.Errorf("mapping = %+v", m)
			}
			if len(tpl.IDs(TypeQueue)) != 3 || len(tpl.IDs(TypeFunction)) != 4 || len(tpl.IDs(TypeSecret)) != 1 {
				t.Errorf("queues %v, functions %v, secrets %v: want one connector's, the dead letters' and the guard's",
					tpl.IDs(TypeQueue), tpl.IDs(TypeFunction), tpl.IDs(TypeSecret))
			}
			checkDeadLetterPath(t, tpl, name)
		})
	}
}

// checkDeadLetterPath checks that a connector's messages can become dead letters and be replayed.
func checkDeadLetterPath(t *testing.T, tpl *Template, name string) {
	t.Helper()
	q, err := tpl.Queue(name+"Queue", named{})
	if err != nil {
		t.Fatal(err)
	}
	if q.Redrive == nil || q.Redrive.TargetARN != "<DeadLetterQueue:Arn>" || q.Redrive.MaxReceiveCount != 5 {
		t.Errorf("redrive = %+v", q.Redrive)
	}
	for _, id := range []string{"DeadLetterFunction", "ReplayFunction"} {
		f, err := tpl.Function(id, named{})
		if err != nil {
			t.Fatal(err)
		}
		if have := f.Environment[name+"_QUEUE_URL"]; have != "<"+name+"Queue:>" {
			t.Errorf("%s: %s_QUEUE_URL is %q: %v", id, name, have, f.Environment)
		}
		if f.URL != (id == "ReplayFunction") {
			t.Errorf("%s: URL = %v", id, f.URL)
		}
	}
}

// TestProjectTemplateByConnector: a connector has its own concurrency, and only the deployed ones have resources.
func TestProjectTemplateByConnector(t *testing.T) {
	tpl := load(t, template, options("Connectors", "sumo,elastic", "MaximumConcurrency", "2,3,4,5,6,7,8", "EnableGuard",
		"false"))
	for name, want := range map[string]int{"elastic": 4, "sumo": 6} {
		f, err := tpl.Function(name+"Function", named{})
		if err != nil {
			t.Fatal(err)
		}
		if have := f.Mappings[0].MaximumConcurrency; have != want {
			t.Errorf("%s: MaximumConcurrency %d, want %d", name, have, want)
		}
	}
	if ids := tpl.IDs(TypeFunction); len(ids) != 4 {
		t.Errorf("functions %v, want two connectors, drain and replay", ids)
	}
}

// TestRolesReadOnlyTheirOwnSecret: no other secret, such as that of the operators' search credentials, can be read by a
// function.
func TestRolesReadOnlyTheirOwnSecret(t *testing.T) {
	tpl := load(t, template, options("Connectors", strings.Join(connectors.Names(), ","), "KmsKeyArn",
		"arn:aws:kms:eu-west-1:123456789012:key/1"))
	readers := 0
	for _, id := range sortedKeys(tpl.resources) {
		if !tpl.exists(id) || !strings.HasPrefix(tpl.resources[id].kind, "AWS::IAM::") {
			continue
		}
		properties, err := resolved(tpl, id)
		if err != nil {
			t.Fatal(err)
		}
		eachStatement(properties, func(statement map[string]any) {
			actions := fmt.Sprint(statement["Action"])
			if !strings.Contains(actions, "secretsmanager:") && !strings.Contains(actions, "[*") && actions != "*" {
				return
			}
			readers++
			own := "<" + strings.TrimSuffix(id, "Role") + "Secret:>"
			if actions != "secretsmanager:GetSecretValue" || statement["Resource"] != own {
				t.Errorf("%s: %v of %v, want only secretsmanager:GetSecretValue of %s", id, actions, statement["Resource"], own)
			}
		})
	}
	if readers != len(connectors.Names()) {
		t.Errorf("%d roles read a secret, want %d", readers, len(connectors.Names()))
	}
}

// eachStatement calls take for every statement of the policies in a value.
func eachStatement(value any, take func(map[string]any)) {
	switch v := value.(type) {
	case []any:
		for _, item := range v {
			eachStatement(item, take)
		}
	case map[string]any:
		if v["Action"] != nil {
			take(v)
		}
		for _, item := range v {
			eachStatement(item, take)
		}
	}
}

// TestProjectTemplateResolves: whatever is deployed, each resource refers only to resources that exist.
func TestProjectTemplateResolves(t *testing.T) {
	for name, parameters := range map[string][]string{
		"defaults": nil,
		"without the optional parts": {"EnableAlarms", "false", "EnableDashboard", "false", "EnableGuard", "false",
			"EnableReplayUrl", "false"},
		"a topic and a key": {
			"EnableTopic", "true", "KmsKeyArn", "arn:aws:kms:eu-west-1:123456789012:key/1", "ReplayedRetentionDays", "90",
		},
		"a VPC": {
			"Connectors", "qradar,splunk", "ConnectorsInVpc", "qradar", "VpcSubnetIds", "subnet-1", "VpcSecurityGroupIds",
			"sg-1",
			"CreateVpcEndpoints", "true", "VpcId", "vpc-1",
		},
	} {
		tpl := load(t, template, options(parameters...))
		for _, id := range sortedKeys(tpl.resources) {
			if !tpl.exists(id) {
				continue
			}
			v, err := resolved(tpl, id)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			} else if body, ok := v.(map[string]any)["DashboardBody"]; ok && !json.Valid([]byte(body.(string))) {
				t.Errorf("%s: %s is not JSON: %s", name, id, body)
			}
		}
	}
}

// TestProjectTemplateHasOneTopic: a topic of the stack's own that no queue subscribes to would lose what is published.
func TestProjectTemplateHasOneTopic(t *testing.T) {
	const arn = "arn:aws:sns:eu-west-1:123456789012:events"
	for _, test := range []struct{ enable, arn, subscribed string }{
		{"false", "", ""}, {"true", "", "<EventTopic:>"}, {"false", arn, arn}, {"true", arn, arn},
	} {
		tpl := load(t, template, options("Connectors", "splunk", "EnableTopic", test.enable, "TopicArn", test.arn))
		own := test.subscribed == "<EventTopic:>"
		if tpl.exists("EventTopic") != own || tpl.exists("EventTopicPolicy") != own {
			t.Errorf("%+v: EventTopic exists: %t", test, tpl.exists("EventTopic"))
		}
		if have := tpl.exists("splunkSubscription"); have != (test.subscribed != "") {
			t.Errorf("%+v: splunkSubscription exists: %t", test, have)
		} else if !have {
			continue
		}
		subscription, err := resolved(tpl, "splunkSubscription")
		if err != nil {
			t.Fatal(err)
		}
		if have := subscription.(map[string]any)["TopicArn"]; have != test.subscribed {
			t.Errorf("%+v: the queue subscribes to %v", test, have)
		}
	}
}

// TestProjectTemplateProxyIsForConnectors: the other functions are never in the VPC, and call AWS only. A proxy that
// only the VPC reaches would stop the drain.
func TestProjectTemplateProxyIsForConnectors(t *testing.T) {
	tpl := load(t, template, options("HttpsProxy", "http://proxy:3128", "NoProxy", "siem.example"))
	for _, id := range tpl.IDs(TypeFunction) {
		f, err := tpl.Function(id, named{})
		if err != nil {
			t.Fatal(err)
		}
		proxy, has := f.Environment["HTTPS_PROXY"]
		except, hasExcept := f.Environment["NO_PROXY"]
		if connector := slices.Contains(connectors.Names(), strings.TrimSuffix(id, "Function")); has != connector ||
			hasExcept != connector || connector && (proxy != "http://proxy:3128" || except != "siem.example") {
			t.Errorf("%s: HTTPS_PROXY %q, NO_PROXY %q", id, proxy, except)
		}
	}
}

// TestProjectTemplateExpiresOldVersions: what a replay deletes leaves a version and a marker; S3 deletes a marker after
// the last version.
func TestProjectTemplateExpiresOldVersions(t *testing.T) {
	for days, pending := range map[string]string{"0": "90", "30": "30"} {
		bucket, err := resolved(load(t, template, options("ReplayedRetentionDays", days)), "DeadLetterBucket")
		if err != nil {
			t.Fatal(err)
		}
		have := map[string]string{}
		for _, rule := range bucket.(map[string]any)["LifecycleConfiguration"].(map[string]any)["Rules"].([]any) {
			rule := rule.(map[string]any)
			if old, ok := rule["NoncurrentVersionExpiration"].(map[string]any); ok {
				have[fmt.Sprint(rule["Prefix"])] = fmt.Sprint(old["NoncurrentDays"])
			}
		}
		want := map[string]string{
			"dead-letters/pending/": pending, "dead-letters/progress/": "1", "dead-letters/replay.lock": "1",
		}
		if days != "0" {
			want["dead-letters/replayed/"] = "1"
		}
		if !maps.Equal(have, want) {
			t.Errorf("ReplayedRetentionDays=%s: old versions expire after %v days, want %v", days, have, want)
		}
	}
}

func TestLoops(t *testing.T) {
	const head = "Parameters:\n  L: {Type: CommaDelimitedList, Default: \"a,b\"}\n" +
		"Mappings: {M: {k: {l: [a, b]}}}\nResources:\n"
	for name, tt := range map[string]struct{ body, want string }{
		"two iterations": {"  Fn::ForEach::X: [I, !Ref L, {\"${I}Q\": {Type: AWS::SQS::Queue}}]\n", ""},
		"literal":        {"  Fn::ForEach::X: [I, [a, b], {\"${I}Q\": {Type: AWS::SQS::Queue}}]\n", ""},
		"nested": {"  Fn::ForEach::X: [I, [a], {Fn::ForEach::Y: [J, !Ref L, {\"${J}Q\": {Type: " +
			"AWS::SQS::Queue}}]}]\n", ""},
		"same key": {"  Fn::ForEach::X: [I, !Ref L, {Q: {Type: AWS::SQS::Queue}}]\n", "\"Q\", which exists already"},
		"taken key": {"  aQ: {Type: AWS::SQS::Queue}\n  Fn::ForEach::X: [I, !Ref L, {\"${I}Q\": {Type: " +
			"AWS::SQS::Queue}}]\n", "exists already"},
		"no fragment":       {"  Fn::ForEach::X: [I, !Ref L]\n", "expected an identifier"},
		"unknown parameter": {"  Fn::ForEach::X: [I, !Ref M, {\"${I}Q\": {Type: AWS::SQS::Queue}}]\n", "not a parameter"},
		"mapping":           {"  Fn::ForEach::X: [I, !FindInMap [M, k, l], {\"${I}Q\": {Type: AWS::SQS::Queue}}]\n", ""},
		"default": {"  Fn::ForEach::X: [I, !FindInMap [M, n, l, DefaultValue: !Ref L], {\"${I}Q\": {Type: " +
			"AWS::SQS::Queue}}]\n", ""},
		"same name": {"  Fn::ForEach::X: [I, [a], {\"${I}Q\": {Type: AWS::SQS::Queue}}]\n" +
			"  R: {Type: AWS::IAM::Role, Properties: {Fn::ForEach::X: [I, [a], {\"${I}\": 1}]}}\n", "two loops are named"},
		"condition": {"  Fn::ForEach::X: [I, !Ref L, {\"${I}Q\": {Type: AWS::SQS::Queue, Condition: \"${I}On\"}}]\n",
			`"${I}On" is not a condition`},
		"function as the condition": {"  Fn::ForEach::X: [I, !Ref L, {\"${I}Q\": {Type: AWS::SQS::Queue, Condition: " +
			"!Sub \"${I}On\"}}]\n", "expected the name of a condition"},
		"function in DependsOn": {"  Fn::ForEach::X: [I, !Ref L, {\"${I}Q\": {Type: AWS::SQS::Queue, DependsOn: " +
			"[!Sub \"${I}R\"]}}]\n", "expected a string"},
	} {
		t.Run(name, func(t *testing.T) {
			tpl, err := parse([]byte(head+tt.body), options())
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v, want %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if have := strings.Join(tpl.IDs(TypeQueue), " "); have != "aQ bQ" {
				t.Errorf("queues %s, want aQ bQ", have)
			}
		})
	}
}
