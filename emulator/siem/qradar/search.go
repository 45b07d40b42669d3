package qradar

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// searchesPath is the Ariel API of the Console. It supports one form of AQL: the payloads that contain a CEF header,
// with or without an event id, by the minutes of their arrival.
// https://www.ibm.com/docs/en/qradar-common?topic=endpoints-rest-api
const searchesPath = "/api/ariel/searches"

var aql = regexp.MustCompile(`^SELECT UTF8\(payload\) AS payload FROM events WHERE UTF8\(payload\) LIKE '%(.*?)%'` +
	`(?: AND UTF8\(payload\) LIKE '%(.*?)%')? START '([^']*)' STOP '([^']*)'$`)

// Console is the Console of a QRadar deployment, which answers searches for what its log source accepted.
type Console struct {
	*Simulator
	server *siem.Server

	mu       sync.Mutex
	searches map[string]*arielSearch
}

type arielSearch struct {
	found []siem.Accepted
	asked int
}

var _ siem.Searchable = (*Console)(nil)

// NewConsole starts a Console for a log source.
func NewConsole(o siem.Options, source *Simulator) (*Console, error) {
	c := &Console{Simulator: source, searches: map[string]*arielSearch{}}
	server, err := siem.Serve(o, siem.Config{Handle: c.handle})
	if err != nil {
		return nil, fmt.Errorf("starting the qradar console: %w", err)
	}
	c.server = server
	return c, nil
}

// Close implements siem.Simulator: it stops the Console and the log source.
func (c *Console) Close() error {
	err := c.server.Close()
	if sourceErr := c.Simulator.Close(); err == nil {
		err = sourceErr
	}
	return err
}

// SearchSettings implements siem.Searchable.
func (c *Console) SearchSettings() map[string]string {
	settings := map[string]string{"QRADAR_SEARCH_URL": c.server.URL(), "QRADAR_SEARCH_TOKEN": siem.SearchToken}
	if c.server.Options().Plain {
		settings["SIEM_ALLOW_HTTP"] = "true"
	} else {
		settings["QRADAR_SEARCH_CA_BUNDLE"] = c.server.CA()
	}
	return settings
}

func respond(status int, body any) siem.Answer {
	text, _ := json.Marshal(body) // texts and numbers always marshal
	return siem.Answer{Status: status, Header: map[string]string{"Content-Type": "application/json"}, Body: string(text)}
}

func problem(status int, text string) siem.Answer {
	return respond(status, map[string]any{"message": text, "code": status})
}

func (c *Console) handle(r *siem.Request) siem.Answer {
	if r.Header.Get("SEC") != siem.SearchToken {
		return problem(http.StatusUnauthorized, "No SEC header present in request.")
	}
	if refusal, limited := c.SearchLimited(); limited {
		return refusal
	}
	id, rest, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, searchesPath), "/"), "/")
	if id == "" && r.Method == http.MethodPost {
		return c.create(r.URL.Query().Get("query_expression"))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.searches[id]
	switch {
	case s == nil:
		return problem(http.StatusNotFound, "The search does not exist.")
	case rest == "" && r.Method == http.MethodDelete:
		delete(c.searches, id)
		return respond(http.StatusOK, map[string]string{"search_id": id})
	case rest == "" && r.Method == http.MethodGet:
		status := "EXECUTE"
		if s.asked++; s.asked > 1 {
			status = "COMPLETED"
		}
		return respond(http.StatusOK, map[string]any{"search_id": id, "status": status, "record_count": len(s.found)})
	case rest == "results" && r.Method == http.MethodGet:
		return s.results(r.Header.Get("Range"))
	}
	return problem(http.StatusMethodNotAllowed, "The method is not allowed.")
}

func (c *Console) create(query string) siem.Answer {
	part := aql.FindStringSubmatch(query)
	if part == nil {
		return problem(http.StatusUnprocessableEntity, "The query cannot be parsed.")
	}
	const minute = "2006-01-02 15:04Z"
	from, err1 := time.Parse(minute, part[3])
	to, err2 := time.Parse(minute, part[4])
	if err1 != nil || err2 != nil {
		return problem(http.StatusUnprocessableEntity, "START or STOP is not a time.")
	}
	s := &arielSearch{}
	for _, a := range c.Indexed(c.ArrivedIn(from, to.Add(time.Minute))) {
		if message := a.Fields["message"]; strings.Contains(message, part[1]) && strings.Contains(message, part[2]) {
			s.found = append(s.found, a)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	id := "s" + strconv.Itoa(len(c.searches)+1)
	c.searches[id] = s
	return respond(http.StatusCreated, map[string]any{"search_id": id, "status": "WAIT"})
}

// results returns the records of a range, which is inclusive.
func (s *arielSearch) results(items string) siem.Answer {
	from, to := 0, len(s.found)-1
	if items != "" {
		if n, err := fmt.Sscanf(items, "items=%d-%d", &from, &to); n != 2 || err != nil || from > to || from >= len(s.found) {
			return problem(http.StatusRequestedRangeNotSatisfiable, "The range is not valid.")
		}
	}
	events := []any{}
	for _, a := range s.found[from:min(to+1, len(s.found))] {
		events = append(events, map[string]string{"payload": a.Fields["message"]})
	}
	answer := respond(http.StatusOK, map[string]any{"events": events})
	answer.Header["Content-Range"] = fmt.Sprintf("items %d-%d/%d", from, from+len(events)-1, len(s.found))
	return answer
}
