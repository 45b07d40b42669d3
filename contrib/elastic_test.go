package contrib

import (
	"encoding/json"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	elasticTemplate     = "elastic/index-template.json"
	elastic7Template    = "elastic/elasticsearch-7.10/index-template.json"
	openSearchTemplate  = "elastic/opensearch/index-template.json"
	elasticPipeline     = "elastic/ingest-pipeline.json"
	openSearchPipeline  = "elastic/opensearch/ingest-pipeline.json"
	elasticDashboard    = "elastic/dashboard.ndjson"
	elasticDetections   = "elastic/detection-rules.ndjson"
	elasticFieldPattern = `\b(?:arbitex|event|user|source|gen_ai|entity|api|metadata)\.[a-z_.]+\b|\b(?:class|activity|severity|status)_(?:u?id)\b|@timestamp`
)

// object is a decoded JSON object.
type object = map[string]any

func TestElasticMapsAndMakesTheFields(t *testing.T) {
	var template struct{ Template struct{ Mappings object } }
	readJSON(t, elasticTemplate, &template)
	mapped := slices.Collect(maps.Keys(leaves("", template.Template.Mappings)))
	for _, f := range fields() {
		if !slices.Contains(mapped, f.elastic) {
			t.Errorf("index-template.json does not map %s", f.elastic)
		}
	}
	pipeline := read(t, elasticPipeline)
	for _, f := range fields() {
		for _, path := range f.paths {
			last := path[strings.LastIndexByte(path, '.')+1:]
			if !strings.Contains(pipeline, "'"+last+"'") && !strings.Contains(pipeline, "ctx."+last) {
				t.Errorf("ingest-pipeline.json does not read %s", path)
			}
		}
	}
}

// The variants differ from the main files in what their servers do not know, and in nothing else.
func TestElasticVariantsDifferInWhatTheirServersLack(t *testing.T) {
	var main, seven, open object
	readJSON(t, elasticTemplate, &main)
	readJSON(t, elastic7Template, &seven)
	readJSON(t, openSearchTemplate, &open)
	for _, variant := range []object{main, seven, open} {
		delete(variant, "_meta")
	}
	delete(dig(main, "template"), "lifecycle")
	limits := dig(main, "template", "settings", "index", "mapping", "total_fields")
	delete(limits, "ignore_dynamic_beyond_limit")
	limits["limit"] = 5000.0
	if !reflect.DeepEqual(main, seven) {
		t.Error("elasticsearch-7.10: differs in more than lifecycle and ignore_dynamic_beyond_limit")
	}
	properties := dig(main, "template", "mappings", "properties")
	properties["unmapped"] = dig(open, "template", "mappings", "properties", "unmapped")
	if !reflect.DeepEqual(main, open) {
		t.Error("opensearch: differs from elasticsearch-7.10 in more than the type of unmapped")
	}
	var pipeline, openPipeline struct{ Processors []object }
	readJSON(t, elasticPipeline, &pipeline)
	readJSON(t, openSearchPipeline, &openPipeline)
	without := slices.DeleteFunc(pipeline.Processors, func(p object) bool { return p["geoip"] != nil })
	if !reflect.DeepEqual(without, openPipeline.Processors) {
		t.Error("opensearch: the pipeline differs in more than the processor geoip")
	}
}

// rule is a detection rule in Kibana's export format.
type rule struct {
	RuleID   string `json:"rule_id"`
	Name     string
	Type     string
	Language string
	Query    string
	Severity string
	From, To string
	Interval string
	Index    []string
	Enabled  bool
	Risk     int      `json:"risk_score"`
	NewTerms []string `json:"new_terms_fields"`
	Exported int      `json:"exported_rules_count"`
}

func elasticRules(t *testing.T) (rules []rule, exported int) {
	t.Helper()
	all := readLines[rule](t, elasticDetections)
	return all[:len(all)-1], all[len(all)-1].Exported
}

func TestElasticRulesFollowTheExportFormat(t *testing.T) {
	rules, exported := elasticRules(t)
	if exported != len(rules) {
		t.Errorf("the last line counts %d rules of %d", exported, len(rules))
	}
	languages := map[string]string{"query": "lucene", "threshold": "lucene", "new_terms": "lucene", "eql": "eql",
		"esql": "esql"}
	var names, ids []string
	for _, r := range rules {
		names, ids = append(names, r.Name), append(ids, r.RuleID)
		if languages[r.Type] != r.Language {
			t.Errorf("%s: type %q has the language %q", r.Name, r.Type, r.Language)
		}
		if !slices.Contains([]string{"low", "medium", "high", "critical"}, r.Severity) || r.Risk < 1 || r.Risk > 100 {
			t.Errorf("%s: severity %q, risk score %d", r.Name, r.Severity, r.Risk)
		}
		if !regexp.MustCompile(`^now-\d+[smhd] now \d+[smhd]$`).MatchString(r.From + " " + r.To + " " + r.Interval) {
			t.Errorf("%s: from %q to %q every %q", r.Name, r.From, r.To, r.Interval)
		}
		if (r.Type == "esql") != (r.Index == nil) {
			t.Errorf("%s: only ES|QL names its index in the query", r.Name)
		}
		if r.Enabled {
			t.Errorf("%s is enabled at import", r.Name)
		}
	}
	hasDetections(t, "detection-rules.ndjson", names)
	slices.Sort(ids)
	if len(slices.Compact(ids)) != len(rules) {
		t.Error("two rules have one rule_id")
	}
	var template struct{ Template struct{ Mappings object } }
	readJSON(t, elasticTemplate, &template)
	mapped := leaves("", template.Template.Mappings)
	for _, r := range rules {
		text := r.Query + " " + strings.Join(r.NewTerms, " ")
		for _, name := range regexp.MustCompile(elasticFieldPattern).FindAllString(text, -1) {
			if mapped[name] == "" {
				t.Errorf("%s: the template does not map %s", r.Name, name)
			}
		}
	}
}

// savedObject is a line of Kibana's export format.
type savedObject struct {
	ID, Type   string
	Attributes struct {
		Title      string
		VisState   string
		PanelsJSON string
		Columns    []string
		Meta       struct {
			SearchSourceJSON string
		} `json:"kibanaSavedObjectMeta"`
	}
	References []struct{ Name, Type, ID string }
	Exported   int `json:"exportedCount"`
}

func TestElasticDashboardIsComplete(t *testing.T) {
	objects := readLines[savedObject](t, elasticDashboard)
	details := objects[len(objects)-1]
	objects = objects[:len(objects)-1]
	if details.Exported != len(objects) {
		t.Errorf("the last line counts %d objects of %d", details.Exported, len(objects))
	}
	known := map[string]bool{}
	for _, o := range objects {
		known[o.Type+"/"+o.ID] = true
	}
	for _, o := range objects {
		for _, r := range o.References {
			if !known[r.Type+"/"+r.ID] {
				t.Errorf("%s refers to %s/%s, which is not in the file", o.ID, r.Type, r.ID)
			}
		}
		if o.Type != "dashboard" {
			continue
		}
		var panels []struct {
			PanelRefName string
			GridData     struct{ X, W int }
		}
		decode(t, []byte(o.Attributes.PanelsJSON), &panels)
		if len(panels) != len(o.References) || len(panels) != len(objects)-2 {
			t.Errorf("%d panels, %d references, %d objects", len(panels), len(o.References), len(objects))
		}
		for _, p := range panels {
			if p.GridData.X+p.GridData.W > 48 {
				t.Errorf("%s is wider than the grid's 48 columns", p.PanelRefName)
			}
		}
	}
}

// dig returns the object at the keys.
func dig(o object, keys ...string) object {
	for _, key := range keys {
		o, _ = o[key].(object)
	}
	return o
}

// leaves returns the typed fields of a mapping. A field of type flattened is replaced by the paths below it in the
// table of fields.
func leaves(prefix string, mapping object) map[string]string {
	found := map[string]string{}
	for name, p := range dig(mapping, "properties") {
		child, _ := p.(object)
		path := prefix + name
		kind, _ := child["type"].(string)
		switch {
		case child["properties"] != nil:
			maps.Copy(found, leaves(path+".", child))
		case kind == "flattened":
			for _, f := range fields() {
				for _, p := range f.paths {
					if strings.HasPrefix(p, path+".") {
						found[p] = "keyword"
					}
				}
			}
		default:
			found[path] = kind
		}
	}
	return found
}

// valueAt returns the first value at a path of a decoded document, nil when there is none.
func valueAt(v any, path string) any {
	if list, ok := v.([]any); ok {
		for _, element := range list {
			if found := valueAt(element, path); found != nil {
				return found
			}
		}
		return nil
	}
	if path == "" {
		return v
	}
	key, rest, _ := strings.Cut(path, ".")
	o, ok := v.(object)
	if !ok || o[key] == nil {
		return nil
	}
	return valueAt(o[key], rest)
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
