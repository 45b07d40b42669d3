package sumo

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// maxMessage is the size above which Sumo Logic slices a message. It loses nothing, so this is not a violation.
const maxMessage = 64 << 10

// warnings are the codes that a product fault can put into the body of a 200.
var warnings = [...]string{"header.invalid", "fields.dropped", "message.truncated"}

// take processes the lines of a request.
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

// store accepts lines as messages.
func (s *Simulator) store(r *siem.Request, lines []string) {
	for _, line := range lines {
		if strings.TrimSpace(line) == "" {
			s.Violate("an empty line")
			continue
		}
		s.judgeLine(line)
		fields := map[string]string{"_sourceCategory": r.Header.Get("X-Sumo-Category"),
			"_sourceHost": r.Header.Get("X-Sumo-Host")}
		if len(line) > maxMessage {
			fields["sliced"] = "true"
		}
		s.Accept(siem.Accepted{ID: siem.EventID([]byte(line)), Event: []byte(line), Fields: fields})
	}
}

// judgeLine records violations by one line: an incomplete event, white space between tokens.
func (s *Simulator) judgeLine(line string) {
	var event struct {
		Time json.Number `json:"time"`
	}
	if err := json.Unmarshal([]byte(line), &event); err != nil || event.Time == "" {
		s.Violate("a line is not an object with a time")
		return
	}
	if strings.ContainsRune(line, '\r') || !compact(line) {
		s.Violate("a line contains white space between its tokens")
	}
}

// compact reports whether valid JSON contains no white space outside of strings.
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

// judgeRequest records violations of the wire format by the request as a whole.
func (s *Simulator) judgeRequest(r *siem.Request) {
	s.CheckRequest(r, "application/json", "")
	for _, name := range [...]string{"X-Sumo-Category", "X-Sumo-Host"} {
		if r.Header.Get(name) == "" {
			s.Violate("there is no %s", name)
		}
	}
}
