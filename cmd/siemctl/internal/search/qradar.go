package search

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/receipts"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// qradar searches by the time at which QRadar received an event. QRadar holds CEF, which has fields of an event and not
// its content: the hash of a Found is that of its CEF, from "CEF:" on. See [CEFHash].
// https://www.ibm.com/docs/en/qradar-common?topic=endpoints-rest-api
type qradar struct {
	*client
	header string // that CEF messages of the connector begin with
}

const recordsPerPage = 1000

func openQRadar(s *settings.Settings, o Options) Searcher {
	base := s.URL("QRADAR_SEARCH_URL", "", "the URL of the QRadar Console, such as https://qradar.example.com")
	token := credential(s, "QRADAR_SEARCH_TOKEN", "the token of an authorized service that may search events")
	return &qradar{
		client: newClient(s, o, "QRADAR_SEARCH", base, http.Header{"Sec": {token}, "Accept": {"application/json"}}),
		header: "CEF:0|" + o.function("QRADAR_CEF_DEVICE_VENDOR", "Arbitex") + "|" +
			o.function("QRADAR_CEF_DEVICE_PRODUCT", "ArbitexPlatform") + "|",
	}
}

// Describe implements Searcher. START and STOP are minutes; without the Z they would be in the Console's time zone.
func (s *qradar) Describe(q Query) string {
	const minute = "2006-01-02 15:04Z"
	literal := strings.NewReplacer(`'`, `''`)
	where := fmt.Sprintf("UTF8(payload) LIKE '%%%s%%'", literal.Replace(s.header))
	if q.ID != "" {
		where += fmt.Sprintf(" AND UTF8(payload) LIKE '%%externalId=%s%%'", literal.Replace(q.ID))
	}
	return fmt.Sprintf("SELECT UTF8(payload) AS payload FROM events WHERE %s START '%s' STOP '%s'", where,
		q.From.UTC().Truncate(time.Minute).Format(minute), q.To.UTC().Add(time.Minute).Truncate(time.Minute).Format(minute))
}

// Search implements Searcher.
func (s *qradar) Search(ctx context.Context, q Query, take func(receipts.Found)) error {
	var id string
	query := url.Values{"query_expression": {s.Describe(q)}}
	err := s.call(ctx, request{method: http.MethodPost, path: "/api/ariel/searches", query: query,
		accept: []int{http.StatusCreated}}, fields{"search_id": &id}.visit)
	if err != nil {
		return err
	}
	path := "/api/ariel/searches/" + url.PathEscape(id)
	defer s.remove(ctx, path, nil)
	total, err := s.finish(ctx, path)
	for from := 0; from < total && err == nil; from += recordsPerPage {
		err = s.page(ctx, path, from, min(from+recordsPerPage, total), take)
	}
	return err
}

// finish waits for a search and returns the number of its records.
func (s *qradar) finish(ctx context.Context, path string) (total int, err error) {
	for {
		var status string
		state := fields{"status": &status, "record_count": &total}
		if err := s.call(ctx, request{path: path}, state.visit); err != nil {
			return 0, err
		}
		switch status {
		case "COMPLETED":
			return total, nil
		case "CANCELED", "ERROR":
			return 0, fmt.Errorf("qradar: the search ended with the status %s", status)
		}
		if err := s.options.Wait(ctx, poll); err != nil {
			return 0, err
		}
	}
}

// page reads the records from from, inclusive, to to, exclusive.
func (s *qradar) page(ctx context.Context, path string, from, to int, take func(receipts.Found)) error {
	count := 0
	err := s.call(ctx, request{path: path + "/results",
		header: http.Header{"Range": {fmt.Sprintf("items=%d-%d", from, to-1)}}, accept: []int{http.StatusPartialContent}},
		items("events[]", func(record *struct{ Payload string }) {
			count++
			if found, ok := readCEF([]byte(record.Payload)); ok {
				take(found)
			}
		}, nil))
	if err == nil && count != to-from {
		err = fmt.Errorf("qradar: %d of %d records returned", count, to-from)
	}
	return err
}

// readCEF reads a message. The second result is false for a message without an event id.
func readCEF(message []byte) (receipts.Found, bool) {
	hash, ok := CEFHash(message)
	id := extension(string(message), "externalId")
	return receipts.Found{ID: id, Hash: hash, Whole: true, Copies: 1}, ok && id != ""
}

// CEFHash returns the content hash of a CEF message, without the syslog header before it, which a relay may change. The
// second result is false for a message without CEF.
func CEFHash(message []byte) (uint64, bool) {
	start := bytes.Index(message, []byte("CEF:0|"))
	if start < 0 {
		return 0, false
	}
	sum := sha256.Sum256(bytes.TrimRight(message[start:], "\r\n"))
	return binary.BigEndian.Uint64(sum[:8]), true
}

// extension returns the value of a key of CEF's extension, "" if there is none.
func extension(message, key string) string {
	_, value, ok := strings.Cut(message, " "+key+"=")
	if !ok {
		return ""
	}
	for i := 0; i < len(value); i++ {
		switch value[i] {
		case '\\':
			i++
		case '=': // the next key precedes it
			if space := strings.LastIndexByte(value[:i], ' '); space >= 0 {
				value = value[:space]
			}
			i = len(value)
		}
	}
	return strings.NewReplacer(`\\`, `\`, `\=`, `=`, `\n`, "\n", `\r`, "\r").Replace(strings.TrimRight(value, "\r\n"))
}
