package sumo

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// jobsPath is the search job API. It supports a query for a category, with or without a text. A job first gathers, and
// is done when it is asked for again; it returns at most 100,000 messages.
// https://help.sumologic.com/docs/api/search-job/
const jobsPath = "/api/v1/search/jobs"

const (
	maxJobMessages = 100_000
	maxJobPage     = 10_000
)

var jobQuery = regexp.MustCompile(`^_sourceCategory="([^"]*)"(?: "([^"]*)")?$`)

// jobs are the search jobs.
type jobs struct {
	mu   sync.Mutex
	list map[string]*job
	next int
}

type job struct {
	found []siem.Accepted
	asked int
}

var _ siem.Searchable = (*Simulator)(nil)

// SearchSettings implements siem.Searchable.
func (s *Simulator) SearchSettings() map[string]string {
	settings := map[string]string{"SUMO_SEARCH_URL": s.URL(), "SUMO_SEARCH_ACCESS_ID": "searcher",
		"SUMO_SEARCH_ACCESS_KEY": siem.SearchToken}
	if s.Options().Plain {
		settings["SIEM_ALLOW_HTTP"] = "true"
	} else {
		settings["SUMO_SEARCH_CA_BUNDLE"] = s.CA()
	}
	return settings
}

func (s *Simulator) search(r *siem.Request) siem.Answer {
	if id, key, ok := r.BasicAuth(); !ok || id != "searcher" || key != siem.SearchToken {
		return refuse(http.StatusUnauthorized, "unauthorized", "the access key is not valid")
	}
	if refusal, limited := s.SearchLimited(); limited {
		return refusal
	}
	id, rest, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, jobsPath), "/"), "/")
	if id == "" && r.Method == http.MethodPost {
		return s.createJob(r)
	}
	s.jobs.mu.Lock()
	defer s.jobs.mu.Unlock()
	j := s.jobs.list[id]
	switch {
	case j == nil:
		return refuse(http.StatusNotFound, "searchjob.jobid.invalid", "Job ID is invalid.")
	case rest == "" && r.Method == http.MethodDelete:
		delete(s.jobs.list, id)
		return respond(http.StatusOK, map[string]string{"id": id})
	case rest == "" && r.Method == http.MethodGet:
		state := "GATHERING RESULTS"
		if j.asked++; j.asked > 1 {
			state = "DONE GATHERING RESULTS"
		}
		return respond(http.StatusOK, map[string]any{"state": state, "messageCount": len(j.found),
			"pendingErrors":   []string{},
			"pendingWarnings": []string{}})
	case rest == "messages" && r.Method == http.MethodGet:
		return j.messages(r)
	}
	return refuse(http.StatusMethodNotAllowed, "method.unsupported", r.Method)
}

func respond(status int, body any) siem.Answer {
	text, _ := json.Marshal(body) // texts and numbers always marshal
	return siem.Answer{Status: status, Header: map[string]string{"Content-Type": "application/json"}, Body: string(text)}
}

func (s *Simulator) createJob(r *siem.Request) siem.Answer {
	var body struct {
		Query         string
		From, To      int64
		TimeZone      string
		ByReceiptTime bool
	}
	err := json.Unmarshal(r.Body, &body)
	query := jobQuery.FindStringSubmatch(body.Query)
	if err != nil || query == nil || body.TimeZone == "" || !body.ByReceiptTime {
		return refuse(http.StatusBadRequest, "searchjob.invalid", "the search is not valid")
	}
	j := &job{}
	for _, a := range s.Indexed(s.ArrivedIn(time.UnixMilli(body.From), time.UnixMilli(body.To))) {
		if len(j.found) < maxJobMessages && a.Fields["_sourceCategory"] == query[1] && strings.Contains(string(a.Event),
			query[2]) {
			j.found = append(j.found, a)
		}
	}
	s.jobs.mu.Lock()
	defer s.jobs.mu.Unlock()
	if s.jobs.list == nil {
		s.jobs.list = map[string]*job{}
	}
	s.jobs.next++
	id := strconv.Itoa(s.jobs.next)
	s.jobs.list[id] = j
	return respond(http.StatusAccepted, map[string]string{"id": id})
}

func (j *job) messages(r *siem.Request) siem.Answer {
	offset, err1 := strconv.Atoi(r.URL.Query().Get("offset"))
	limit, err2 := strconv.Atoi(r.URL.Query().Get("limit"))
	if err1 != nil || err2 != nil || offset < 0 || limit < 1 || limit > maxJobPage {
		return refuse(http.StatusBadRequest, "searchjob.offset.invalid", "the page is not valid")
	}
	messages := []any{}
	for _, a := range j.found[min(offset, len(j.found)):min(offset+limit, len(j.found))] {
		messages = append(messages, map[string]any{"map": map[string]string{"_raw": string(a.Event)}})
	}
	return respond(http.StatusOK, map[string]any{"fields": []any{}, "messages": messages})
}
