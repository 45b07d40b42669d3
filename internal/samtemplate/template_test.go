package samtemplate

import (
	"strings"
	"testing"
	"time"
)

const template = "../../template.yaml"

// connectors are those of the project's template, with what each cannot be deployed without.
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
	for name, settings := range connectors() {
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

// TestProjectTemplateLeavesSettingsToTheSecret: any setting may stand in the secret, so that what is rotated together can be
// changed together; what stands nowhere the function itself names.
func TestProjectTemplateLeavesSettingsToTheSecret(t *testing.T) {
	for _, name := range []string{"Splunk", "Sentinel", "Elastic", "Datadog", "Sumo", "QRadar", "XSIAM"} {
		if _, err := Load(template, options("Enable"+name, "true")); err != nil {
			t.Errorf("%s without a parameter of its own: %v", name, err)
		}
	}
}
