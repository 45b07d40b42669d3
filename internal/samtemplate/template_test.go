package samtemplate

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	list "github.com/arbitex/siem-connectors/shared/connectors"
)

const template = "../../template.yaml"

// connectors are parameters of each connector, by its logical id.
func connectors() map[string][]string {
	return map[string][]string{
		"Splunk": {"SplunkHecUrl", "https://splunk:8088"},
		"Sentinel": {
			"SentinelTenantId", "t", "SentinelClientId", "c", "SentinelDcrEndpoint", "https://dcr", "SentinelDcrRuleId", "dcr-1",
			"SentinelDcrStreamName", "Custom-A_CL",
		},
		"Elastic": {"ElasticUrl", "https://elastic:9200"},
		"Datadog": {},
		"Sumo":    {},
		"QRadar":  {"QRadarSyslogHost", "qradar"},
		"XSIAM":   {"XSIAMUrl", "https://xsiam", "XSIAMApiKeyId", "1"},
	}
}

func TestProjectTemplateRunsEachConnectorAlone(t *testing.T) {
	for _, c := range list.All() {
		name, settings := c.ID, connectors()[c.ID]
		t.Run(name, func(t *testing.T) {
			tpl := load(t, template, options(append(settings, "Enable"+name, "true")...))
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
			if len(tpl.IDs(TypeQueue)) != 2 || len(tpl.IDs(TypeFunction)) != 3 || len(tpl.IDs(TypeSecret)) != 1 {
				t.Errorf("queues %v, functions %v, secrets %v: want one connector's", tpl.IDs(TypeQueue), tpl.IDs(TypeFunction), tpl.IDs(TypeSecret))
			}
			checkDeadLetterWay(t, tpl, name)
		})
	}
}

// checkDeadLetterWay checks that a connector's messages end in the dead-letter queue, and can come back.
func checkDeadLetterWay(t *testing.T, tpl *Template, name string) {
	t.Helper()
	q, err := tpl.Queue(name+"Queue", named{})
	if err != nil {
		t.Fatal(err)
	}
	if q.Redrive == nil || q.Redrive.TargetARN != "<DeadLetterQueue:Arn>" || q.Redrive.MaxReceiveCount != 5 {
		t.Errorf("redrive = %+v", q.Redrive)
	}
	dead, err := tpl.Queue("DeadLetterQueue", named{})
	if err != nil {
		t.Fatal(err)
	}
	if allowed := dead.Attributes["RedriveAllowPolicy"]; !strings.Contains(allowed, ":"+q.Name+`"`) {
		t.Errorf("the dead-letter queue takes nothing from %s: %s", q.Name, allowed)
	}
	for _, id := range []string{"DeadLetterFunction", "ReplayFunction"} {
		f, err := tpl.Function(id, named{})
		if err != nil {
			t.Fatal(err)
		}
		if f.Environment[strings.ToUpper(name)+"_QUEUE_URL"] != "<"+name+"Queue:>" {
			t.Errorf("%s does not know the queue of %s: %v", id, name, f.Environment)
		}
		if f.URL != (id == "ReplayFunction") {
			t.Errorf("%s: URL = %v", id, f.URL)
		}
	}
}

// shared are the resources that exist with no connector enabled.
func shared() []string {
	return []string{
		"DeadLetterQueue", "DeadLetterQueuePolicy", "DeadLetterBucket", "DeadLetterBucketPolicy", "DeadLetterLogGroup",
		"DeadLetterRole", "DeadLetterFunction", "ReplayLogGroup", "ReplayRole", "ReplayFunction", "ReplayCallerPolicy",
		"DrainStuckAlarm", "DrainErrorsAlarm", "UnknownConnectorAlarm", "ReplayErrorsAlarm",
	}
}

// ofConnector are the resources of one connector.
func ofConnector(id string, more ...string) []string {
	var list []string
	for _, part := range append([]string{"Queue", "QueuePolicy", "Secret", "LogGroup", "Role", "Function", "Alarms"}, more...) {
		list = append(list, id+part)
	}
	return list
}

// TestProjectTemplateCreates verifies which resources exist with which parameters, and that each of them can be resolved:
// it refers only to resources that exist, too.
func TestProjectTemplateCreates(t *testing.T) {
	const key = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
	everything := []string{
		"EnableTopic", "true", "KmsKeyArn", key, "ReplayedRetentionDays", "90", "AlarmTopicArn", "arn:aws:sns:eu-west-1:123456789012:alarms",
	}
	enabled := []string{"EnqueuePolicy", "Dashboard"}
	all := slices.Concat(shared(), enabled, []string{"EventTopic", "EventTopicPolicy"})
	cases := map[string]struct{ parameters, want []string }{
		"no connector": {nil, shared()},
		"no alarms and no dashboard": {
			[]string{"EnableSplunk", "true", "EnableAlarms", "false", "EnableDashboard", "false"},
			slices.Concat(shared()[:11], ofConnector("Splunk")[:6], []string{"EnqueuePolicy"}),
		},
		"a VPC": {
			[]string{
				"EnableQRadar", "true", "QRadarInVpc", "true", "VpcSubnetIds", "subnet-1", "VpcSecurityGroupIds", "sg-1",
				"CreateVpcEndpoints", "true", "VpcId", "vpc-1", "VpcCidr", "10.0.0.0/16",
			},
			slices.Concat(shared(), enabled, ofConnector("QRadar"), []string{"VpcAccessPolicy", "VpcEndpointSecurityGroup", "SqsEndpoint", "SecretsManagerEndpoint"}),
		},
	}
	for _, c := range list.All() {
		cases[c.Name] = struct{ parameters, want []string }{[]string{"Enable" + c.ID, "true"}, slices.Concat(shared(), enabled, ofConnector(c.ID))}
		everything = append(everything, "Enable"+c.ID, "true")
		all = append(all, ofConnector(c.ID, "Subscription")...)
	}
	cases["everything"] = struct{ parameters, want []string }{everything, all}
	for name, c := range cases {
		tpl := load(t, template, options(c.parameters...))
		var have []string
		for _, id := range tpl.order {
			if !tpl.exists(id) {
				continue
			}
			have = append(have, id)
			if _, err := (resolver{tpl, named{}}).resolve(tpl.resources[id].properties, id); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		slices.Sort(have)
		slices.Sort(c.want)
		if !slices.Equal(have, c.want) {
			t.Errorf("%s: the template creates\n%v\nwant\n%v", name, have, c.want)
		}
	}
}

// TestProjectTemplateDashboard verifies that the dashboard is JSON and shows the enabled connectors only.
func TestProjectTemplateDashboard(t *testing.T) {
	tpl := load(t, template, options("EnableSplunk", "true", "EnableSumo", "true"))
	properties, err := (resolver{tpl, named{}}).resolve(tpl.resources["Dashboard"].properties, "Dashboard")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := properties.(map[string]any)["DashboardBody"].(string)
	var body struct {
		Widgets []struct {
			Properties struct {
				Title   string
				Metrics [][]any
			}
		}
	}
	if err := json.Unmarshal([]byte(text), &body); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text, "${PROP") || strings.Contains(text, "${AWS") {
		t.Error("a placeholder of CloudFormation is left, or one of CloudWatch is missing")
	}
	var priced []string
	for _, w := range body.Widgets {
		for _, m := range w.Properties.Metrics {
			if label, ok := m[0].(map[string]any); ok && len(m) == 1 && strings.HasPrefix(w.Properties.Title, "Cost") {
				priced = append(priced, fmt.Sprint(label["label"]))
			}
		}
	}
	if !slices.Equal(priced, []string{"splunk", "sumo"}) {
		t.Errorf("the dashboard shows the cost of %v", priced)
	}
}

// TestProjectTemplateParameterReachesTheFunction verifies that a changed parameter changes the function's environment.
func TestProjectTemplateParameterReachesTheFunction(t *testing.T) {
	for _, url := range []string{"https://splunk.example.com:8088", "https://splunk.example.com:8088/services/collector/event"} {
		f, err := load(t, template, options("EnableSplunk", "true", "SplunkHecUrl", url)).Function("SplunkFunction", named{})
		if err != nil || f.Environment["SPLUNK_HEC_URL"] != url {
			t.Errorf("SPLUNK_HEC_URL = %q, %v; want %s", f.Environment["SPLUNK_HEC_URL"], err, url)
		}
	}
}

// TestProjectTemplateLeavesSettingsToTheSecret: any setting can be a key of the secret, so no parameter is required. The
// function reports settings that are missing in both.
func TestProjectTemplateLeavesSettingsToTheSecret(t *testing.T) {
	for _, c := range list.All() {
		if _, err := Load(template, options("Enable"+c.ID, "true")); err != nil {
			t.Errorf("%s without a parameter of its own: %v", c.ID, err)
		}
	}
}
