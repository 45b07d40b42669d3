package sumo

import (
	"encoding/json"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// maxMessage is the size over which a message is sliced. Nothing is lost by that, so it is no violation.
const maxMessage = 64 << 10

// warnings are the codes a product fault can put into the body of a 200.
var warnings = [...]string{"header.invalid", "fields.dropped", "message.truncated"}

// take takes a request's lines in.
func (s *Simulator) take(r *siem.Request) siem.Answer {
	lines := strings.Split(string(r.Body), "\n")
	for _, line := range lines {
		if s.Poisoned(siem.EventID([]byte(line))) {
			return refuse(http.StatusBadRequest, "parameter.invalid", "poisoned")
		}
	}
	if _, late := s.Product("408"); late {
		s.store(r, lines[:len(lines)/2])
		return refuse(http.StatusRequestTimeout, "timeout", "half of the request was taken")
	}
	s.store(r, lines)
	for _, code := range warnings {
		if _, ok := s.Product(code); ok {
			return siem.Answer{Status: http.StatusOK, Body: reply(http.StatusOK, code)}
		}
	}
	return siem.Answer{Status: http.StatusOK}
}

// store keeps lines as messages. An empty one is none.
func (s *Simulator) store(r *siem.Request, lines []string) {
	for _, line := range lines {
		if strings.TrimSpace(line) == "" {
			s.Violate("an empty line")
			continue
		}
		s.judgeLine(line)
		fields := map[string]string{"_sourceCategory": r.Header.Get("X-Sumo-Category"), "_sourceHost": r.Header.Get("X-Sumo-Host")}
		if len(line) > maxMessage {
			fields["sliced"] = "true"
		}
		s.Accept(siem.Accepted{ID: siem.EventID([]byte(line)), Event: []byte(line), Fields: fields})
	}
}

// judgeRequest notes what the source lets pass and the contract does not, of the request as a whole.
func (s *Simulator) judgeRequest(r *siem.Request) {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/json" {
		s.Violate("content type is %q, not application/json", r.Header.Get("Content-Type"))
	}
	for _, name := range [...]string{"X-Sumo-Category", "X-Sumo-Host"} {
		if r.Header.Get(name) == "" {
			s.Violate("there is no %s", name)
		}
	}
	if r.URL.RawQuery != "" {
		s.Violate("there is a query in the url")
	}
	if !utf8.Valid(r.Body) {
		s.Violate("the body is not utf-8")
	}
}

// judgeLine notes the same of one line: that it is an event, whole and compact.
func (s *Simulator) judgeLine(line string) {
	var event struct {
		Time json.Number `json:"time"`
	}
	if err := json.Unmarshal([]byte(line), &event); err != nil || event.Time == "" {
		s.Violate("a line is no object with a time")
		return
	}
	if strings.ContainsRune(line, '\r') || !compact(line) {
		s.Violate("a line holds white space between its tokens")
	}
}

// compact tells whether there is no white space outside of the strings of valid JSON.
func compact(text string) bool {
	inside := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			inside = !inside
		case inside && c == '\\':
			i++
		case !inside && (c == ' ' || c == '\t'):
			return false
		}
	}
	return true
}
