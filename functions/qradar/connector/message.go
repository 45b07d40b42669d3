package connector

import (
	"bytes"
	"fmt"
	"sort"
	"strconv"
	"unicode/utf8"

	"github.com/arbitex/siem-connectors/shared/event"
)

// A message is a syslog header (RFC 5424, section 6) and CEF:
//
//	<PRI>1 TIMESTAMP HOSTNAME APP-NAME - MSGID - CEF:0|vendor|product|version|class|name|severity|key=value key=value …
//
// It has no byte order mark, because some receivers then do not find "CEF:", and no line break.

// keys are the extension keys, each with the space before it and its label if it has one.
type keys struct {
	eventID, userEmail, userID, action, model, tokensInput, tokensOutput string // eventID may be "": not written
}

// The values of QRADAR_CEF_KEYS, in the order of keySets.
const (
	page = iota
	standard
)

var keySets = [...]keys{
	// Those of the platform's page. model, tokenIn and tokenOut are not in the CEF dictionary, where duid is the
	// destination user.
	page: {
		userEmail: " suser=", userID: " duid=", action: " act=",
		model: " model=", tokensInput: " tokenIn=", tokensOutput: " tokenOut=",
	},
	// All of these are in the CEF dictionary, so QRadar's Universal CEF parses them.
	standard: {
		eventID: " externalId=", userEmail: " suser=", userID: " suid=", action: " act=",
		model: " cs4Label=ModelId cs4=", tokensInput: " cn1Label=TokensInput cn1=",
		tokensOutput: " cn2Label=TokensOutput cn2=",
	},
}

// Keys of both sets. The labels are in every message, with or without a value.
const (
	actionKey    = " cs1Label=PolicyAction cs1="
	labelsKey    = " cs2Label=DlpLabels cs2="
	groupsKey    = " cs3Label=GroupIds cs3="
	sourceKey    = " src=" // if the event has a source address
	truncatedKey = " truncated=1"
)

// severities map OCSF's severity_id to syslog and CEF: PRI is facility local0 (16) times 8 and the syslog severity.
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

// minValue is the least that a value may be cut to: it keeps one character, escaped or not.
const minValue = utf8.UTFMax

// appendMessage appends e's message. If it has more than maxMessage bytes, items of cs3 are removed from the end, then
// items of cs2, then the longest values are cut.
func (c *connector) appendMessage(dst []byte, e *event.Event) (message []byte, truncated bool, err error) {
	start, most := len(dst), c.cfg.maxMessage
	dst = c.appendHead(dst, e, most)
	labels := len(dst)
	dst = appendList(dst, e.DLPLabels)
	dst = append(dst, groupsKey...)
	dst = appendList(dst, e.Groups)
	end := len(dst)
	if dst = appendText(dst, sourceKey, e.SourceAddress, most); len(dst)-start <= most {
		return dst, false, nil
	}
	source := bytes.Clone(dst[end:])
	bare := labels - start + len(groupsKey) + len(source) + len(truncatedKey)
	if room := most - bare; room >= 0 {
		dst, left := appendFitting(dst[:labels], e.DLPLabels, room)
		dst, _ = appendFitting(append(dst, groupsKey...), e.Groups, left) // none if labels were removed already
		return append(append(dst, source...), truncatedKey...), true, nil
	}
	limit := sort.Search(most, func(n int) bool { return len(c.appendCut(dst[:start], e, most-n))-start <= most })
	if limit = most - limit; limit < minValue {
		least := len(c.appendCut(dst[:start], e, minValue)) - start
		return dst, false, fmt.Errorf("encoding as cef: the message takes %d bytes with all values cut, and "+
			"QRADAR_MAX_MESSAGE_BYTES is %d", least, most)
	}
	return c.appendCut(dst[:start], e, limit), true, nil
}

// appendCut appends e's message without items of cs2 and cs3, and with at most limit bytes of each value.
func (c *connector) appendCut(dst []byte, e *event.Event, limit int) []byte {
	dst = c.appendHead(dst, e, limit)
	dst = append(dst, groupsKey...)
	dst = appendText(dst, sourceKey, e.SourceAddress, limit)
	return append(dst, truncatedKey...)
}

// appendHead appends everything up to the value of cs2, with at most limit bytes of each value.
func (c *connector) appendHead(dst []byte, e *event.Event, limit int) []byte {
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
	dst = appendName(dst, e, limit)
	dst = append(dst, severity.cef...)

	dst = append(dst, "rt="...)
	dst = strconv.AppendInt(dst, e.Time, 10)
	if c.keys.eventID != "" {
		dst = append(dst, c.keys.eventID...)
		start := len(dst)
		dst = cutTail(escapeTail(e.AppendID(dst), start, inValue), start, limit)
	}
	dst = appendText(dst, c.keys.userEmail, e.UserEmail, limit)
	dst = appendText(dst, c.keys.userID, e.UserID, limit)
	dst = appendText(dst, c.keys.action, e.PolicyAction, limit)
	dst = appendText(dst, c.keys.model, e.ModelID, limit)
	dst = appendNumber(dst, c.keys.tokensInput, e.TokensInput)
	dst = appendNumber(dst, c.keys.tokensOutput, e.TokensOutput)
	dst = append(dst, actionKey...)
	dst = appendValue(dst, e.PolicyAction, limit)
	return append(dst, labelsKey...)
}

// appendName appends CEF's name of the event, which must not be empty: the operation, or the class.
func appendName(dst []byte, e *event.Event, limit int) []byte {
	if e.Operation.Empty() {
		return strconv.AppendInt(append(dst, "OCSF class "...), e.Class, 10)
	}
	start := len(dst)
	return cutTail(escapeTail(e.Operation.Append(dst), start, inHeader), start, limit)
}

// appendText appends key and value, or nothing if there is no value.
func appendText(dst []byte, key string, value event.Text, limit int) []byte {
	if value.Empty() {
		return dst
	}
	return appendValue(append(dst, key...), value, limit)
}

func appendNumber(dst []byte, key string, value event.Integer) []byte {
	if !value.Present {
		return dst
	}
	return strconv.AppendInt(append(dst, key...), value.Value, 10)
}

func appendValue(dst []byte, value event.Text, limit int) []byte {
	start := len(dst)
	return cutTail(escapeTail(value.Append(dst), start, inValue), start, limit)
}

// appendList appends items separated by commas.
func appendList(dst []byte, items []event.Text) []byte {
	for i, item := range items {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendItem(dst, item)
	}
	return dst
}

// appendItem appends an item of a list. A comma in it becomes a space, or the item would read as two.
func appendItem(dst []byte, item event.Text) []byte {
	start := len(dst)
	dst = escapeTail(item.Append(dst), start, inValue)
	for i := start; i < len(dst); i++ {
		if dst[i] == ',' {
			dst[i] = ' '
		}
	}
	return dst
}

// appendFitting appends items, as appendList does, until one no longer fits into room bytes. It returns the room that
// is left, which is negative if an item was left out.
func appendFitting(dst []byte, items []event.Text, room int) (list []byte, left int) {
	for i, v := range items {
		before := len(dst)
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendItem(dst, v)
		if room -= len(dst) - before; room < 0 {
			return dst[:before], room
		}
	}
	return dst, room
}

// insertLength inserts the length of the message that begins at start before it: RFC 6587, section 3.4.1.
func insertLength(dst []byte, start int) []byte {
	n := len(dst) - start
	var digits [24]byte
	length := append(strconv.AppendInt(digits[:0], int64(n), 10), ' ')
	dst = append(dst, length...) // makes room
	copy(dst[start+len(length):], dst[start:start+n])
	copy(dst[start:], length)
	return dst
}
