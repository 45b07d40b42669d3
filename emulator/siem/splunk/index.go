package splunk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// indexes are the indexes that the token may write to.
var indexes = []string{"arbitex", "main"}

// index processes the body, one object after the other.
func (s *Simulator) index(body []byte, channel string) siem.Answer {
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
			return s.success(n, channel)
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

// busyAt returns the number of the event at which a product fault with code 9 takes effect, -1 without one.
func (s *Simulator) busyAt(body []byte) int {
	if !s.Product("9") {
		return -1
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	n := 0
	for raw := (json.RawMessage)(nil); decoder.Decode(&raw) == nil; n++ {
	}
	return n / 2
}

func (s *Simulator) success(n int, channel string) siem.Answer {
	if n == 0 {
		return reply(5) // only white space
	}
	for _, code := range []int{24, 25} {
		if s.Product(strconv.Itoa(code)) {
			return reply(code, s.newAck(channel))
		}
	}
	return reply(0, s.newAck(channel))
}

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

// judge returns the event of an object, or HEC's code and the problem.
func (s *Simulator) judge(raw json.RawMessage) (siem.Accepted, int, string) {
	var e envelope
	if raw[0] != '{' || json.Unmarshal(raw, &e) != nil {
		return siem.Accepted{}, 6, "not an object, or a metadata field of the wrong type"
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

// isTime reports whether HEC accepts the time: a number, or a string that contains one.
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

func (s *Simulator) judgeEnd(rest []byte, n int) {
	if len(rest) > 0 {
		s.Violate("%q follows the last object", rest)
	}
	s.CheckCount(n)
}

// judgeEnvelope records violations of one object: its keys and their order, the form of its time, an incomplete event.
func (s *Simulator) judgeEnvelope(raw json.RawMessage, e envelope) {
	s.CheckKeys(raw, "envelope keys", []string{"time", "host", "source", "sourcetype", "index", "event"})
	if e.Host == "" || e.Source == "" || e.Sourcetype == "" {
		s.Violate("host, source or sourcetype is empty")
	}
	event, err := siem.ReadEvent(e.Event)
	if err != nil {
		s.Violate("event is not an object with a time")
		return
	}
	if string(e.Time) != seconds(event.Time) {
		s.Violate("time is not the event's time in seconds with three decimals, for example 1741824000.123")
	}
	if !siem.OneLine(raw) {
		s.Violate("an object contains a line break")
	}
}

// seconds converts Unix milliseconds to seconds with three decimals.
func seconds(milliseconds int64) string {
	sign := ""
	if milliseconds < 0 {
		sign, milliseconds = "-", -milliseconds
	}
	return fmt.Sprintf("%s%d.%03d", sign, milliseconds/1000, milliseconds%1000)
}

const ackPath = "/services/collector/ack"

// maxIdle is ack_idle_cleanup's maxIdleTime: a channel without requests for so long loses its acknowledgements.
// https://help.splunk.com/en/splunk-enterprise/get-data-in/get-data-with-http-event-collector/about-http-event-collector-indexer-acknowledgment
const maxIdle = 10 * time.Minute

// channel holds the acknowledgements of one client. Ids start at 0 in each channel.
type channel struct {
	next    int
	pending map[int]bool // whether the events are indexed; an id is deleted once true was sent
	used    time.Time
}

var guid = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)

// channelOf returns the channel of a request, and the code of the problem with it, 0 if there is none.
func channelOf(r *siem.Request) (name string, code int) {
	name = r.Header.Get("X-Splunk-Request-Channel")
	if name == "" {
		name = r.URL.Query().Get("channel")
	}
	switch {
	case name == "":
		return "", 10
	case !guid.MatchString(name):
		return "", 11
	}
	return name, 0
}

// open returns a channel, empty if it is new or has expired. The simulator is locked.
func (s *Simulator) open(name string) *channel {
	now := s.Options().Now()
	c := s.channels[name]
	if c == nil || now.Sub(c.used) > maxIdle {
		c = &channel{pending: map[int]bool{}}
		s.channels[name] = c
	}
	c.used = now
	return c
}

// newAck returns the member "ackId" of the response to an accepted request.
func (s *Simulator) newAck(name string) string {
	never := s.Product("ack never")
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.open(name)
	id := c.next
	c.next++
	c.pending[id] = !never
	return fmt.Sprintf(`"ackId":%d`, id)
}

// ack responds to a query for acknowledgements. An id is true once: Splunk then deletes it. An unknown id is false.
func (s *Simulator) ack(r *siem.Request) siem.Answer {
	var query struct {
		Acks *[]int `json:"acks"`
	}
	name, code := channelOf(r)
	switch {
	case r.Method != http.MethodPost:
		return siem.Answer{Status: http.StatusMethodNotAllowed}
	case s.authorize(r) != 0:
		return reply(s.authorize(r))
	case code != 0:
		return reply(code)
	case r.Problem != nil || json.Unmarshal(r.Body, &query) != nil || query.Acks == nil:
		return reply(6)
	}
	lost := s.Product("ack lost")
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.open(name)
	if lost {
		clear(c.pending)
	}
	acks := map[int]bool{}
	for _, id := range *query.Acks {
		acks[id] = c.pending[id]
		if acks[id] {
			delete(c.pending, id)
		}
	}
	return siem.JSON(http.StatusOK, map[string]any{"acks": acks})
}
