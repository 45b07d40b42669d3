package ocsfgen_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/ocsfgen"
)

const sample = 2000

func TestNextIsDeterministic(t *testing.T) {
	a, b, other := ocsfgen.New(1), ocsfgen.New(1), ocsfgen.New(2)
	differs := false
	for i := range 200 {
		x, y, z := a.Next(), b.Next(), other.Next()
		if !bytes.Equal(x, y) {
			t.Fatalf("event %d of one seed:\n%s\n%s", i, x, y)
		}
		differs = differs || !bytes.Equal(x, z)
	}
	if !differs {
		t.Error("two seeds made the same events")
	}
}

func TestNextUsesTheClock(t *testing.T) {
	g := ocsfgen.New(1)
	g.Now = func() time.Time { return time.UnixMilli(1_741_824_000_123) }
	if got := decode(t, g.Next())["time"].(json.Number); got != "1741824000123" {
		t.Errorf("time = %s, want the clock's", got)
	}
}

// TestEventsAreValid holds the events against the parts of the schema that can go wrong here: required attributes,
// values of enums, attributes that belong to a profile, type_uid, and the constraints of objects. Each is on one line
// and has an id of its own.
func TestEventsAreValid(t *testing.T) {
	count, seen := map[string]int{}, map[any]bool{}
	g := ocsfgen.New(4)
	for range sample {
		raw := g.Next()
		e := decode(t, raw)
		class, uid := fmt.Sprint(e["class_uid"]), at(e, "metadata.uid")
		count[class]++
		var compact bytes.Buffer
		if err := json.Compact(&compact, raw); err != nil || !bytes.Equal(compact.Bytes(), raw) {
			t.Errorf("not compact (%v): %s", err, raw)
		}
		if uid == "" || seen[uid] {
			t.Errorf("metadata.uid %q is empty or was used before", uid)
		}
		seen[uid] = true
		for _, problem := range problems(e, class) {
			t.Errorf("%s: %s", problem, raw)
		}
		if t.Failed() {
			return
		}
	}
	for class := range required {
		if count[class] < sample/20 {
			t.Errorf("class %s came %d times in %d", class, count[class], sample)
		}
	}
}

var base = []string{"activity_id", "category_uid", "class_uid", "metadata", "metadata.product.vendor_name",
	"metadata.product.name", "metadata.version", "metadata.uid", "severity_id", "time", "type_uid", "unmapped"}

var required = map[string][]string{
	"6003": {"actor.user.uid", "api.operation", "api.request.uid", "src_endpoint.ip"},
	"2001": {"finding.title", "finding.uid", "state_id", "cloud.provider", "api.operation", "api.request.uid",
		"analytic.type_id"},
	"3002": {"user.uid", "service.name", "cloud.provider", "actor.user.uid", "api.request.uid"},
	"3004": {"entity.uid", "cloud.provider", "actor.user.uid", "api.request.uid"},
}

// profiles holds the profile an attribute belongs to in all classes but those named.
var profiles = []struct{ attribute, profile, except string }{
	{"api", "cloud", "6003"}, {"cloud", "cloud", ""}, {"actor", "host", "6003 3002"},
}

var activities = map[string]string{"6003": "1 2 3 4", "2001": "1 2 3", "3002": "1 2 3 4 5", "3004": "1 2 3 4"}

func problems(e map[string]any, class string) []string {
	var out []string
	for _, path := range slices.Concat(base, required[class]) {
		if at(e, path) == nil {
			out = append(out, path+" is required")
		}
	}
	if want := fmt.Sprintf("%s%02s", class, e["activity_id"]); fmt.Sprint(e["type_uid"]) != want {
		out = append(out, fmt.Sprintf("type_uid is %v, not %s", e["type_uid"], want))
	}
	if !among(fmt.Sprint(e["activity_id"]), activities[class]) {
		out = append(out, fmt.Sprintf("activity_id %v", e["activity_id"]))
	}
	if !among(fmt.Sprint(e["severity_id"]), "0 1 2 3 4 5 6 99") {
		out = append(out, fmt.Sprintf("severity_id %v", e["severity_id"]))
	}
	if class[:1] != fmt.Sprint(e["category_uid"]) || at(e, "metadata.version") != "1.1.0" {
		out = append(out, "category_uid or metadata.version")
	}
	named, _ := at(e, "metadata.profiles").([]any)
	for _, p := range profiles {
		if e[p.attribute] != nil && !strings.Contains(p.except, class) && !slices.Contains(named, any(p.profile)) {
			out = append(out, p.attribute+" needs the profile "+p.profile)
		}
	}
	if class == "2001" && (e["actor"] != nil || e["src_endpoint"] != nil) {
		out = append(out, "a security finding has no actor and no src_endpoint")
	}
	return out
}

// TestEventsAreAwkward makes sure that what tends to break an encoder is there.
func TestEventsAreAwkward(t *testing.T) {
	var all []byte
	small, large := 0, 0
	g := ocsfgen.New(5)
	for range sample {
		raw := g.Next()
		if len(raw) < 700 {
			t.Errorf("%d bytes: %s", len(raw), raw)
		}
		if len(raw) <= 1900 {
			small++
		}
		if len(raw) > 64_000 {
			large++
		}
		all = append(all, raw...)
	}
	for _, want := range []string{`\"`, `\\`, `|`, `=`, `\n`, `\r`, `\/`, `\u0065`, `\ud83d\ude80`, `🔐`, `مرحبا`, `\u2028`,
		`<script>`, `9007199254740993`, `0.00120`, `-0.0`, `"dlp_labels":[]`, `"groups":[`, `"group_ids":[`,
		`"policy_ref":null`} {
		if !bytes.Contains(all, []byte(want)) {
			t.Errorf("no event holds %s", want)
		}
	}
	if small < sample*9/10 || large == 0 {
		t.Errorf("%d of %d up to 1,900 bytes and %d over 64,000", small, sample, large)
	}
}

func TestSpoiledEventIsFound(t *testing.T) {
	g := ocsfgen.New(6)
	for range 50 {
		e := decode(t, g.Next())
		delete(e["metadata"].(map[string]any), "product")
		e["type_uid"] = json.Number("1")
		if len(problems(e, fmt.Sprint(e["class_uid"]))) < 3 {
			t.Fatal("the rules of this test let a spoiled event pass")
		}
	}
}

func decode(t *testing.T, raw []byte) map[string]any {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var e map[string]any
	if err := decoder.Decode(&e); err != nil {
		t.Fatalf("decoding %s: %v", raw, err)
	}
	return e
}

func at(e map[string]any, path string) any {
	var value any = e
	for key := range strings.SplitSeq(path, ".") {
		object, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = object[key]
	}
	return value
}

func among(value, list string) bool { return slices.Contains(strings.Fields(list), value) }
