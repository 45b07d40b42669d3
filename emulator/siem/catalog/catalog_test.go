package catalog

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/datadog"
	"github.com/arbitex/siem-connectors/emulator/siem/siemtest"
	"github.com/arbitex/siem-connectors/emulator/siem/xsiam"
	"github.com/arbitex/siem-connectors/functions/all"
	"github.com/arbitex/siem-connectors/internal/ocsfgen"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// TestList: every connector has a simulator with its name, settings, a credential, and a script in order of time that
// ends every fault it begins.
func TestList(t *testing.T) {
	seen := map[string]bool{}
	for _, entry := range List() {
		if seen[entry.Name] || entry.Title == "" {
			t.Errorf("%+v: the name occurs twice, or there is no title", entry)
		}
		seen[entry.Name] = true
		if entry.New == nil {
			t.Errorf("emulator/siem/catalog/catalog.go: the connector %s has no simulator", entry.Name)
			continue
		}
		play(t, entry)
	}
}

func play(t *testing.T, entry SIEM) {
	s, err := entry.New(siem.Options{})
	if err != nil {
		t.Fatalf("%s: %v", entry.Name, err)
	}
	defer s.Close()
	if s.Name() != entry.Name || len(s.Settings()) == 0 || len(s.Secret()) == 0 {
		t.Errorf("%s: name %q, settings %v", entry.Name, s.Name(), s.Settings())
	}
	published := 0
	stage := &Stage{SIEM: s, Poison: "x", Publish: func() { published++ }}
	before := s.Secret()
	for i, act := range entry.Script {
		if act.Do == nil || act.Say == "" || i > 0 && act.At < entry.Script[i-1].At {
			t.Errorf("%s: act %d has no effect or description, or is too early: %q", entry.Name, i, act.Say)
			continue
		}
		act.Do(stage)
	}
	changed := false
	for name, value := range s.Secret() {
		changed = changed || before[name] != value
	}
	if !changed || published == 0 {
		t.Errorf("%s: the script rotates the credential %v, publishes it %d times", entry.Name, changed, published)
	}
}

func TestParameters(t *testing.T) {
	parameters := Parameters(List()[:2])
	if len(parameters) != 2 || parameters["Connectors"] != "splunk,sentinel" {
		t.Errorf("parameters = %v", parameters)
	}
}

// came holds the fields of the event's message, as the simulator parses it.
var came = map[string]string{
	"externalId": "e-1", "rt": "1741824000123", "class": "6003", "name": "chat", "severity": "8",
	"msgid": "0123456789abcdef0123456789abcdef",
	"suser": "a@b.c", "suid": "u", "act": "block", "cs4": "gpt", "cn1": "1", "cn2": "2", "cs1": "block", "cs2": "pii,p hi",
	"cs3": "g 1,g2",
	"src": "192.0.2.7", "hostname": "h", "message": "whole",
}

const enqueued = `{"time":1741824000123000,"class_uid":6003,"severity_id":4,"metadata":{"uid":"e-1"},
	"api":{"operation":"chat","request":{"uid":"01234567-89ab-cdef-0123-456789abcdef"}},
	"actor":{"user":{"uid":"u","email_addr":"a@b.c","groups":[{"uid":"g\n1"},{"name":"g2"}]}},
	"unmapped":{"model_id":"gpt","policy_action":"block","dlp_labels":["pii","p,hi"],"tokens_input":1,"tokens_output":2},"src_endpoint":{"ip":"192.0.2.7"}}`

func TestCEFColumns(t *testing.T) {
	want := cefOfEvent([]byte(enqueued))
	if got := cefOfMessage(siem.Accepted{Fields: came}); got != want {
		t.Fatalf("the message's columns are\n%s, the event's\n%s", got, want)
	}
	for _, column := range columns {
		other := maps.Clone(came)
		other[column] += "x"
		if cefOfMessage(siem.Accepted{Fields: other}) == want {
			t.Errorf("another %s makes no difference", column)
		}
	}
}

func TestCEFColumnsOfAMinimalEvent(t *testing.T) {
	const event = `{"time":1, "severity_id":99}`
	want := cefOfEvent([]byte(event))
	fields := map[string]string{"externalId": siem.ContentHash([]byte(`{"time":1,"severity_id":99}`))[:32], "rt": "1",
		"class": "0", "name": "OCSF class 0", "severity": "5", "msgid": "-"}
	if got := cefOfMessage(siem.Accepted{Fields: fields}); got != want {
		t.Errorf("the message's columns are\n%s, the event's\n%s", got, want)
	}
	if got := cefOfEvent([]byte("no event")); got != "no event" {
		t.Errorf("the key of an invalid event is %q", got)
	}
}

// source opens a connector with the settings and the current secret of a simulator.
type source struct {
	t         *testing.T
	simulator siem.Simulator
	env       map[string]string
	open      lambdahost.OpenFunc
	connector deliver.Connector
	renewed   int
}

func (s *source) Current() deliver.Connector { return s.connector }

func (s *source) Renew(context.Context) deliver.Connector {
	env := s.simulator.Settings()
	maps.Copy(env, s.env)
	set := settings.New(func(name string) string { return env[name] }, s.simulator.Secret())
	s.connector = s.open(set)
	if err := set.Err(); err != nil {
		s.t.Fatal(err)
	}
	s.renewed++
	return s.connector
}

// deliver delivers events at their last attempt, and returns the number of delivered ones.
func (s *source) deliver(bodies ...string) (delivered int, outcomes []deliver.Outcome) {
	s.t.Helper()
	items := make([]deliver.Item, len(bodies))
	for i, body := range bodies {
		items[i] = deliver.Item{Event: new(event.Event), Last: true}
		if err := new(event.Parser).Parse([]byte(body), items[i].Event); err != nil {
			s.t.Fatal(err)
		}
	}
	outcomes = make([]deliver.Outcome, len(items))
	deliver.Deliver(s.t.Context(), s, items, outcomes)
	for _, o := range outcomes {
		if o.State == deliver.Delivered {
			delivered++
		}
	}
	return delivered, outcomes
}

// opener opens the connector with that name.
func opener(name string) lambdahost.OpenFunc {
	list := all.Connectors()
	return list[slices.IndexFunc(list, func(c all.Connector) bool { return c.Name == name })].Open
}

func mode(auth, body string, gzip bool) func(siem.Options) (siem.Simulator, error) {
	return func(o siem.Options) (siem.Simulator, error) {
		return xsiam.NewMode(o, xsiam.Mode{Auth: auth, Body: body, Gzip: gzip})
	}
}

// TestConnectors: each connector that uses HTTP delivers to its simulator, in every mode of XSIAM. The simulator
// records no violation.
func TestConnectors(t *testing.T) {
	for _, c := range List() {
		if c.Name != "qradar" {
			t.Run(c.Name, func(t *testing.T) { delivers(t, c.New, opener(c.Name)) })
		}
	}
	for name, open := range map[string]func(siem.Options) (siem.Simulator, error){
		"collector": mode("token", "ndjson", false), "collector with gzip": mode("token", "ndjson", true),
		"standard": mode("standard", "envelope", false), "advanced": mode("advanced", "ndjson", false),
	} {
		t.Run(name, func(t *testing.T) { delivers(t, open, opener("xsiam")) })
	}
}

func delivers(t *testing.T, start func(siem.Options) (siem.Simulator, error), open lambdahost.OpenFunc) {
	simulator := siemtest.Start(t, start, siem.Options{Plain: true})
	s := &source{t: t, simulator: simulator, open: open, env: map[string]string{
		"DATADOG_EVENT_TIME": "true", "DATADOG_TAGS": "env:production",
	}}
	s.Renew(t.Context())
	generator := ocsfgen.New(7)
	generator.Now = time.Now
	var bodies []string
	for range 99 {
		bodies = append(bodies, string(generator.Next()))
	}
	bodies = append(bodies, fmt.Sprintf(`{"time":%d,"metadata":{"uid":"large"},"x":"%s"}`, time.Now().UnixMilli(),
		strings.Repeat("x", 70_000)))
	if n, _ := s.deliver(bodies...); n != 100 {
		t.Fatalf("delivered %d of 100: %s", n, simulator.Stats().LastProblem)
	}
	arrived := map[string]bool{}
	for _, a := range simulator.Accepted() {
		arrived[string(a.Event)] = true
		if a.Truncated != (a.ID == "large" && simulator.Name() == "sentinel") {
			t.Errorf("truncated %t: %.300v", a.Truncated, a)
		}
	}
	for _, body := range bodies[:99] {
		if !arrived[body] {
			t.Errorf("an event did not arrive as it is: %s", body)
		}
	}
	simulator.Rotate()
	if n, _ := s.deliver(bodies[:5]...); n != 5 || s.renewed != 2 {
		t.Errorf("after a rotation: delivered %d of 5, renewed %d times", n, s.renewed-1)
	}
	simulator.Inject(siem.PoisonEvent(siem.EventID([]byte(bodies[41]))))
	before := simulator.Stats().Requests
	n, outcomes := s.deliver(bodies...)
	extra := simulator.Stats().Requests - before - 1
	if n != 99 || outcomes[41].State == deliver.Delivered || extra > 15 {
		t.Errorf("one poisoned event: delivered %d of 99, %+v, %d extra requests", n, outcomes[41], extra)
	}
	if err := s.connector.(deliver.Checker).Check(t.Context()); err != nil {
		t.Errorf("check: %v", err)
	}
	if v := simulator.Stats().Violations; len(v) > 0 {
		t.Errorf("violations %q", v)
	}
}

// TestDatadogLimits: the connector omits the timestamp of an old event, and replaces an event that would be cut.
func TestDatadogLimits(t *testing.T) {
	simulator := siemtest.Start(t, datadog.New, siem.Options{Plain: true})
	s := &source{t: t, simulator: simulator, open: opener("datadog"),
		env: map[string]string{"DATADOG_EVENT_TIME": "true"}}
	s.Renew(t.Context())
	young := time.Now().UnixMilli()
	old := fmt.Sprintf(`{"time":%d,"metadata":{"uid":"old"}}`, time.Now().Add(-20*time.Hour).UnixMilli())
	large := fmt.Sprintf(`{"time":%d,"metadata":{"uid":"large"},"x":"%s"}`, young, strings.Repeat("y", 1_000_000))
	if n, outcomes := s.deliver(old, large); n != 2 || outcomes[0].Truncated || !outcomes[1].Truncated {
		t.Errorf("%+v", outcomes)
	}
	for _, a := range simulator.Accepted() {
		if a.ID == "old" && (a.Fields["timestamp"] != "" || string(a.Event) != old) ||
			a.ID == "large" && (!a.Truncated || a.Fields["timestamp"] != fmt.Sprint(young)) {
			t.Errorf("kept as %+v", a)
		}
	}
	if stats := simulator.Stats(); stats.Accepted != 2 || len(stats.Violations) > 0 {
		t.Errorf("%+v", stats)
	}
}
