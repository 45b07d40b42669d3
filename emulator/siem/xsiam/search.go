package xsiam

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// xqlPath is the API for XQL queries. It supports a query for the events of a dataset, with or without a text, whose
// _time is the time of arrival. A query is pending when it is asked for the first time, and more than 1,000 results
// come as a stream. https://docs-cortex.paloaltonetworks.com/r/Cortex-XSIAM-Platform-APIs/Run-XQL-query-APIs
const xqlPath = "/public_api/v1/xql/"

const maxInline = 1000

var xql = regexp.MustCompile(`^dataset = (\w+)(?: \| filter raw_ocsf contains "([^"]*)")?` +
	` \| fields raw_ocsf \| limit (\d+)$`)

// queries are the XQL queries that were started.
type queries struct {
	list  map[string][]siem.Accepted
	asked map[string]bool
}

var _ siem.Searchable = (*Simulator)(nil)

// SearchSettings implements siem.Searchable.
func (s *Simulator) SearchSettings() map[string]string {
	settings := map[string]string{"XSIAM_SEARCH_URL": s.URL(), "XSIAM_SEARCH_API_KEY": siem.SearchToken,
		"XSIAM_SEARCH_API_KEY_ID": "7"}
	if s.Options().Plain {
		settings["SIEM_ALLOW_HTTP"] = "true"
	} else {
		settings["XSIAM_SEARCH_CA_BUNDLE"] = s.CA()
	}
	return settings
}

// searchData is the request_data of all calls.
type searchData struct {
	Query     string
	Timeframe struct{ From, To int64 }
	QueryID   string `json:"query_id"`
	StreamID  string `json:"stream_id"`
	Limit     int
}

func (s *Simulator) search(r *siem.Request) siem.Answer {
	if r.Header.Get("Authorization") != siem.SearchToken || r.Header.Get("x-xdr-auth-id") != "7" {
		return refuse(http.StatusUnauthorized, "Public API request unauthorized", "")
	}
	if refusal, limited := s.SearchLimited(); limited {
		return refusal
	}
	var body struct {
		Data searchData `json:"request_data"`
	}
	if json.Unmarshal(r.Body, &body) != nil || r.Method != http.MethodPost {
		return refuse(http.StatusBadRequest, "invalid request", "")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch strings.Trim(strings.TrimPrefix(r.URL.Path, xqlPath), "/") {
	case "start_xql_query":
		return s.startQuery(body.Data)
	case "get_query_results":
		return s.queryResults(body.Data)
	case "get_query_results_stream":
		return s.queryStream(body.Data)
	}
	return refuse(http.StatusNotFound, "not found", "")
}

func respond(body any) siem.Answer {
	text, _ := json.Marshal(body) // texts and numbers always marshal
	return siem.Answer{Status: http.StatusOK, Header: map[string]string{"Content-Type": "application/json"},
		Body: string(text)}
}

func (s *Simulator) startQuery(d searchData) siem.Answer {
	query := xql.FindStringSubmatch(d.Query)
	if query == nil {
		return refuse(http.StatusInternalServerError, "An error occurred while processing XDR public API",
			"the query is not supported")
	}
	var found []siem.Accepted
	for _, a := range s.Indexed(s.ArrivedIn(time.UnixMilli(d.Timeframe.From), time.UnixMilli(d.Timeframe.To))) {
		if a.Fields["_dataset"] == query[1] && strings.Contains(string(a.Event), query[2]) {
			found = append(found, a)
		}
	}
	if s.queries.list == nil {
		s.queries = queries{map[string][]siem.Accepted{}, map[string]bool{}}
	}
	id := strconv.Itoa(len(s.queries.list)) + "_inv"
	s.queries.list[id] = found
	return respond(map[string]string{"reply": id})
}

func row(a siem.Accepted) map[string]string { return map[string]string{"raw_ocsf": string(a.Event)} }

func (s *Simulator) queryResults(d searchData) siem.Answer {
	found, ok := s.queries.list[d.QueryID]
	switch {
	case !ok:
		return refuse(http.StatusInternalServerError, "An error occurred while processing XDR public API", "no such query")
	case !s.queries.asked[d.QueryID]:
		s.queries.asked[d.QueryID] = true
		return respond(map[string]any{"reply": map[string]any{"status": "PENDING"}})
	}
	results := map[string]any{"stream_id": "stream-" + d.QueryID}
	if len(found) <= maxInline {
		data := []any{}
		for _, a := range found {
			data = append(data, row(a))
		}
		results = map[string]any{"data": data}
	}
	return respond(map[string]any{"reply": map[string]any{"status": "SUCCESS", "number_of_results": len(found),
		"results": results}})
}

func (s *Simulator) queryStream(d searchData) siem.Answer {
	found, ok := s.queries.list[strings.TrimPrefix(d.StreamID, "stream-")]
	if !ok {
		return refuse(http.StatusInternalServerError, "An error occurred while processing XDR public API", "no such stream")
	}
	var b strings.Builder
	for _, a := range found {
		line, _ := json.Marshal(row(a)) // texts always marshal
		b.Write(append(line, '\n'))
	}
	return siem.Answer{Status: http.StatusOK, Header: map[string]string{"Content-Type": "application/json"},
		Body: b.String()}
}
