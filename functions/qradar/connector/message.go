package connector

import (
	"fmt"
	"strconv"

	"github.com/arbitex/siem-connectors/shared/event"
)

// A message is a syslog header (RFC 5424, section 6) and CEF:
//
//	<PRI>1 TIMESTAMP HOSTNAME APP-NAME - MSGID - CEF:0|vendor|product|version|class|name|severity|key=value key=value …
//
// It has no byte order mark, which keeps receivers from finding "CEF:", and no line break.

// keys are the extension keys, each with the blank before it and the label where it needs one.
type keys struct {
	eventID, userEmail, userID, action, model, tokensInput, tokensOutput string // eventID may be "": not written
}

// The values of QRADAR_CEF_KEYS, in the order of keySets.
const (
	page = iota
	standard
)

var keySets = [...]keys{
	// Those of the platform's page. model, tokenIn and tokenOut are not in CEF's dictionary, and duid is there the user an
	// event happens to.
	page: {
		userEmail: " suser=", userID: " duid=", action: " act=",
		model: " model=", tokensInput: " tokenIn=", tokensOutput: " tokenOut=",
	},
	// All of these are in CEF's dictionary, so that QRadar's Universal CEF parses them unaided.
	standard: {
		eventID: " externalId=", userEmail: " suser=", userID: " suid=", action: " act=",
		model: " cs4Label=ModelId cs4=", tokensInput: " cn1Label=TokensInput cn1=", tokensOutput: " cn2Label=TokensOutput cn2=",
	},
}

// These are in every message, with or without a value.
const (
	actionKey    = " cs1Label=PolicyAction cs1="
	labelsKey    = " cs2Label=DlpLabels cs2="
	groupsKey    = " cs3Label=GroupIds cs3="
	truncatedKey = " truncated=1"
)

// severities are OCSF's severity_id as syslog and CEF have it: PRI is facility local0 (16) times 8 and the syslog severity.
var severities = [...]struct{ pri, cef string }{
	0: {"<134>1 ", "|0|"},
	1: {"<134>1 ", "|3|"},
	2: {"<133>1 ", "|4|"},
	3: {"<132>1 ", "|6|"},
	4: {"<131>1 ", "|8|"},
	5: {"<130>1 ", "|9|"},
	6: {"<129>1 ", "|10|"},
	7: {"<134>1 ", "|5|"}, // other
}

const other = 7

// appendMessage appends e's message, which has at most maxMessage bytes.
func (c *connector) appendMessage(dst []byte, e *event.Event) (message []byte, truncated bool, err error) {
	start := len(dst)
	dst = c.appendHead(dst, e)
	labels := len(dst)
	dst = appendList(dst, e.DLPLabels)
	dst = append(dst, groupsKey...)
	dst = appendList(dst, e.Groups)
	if len(dst)-start <= c.cfg.maxMessage {
		return dst, false, nil
	}
	bare := labels - start + len(groupsKey)
	room := c.cfg.maxMessage - bare - len(truncatedKey)
	if room < 0 {
		return dst, false, fmt.Errorf("encoding as cef: the message takes %d bytes without groups and labels, and QRADAR_MAX_MESSAGE_BYTES is %d",
			bare, c.cfg.maxMessage)
	}
	dst, left := appendFitting(dst[:labels], e.DLPLabels, room)
	dst, _ = appendFitting(append(dst, groupsKey...), e.Groups, left) // none when labels were left out already
	return append(dst, truncatedKey...), true, nil
}

// appendHead appends everything up to the value of cs2.
func (c *connector) appendHead(dst []byte, e *event.Event) []byte {
	severity := &severities[other]
	if 0 <= e.Severity && e.Severity < other {
		severity = &severities[e.Severity]
	}
	dst = append(dst, severity.pri...)
	dst = e.AppendTime(dst)
	dst = append(dst, c.origin...)
	dst = appendMessageID(dst, e.RequestID)
	dst = append(dst, c.device...)
	dst = strconv.AppendInt(dst, e.Class, 10)
	dst = append(dst, '|')
	dst = appendName(dst, e)
	dst = append(dst, severity.cef...)

	dst = append(dst, "rt="...)
	dst = strconv.AppendInt(dst, e.Time, 10)
	if c.keys.eventID != "" {
		dst = append(dst, c.keys.eventID...)
		start := len(dst)
		dst = escapeTail(e.AppendID(dst), start, inValue)
	}
	dst = appendText(dst, c.keys.userEmail, e.UserEmail)
	dst = appendText(dst, c.keys.userID, e.UserID)
	dst = appendText(dst, c.keys.action, e.PolicyAction)
	dst = appendText(dst, c.keys.model, e.ModelID)
	dst = appendNumber(dst, c.keys.tokensInput, e.TokensInput)
	dst = appendNumber(dst, c.keys.tokensOutput, e.TokensOutput)
	dst = append(dst, actionKey...)
	dst = appendValue(dst, e.PolicyAction)
	return append(dst, labelsKey...)
}

// appendName appends CEF's name of the event, which must not be empty: the operation, else the class once more.
func appendName(dst []byte, e *event.Event) []byte {
	if e.Operation.Empty() {
		return strconv.AppendInt(append(dst, "OCSF class "...), e.Class, 10)
	}
	start := len(dst)
	return escapeTail(e.Operation.Append(dst), start, inHeader)
}

// appendText appends key and value, nothing when there is no value.
func appendText(dst []byte, key string, value event.Text) []byte {
	if value.Empty() {
		return dst
	}
	return appendValue(append(dst, key...), value)
}

func appendNumber(dst []byte, key string, value event.Integer) []byte {
	if !value.Present {
		return dst
	}
	return strconv.AppendInt(append(dst, key...), value.Value, 10)
}

func appendValue(dst []byte, value event.Text) []byte {
	start := len(dst)
	return escapeTail(value.Append(dst), start, inValue)
}

// appendList appends values separated by commas.
func appendList(dst []byte, values []event.Text) []byte {
	for i, v := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendValue(dst, v)
	}
	return dst
}

// appendFitting appends values, as appendList does, until one no longer fits into room bytes. It returns the room that is
// left, which is negative when a value was left out.
func appendFitting(dst []byte, values []event.Text, room int) (list []byte, left int) {
	for i, v := range values {
		before := len(dst)
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendValue(dst, v)
		if room -= len(dst) - before; room < 0 {
			return dst[:before], room
		}
	}
	return dst, room
}

// insertLength puts the length of the message that begins at start before it: RFC 6587, section 3.4.1.
func insertLength(dst []byte, start int) []byte {
	n := len(dst) - start
	var digits [24]byte
	length := append(strconv.AppendInt(digits[:0], int64(n), 10), ' ')
	dst = append(dst, length...) // makes room
	copy(dst[start+len(length):], dst[start:start+n])
	copy(dst[start:], length)
	return dst
}
