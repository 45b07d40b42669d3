package datadog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/ocsf"
)

// maxAge is the age, by its own date, after which the intake drops an entry that it has accepted.
const maxAge = 18 * time.Hour

// entry is a log entry.
type entry struct {
	Source    string      `json:"ddsource"`
	Tags      string      `json:"ddtags"`
	Host      string      `json:"hostname"`
	Service   string      `json:"service"`
	Message   *string     `json:"message"`
	Timestamp json.Number `json:"timestamp"`
}

// take accepts all entries of a payload, or none.
func (s *Simulator) take(body []byte) siem.Answer {
	var raws []json.RawMessage
	if trimmed := bytes.TrimSpace(body); len(trimmed) > 0 && trimmed[0] == '{' {
		raws = []json.RawMessage{trimmed}
		s.Violate("a single object instead of an array")
	} else if err := json.Unmarshal(body, &raws); err != nil || raws == nil {
		return refuse(http.StatusBadRequest, "Bad Request", fmt.Sprintf("payload is not an array of objects: %v", err))
	}
	if len(raws) > maxEntries {
		return refuse(http.StatusRequestEntityTooLarge, "Payload Too Large", fmt.Sprintf("%d entries, at most %d", len(raws),
			maxEntries))
	}
	entries := make([]entry, len(raws))
	var ids []string
	for i, raw := range raws {
		if raw[0] != '{' || json.Unmarshal(raw, &entries[i]) != nil {
			return refuse(http.StatusBadRequest, "Bad Request", fmt.Sprintf("entry %d is not a log entry", i))
		}
		id, _ := identify(entries[i])
		if s.Poisoned(id) {
			return refuse(http.StatusBadRequest, "Bad Request", "Invalid payload")
		}
		ids = append(ids, id)
	}
	for i, raw := range raws {
		s.store(raw, entries[i], ids[i])
	}
	if _, ok := s.Product("empty"); ok {
		return answer(http.StatusOK, "", "")
	}
	if _, ok := s.Product("204"); ok {
		return answer(http.StatusNoContent, "", "")
	}
	return answer(http.StatusAccepted, "{}", "")
}

// identify returns the id of the event in an entry, and whether the event was truncated.
func identify(e entry) (id string, truncated bool) {
	if e.Message == nil {
		return "", false
	}
	if id, ok := siem.Standin([]byte(*e.Message)); ok {
		return id, true
	}
	return siem.EventID([]byte(*e.Message)), false
}

// store does what Datadog does with an entry after its response.
func (s *Simulator) store(raw json.RawMessage, e entry, id string) {
	s.judgeEntry(raw, e)
	if e.Timestamp != "" {
		ms, err := e.Timestamp.Int64()
		if err == nil && s.Options().Now().Sub(time.UnixMilli(ms)) > maxAge {
			s.Violate("an entry dated more than 18 hours back, which Datadog drops silently")
			return
		}
	}
	if len(raw) > maxEntry {
		s.Violate("an entry over %d bytes, which Datadog cuts silently", maxEntry)
	}
	accepted := siem.Accepted{ID: id, Fields: map[string]string{
		"ddsource": e.Source, "ddtags": e.Tags, "hostname": e.Host, "service": e.Service, "timestamp": e.Timestamp.String(),
	}}
	if e.Message != nil {
		accepted.Event = []byte(*e.Message)
		_, accepted.Truncated = siem.Standin(accepted.Event)
	}
	s.Accept(accepted)
}

// judgeEntry records violations by one entry: its keys and their order, its tags, an incomplete event.
func (s *Simulator) judgeEntry(raw json.RawMessage, e entry) {
	want := []string{"ddsource", "ddtags", "hostname", "service", "message"}
	if e.Timestamp != "" {
		want = append(want, "timestamp")
	}
	if got := siem.Keys(raw); !slices.Equal(got, want) {
		s.Violate("keys are %s, not %s", strings.Join(got, " "), strings.Join(want, " "))
	}
	if e.Source == "" || e.Host == "" || e.Service == "" {
		s.Violate("ddsource, hostname or service is empty")
	}
	tags := strings.Split(e.Tags, ",")
	if tags[len(tags)-1] != "service:"+e.Service || slices.ContainsFunc(tags, func(tag string) bool {
		return tag == "" || strings.TrimSpace(tag) != tag
	}) {
		s.Violate("ddtags are %q: the last is not the service, or one is empty", e.Tags)
	}
	if e.Message == nil {
		s.Violate("an entry without a message")
		return
	}
	event, err := ocsf.Read([]byte(*e.Message))
	if err != nil {
		s.Violate("message is not an object with a time")
	}
	if e.Timestamp != "" && e.Timestamp.String() != strconv.FormatInt(event.Time, 10) {
		s.Violate("timestamp is not the event's time")
	}
}
