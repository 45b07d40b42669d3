package splunk

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// exportPath is a search that streams its results. It supports one form of SPL: all events of an index and a source by
// their time of indexing, with or without a text.
// https://docs.splunk.com/Documentation/Splunk/latest/RESTREF/RESTsearch#search.2Fv2.2Fjobs.2Fexport
const exportPath = "/services/search/v2/jobs/export"

var spl = regexp.MustCompile(`^search index="([^"]*)" source="([^"]*)" ` +
	`_index_earliest=(\d+) _index_latest=(\d+)(?: "([^"]*)")? \| fields _raw$`)

var _ siem.Searchable = (*Simulator)(nil)

// SearchSettings implements siem.Searchable.
func (s *Simulator) SearchSettings() map[string]string {
	settings := map[string]string{"SPLUNK_SEARCH_URL": s.URL(), "SPLUNK_SEARCH_TOKEN": siem.SearchToken}
	if s.Options().Plain {
		maps.Copy(settings, map[string]string{"SIEM_ALLOW_HTTP": "true"})
	} else {
		settings["SPLUNK_SEARCH_CA_BUNDLE"] = s.CA()
	}
	return settings
}

func message(status int, kind, text string) siem.Answer {
	// texts always marshal
	body, _ := json.Marshal(map[string]any{"messages": []any{map[string]string{"type": kind, "text": text}}})
	return siem.Answer{Status: status, Header: map[string]string{"Content-Type": "application/json"}, Body: string(body),
		Detail: text}
}

func (s *Simulator) export(r *siem.Request) siem.Answer {
	if r.Header.Get("Authorization") != "Bearer "+siem.SearchToken {
		return message(http.StatusUnauthorized, "WARN", "call not properly authenticated")
	}
	if refusal, limited := s.SearchLimited(); limited {
		return refusal
	}
	form, err := url.ParseQuery(string(r.Body))
	query := spl.FindStringSubmatch(form.Get("search"))
	if r.Method != http.MethodPost || err != nil || query == nil {
		return message(http.StatusBadRequest, "FATAL", "Unable to parse the search")
	}
	if form.Get("earliest_time") != "0" || form.Get("output_mode") != "json" || form.Get("preview") != "false" {
		return message(http.StatusBadRequest, "FATAL", "expected all times, JSON and no preview")
	}
	from, _ := strconv.ParseInt(query[3], 10, 64)
	to, _ := strconv.ParseInt(query[4], 10, 64)
	var results []siem.Accepted
	for _, a := range s.Indexed(s.ArrivedIn(time.Unix(from, 0), time.Unix(to, 0))) {
		if a.Fields["index"] == query[1] && a.Fields["source"] == query[2] && strings.Contains(string(a.Event), query[5]) {
			results = append(results, a)
		}
	}
	return siem.Answer{Status: http.StatusOK, Header: map[string]string{"Content-Type": "application/json"},
		Body: exported(results)}
}

// exported writes one object for each result. The last one is marked; without results, it is alone.
func exported(results []siem.Accepted) string {
	var b strings.Builder
	for i, a := range results {
		raw, _ := json.Marshal(string(a.Event)) // texts always marshal
		b.WriteString(`{"preview":false,"offset":` + strconv.Itoa(i))
		if i == len(results)-1 {
			b.WriteString(`,"lastrow":true`)
		}
		b.WriteString(`,"result":{"_raw":` + string(raw) + "}}\n")
	}
	if len(results) == 0 {
		b.WriteString(`{"preview":false,"lastrow":true}` + "\n")
	}
	return b.String()
}
