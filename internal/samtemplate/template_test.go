package samtemplate

import (
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/shared/connectors"
)

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
		for _, id := range tpl.order {
			if !tpl.exists(id) || tpl.resources[id].kind == "AWS::CloudWatch::Dashboard" { // Fn::ToJsonString
				continue
			}
			if _, err := (resolver{tpl, named{}}).resolve(tpl.resources[id].properties, id); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestLoops(t *testing.T) {
	const head = "Parameters:\n  L: {Type: CommaDelimitedList, Default: \"a,b\"}\nResources:\n"
	for name, tt := range map[string]struct{ body, want string }{
		"two iterations": {"  Fn::ForEach::X: [I, !Ref L, {\"${I}Q\": {Type: AWS::SQS::Queue}}]\n", ""},
		"literal":        {"  Fn::ForEach::X: [I, [a, b], {\"${I}Q\": {Type: AWS::SQS::Queue}}]\n", ""},
		"nested": {"  Fn::ForEach::X: [I, [a], {Fn::ForEach::Y: [J, !Ref L, {\"${J}Q\": {Type: " +
			"AWS::SQS::Queue}}]}]\n", ""},
		"same key": {"  Fn::ForEach::X: [I, !Ref L, {Q: {Type: AWS::SQS::Queue}}]\n", "two iterations create"},
		"taken key": {"  aQ: {Type: AWS::SQS::Queue}\n  Fn::ForEach::X: [I, !Ref L, {\"${I}Q\": {Type: " +
			"AWS::SQS::Queue}}]\n", "exists already"},
		"no fragment":       {"  Fn::ForEach::X: [I, !Ref L]\n", "expected an identifier"},
		"unknown parameter": {"  Fn::ForEach::X: [I, !Ref M, {\"${I}Q\": {Type: AWS::SQS::Queue}}]\n", "expected a list"},
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
