package contrib

import (
	"encoding/xml"
	"regexp"
	"slices"
	"strings"
	"testing"

	qradar "github.com/arbitex/siem-connectors/functions/qradar/connector"
)

// forging has keys of the extension in its operation, which is a field of the CEF header, and in its values.
const forging = `{"class_uid":6003,"time":1741824000123,"severity_id":4,"actor":{"user":{"uid":"user=abc","email_addr":"alice@example.com suser=root src=9.9.9.9",` +
	`"groups":[{"uid":"g1"},{"uid":"g2"}]}},"api":{"request":{"uid":"x"},"operation":"o suser=root act=allow src=9.9.9.9 cs2=none cn1=9 tokenIn=9 rt=1"},` +
	`"metadata":{"uid":"evt-1"},"src_endpoint":{"ip":"198.51.100.7"},"unmapped":{"model_id":"gpt-4o","policy_action":"redact","dlp_labels":["pii","pci"],"tokens_input":512,"tokens_output":256}}`

// messages returns the CEF messages of an event by the value of QRADAR_CEF_KEYS, with src= also from a connector
// that does not send it.
func messages(t *testing.T, event string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, mode := range []string{"page", "standard"} {
		b, err := appendEvent(t, qradar.Open, event, "QRADAR_SYSLOG_HOST", "q", "QRADAR_CEF_KEYS", mode)
		if err != nil {
			t.Fatal(err)
		}
		message := strings.TrimRight(string(b), "\n")
		if !strings.Contains(message, " src=198.51.100.7") {
			message += " src=198.51.100.7"
		}
		all[mode] = message
	}
	return all
}

func TestQRadarPropertiesFindWhatIsSent(t *testing.T) {
	want := map[string]string{
		"Operation": "chat_completion", "User Email": "alice@example.com", "User Id": `user\=abc`,
		"Source Address":  "198.51.100.7",
		"Event Time (ms)": "1741824000123", "Event Id": "evt-1", "Policy Action": "redact", "Action": "redact",
		"DLP Labels": "pii,pci",
		"Group Ids":  "g1,g2", "Model Id": "gpt-4o", "Tokens Input": "512", "Tokens Output": "256",
	}
	forged := map[string]string{
		"Operation":  "o suser=root act=allow src=9.9.9.9 cs2=none cn1=9 tokenIn=9 rt=1",
		"User Email": `alice@example.com suser\=root src\=9.9.9.9`,
	}
	columns := map[string]int{"page": 2, "standard": 3}
	rows := readCSV(t, "qradar/properties.csv")
	for _, event := range []string{full, forging} {
		for mode, message := range messages(t, event) {
			seen := map[string]bool{"truncated": true} // only in messages that are too long
			for _, row := range rows {
				expression := row[columns[mode]]
				if expression == "" || row[0] == "Truncated" {
					continue
				}
				value := want[row[0]]
				if other, ok := forged[row[0]]; ok && event == forging {
					value = other
				}
				found := regexp.MustCompile(expression).FindStringSubmatch(message)
				if found == nil || found[1] != value {
					t.Errorf("%s, %s: finds %q, want %q in %s", row[0], mode, found, value, message)
				}
				if key := regexp.MustCompile(`(\w+)=\(`).FindStringSubmatch(expression); key != nil {
					seen[key[1]] = true
				}
			}
			if event == forging {
				continue
			}
			for _, key := range regexp.MustCompile(`[ |](\w+)=`).FindAllStringSubmatch(message, -1) {
				if !seen[key[1]] && !strings.HasSuffix(key[1], "Label") {
					t.Errorf("%s: no property reads the key %s", mode, key[1])
				}
			}
		}
	}
}

// extension is the format of IBM's log source extensions.
type extension struct {
	XMLName  xml.Name `xml:"event_parsing/device_extension device-extension"`
	Patterns []struct {
		ID   string `xml:"id,attr"`
		Text string `xml:",chardata"`
	} `xml:"pattern"`
	Groups []struct {
		Order    int `xml:"order,attr"`
		Matchers []struct {
			Field   string     `xml:"field,attr"`
			Order   int        `xml:"order,attr"`
			Pattern string     `xml:"pattern-id,attr"`
			Group   int        `xml:"capture-group,attr"`
			ExtData string     `xml:"ext-data,attr"`
			Other   []xml.Attr `xml:",any,attr"`
		} `xml:"matcher"`
		Multiple []struct {
			Pattern      string `xml:"pattern-id,attr"`
			Category     string `xml:"device-event-category,attr"`
			SendIdentity string `xml:"send-identity,attr"`
		} `xml:"event-match-multiple"`
		Other []struct{ XMLName xml.Name } `xml:",any"`
	} `xml:"match-group"`
	Other []struct{ XMLName xml.Name } `xml:",any"`
}

func TestQRadarExtensionFollowsTheFormat(t *testing.T) {
	var e extension
	if err := xml.Unmarshal([]byte(read(t, "qradar/log-source-extension.xml")), &e); err != nil {
		t.Fatal(err)
	}
	if len(e.Other) > 0 || len(e.Groups) != 1 || len(e.Groups[0].Other) > 0 || len(e.Groups[0].Multiple) != 1 {
		t.Fatalf("unknown elements %v, or not one match group with one event-match-multiple", e.Other)
	}
	patterns := map[string]*regexp.Regexp{}
	for _, p := range e.Patterns {
		if patterns[p.ID] != nil {
			t.Errorf("two patterns are called %s", p.ID)
		}
		patterns[p.ID] = regexp.MustCompile(p.Text)
	}
	known := []string{"EventName", "EventCategory", "DeviceTime", "SourceIp", "SourceIpv6", "UserName", "GroupName"}
	used := map[string]bool{e.Groups[0].Multiple[0].Pattern: true}
	for _, m := range e.Groups[0].Matchers {
		if !slices.Contains(known, m.Field) || len(m.Other) > 0 || m.Order < 1 {
			t.Errorf("matcher of %q: order %d, unknown attributes %v", m.Field, m.Order, m.Other)
		}
		if p := patterns[m.Pattern]; p == nil || p.NumSubexp() != m.Group {
			t.Errorf("%s: the pattern %q has no capture group %d", m.Field, m.Pattern, m.Group)
		}
		used[m.Pattern] = true
	}
	if len(used) != len(patterns) {
		t.Errorf("%d patterns, %d used", len(patterns), len(used))
	}
	want := map[string]string{
		"EventName": "6003", "EventCategory": "ArbitexPlatform", "DeviceTime": "2025-03-13T00:00:00.123Z",
		"SourceIp": "198.51.100.7",
		"UserId":   `user\=abc`, "GroupName": "g1,g2",
	}
	for _, event := range []string{full, forging} {
		for mode, message := range messages(t, event) {
			for id, value := range want {
				if found := patterns[id].FindStringSubmatch(message); found == nil || found[1] != value {
					t.Errorf("%s, %s: finds %q, want %q in %s", id, mode, found, value, message)
				}
			}
			if !patterns["AllEvents"].MatchString(message) || patterns["SourceIpv6"].MatchString(message) {
				t.Errorf("%s: AllEvents does not match, or SourceIpv6 matches", mode)
			}
			if six := strings.Replace(message, "src=198.51.100.7", "src=2001:db8::1",
				1); !patterns["SourceIpv6"].MatchString(six) {
				t.Errorf("%s: SourceIpv6 does not match %s", mode, six)
			}
		}
	}
}

func TestQRadarMappingHasTheClasses(t *testing.T) {
	message := messages(t, full)["page"]
	var classes []string
	for _, row := range readCSV(t, "qradar/event-mapping.csv") {
		classes = append(classes, row[0])
		if !strings.Contains(message, "|"+row[1]+"|") {
			t.Errorf("category %q is not the device product", row[1])
		}
	}
	for _, class := range []string{"6003", "2001", "3002", "3004"} {
		if !slices.Contains(classes, class) {
			t.Errorf("the platform's class %s is not mapped", class)
		}
	}
	if !strings.Contains(read(t, "../docs/connectors/qradar.md"), "`"+strings.Fields(message)[2]+"`") {
		t.Error("qradar.md: the identifier is not the HOSTNAME that is sent")
	}
}

func TestQRadarRules(t *testing.T) {
	var names []string
	page := read(t, "../docs/connectors/qradar.md")
	for _, m := range regexp.MustCompile(`(?m)^### (.*)$`).FindAllStringSubmatch(page, -1) {
		names = append(names, m[1])
	}
	hasDetections(t, "qradar.md", names)
	hasNames(t, "messages", messages(t, full)["standard"], func(f field) string { return f.cef })
}
