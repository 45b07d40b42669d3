package splunk

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

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
	_, never := s.Product("ack never")
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
	_, lost := s.Product("ack lost")
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
	body, _ := json.Marshal(map[string]any{"acks": acks}) // maps of ints and booleans always marshal
	return siem.Answer{Status: http.StatusOK, Header: map[string]string{"Content-Type": "application/json"},
		Body: string(body)}
}
