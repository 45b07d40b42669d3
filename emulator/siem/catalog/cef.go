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

// QRadar gets an event's columns and not its bytes: here is what they are, from the event and from the message that came.
// Both are written as one text, so that two are the same when every column is.

// columns are those compared, by their names in Accepted.Fields. rt is the event's time.
var columns = []string{
	"externalId", "rt", "class", "name", "severity", "msgid", "suser", "suid", "act", "cs4", "cn1", "cn2", "cs1", "cs2", "cs3",
}

// cefOfEvent returns the columns that an event must come with. What is no event has none and is its own key.
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
		"cs1": word(e.PolicyAction), "cs2": strings.Join(e.DLPLabels, ","), "cs3": strings.Join(e.Groups, ","),
	}
	return cefKey(fields)
}

// cefOfMessage returns the columns that a message came with.
func cefOfMessage(a siem.Accepted) string { return cefKey(maps.Clone(a.Fields)) }

// hashed is the form of an id that an event without one of its own gets, of its bytes as they were enqueued. It is left out
// of the key: a dead letter's body has lost the white space that went into it.
var hashed = regexp.MustCompile(`^[0-9a-f]{32}$`)

func cefKey(fields map[string]string) string {
	if hashed.MatchString(fields["externalId"]) {
		delete(fields, "externalId")
	}
	values := make([]string, len(columns))
	for i, column := range columns {
		values[i] = column + "=" + strings.Map(blank, fields[column])
	}
	key, _ := json.Marshal(values) // texts always marshal
	return string(key)
}

// blank is what CEF makes of the characters it has no escape for.
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

// cefSeverity is the contract's table.
func cefSeverity(id int64) string {
	severity, ok := map[int64]string{0: "0", 1: "3", 2: "4", 3: "6", 4: "8", 5: "9", 6: "10"}[id]
	if !ok {
		return "5"
	}
	return severity
}

// messageID makes a request id fit for the syslog header: printable, at most 32 characters, without hyphens if need be.
func messageID(id *string) string {
	const most = 32
	text := strings.Map(func(r rune) rune {
		if r < '!' || '~' < r {
			return -1
		}
		return r
	}, word(id))
	if len(text) > most {
		text = strings.ReplaceAll(text, "-", "")
	}
	if text == "" {
		return "-"
	}
	return text[:min(len(text), most)]
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
