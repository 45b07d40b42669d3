package search

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/receipts"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// datadog searches by the time of the log, which is that of its arrival unless DATADOG_EVENT_TIME or a date remapper
// sets the event's own. https://docs.datadoghq.com/api/latest/logs/#search-logs-post
type datadog struct {
	*client
	filter string
}

const logsPerPage = 1000

func openDatadog(s *settings.Settings, o Options) Searcher {
	base := s.URL("DATADOG_SEARCH_URL", "https://api."+o.function("DATADOG_SITE", "datadoghq.com"),
		"the URL of Datadog's API")
	key := credential(s, "DATADOG_SEARCH_API_KEY", "an API key")
	app := credential(s, "DATADOG_SEARCH_APP_KEY", "an application key with the scope logs_read_data")
	return &datadog{
		client: newClient(s, o, "DATADOG_SEARCH", base, http.Header{"Dd-Api-Key": {key}, "Dd-Application-Key": {app}}),
		filter: "service:" + quote(o.function("DATADOG_SERVICE", "arbitex")) +
			" source:" + quote(o.function("DATADOG_SOURCE", "arbitex-audit")),
	}
}

func (s *datadog) body(q Query, cursor string) map[string]any {
	filter := s.filter
	if q.ID != "" {
		filter += fmt.Sprintf(" (@metadata.uid:%[1]s OR %[1]s)", quote(q.ID))
	}
	page := map[string]any{"limit": logsPerPage}
	if cursor != "" {
		page["cursor"] = cursor
	}
	return map[string]any{"sort": "timestamp", "page": page, "filter": map[string]string{
		"query": filter, "from": q.From.Add(-q.MaxAge).UTC().Format(time.RFC3339), "to": q.To.UTC().Format(time.RFC3339),
	}}
}

// Describe implements Searcher.
func (s *datadog) Describe(q Query) string {
	text, _ := json.Marshal(s.body(q, "")) // texts and numbers always marshal
	return "POST /api/v2/logs/events/search " + string(text)
}

// Search implements Searcher.
func (s *datadog) Search(ctx context.Context, q Query, take func(receipts.Found)) error {
	for cursor := ""; ; {
		next, err := s.page(ctx, q, cursor, take)
		if err != nil || next == "" {
			return err
		}
		if next == cursor {
			return fmt.Errorf("datadog: the cursor does not advance")
		}
		cursor = next
	}
}

func (s *datadog) page(ctx context.Context, q Query, cursor string, take func(receipts.Found)) (next string,
	err error) {
	var status string
	var warnings []json.RawMessage
	var r reader
	err = s.call(ctx, request{path: "/api/v2/logs/events/search", body: s.body(q, cursor)},
		items("data[]", func(log *loggedEvent) {
			if found, ok := log.read(&r); ok {
				take(found)
			}
		}, fields{"meta.page.after": &next, "meta.status": &status, "meta.warnings": &warnings}))
	if err == nil && (status != "" && status != "done" || len(warnings) > 0) {
		err = fmt.Errorf("datadog: the result is not complete: status %q, warnings %s", status, warnings)
	}
	return next, err
}

// loggedEvent is a log of the search.
type loggedEvent struct {
	Attributes struct {
		Message    string                     `json:"message"`
		Attributes map[string]json.RawMessage `json:"attributes"`
	} `json:"attributes"`
}

// read reads the event from the message, or from the attributes that Datadog has parsed out of it. Attributes keep
// neither the order of keys nor the form of numbers, so their content cannot be compared with a hash.
func (l *loggedEvent) read(r *reader) (receipts.Found, bool) {
	if found, ok := r.read([]byte(l.Attributes.Message)); ok {
		return found, true
	}
	uid := uidOf(l.Attributes.Attributes)
	return receipts.Found{ID: uid, Copies: 1}, uid != "" && len(uid) <= maxReceiptID
}
