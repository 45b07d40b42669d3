// Package sumo simulates an HTTP source of a Sumo Logic hosted collector, configured as the connector's page
// describes: one message per line, no multiline processing.
//
// The source's URL is the credential; the response to a revoked one is 401. The code of a product fault
// ("header.invalid", for example) is the code in the body of a 200, which accepts the events. "408" accepts the first
// half of a request and times out.
//
// https://www.sumologic.com/help/docs/send-data/hosted-collectors/http-source/troubleshooting/
package sumo

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// maxRequest is the limit before compression: the smaller interpretation of the documented "1 MB".
const maxRequest = 1_000_000

const sourcePath = "/receiver/v1/http/"

// Simulator is an HTTP source.
type Simulator struct {
	*siem.Server
	*siem.Credential

	jobs siem.Searches
}

// New starts a simulator.
func New(o siem.Options) (s *Simulator, err error) {
	s = &Simulator{Credential: siem.NewCredential(newCode)}
	s.Server, err = siem.Serve(o, siem.Config{Name: "sumo", Handle: s.handle, MaxBody: maxRequest})
	return s, err
}

// Settings implements siem.Simulator. The address is in the secret.
func (s *Simulator) Settings() map[string]string {
	return s.Trust(map[string]string{"SUMO_CATEGORY": "arbitex/audit"}, "")
}

// Secret implements siem.Simulator: the source's URL.
func (s *Simulator) Secret() map[string]string {
	return map[string]string{"SUMO_HTTP_SOURCE_URL": s.URL() + sourcePath + s.Value()}
}

// newCode returns the last element of a URL: base64 with padding, as in Sumo Logic's.
func newCode() string { return base64.URLEncoding.EncodeToString(siem.Random(64)) }

func (s *Simulator) handle(r *siem.Request) siem.Answer {
	if strings.HasPrefix(r.URL.Path, jobsPath) {
		return s.search(r)
	}
	code, ok := strings.CutPrefix(r.URL.Path, sourcePath)
	if !ok {
		return siem.Answer{Status: http.StatusNotFound, Detail: "not the path of a source"}
	}
	if valid, _ := s.Check(code); !valid {
		return refuse(http.StatusUnauthorized, "unauthorized", "the URL is not valid")
	}
	switch r.Method {
	case http.MethodGet:
		return siem.Answer{Status: http.StatusOK}
	case http.MethodPost:
		return s.post(r)
	}
	return refuse(http.StatusMethodNotAllowed, "method.unsupported", r.Method)
}

func (s *Simulator) post(r *siem.Request) siem.Answer {
	switch {
	case errors.Is(r.Problem, siem.ErrTooLarge):
		return refuse(http.StatusRequestEntityTooLarge, "request.too.large", "over 1 MB before compression")
	case r.Problem != nil:
		return refuse(http.StatusBadRequest, "encoding.invalid", r.Problem.Error())
	}
	s.CheckRequest(r, "application/json", "")
	for _, name := range [...]string{"X-Sumo-Category", "X-Sumo-Host"} {
		if r.Header.Get(name) == "" {
			s.Violate("there is no %s", name)
		}
	}
	return s.take(r)
}

// refuse returns a refusal in Sumo Logic's error format.
func refuse(status int, code, detail string) siem.Answer {
	return siem.Answer{
		Status: status, Header: map[string]string{"Content-Type": "application/json"}, Body: reply(status, code),
		Reason: fmt.Sprintf("%d %s", status, code), Detail: detail,
	}
}

// reply returns the body of an error, or of a warning with status 200.
func reply(status int, code string) string {
	return fmt.Sprintf(`{"id":"5KTZW-FIJ9S-V4LXM","status":%d,"code":%q,"message":"%s","errors":[]}`, status, code,
		strings.ReplaceAll(code, ".", " "))
}

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
	if s.Product("408") {
		s.store(r, lines[:len(lines)/2])
		return refuse(http.StatusRequestTimeout, "timeout", "half of the request was taken")
	}
	s.store(r, lines)
	for _, code := range warnings {
		if s.Product(code) {
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
	var compact bytes.Buffer
	if _ = json.Compact(&compact, []byte(line)); compact.String() != line { // it is valid JSON
		s.Violate("a line contains white space between its tokens")
	}
}

// jobsPath is the search job API. It supports a query for a category, with or without a text. A job first gathers, and
// is done when it is asked for again; it returns at most 100,000 messages.
// https://help.sumologic.com/docs/api/search-job/
const jobsPath = "/api/v1/search/jobs"

const (
	maxJobMessages = 100_000
	maxJobPage     = 10_000
)

var jobQuery = regexp.MustCompile(`^_sourceCategory="([^"]*)"(?: "([^"]*)")?$`)

var _ siem.Searchable = (*Simulator)(nil)

// SearchSettings implements siem.Searchable.
func (s *Simulator) SearchSettings() map[string]string {
	return s.Search("SUMO_SEARCH_", map[string]string{"ACCESS_ID": "searcher", "ACCESS_KEY": siem.SearchToken})
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
	j := s.jobs.Get(id)
	switch {
	case j == nil:
		return refuse(http.StatusNotFound, "searchjob.jobid.invalid", "Job ID is invalid.")
	case rest == "" && r.Method == http.MethodDelete:
		s.jobs.Delete(id)
		return siem.JSON(http.StatusOK, map[string]string{"id": id})
	case rest == "" && r.Method == http.MethodGet:
		state := "GATHERING RESULTS"
		if j.Done() {
			state = "DONE GATHERING RESULTS"
		}
		return siem.JSON(http.StatusOK, map[string]any{"state": state, "messageCount": len(j.Found),
			"pendingErrors": []string{}, "pendingWarnings": []string{}})
	case rest == "messages" && r.Method == http.MethodGet:
		return messages(r, j)
	}
	return refuse(http.StatusMethodNotAllowed, "method.unsupported", r.Method)
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
	id := s.jobs.Add(s.Find(time.UnixMilli(body.From), time.UnixMilli(body.To), maxJobMessages,
		func(a siem.Accepted) bool { return a.Fields["_sourceCategory"] == query[1] && a.Holds(query[2]) }))
	return siem.JSON(http.StatusAccepted, map[string]string{"id": id})
}

func messages(r *siem.Request, j *siem.Search) siem.Answer {
	offset, err1 := strconv.Atoi(r.URL.Query().Get("offset"))
	limit, err2 := strconv.Atoi(r.URL.Query().Get("limit"))
	if err1 != nil || err2 != nil || offset < 0 || limit < 1 || limit > maxJobPage {
		return refuse(http.StatusBadRequest, "searchjob.offset.invalid", "the page is not valid")
	}
	page := []any{}
	for _, a := range j.Page(offset, limit) {
		page = append(page, map[string]any{"map": map[string]string{"_raw": string(a.Event)}})
	}
	return siem.JSON(http.StatusOK, map[string]any{"fields": []any{}, "messages": page})
}
