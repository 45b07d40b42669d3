package catalog_test

import (
	"testing"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/catalog"
)

// TestList: every connector has a simulator with its name, settings, a credential, and a script in order of time that
// ends every fault it begins.
func TestList(t *testing.T) {
	seen := map[string]bool{}
	for _, entry := range catalog.List() {
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

func play(t *testing.T, entry catalog.SIEM) {
	s, err := entry.New(siem.Options{})
	if err != nil {
		t.Fatalf("%s: %v", entry.Name, err)
	}
	defer s.Close()
	if s.Name() != entry.Name || len(s.Settings()) == 0 || len(s.Secret()) == 0 {
		t.Errorf("%s: name %q, settings %v", entry.Name, s.Name(), s.Settings())
	}
	published := 0
	stage := &catalog.Stage{SIEM: s, Poison: "x", Publish: func() { published++ }}
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
	parameters := catalog.Parameters(catalog.List()[:2])
	if len(parameters) != 2 || parameters["Connectors"] != "splunk,sentinel" {
		t.Errorf("parameters = %v", parameters)
	}
}
