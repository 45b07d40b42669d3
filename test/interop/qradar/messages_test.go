// Package qradar reads the QRadar connector's messages with Elastic's CEF decoder and with a parser of RFC 5424.
package qradar

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/arbitex/siem-connectors/emulator/siem"

	"github.com/elastic/beats/v7/x-pack/filebeat/processors/decode_cef/cef"
	"github.com/leodido/go-syslog/v4/rfc5424"

	qradar "github.com/arbitex/siem-connectors/functions/qradar/connector"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
)

// hostile are texts that a receiver may take for a header, a key or the end of a message.
var hostile = []string{
	"CEF:0|Arbitex|P|1|1|ok|0|msg=x", "CEF:0", "a rt=1 suser=root", `a\=b`, `\\`, `\`, "a|b", `a\|b`, "a=b=c", "=",
	"line\nCEF:0|a|b|c|d|e|0|", "line\r\n<14>1 - - - - - - x", "tab\ttab", "null\u0000byte", "next\u0085line",
	"sep\u2028x",
	"  leading and trailing  ", "ünïcode 日本語 \U0001F600", "cs1Label=x cs1=y", "a truncated=1", `x\nCEF:0|`, "]", `"`,
	strings.Repeat("long ", 400), "tokenIn=999999", "é=1", "a,b,,c", " ", "%0aCEF:0|", "msg=\\", "act",
}

// hostileEvents has each hostile text in each field that a message carries.
func hostileEvents() (events []string) {
	for i, text := range hostile {
		q := strconv.Quote(text)
		q = strings.ReplaceAll(strings.ReplaceAll(q, `\x00`, `\u0000`), `\U0001f600`, "\U0001F600")
		for n, event := range []string{
			`"api":{"operation":%s}`, `"api":{"request":{"uid":%s},"operation":"op"}`, `"activity_name":%s`,
			`"actor":{"user":{"uid":%s}}`, `"actor":{"user":{"email_addr":%s}}`, `"src_endpoint":{"ip":%s}`,
			`"actor":{"user":{"groups":[{"uid":%s},{"uid":"b"}]}}`, `"unmapped":{"policy_action":%s}`,
			`"unmapped":{"model_id":%s}`, `"unmapped":{"dlp_labels":[%s,"b"]}`, `"metadata":{"uid":%s}`,
		} {
			events = append(events, fmt.Sprintf(`{"time":1741824000123,"class_uid":%d,"severity_id":6,`, 1000+100*i+n)+
				fmt.Sprintf(event, q)+"}")
		}
	}
	return events
}

func TestMessages(t *testing.T) {
	events := append(hostileEvents(), connectortest.Generated(11, 1000)...)
	for _, keys := range []string{"page", "standard"} {
		c := connectortest.Read(t, map[string]string{
			"QRADAR_SYSLOG_HOST": "192.0.2.1", "QRADAR_CEF_KEYS": keys, "QRADAR_MAX_MESSAGE_BYTES": "1000000",
		}, qradar.Open)
		for _, event := range events {
			record, _, err := c.Append(nil, connectortest.Parse(t, event))
			if err != nil {
				t.Fatalf("%.300s: %v", event, err)
			}
			if problem := check(t, event, strings.TrimSuffix(string(record), "\n"), keys); problem != "" {
				t.Errorf("%s keys: %s\nevent   %.600s\nmessage %.900s", keys, problem, event, record)
			}
		}
	}
	t.Logf("%d messages", 2*len(events))
}

// check returns what is wrong with a message of the event.
func check(t *testing.T, event, message, keys string) string {
	t.Helper()
	want, err := siem.ReadEvent([]byte(event))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := rfc5424.NewParser().Parse([]byte(message))
	if err != nil {
		return "RFC 5424: " + err.Error()
	}
	header := parsed.(*rfc5424.SyslogMessage)
	switch {
	case !header.Valid() || header.Timestamp == nil || !header.Timestamp.Equal(time.UnixMilli(want.Time)):
		return fmt.Sprintf("RFC 5424: timestamp %v", header.Timestamp)
	case header.Message == nil || header.Appname == nil || *header.Appname != "ArbitexPlatform":
		return fmt.Sprintf("RFC 5424: no message, or the application %v", header.Appname)
	}
	start := strings.Index(message, "CEF:") // receivers look for the first one of the whole line
	if *header.Message != message[start:] {
		return fmt.Sprintf("the first CEF: of the line is not the message's: %.100s", message[start:])
	}
	if strings.HasSuffix(message, " ") {
		return "blanks at the end, which receivers remove"
	}
	var e cef.Event
	err = e.Unpack(message[start:])
	if err != nil && (validAddress(want.SourceAddress) || !strings.HasPrefix(err.Error(), "error in field 'src'")) {
		return "CEF: " + err.Error()
	}
	severity, known := map[int64]string{0: "0", 1: "3", 2: "4", 3: "6", 4: "8", 5: "9", 6: "10"}[want.Severity]
	if !known {
		severity = "5"
	}
	switch {
	case e.DeviceVendor != "Arbitex" || e.DeviceProduct != "ArbitexPlatform" || e.DeviceVersion != "1.0":
		return fmt.Sprintf("device %q %q %q", e.DeviceVendor, e.DeviceProduct, e.DeviceVersion)
	case e.Severity != severity || e.DeviceEventClassID != fmt.Sprint(want.Class):
		return fmt.Sprintf("severity %q, class %q, want %q and %d", e.Severity, e.DeviceEventClassID, severity, want.Class)
	case e.Name != name(&want):
		return fmt.Sprintf("name %q, want %q", e.Name, name(&want))
	}
	return checkExtensions(&e, &want, keys)
}

// name is the operation, or the class without one.
func name(e *siem.Event) string {
	if e.Operation == nil || *e.Operation == "" {
		return fmt.Sprint("OCSF class ", e.Class)
	}
	return strings.NewReplacer("\r", " ", "\n", " ").Replace(printable(*e.Operation))
}

// validAddress is false for a source address that Elastic's decoder reports as an error of that field alone.
func validAddress(text *string) bool {
	if text == nil {
		return true
	}
	_, err := netip.ParseAddr(*text)
	return err == nil
}

// checkExtensions compares every key and value.
func checkExtensions(e *cef.Event, want *siem.Event, keys string) string {
	userID := "duid"
	if keys == "standard" {
		userID = "suid"
	}
	optional := map[string]*string{
		"suser": want.UserEmail, userID: want.UserID, "act": want.PolicyAction,
	}
	source := "src"
	if e.Extensions["shost"] != nil { // the source is no address
		source = "shost"
	}
	if valid := validAddress(want.SourceAddress); valid != (source == "shost") {
		optional[source] = want.SourceAddress
	}
	lists := map[string][]string{"cs2": want.DLPLabels, "cs3": want.Groups}
	expected := map[string]string{"rt": fmt.Sprint(want.Time), "cs1": ""}
	if want.PolicyAction != nil {
		expected["cs1"] = *want.PolicyAction
	}
	for key, value := range optional {
		if value != nil {
			expected[key] = *value
		}
	}
	for key, items := range lists {
		for i, item := range items {
			items[i] = strings.ReplaceAll(item, ",", " ")
		}
		expected[key] = strings.Join(items, ",")
	}
	last := "cs3" // which ends the message, whose blanks at the end a receiver removes
	if want.SourceAddress != nil && *want.SourceAddress != "" {
		last = source
	}
	if _, ok := expected[last]; ok {
		expected[last] = strings.TrimRight(printable(expected[last]), " ")
	}
	known := "cs1Label cs2Label cs3Label cs4Label cs4 cn1Label cn1 cn2Label cn2 externalId model tokenIn tokenOut"
	for key, field := range e.Extensions {
		value, ok := expected[key]
		switch {
		case !ok && !strings.Contains(" "+known+" ", " "+key+" "):
			return fmt.Sprintf("a key that the connector does not write: %q = %q", key, field.String)
		case ok && field.String != printable(value):
			return fmt.Sprintf("%s is %q, want %q", key, field.String, value)
		}
	}
	for key, value := range expected {
		if e.Extensions[key] == nil && printable(value) != "" {
			return fmt.Sprintf("%s is missing, want %q", key, value)
		}
	}
	return ""
}

// printable replaces the control characters that CEF cannot express, and other line breaks, by blanks.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\r' || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
}
