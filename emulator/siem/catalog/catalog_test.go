package catalog

import (
	"maps"
	"testing"

	"github.com/arbitex/siem-connectors/emulator/siem"
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
