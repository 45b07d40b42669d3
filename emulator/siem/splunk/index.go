package splunk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/ocsf"
)

// indexes is the token's allow-list.
var indexes = []string{"arbitex", "main"}

// maxBatch is the platform's own bound on one delivery, in events.
const maxBatch = 100

// index takes the body in, object by object.
func (s *Simulator) index(body []byte) siem.Answer {
	busyAt := s.busyAt(body)
	decoder := json.NewDecoder(bytes.NewReader(body))
	for n := 0; ; n++ {
		if n == busyAt {
			return reply(9, invalid(n))
		}
		before := decoder.InputOffset()
		var raw json.RawMessage
		err := decoder.Decode(&raw)
		if err == io.EOF {
			s.judgeEnd(body[before:], n)
			return s.success(n)
		}
		if err != nil {
			return at(6, n, "not json")
		}
		between := body[before : decoder.InputOffset()-int64(len(raw))]
		event, code, why := s.judge(raw)
		if code != 0 {
			return at(code, n, why)
		}
		if n > 0 && string(between) != "\n" || n == 0 && len(between) > 0 {
			s.Violate("objects are not separated by one line break but by %q", between)
		}
		s.Accept(event)
	}
}

// busyAt is the number of the event at which a fault of code 9 makes the server busy, -1 without one.
func (s *Simulator) busyAt(body []byte) int {
	if _, ok := s.Product("9"); !ok {
		return -1
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	n := 0
	for raw := (json.RawMessage)(nil); decoder.Decode(&raw) == nil; n++ {
	}
	return n / 2
}

func (s *Simulator) success(n int) siem.Answer {
	if n == 0 {
		return reply(5) // white space only
	}
	for _, code := range []int{24, 25} {
		if _, ok := s.Product(fmt.Sprint(code)); ok {
			return reply(code, s.ackID())
		}
	}
	return reply(0, s.ackID())
}

func (s *Simulator) ackID() string { return fmt.Sprintf(`"ackId":%d`, s.acks.Add(1)-1) }

func invalid(n int) string { return fmt.Sprintf(`"invalid-event-number":%d`, n) }

func at(code, n int, why string) siem.Answer {
	a := reply(code, invalid(n))
	a.Detail = fmt.Sprintf("%s (event %d: %s)", a.Detail, n, why)
	return a
}

type envelope struct {
	Time       json.RawMessage `json:"time"`
	Host       string          `json:"host"`
	Source     string          `json:"source"`
	Sourcetype string          `json:"sourcetype"`
	Index      *string         `json:"index"`
	Event      json.RawMessage `json:"event"`
	Fields     json.RawMessage `json:"fields"`
}

// judge decides on one object: the event to keep, or HEC's code and what is wrong.
func (s *Simulator) judge(raw json.RawMessage) (siem.Accepted, int, string) {
	var e envelope
	if raw[0] != '{' || json.Unmarshal(raw, &e) != nil {
		return siem.Accepted{}, 6, "no object, or a metadata field of the wrong type"
	}
	switch {
	case len(e.Event) == 0 || string(e.Event) == "null":
		return siem.Accepted{}, 12, "no event"
	case string(e.Event) == `""` || string(e.Event) == "{}":
		return siem.Accepted{}, 13, "blank event"
	case e.Time != nil && !isTime(e.Time):
		return siem.Accepted{}, 6, "time is not a number"
	case e.Fields != nil && !isFlat(e.Fields):
		return siem.Accepted{}, 15, "fields are not flat"
	case e.Index != nil && !slices.Contains(indexes, *e.Index):
		return siem.Accepted{}, 7, "index is not on the token's list"
	}
	id := siem.EventID(e.Event)
	if s.Poisoned(id) {
		return siem.Accepted{}, 6, "poisoned"
	}
	s.judgeEnvelope(raw, e)
	fields := map[string]string{"time": string(e.Time), "host": e.Host, "source": e.Source, "sourcetype": e.Sourcetype}
	if e.Index != nil {
		fields["index"] = *e.Index
	}
	return siem.Accepted{ID: id, Event: e.Event, Fields: fields}, 0, ""
}

var number = regexp.MustCompile(`^"?-?[0-9]+(\.[0-9]+)?"?$`)

// isTime takes what HEC takes: a number, or a string holding one.
func isTime(raw json.RawMessage) bool { return number.Match(raw) }

func isFlat(raw json.RawMessage) bool {
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		return false
	}
	for _, value := range fields {
		if value[0] == '{' {
			return false
		}
	}
	return true
}

// judgeRequest notes what HEC lets pass and the contract does not, of the request as a whole.
func (s *Simulator) judgeRequest(r *siem.Request) {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/json" {
		s.Violate("content type is %q, not application/json", r.Header.Get("Content-Type"))
	}
	if r.URL.RawQuery != "" {
		s.Violate("there is a query in the url")
	}
	if !utf8.Valid(r.Body) {
		s.Violate("the body is not utf-8")
	}
}

func (s *Simulator) judgeEnd(rest []byte, n int) {
	if len(rest) > 0 {
		s.Violate("%q follows the last object", rest)
	}
	if n > maxBatch {
		s.Violate("more than %d events in a request", maxBatch)
	}
}

// judgeEnvelope notes the same of one object: the keys and their order, the form of time, and that the event is whole.
func (s *Simulator) judgeEnvelope(raw json.RawMessage, e envelope) {
	want := []string{"time", "host", "source", "sourcetype", "index", "event"}
	if got := siem.Keys(raw); !slices.Equal(got, want) {
		s.Violate("envelope keys are %s, not %s", strings.Join(got, " "), strings.Join(want, " "))
	}
	if e.Host == "" || e.Source == "" || e.Sourcetype == "" {
		s.Violate("host, source or sourcetype is empty")
	}
	event, err := ocsf.Read(e.Event)
	if err != nil {
		s.Violate("event is no object with a time")
		return
	}
	if got := string(e.Time); got != seconds(strconv.FormatInt(event.Time, 10)) {
		s.Violate("time is not the event's in seconds with three decimals, such as 1741824000.123")
	}
	if !siem.OneLine(raw) {
		s.Violate("an object holds a line break")
	}
}

// seconds turns Unix milliseconds into seconds with three decimals, by moving the point.
func seconds(milliseconds string) string {
	digits, negative := strings.CutPrefix(milliseconds, "-")
	sign := ""
	if negative {
		sign = "-"
	}
	padded := strings.Repeat("0", max(0, 4-len(digits))) + digits
	return sign + padded[:len(padded)-3] + "." + padded[len(padded)-3:]
}
