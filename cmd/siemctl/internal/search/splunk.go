package search

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/receipts"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// splunk searches by the time of indexing, so that an event's own time does not matter.
// https://docs.splunk.com/Documentation/Splunk/latest/RESTREF/RESTsearch#search.2Fv2.2Fjobs.2Fexport
type splunk struct {
	*client
	filter string
}

func openSplunk(s *settings.Settings, o Options) Searcher {
	base := s.URL("SPLUNK_SEARCH_URL", "", "Splunk's management URL, such as https://splunk.example.com:8089")
	token := credential(s, "SPLUNK_SEARCH_TOKEN", "an authentication token of a user that may search the index")
	return &splunk{
		client: newClient(s, o, "SPLUNK_SEARCH", base, http.Header{"Authorization": {"Bearer " + token}}),
		filter: "index=" + quote(o.function("SPLUNK_HEC_INDEX", "arbitex")) +
			" source=" + quote(o.function("SPLUNK_HEC_SOURCE", "arbitex-platform")),
	}
}

// Describe implements Searcher.
func (s *splunk) Describe(q Query) string {
	text := fmt.Sprintf("search %s _index_earliest=%d _index_latest=%d", s.filter, q.From.Unix(), q.To.Unix()+1)
	if q.ID != "" {
		text += " " + quote(q.ID)
	}
	return text + " | fields _raw"
}

// Search implements Searcher.
func (s *splunk) Search(ctx context.Context, q Query, take func(receipts.Found)) error {
	response, err := s.do(ctx, request{path: "/services/search/v2/jobs/export", body: url.Values{
		"search": {s.Describe(q)}, "earliest_time": {"0"}, "output_mode": {"json"}, "preview": {"false"},
	}})
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return readExport(response.Body, take)
}

// exported is one line of an export.
type exported struct {
	Preview bool
	LastRow bool
	Result  *struct {
		Raw string `json:"_raw"`
	}
	Messages []struct{ Type, Text string }
}

// readExport reads one object for each result. The last one has lastrow.
func readExport(body io.Reader, take func(receipts.Found)) error {
	decoder := json.NewDecoder(bufio.NewReader(body))
	var r reader
	last := false
	for {
		var line exported
		err := decoder.Decode(&line)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("reading the export: %w", err)
		}
		for _, m := range line.Messages {
			if m.Type == "FATAL" || m.Type == "ERROR" || m.Type == "WARN" { // a warning means that results are missing
				return fmt.Errorf("splunk: %s: %s", m.Type, strconv.Quote(m.Text))
			}
		}
		last = last || line.LastRow
		if line.Result == nil || line.Preview {
			continue
		}
		if found, ok := r.read([]byte(line.Result.Raw)); ok {
			take(found)
		}
	}
	if !last {
		return errors.New("reading the export: it ended before its last result")
	}
	return nil
}
