package search

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/receipts"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// sumo searches by the time of receipt, so that an event's own time does not matter. A search job returns at most
// 100,000 messages; a window with more is searched in halves. https://help.sumologic.com/docs/api/search-job/
type sumo struct {
	*client
	filter string
}

const (
	messagesPerPage = 1000
	maxMessages     = 100_000
	// slice is the size from which on Sumo Logic cuts a message into several.
	slice = 64_000
	poll  = 2 * time.Second
)

func openSumo(s *settings.Settings, o Options) Searcher {
	base := s.URL("SUMO_SEARCH_URL", "", "the URL of the deployment's API, such as https://api.eu.sumologic.com")
	id := credential(s, "SUMO_SEARCH_ACCESS_ID", "an access id")
	key := credential(s, "SUMO_SEARCH_ACCESS_KEY", "the access key of the access id")
	auth := &http.Request{Header: http.Header{}}
	auth.SetBasicAuth(id, key)
	c := newClient(s, o, "SUMO_SEARCH", base, auth.Header)
	c.http.Jar, _ = cookiejar.New(nil) // the API is sticky; never fails
	return &sumo{client: c, filter: "_sourceCategory=" + quote(o.function("SUMO_CATEGORY", "arbitex/audit"))}
}

// Describe implements Searcher.
func (s *sumo) Describe(q Query) string {
	if q.ID != "" {
		return s.filter + " " + quote(q.ID)
	}
	return s.filter
}

// Search implements Searcher.
func (s *sumo) Search(ctx context.Context, q Query, take func(receipts.Found)) error {
	job, count, err := s.run(ctx, q)
	if err != nil {
		return err
	}
	if count < maxMessages {
		err = s.messages(ctx, job, count, take)
		s.remove(ctx, job, nil)
		return err
	}
	s.remove(ctx, job, nil)
	middle := q.From.Add(q.To.Sub(q.From) / 2).Truncate(time.Millisecond)
	if !middle.After(q.From) {
		return errors.New("sumo logic: more than 100,000 messages in a millisecond")
	}
	first, second := q, q
	first.To, second.From = middle, middle
	if err := s.Search(ctx, first, take); err != nil {
		return err
	}
	return s.Search(ctx, second, take)
}

// run runs a search job and returns its path and the number of its messages.
func (s *sumo) run(ctx context.Context, q Query) (job string, count int, err error) {
	var id string
	query := map[string]any{"query": s.Describe(q), "from": q.From.UnixMilli(), "to": q.To.UnixMilli(),
		"timeZone": "UTC", "byReceiptTime": true}
	if err := s.call(ctx, request{path: "/api/v1/search/jobs", body: query, accept: []int{http.StatusAccepted}},
		fields{"id": &id}.visit); err != nil {
		return "", 0, err
	}
	job = "/api/v1/search/jobs/" + url.PathEscape(id)
	for {
		state, n, err := s.state(ctx, job)
		switch {
		case err != nil:
			return job, 0, err
		case state == "DONE GATHERING RESULTS":
			return job, n, nil
		case state == "CANCELLED" || strings.HasPrefix(state, "FORCE PAUSED"):
			return job, 0, fmt.Errorf("sumo logic: the search job is %s", strings.ToLower(state))
		}
		if err := s.options.Wait(ctx, poll); err != nil {
			return job, 0, err
		}
	}
}

func (s *sumo) state(ctx context.Context, job string) (state string, count int, err error) {
	var problems, warnings []string
	err = s.call(ctx, request{path: job}, fields{"state": &state, "messageCount": &count, "pendingErrors": &problems,
		"pendingWarnings": &warnings}.visit)
	if problems = append(problems, warnings...); err == nil && len(problems) > 0 {
		err = fmt.Errorf("sumo logic: the result is not complete: %q", problems)
	}
	return state, count, err
}

// message is a message of a search job.
type message struct {
	Map struct {
		Raw string `json:"_raw"`
	} `json:"map"`
}

func (s *sumo) messages(ctx context.Context, job string, count int, take func(receipts.Found)) error {
	var r reader
	for offset := 0; offset < count; {
		before := offset
		err := s.call(ctx, request{path: job + "/messages",
			query: url.Values{"offset": {strconv.Itoa(offset)}, "limit": {strconv.Itoa(messagesPerPage)}}},
			items("messages[]", func(m *message) {
				offset++
				raw := m.Map.Raw
				if found, ok := r.read([]byte(raw)); ok {
					// The first slice of a large event has its id and not its content.
					found.Whole = found.Whole && (len(raw) < slice || json.Valid([]byte(raw)))
					take(found)
				}
			}, nil))
		if err != nil {
			return err
		}
		if offset == before {
			return fmt.Errorf("sumo logic: %d of %d messages returned", offset, count)
		}
	}
	return nil
}
