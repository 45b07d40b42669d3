package search

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/receipts"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// sentinel searches the table by the time of ingestion. KQL computes the content hashes, so that the events stay in
// Azure and a result stays far below the limits of the API (500,000 rows, 100 MB).
// https://learn.microsoft.com/azure/azure-monitor/logs/api/request-format
type sentinel struct {
	*client
	table, workspace, authority string
	form                        url.Values // for the token endpoint; nil if the token is given
}

const (
	rowsPerPage      = 10_000
	sentinelAPI      = "https://api.loganalytics.azure.com"
	sentinelAudience = "https://api.loganalytics.io/.default"
)

func openSentinel(s *settings.Settings, o Options) Searcher {
	base := s.URL("SENTINEL_SEARCH_URL", sentinelAPI, "the URL of the Log Analytics query API")
	workspace := s.Required("SENTINEL_SEARCH_WORKSPACE_ID", "the ID (GUID) of the Log Analytics workspace")
	token := s.Secret("SENTINEL_SEARCH_TOKEN", false, "")
	client := newClient(s, o, "SENTINEL_SEARCH", base, http.Header{"Authorization": {"Bearer " + token.Reveal()}})
	search := &sentinel{client: client, workspace: workspace,
		table: strings.TrimPrefix(o.function("SENTINEL_DCR_STREAM_NAME", "Custom-ArbitexAudit_CL"), "Custom-")}
	tenant := s.String("SENTINEL_SEARCH_TENANT_ID", o.function("SENTINEL_TENANT_ID", ""))
	id := s.String("SENTINEL_SEARCH_CLIENT_ID", "")
	secret := s.Secret("SENTINEL_SEARCH_CLIENT_SECRET", false, "")
	authority := s.URL("SENTINEL_SEARCH_AUTHORITY_HOST",
		o.function("SENTINEL_AUTHORITY_HOST", "https://login.microsoftonline.com"), "the authority's URL")
	client.redactor = client.redactor.With(secret)
	if token.Empty() {
		if id == "" || secret.Empty() || tenant == "" {
			s.Problem("SENTINEL_SEARCH_TOKEN", "", "an access token for https://api.loganalytics.io (az account "+
				"get-access-token), or SENTINEL_SEARCH_TENANT_ID, SENTINEL_SEARCH_CLIENT_ID and SENTINEL_SEARCH_CLIENT_SECRET")
		}
		search.form = url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret.Reveal()},
			"scope": {sentinelAudience}}
		if authority != nil {
			search.authority = authority.JoinPath(url.PathEscape(tenant), "oauth2/v2.0/token").String()
		}
	}
	return search
}

// Describe implements Searcher.
func (s *sentinel) Describe(q Query) string { return s.page(q, "") }

// page is the query of the page after a hash. Rows with the same content are one row with their number.
func (s *sentinel) page(q Query, after string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n| where ingestion_time() between (datetime(%s) .. datetime(%s))\n", s.table,
		q.From.UTC().Format(time.RFC3339), q.To.UTC().Format(time.RFC3339))
	if q.ID != "" {
		fmt.Fprintf(&b, "| where RawOCSF contains_cs %s\n", quote(q.ID))
	}
	b.WriteString("| extend Hash = hash_sha256(RawOCSF), O = parse_json(RawOCSF)\n")
	if after != "" {
		fmt.Fprintf(&b, "| where strcmp(Hash, %s) > 0\n", quote(after))
	}
	b.WriteString("| summarize Copies = count() by Hash, Uid = tostring(O.metadata.uid), " +
		"Replaced = iff(tobool(O.truncated) == true, tostring(O.sha256), \"\")\n")
	fmt.Fprintf(&b, "| top %d by Hash asc", rowsPerPage)
	return b.String()
}

// Search implements Searcher.
func (s *sentinel) Search(ctx context.Context, q Query, take func(receipts.Found)) error {
	if s.form != nil {
		if err := s.authorize(ctx); err != nil {
			return err
		}
	}
	for after := ""; ; {
		count, last, err := s.rows(ctx, s.page(q, after), take)
		if err != nil || count < rowsPerPage {
			return err
		}
		if last <= after {
			return errors.New("log analytics: the rows are not in the order of the query")
		}
		after = last
	}
}

func (s *sentinel) rows(ctx context.Context, query string, take func(receipts.Found)) (count int, last string,
	err error) {
	var partial struct{ Code, Message string }
	var columns []string
	tables := 0
	visit := func(path string, d *json.Decoder) (bool, error) {
		switch path {
		case "error":
			return true, d.Decode(&partial)
		case "tables[]":
			tables++
		case "tables[].columns[].name":
			columns = append(columns, "")
			return true, d.Decode(&columns[len(columns)-1])
		case "tables[].rows[]":
			var row []any
			if err := d.Decode(&row); err != nil {
				return true, err
			}
			count++
			found, hash, err := readRow(columns, row)
			last = hash
			if err == nil && found.ID != "" {
				take(found)
			}
			return true, err
		}
		return false, nil
	}
	err = s.call(ctx, request{path: "/v1/workspaces/" + s.workspace + "/query",
		body: map[string]string{"query": query}}, visit)
	if err == nil && partial.Code != "" {
		err = fmt.Errorf("log analytics: the result is not complete: %s: %q", partial.Code, partial.Message)
	}
	if err == nil && tables == 0 {
		err = errors.New("log analytics: the response has no table")
	}
	return count, last, err
}

// readRow reads a row of the query.
func readRow(columns []string, row []any) (found receipts.Found, hash string, err error) {
	values := map[string]any{}
	for i, value := range row {
		if i < len(columns) {
			values[columns[i]] = value
		}
	}
	hash, _ = values["Hash"].(string)
	uid, _ := values["Uid"].(string)
	replaced, _ := values["Replaced"].(string)
	copies, _ := values["Copies"].(float64)
	if len(hash) != 64 || copies < 1 {
		return found, hash, fmt.Errorf("log analytics: a row without Hash and Copies")
	}
	content := hash
	if len(replaced) == 64 {
		content = replaced
	}
	found = receipts.Found{ID: uid, Whole: replaced == "", Copies: int(copies)}
	if uid == "" || len(uid) > maxReceiptID {
		found.ID = content[:32]
	}
	found.Hash, err = receipts.Hash(content[:16])
	return found, hash, err
}

// authorize gets a token with the client credentials grant.
func (s *sentinel) authorize(ctx context.Context) error {
	target, err := url.Parse(s.authority)
	if err != nil {
		return fmt.Errorf("the authority's url: %w", err)
	}
	at := *s.client
	at.base, at.header = target, nil
	var token string
	if err := at.call(ctx, request{body: s.form}, fields{"access_token": &token}.visit); err != nil {
		return err
	}
	s.header = http.Header{"Authorization": {"Bearer " + token}}
	return nil
}
