package search

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/receipts"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// xsiam searches by _time, which is the event's own time with a parsing rule, and else that of its arrival.
// https://docs-cortex.paloaltonetworks.com/r/Cortex-XSIAM-Platform-APIs/Run-XQL-query-APIs
type xsiam struct {
	*client
	dataset string
}

// maxResults is XQL's maximum. Without a stage limit, the default applies, which may be lower.
const maxResults = 1_000_000

func openXSIAM(s *settings.Settings, o Options) Searcher {
	base := s.URL("XSIAM_SEARCH_URL", "", "the tenant's API URL, such as https://api-tenant.xdr.eu.paloaltonetworks.com")
	key := credential(s, "XSIAM_SEARCH_API_KEY", "a standard API key whose role may run XQL queries")
	id := s.Required("XSIAM_SEARCH_API_KEY_ID", "the ID of the API key")
	return &xsiam{
		client:  newClient(s, o, "XSIAM_SEARCH", base, http.Header{"Authorization": {key}, "X-Xdr-Auth-Id": {id}}),
		dataset: o.function("XSIAM_DATASET", "arbitex_audit_raw"),
	}
}

// Describe implements Searcher.
func (s *xsiam) Describe(q Query) string {
	text := "dataset = " + s.dataset
	if q.ID != "" {
		text += " | filter raw_ocsf contains " + quote(q.ID)
	}
	return text + fmt.Sprintf(" | fields raw_ocsf | limit %d", maxResults)
}

// Search implements Searcher.
func (s *xsiam) Search(ctx context.Context, q Query, take func(receipts.Found)) error {
	var id string
	err := s.call(ctx, xql("start_xql_query", map[string]any{"query": s.Describe(q), "tenants": []string{},
		"timeframe": map[string]int64{"from": q.From.Add(-q.MaxAge).UnixMilli(), "to": q.To.UnixMilli()}}),
		fields{"reply": &id}.visit)
	if err != nil {
		return err
	}
	results := xql("get_query_results", map[string]any{"query_id": id, "pending_flag": true, "limit": 1000,
		"format": "json"})
	for {
		var status, stream string
		var count, total int
		var r reader
		// The response has up to 1,000 results, or the id of a stream.
		if err := s.call(ctx, results, items("reply.results.data[]", func(row *result) {
			count++
			row.read(&r, take)
		}, fields{"reply.status": &status, "reply.results.stream_id": &stream,
			"reply.number_of_results": &total})); err != nil {
			return err
		}
		switch {
		case status == "PENDING":
			if err := s.options.Wait(ctx, poll); err != nil {
				return err
			}
			continue
		case status != "SUCCESS":
			return fmt.Errorf("xsiam: the query ended with the status %q", status)
		case total >= maxResults:
			return errors.New("xsiam: the window has more than 1,000,000 events: choose a shorter one")
		case stream != "":
			return s.stream(ctx, stream, total, take)
		case count != total:
			return fmt.Errorf("xsiam: %d of %d results returned", count, total)
		}
		return nil
	}
}

// result is a result of the query.
type result struct {
	Raw string `json:"raw_ocsf"`
}

func (row *result) read(r *reader, take func(receipts.Found)) {
	if found, ok := r.read([]byte(row.Raw)); ok {
		take(found)
	}
}

// stream reads one result in a line.
func (s *xsiam) stream(ctx context.Context, id string, total int, take func(receipts.Found)) error {
	response, err := s.do(ctx, xql("get_query_results_stream", map[string]any{"stream_id": id,
		"is_gzip_compressed": false}))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	decoder := json.NewDecoder(bufio.NewReader(response.Body))
	var r reader
	for count := 0; ; count++ {
		var row result
		err := decoder.Decode(&row)
		switch {
		case errors.Is(err, io.EOF) && count != total:
			return fmt.Errorf("xsiam: %d of %d results returned", count, total)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("reading the results: %w", err)
		}
		row.read(&r, take)
	}
}

// xql is a call of the XQL API.
func xql(name string, data map[string]any) request {
	return request{path: "/public_api/v1/xql/" + name + "/", body: map[string]any{"request_data": data}}
}
