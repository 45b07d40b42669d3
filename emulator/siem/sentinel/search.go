package sentinel

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// The Log Analytics query API of one workspace, for an application of its own. It supports the query that counts the
// rows of a time of ingestion by the hash of RawOCSF.
// https://learn.microsoft.com/azure/azure-monitor/logs/api/request-format
const (
	workspace   = "22222222-dddd-4eee-8fff-0123456789ab"
	queryPath   = "/v1/workspaces/" + workspace + "/query"
	searcherID  = "33333333-dddd-4eee-8fff-0123456789ab"
	searchScope = "https://api.loganalytics.io/.default"
)

var kql = regexp.MustCompile(`^ArbitexAudit_CL
\| where ingestion_time\(\) between \(datetime\((\S+)\) \.\. datetime\((\S+)\)\)
(?:\| where RawOCSF contains_cs "([^"]*)"
)?\| extend Hash = hash_sha256\(RawOCSF\), O = parse_json\(RawOCSF\)
(?:\| where strcmp\(Hash, "([0-9a-f]*)"\) > 0
)?\| summarize Copies = count\(\) by Hash, Uid = tostring\(O\.metadata\.uid\), ` +
	`Replaced = iff\(tobool\(O\.truncated\) == true, tostring\(O\.sha256\), ""\)
\| top (\d+) by Hash asc$`)

var _ siem.Searchable = (*Simulator)(nil)

// SearchSettings implements siem.Searchable.
func (s *Simulator) SearchSettings() map[string]string {
	settings := map[string]string{
		"SENTINEL_SEARCH_URL": s.URL(), "SENTINEL_SEARCH_AUTHORITY_HOST": s.URL(), "SENTINEL_SEARCH_WORKSPACE_ID": workspace,
		"SENTINEL_SEARCH_TENANT_ID": tenant, "SENTINEL_SEARCH_CLIENT_ID": searcherID,
		"SENTINEL_SEARCH_CLIENT_SECRET": siem.SearchToken,
	}
	if s.Options().Plain {
		maps.Copy(settings, map[string]string{"SIEM_ALLOW_HTTP": "true"})
	} else {
		settings["SENTINEL_SEARCH_CA_BUNDLE"] = s.CA()
	}
	return settings
}

// isSearch reports whether a request is a query, or for a token of the application that searches.
func isSearch(r *siem.Request) bool {
	return r.URL.Path == queryPath || IsToken(r.Request) && strings.Contains(string(r.Body), searcherID)
}

func (s *Simulator) search(r *siem.Request) siem.Answer {
	header := map[string]string{"Content-Type": "application/json; charset=utf-8"}
	if r.URL.Path != queryPath {
		form, _ := url.ParseQuery(string(r.Body)) // an invalid form has no secret
		switch {
		case form.Get("client_secret") != siem.SearchToken:
			return deny(wrongSecret)
		case form.Get("scope") != searchScope || form.Get("grant_type") != "client_credentials" || r.URL.Path != tokenPath:
			return deny(wrongScope)
		}
		return siem.Answer{Status: http.StatusOK, Header: header,
			Body: `{"token_type":"Bearer","expires_in":3599,"access_token":"` + siem.SearchToken + `"}`}
	}
	if r.Header.Get("Authorization") != "Bearer "+siem.SearchToken {
		return refuse(http.StatusForbidden, "InsufficientAccessError", "The provided credentials have insufficient access.")
	}
	if refusal, limited := s.SearchLimited(); limited {
		return refusal
	}
	var body struct{ Query string }
	_ = json.Unmarshal(r.Body, &body) // without a query, it does not match
	query := kql.FindStringSubmatch(body.Query)
	if query == nil {
		return refuse(http.StatusBadRequest, "BadArgumentError", "The request had some invalid properties.")
	}
	from, err1 := time.Parse(time.RFC3339, query[1])
	to, err2 := time.Parse(time.RFC3339, query[2])
	most, _ := strconv.Atoi(query[5])
	if err1 != nil || err2 != nil {
		return refuse(http.StatusBadRequest, "BadArgumentError", "A datetime is not valid.")
	}
	// texts and numbers always marshal
	answer, _ := json.Marshal(s.table(s.Indexed(s.ArrivedIn(from, to)), query[3], query[4], most))
	return siem.Answer{Status: http.StatusOK, Header: header, Body: string(answer)}
}

// row is a row of the query, without the number of copies.
type row struct{ hash, uid, replaced string }

// summary is the result of the latest query, for its pages.
type summary struct {
	rows   []row
	copies map[row]int
}

// summarize counts the events that contain a text by their rows.
func summarize(events []siem.Accepted, text string) summary {
	s := summary{copies: map[row]int{}}
	for _, a := range events {
		if !strings.Contains(string(a.Event), text) {
			continue
		}
		sum := sha256.Sum256(a.Event)
		var o struct {
			Truncated bool   `json:"truncated"`
			SHA256    string `json:"sha256"`
		}
		_ = json.Unmarshal(a.Event, &o) // an event of another type is not replaced
		key := row{hash: hex.EncodeToString(sum[:]), uid: siem.OwnID(a.Event)}
		if o.Truncated {
			key.replaced = o.SHA256
		}
		s.copies[key]++
	}
	s.rows = slices.SortedFunc(maps.Keys(s.copies), func(a, b row) int { return cmp.Compare(a.hash, b.hash) })
	return s
}

// table is the page after a hash; "" is the first page, which makes the summary.
func (s *Simulator) table(events []siem.Accepted, text, after string, most int) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	if after == "" {
		s.summary = summarize(events, text)
	}
	start, _ := slices.BinarySearchFunc(s.summary.rows, after+"!", func(r row,
		hash string) int {
		return cmp.Compare(r.hash, hash)
	})
	rows := [][]any{}
	for _, key := range s.summary.rows[start:min(start+most, len(s.summary.rows))] {
		rows = append(rows, []any{key.hash, key.uid, key.replaced, s.summary.copies[key]})
	}
	var columns []map[string]string
	for _, name := range []string{"Hash", "Uid", "Replaced", "Copies"} {
		columns = append(columns, map[string]string{"name": name})
	}
	return map[string]any{"tables": []any{map[string]any{"name": "PrimaryResult", "columns": columns, "rows": rows}}}
}
