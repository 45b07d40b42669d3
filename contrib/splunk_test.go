package contrib

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	splunk "github.com/arbitex/siem-connectors/functions/splunk/connector"
)

const splunkApp = "splunk/arbitex_audit/"

// stanzas returns the settings of a .conf file by stanza.
func stanzas(t *testing.T, path string) map[string]map[string]string {
	t.Helper()
	found := map[string]map[string]string{}
	name := ""
	for line := range strings.Lines(read(t, path)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if strings.HasPrefix(line, "[") {
			name = strings.Trim(line, "[]")
			found[name] = map[string]string{}
			continue
		}
		key, value, ok := strings.Cut(line, " = ")
		if !ok || found[name] == nil {
			t.Fatalf("%s: %q is not a setting of a stanza", path, line)
		}
		found[name][key] = value
	}
	return found
}

func TestSplunkNamesWhatIsSent(t *testing.T) {
	var sent struct{ Sourcetype, Index string }
	decode(t, record(t, splunk.Open, "SPLUNK_HEC_URL", "https://s", "SPLUNK_HEC_TOKEN", "t"), &sent)
	props := stanzas(t, splunkApp+"default/props.conf")[sent.Sourcetype]
	if props == nil {
		t.Fatalf("props.conf has no stanza for the source type %q", sent.Sourcetype)
	}
	if stanzas(t, splunkApp+"default/indexes.conf")[sent.Index] == nil {
		t.Errorf("indexes.conf does not define the index %q", sent.Index)
	}
	if base := stanzas(t, splunkApp+"default/macros.conf"); base["arbitex_index"]["definition"] != "index="+sent.Index ||
		!strings.Contains(base["arbitex_events(1)"]["definition"], `sourcetype="`+sent.Sourcetype+`"`) {
		t.Errorf("macros.conf searches another index or source type: %v", base)
	}
	hasPaths(t, "props.conf", strings.ReplaceAll(read(t, splunkApp+"default/props.conf"), "{}", ""))
	made := slices.Collect(maps.Keys(splunkFields(props)))
	for _, f := range fields() {
		if !slices.Contains(made, f.splunk) {
			t.Errorf("props.conf makes no field %s of %s", f.splunk, f.paths[0])
		}
	}
}

// splunkFields are the fields that settings of props.conf make.
func splunkFields(props map[string]string) map[string]bool {
	made := map[string]bool{}
	for key, value := range props {
		switch {
		case strings.HasPrefix(key, "FIELDALIAS-"):
			_, name, _ := strings.Cut(value, " ASNEW ")
			made[name] = true
		case strings.HasPrefix(key, "EVAL-"):
			made[strings.TrimPrefix(key, "EVAL-")] = true
		case strings.HasPrefix(key, "LOOKUP-"):
			made[value[strings.LastIndexByte(value, ' ')+1:]] = true
		}
	}
	return made
}

// Each model of the CIM needs its fields: https://help.splunk.com/en/data-management/common-information-model.
func TestSplunkFillsTheModelsOfItsTags(t *testing.T) {
	made := splunkFields(stanzas(t, splunkApp+"default/props.conf")["arbitex:audit"])
	models := map[string]string{
		"arbitex_authentication": "action app authentication_method dest signature src user vendor_product",
		"arbitex_change": "action change_type command dest dvc object object_category object_id result src status " +
			"user vendor_product",
		"arbitex_data_access": "action app dest dvc object object_category object_id src user vendor_product",
		"arbitex_finding": "action app category dest dlp_type dvc id object severity signature signature_id src type " +
			"user vendor_product",
	}
	tags := stanzas(t, splunkApp+"default/tags.conf")
	types := stanzas(t, splunkApp+"default/eventtypes.conf")
	for name, names := range models {
		if types[name] == nil || tags["eventtype="+name] == nil {
			t.Errorf("%s has no event type or no tags", name)
		}
		for want := range strings.FieldsSeq(names) {
			if !made[want] {
				t.Errorf("%s: props.conf makes no field %s", name, want)
			}
		}
	}
	if len(tags) != len(models) {
		t.Errorf("%d event types have tags, want %d", len(tags), len(models))
	}
}

// searches are the app's searches by the place where they are.
func splunkSearches(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for name, settings := range stanzas(t, splunkApp+"default/savedsearches.conf") {
		found[name] = settings["search"]
	}
	view := read(t, splunkApp+"default/data/ui/views/arbitex_overview.xml")
	definition := regexp.MustCompile(`(?s)<definition><!\[CDATA\[(.*?)\]\]>`).FindStringSubmatch(view)
	var dashboard struct {
		DataSources map[string]struct{ Options struct{ Query string } }
	}
	if err := json.Unmarshal([]byte(definition[1]), &dashboard); err != nil {
		t.Fatal(err)
	}
	for name, source := range dashboard.DataSources {
		found[name] = source.Options.Query
	}
	return found
}

func TestSplunkSearchesUseWhatTheAppDefines(t *testing.T) {
	macros := stanzas(t, splunkApp+"default/macros.conf")
	lookups := stanzas(t, splunkApp+"default/transforms.conf")
	for name, search := range splunkSearches(t) {
		for _, m := range regexp.MustCompile("`([a-z_]+)(\\(.*?\\))?`").FindAllStringSubmatch(search, -1) {
			macro := m[1]
			if m[2] != "" {
				macro += "(1)"
			}
			if macros[macro] == nil {
				t.Errorf("%s: macros.conf does not define %s", name, macro)
			}
		}
		for _, m := range regexp.MustCompile(`\| lookup (\w+)`).FindAllStringSubmatch(search, -1) {
			if lookups[m[1]] == nil {
				t.Errorf("%s: transforms.conf does not define the lookup %s", name, m[1])
			}
		}
		count := func(text string) int { return strings.Count(search, text) }
		if count("`")%2 != 0 || count("(") != count(")") || count(`"`)%2 != 0 {
			t.Errorf("%s: unbalanced in %s", name, search)
		}
		if strings.Contains(search, "event.metadata") {
			t.Errorf("%s: HEC's nested keys have no prefix event", name)
		}
	}
}

func TestSplunkDetections(t *testing.T) {
	searches := stanzas(t, splunkApp+"default/savedsearches.conf")
	hasDetections(t, "savedsearches.conf", slices.Collect(maps.Keys(searches)))
	for name, s := range searches {
		if s["enableSched"] != "0" || s["cron_schedule"] == "" || s["alert.track"] != "1" ||
			s["dispatch.earliest_time"] == "" {
			t.Errorf("%s: not a schedule that an operator only has to enable: %v", name, s)
		}
	}
}

// A user may be absent, and stats drops the events without a field that it groups by.
func TestSplunkDetectionsKeepEventsWithoutUser(t *testing.T) {
	for name, s := range stanzas(t, splunkApp+"default/savedsearches.conf") {
		search := s["search"]
		if !regexp.MustCompile(`stats [^|]* BY [^|]*\buser\b`).MatchString(search) || strings.Contains(search, "user=*") {
			continue
		}
		if !regexp.MustCompile(`\| fillnull value="unknown" user \| stats`).MatchString(search) {
			t.Errorf("%s: drops events without a user: %s", name, search)
		}
	}
}

// The largest event is that of a message, 1 MiB.
func TestSplunkKeepsTheLargestEvent(t *testing.T) {
	limit := stanzas(t, splunkApp+"default/props.conf")["arbitex:audit"]["TRUNCATE"]
	if n, err := strconv.Atoi(limit); err != nil || n <= 1<<20 {
		t.Errorf("TRUNCATE = %s cuts events of 1 MiB", limit)
	}
	if !strings.Contains(read(t, "../docs/connectors/splunk.md"), "Set `"+limit+"`, as the app does.") {
		t.Errorf("docs/connectors/splunk.md does not say that the app sets TRUNCATE to %s", limit)
	}
}

func TestSplunkAppIsVisibleEverywhere(t *testing.T) {
	if stanzas(t, splunkApp+"metadata/default.meta")[""]["export"] != "system" {
		t.Error("default.meta does not export the app's fields")
	}
	app := stanzas(t, splunkApp+"default/app.conf")
	id := app["id"]
	if id["name"] != "arbitex_audit" || app["package"]["id"] != id["name"] || id["version"] != app["launcher"]["version"] {
		t.Errorf("app.conf: %v", app)
	}
}
