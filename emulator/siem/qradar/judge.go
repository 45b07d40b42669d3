package qradar

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// hostname is the log source identifier. QRadar assigns a message to a log source by the HOSTNAME of its header, and
// messages with an unknown one to "SIM Generic".
// https://www.ibm.com/docs/en/qsip/7.6.0?topic=options-multiple-log-sources-over-tls-syslog
const hostname = "platform.arbitex.ai"

// take accepts a message, or records why QRadar would not create an event from it.
func (s *Simulator) take(message []byte) {
	s.Arrived(int64(len(message)))
	if len(message) > s.source.Payload {
		s.Violate("a message of %d bytes is over the payload limit of %d: QRadar would cut it", len(message),
			s.source.Payload)
		return
	}
	m, err := Parse(message)
	if err != nil {
		s.Violate("%v", err)
		return
	}
	if m.Hostname != hostname {
		s.Violate("HOSTNAME %q is not a log source", m.Hostname)
		return
	}
	s.judge(m)
	fields := map[string]string{
		"hostname": m.Hostname, "app_name": m.AppName, "msgid": m.MsgID, "class": m.ClassID, "name": m.Name,
		"severity": strconv.Itoa(m.Severity), "message": string(bytes.Clone(message)),
	}
	for _, f := range m.Extension {
		fields[f.Key] = f.Value
	}
	truncated, _ := m.Value("truncated")
	if id := identity(m); !s.Loses(id) {
		s.Accept(siem.Accepted{ID: id, Fields: fields, Truncated: truncated == "1"})
	}
}

// identity returns the event id if the keys contain it, else the request id and the time.
func identity(m *Message) string {
	if id, ok := m.Value("externalId"); ok {
		return id
	}
	rt, _ := m.Value("rt")
	return m.MsgID + " " + rt
}

// The keys in their order. A question mark marks an optional key.
var (
	pageOrder = []string{
		"rt", "suser?", "duid?", "act?", "model?", "tokenIn?", "tokenOut?",
		"cs1Label", "cs1", "cs2Label", "cs2", "cs3Label", "cs3", "src?", "truncated?",
	}
	standardOrder = []string{
		"rt", "externalId", "suser?", "suid?", "act?", "cs4Label?", "cs4?", "cn1Label?", "cn1?", "cn2Label?", "cn2?",
		"cs1Label", "cs1", "cs2Label", "cs2", "cs3Label", "cs3", "src?", "truncated?",
	}
)

// severities maps a CEF severity to the syslog severities of the wire format.
var severities = map[int][]int{0: {6}, 3: {6}, 4: {5}, 6: {4}, 8: {3}, 9: {2}, 10: {1}, 5: {6}}

// judge records violations of the wire format that QRadar accepts.
func (s *Simulator) judge(m *Message) {
	const local0 = 16
	if m.PRI/8 != local0 || !slices.Contains(severities[m.Severity], m.PRI%8) {
		s.Violate("PRI %d does not match CEF severity %d", m.PRI, m.Severity)
	}
	if m.ProcID != "-" {
		s.Violate("PROCID %q", m.ProcID)
	}
	if rt, _ := m.Value("rt"); rt != strconv.FormatInt(m.Time.UnixMilli(), 10) {
		s.Violate("rt and TIMESTAMP are not the same time")
	}
	order := standardOrder
	if s.source.Page {
		order = pageOrder
	}
	if !follows(m.Keys(), order) {
		s.Violate("extension keys are %s", strings.Join(m.Keys(), " "))
	}
	for key, label := range map[string]string{"cs1": "PolicyAction", "cs2": "DlpLabels", "cs3": "GroupIds"} {
		if got, _ := m.Value(key + "Label"); got != label {
			s.Violate("%sLabel is %q", key, got)
		}
	}
	for _, key := range []string{"suser", "suid", "duid", "act", "model", "cs4", "tokenIn", "tokenOut", "cn1", "cn2",
		"src"} {
		if v, ok := m.Value(key); ok && v == "" {
			s.Violate("%s has no value", key)
		}
	}
}

// follows reports whether keys are those of order, in that order.
func follows(keys, order []string) bool {
	for _, want := range order {
		name, optional := strings.CutSuffix(want, "?")
		switch {
		case len(keys) > 0 && keys[0] == name:
			keys = keys[1:]
		case !optional:
			return false
		}
	}
	return len(keys) == 0
}
