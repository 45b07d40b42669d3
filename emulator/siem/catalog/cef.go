package catalog

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/ocsf"
)

// QRadar receives fields of an event, not the whole event. The functions below return these fields of an event and of a
// message as one text each. Two texts are equal if all fields are equal.

// columns are the compared fields, by their names in Accepted.Fields. rt is the event's time.
var columns = []string{
	"externalId", "rt", "class", "name", "severity", "msgid", "suser", "suid", "act", "cs4", "cn1", "cn2", "cs1", "cs2",
	"cs3", "src",
}

// cefOfEvent returns the fields that the message of an event must have. An invalid event is its own key.
func cefOfEvent(body []byte) string {
	e, err := ocsf.Read(body)
	if err != nil {
		return string(body)
	}
	fields := map[string]string{
		"externalId": siem.EventID(body), "rt": strconv.FormatInt(e.Time, 10), "class": strconv.FormatInt(e.Class, 10),
		"name": cefName(e), "severity": cefSeverity(e.Severity), "msgid": messageID(e.RequestID),
		"suser": word(e.UserEmail), "suid": word(e.UserID), "act": word(e.PolicyAction), "cs4": word(e.ModelID),
		"cn1": number(e.TokensInput), "cn2": number(e.TokensOutput),
		"cs1": word(e.PolicyAction), "cs2": list(e.DLPLabels), "cs3": list(e.Groups), "src": word(e.SourceAddress),
	}
	last := "cs3" // without the blanks at the end of the message
	if fields["src"] != "" {
		last = "src"
	}
	fields[last] = strings.TrimRightFunc(fields[last], func(r rune) bool {
		return r != '\n' && r != '\r' && blank(r) == ' '
	})
	return cefKey(fields)
}

// cefOfMessage returns the fields of a message.
func cefOfMessage(a siem.Accepted) string { return cefKey(maps.Clone(a.Fields)) }

func cefKey(fields map[string]string) string {
	values := make([]string, len(columns))
	for i, column := range columns {
		values[i] = column + "=" + strings.Map(blank, fields[column])
	}
	key, _ := json.Marshal(values) // texts always marshal
	return string(key)
}

// blank replaces the characters for which CEF has no escape.
func blank(r rune) rune {
	if r < ' ' || 0x7f <= r && r < 0xa0 || slices.Contains([]rune{0x2028, 0x2029}, r) {
		return ' '
	}
	return r
}

func cefName(e ocsf.Event) string {
	if word(e.Operation) == "" {
		return "OCSF class " + strconv.FormatInt(e.Class, 10)
	}
	return *e.Operation
}

// cefSeverity returns the CEF severity by the table of the wire format.
func cefSeverity(id int64) string {
	severity, ok := map[int64]string{0: "0", 1: "3", 2: "4", 3: "6", 4: "8", 5: "9", 6: "10"}[id]
	if !ok {
		return "5"
	}
	return severity
}

// messageID returns the MSGID of a request id: without characters that the wire format excludes, at most 32 characters
// long, without hyphens if necessary.
func messageID(id *string) string {
	const most = 32
	text := notMessageID.ReplaceAllString(word(id), "")
	if len(text) > most {
		text = strings.ReplaceAll(text, "-", "")
	}
	if text == "" {
		return "-"
	}
	return text[:min(len(text), most)]
}

var notMessageID = regexp.MustCompile(`[^A-Za-z0-9._-]`)

// list joins the items of a list. A comma in an item becomes a space.
func list(items []string) string {
	joined := make([]string, len(items))
	for i, item := range items {
		joined[i] = strings.ReplaceAll(item, ",", " ")
	}
	return strings.Join(joined, ",")
}

func word(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func number(n *int64) string {
	if n == nil {
		return ""
	}
	return strconv.FormatInt(*n, 10)
}
