package qradar

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
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
	server   *siem.Server
	searches siem.Searches
}

var _ siem.Searchable = (*Console)(nil)

// NewConsole starts a log source as [New] does, and its Console.
func NewConsole(o siem.Options) (*Console, error) {
	source, err := New(o)
	if err != nil {
		return nil, err
	}
	c := &Console{Simulator: source}
	server, err := siem.Serve(o, siem.Config{Handle: c.handle})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting the qradar console: %w", err), source.Close())
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
	return c.server.Search("QRADAR_SEARCH_", map[string]string{"TOKEN": siem.SearchToken})
}

func problem(status int, text string) siem.Answer {
	return siem.JSON(status, map[string]any{"message": text, "code": status})
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
	s := c.searches.Get(id)
	switch {
	case s == nil:
		return problem(http.StatusNotFound, "The search does not exist.")
	case rest == "" && r.Method == http.MethodDelete:
		c.searches.Delete(id)
		return siem.JSON(http.StatusOK, map[string]string{"search_id": id})
	case rest == "" && r.Method == http.MethodGet:
		status := "EXECUTE"
		if s.Done() {
			status = "COMPLETED"
		}
		return siem.JSON(http.StatusOK, map[string]any{"search_id": id, "status": status, "record_count": len(s.Found)})
	case rest == "results" && r.Method == http.MethodGet:
		return results(s.Found, r.Header.Get("Range"))
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
	id := c.searches.Add(c.Find(from, to.Add(time.Minute), 0, func(a siem.Accepted) bool {
		message := a.Fields["message"]
		return strings.Contains(message, part[1]) && strings.Contains(message, part[2])
	}))
	return siem.JSON(http.StatusCreated, map[string]any{"search_id": id, "status": "WAIT"})
}

// results returns the records of a range, which is inclusive.
func results(found []siem.Accepted, items string) siem.Answer {
	from, to := 0, len(found)-1
	if items != "" {
		if n, err := fmt.Sscanf(items, "items=%d-%d", &from, &to); n != 2 || err != nil || from > to || from >= len(found) {
			return problem(http.StatusRequestedRangeNotSatisfiable, "The range is not valid.")
		}
	}
	events := []any{}
	for _, a := range found[from:min(to+1, len(found))] {
		events = append(events, map[string]string{"payload": a.Fields["message"]})
	}
	answer := siem.JSON(http.StatusOK, map[string]any{"events": events})
	answer.Header["Content-Range"] = fmt.Sprintf("items %d-%d/%d", from, from+len(events)-1, len(found))
	return answer
}
