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
	err := s.call(ctx, "start_xql_query", map[string]any{"query": s.Describe(q), "tenants": []string{},
		"timeframe": map[string]int64{"from": q.From.Add(-q.MaxAge).UnixMilli(), "to": q.To.UnixMilli()}},
		decodeInto(map[string]any{"reply": &id}))
	if err != nil {
		return err
	}
	for {
		result := results{take: take}
		if err := s.call(ctx, "get_query_results", map[string]any{"query_id": id, "pending_flag": true, "limit": 1000,
			"format": "json"}, result.visit); err != nil {
			return err
		}
		switch {
		case result.status == "PENDING":
			if err := s.options.Wait(ctx, poll); err != nil {
				return err
			}
			continue
		case result.status != "SUCCESS":
			return fmt.Errorf("xsiam: the query ended with the status %q", result.status)
		case result.total >= maxResults:
			return errors.New("xsiam: the window has more than 1,000,000 events: choose a shorter one")
		case result.stream != "":
			return s.stream(ctx, result.stream, result.total, take)
		case result.count != result.total:
			return fmt.Errorf("xsiam: %d of %d results returned", result.count, result.total)
		}
		return nil
	}
}

// results reads the response of get_query_results: up to 1,000 results, or the id of a stream.
type results struct {
	take           func(receipts.Found)
	status, stream string
	count, total   int
	reader         reader
}

func (r *results) visit(path string, d *json.Decoder) (bool, error) {
	if path == "reply.results.data[]" {
		r.count++
		return true, takeRow(d, &r.reader, r.take)
	}
	return decodeInto(map[string]any{"reply.status": &r.status, "reply.results.stream_id": &r.stream,
		"reply.number_of_results": &r.total})(path, d)
}

// takeRow decodes a result of the query.
func takeRow(d *json.Decoder, r *reader, take func(receipts.Found)) error {
	var row struct {
		Raw string `json:"raw_ocsf"`
	}
	if err := d.Decode(&row); err != nil {
		return err
	}
	if found, ok := r.read([]byte(row.Raw)); ok {
		take(found)
	}
	return nil
}

// stream reads one result in a line.
func (s *xsiam) stream(ctx context.Context, id string, total int, take func(receipts.Found)) error {
	response, err := s.post(ctx, "get_query_results_stream", map[string]any{"stream_id": id, "is_gzip_compressed": false})
	if err != nil {
		return err
	}
	defer response.Body.Close()
	decoder, count := json.NewDecoder(bufio.NewReader(response.Body)), 0
	var r reader
	for {
		err := takeRow(decoder, &r, take)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("reading the results: %w", err)
		}
		count++
	}
	if count != total {
		return fmt.Errorf("xsiam: %d of %d results returned", count, total)
	}
	return nil
}

func (s *xsiam) call(ctx context.Context, name string, data map[string]any, visit visitor) error {
	response, err := s.post(ctx, name, data)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return walk(response.Body, visit)
}

func (s *xsiam) post(ctx context.Context, name string, data map[string]any) (*http.Response, error) {
	body, err := json.Marshal(map[string]any{"request_data": data})
	if err != nil {
		return nil, fmt.Errorf("making the query: %w", err)
	}
	return s.do(ctx, request{method: http.MethodPost, path: "/public_api/v1/xql/" + name + "/", kind: "application/json",
		body: body})
}
