package qradar

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// hostname is the log source identifier: QRadar finds a message's log source by the header's HOSTNAME, and files what it
// does not know under "SIM Generic". https://www.ibm.com/docs/en/qsip/7.6.0?topic=options-multiple-log-sources-over-tls-syslog
const hostname = "platform.arbitex.ai"

// take takes one message, or notes why QRadar would not make an event of it.
func (s *Simulator) take(message []byte) {
	s.Arrived(int64(len(message)))
	if len(message) > s.source.Payload {
		s.Violate("a message of %d bytes is over the payload limit of %d: QRadar would cut it", len(message), s.source.Payload)
		return
	}
	m, err := Parse(message)
	if err != nil {
		s.Violate("%v", err)
		return
	}
	if m.Hostname != hostname {
		s.Violate("HOSTNAME %q is no log source", m.Hostname)
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
	s.Accept(siem.Accepted{ID: identity(m), Fields: fields, Truncated: truncated == "1"})
}

// identity is the event id where the keys carry it, else what comes nearest: the request id and the time.
func identity(m *Message) string {
	if id, ok := m.Value("externalId"); ok {
		return id
	}
	rt, _ := m.Value("rt")
	return m.MsgID + " " + rt
}

// The keys in their order. Those marked may be missing.
var (
	pageOrder = []string{
		"rt", "suser?", "duid?", "act?", "model?", "tokenIn?", "tokenOut?",
		"cs1Label", "cs1", "cs2Label", "cs2", "cs3Label", "cs3", "truncated?",
	}
	standardOrder = []string{
		"rt", "externalId", "suser?", "suid?", "act?", "cs4Label?", "cs4?", "cn1Label?", "cn1?", "cn2Label?", "cn2?",
		"cs1Label", "cs1", "cs2Label", "cs2", "cs3Label", "cs3", "truncated?",
	}
)

// severities are the contract's pairs of CEF and syslog severity.
var severities = map[int][]int{0: {6}, 3: {6}, 4: {5}, 6: {4}, 8: {3}, 9: {2}, 10: {1}, 5: {6}}

// judge notes what QRadar takes and the contract forbids.
func (s *Simulator) judge(m *Message) {
	const local0 = 16
	if m.PRI/8 != local0 || !slices.Contains(severities[m.Severity], m.PRI%8) {
		s.Violate("PRI %d does not fit CEF severity %d", m.PRI, m.Severity)
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
	for _, key := range []string{"suser", "suid", "duid", "act", "model", "cs4", "tokenIn", "tokenOut", "cn1", "cn2"} {
		if v, ok := m.Value(key); ok && v == "" {
			s.Violate("%s is there without a value", key)
		}
	}
}

// follows tells whether keys are those of order, in that order.
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
