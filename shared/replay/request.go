package replay

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/deadletter"
	"github.com/arbitex/siem-connectors/shared/jsonscan"
)

// Path is the only path that the replay serves.
const Path = "/api/admin/siem/replay-dead-letter"

const (
	maxRequest    = 128 << 10 // bytes; a thousand message ids take 40 KB
	defaultLimit  = 10_000
	maxLimit      = 1_000_000
	maxMessageIDs = 1000
)

// call is the part of a Lambda function URL's payload (format 2.0) that the function reads.
// https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
type call struct {
	Path    string            `json:"rawPath"`
	Query   string            `json:"rawQueryString"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
	Base64  bool              `json:"isBase64Encoded"`
	Context struct {
		HTTP struct {
			Method string `json:"method"`
			Path   string `json:"path"`
		} `json:"http"`
		Authorizer struct {
			IAM struct {
				UserARN string `json:"userArn"`
			} `json:"iam"`
		} `json:"authorizer"`
	} `json:"requestContext"`
}

// refusal is a response other than 200.
type refusal struct {
	status int
	text   string
	header map[string]string
}

func (r *refusal) Error() string { return r.text }

func refuse(status int, format string, args ...any) *refusal {
	return &refusal{status: status, text: fmt.Sprintf(format, args...)}
}

// request is the content of a POST.
type request struct {
	deadletter.Filter
	limit                  int
	dryRun, force, discard bool
}

// isReplay reports whether the call is a POST, which replays; a GET counts.
func (c *call) isReplay() (bool, *refusal) {
	if path := cmp.Or(c.Path, c.Context.HTTP.Path); path != Path {
		return false, refuse(http.StatusNotFound, "path: expected %s, found %q", Path, deadletter.Bound(path, 200))
	}
	method := c.Context.HTTP.Method
	if method != http.MethodPost && method != http.MethodGet {
		r := refuse(http.StatusMethodNotAllowed, "method: expected GET or POST, found %q", deadletter.Bound(method, 40))
		r.header = map[string]string{"allow": "GET, POST"}
		return false, r
	}
	// If a query was ignored, "?dry_run=true" would replay everything.
	if c.Query != "" {
		return false, refuse(http.StatusBadRequest, "query: expected none; the keys of the request belong into a JSON body")
	}
	return method == http.MethodPost, nil
}

// request reads the body.
func (c *call) request() (request, *refusal) {
	body := []byte(c.Body)
	if c.Base64 {
		var err error
		if body, err = base64.StdEncoding.DecodeString(c.Body); err != nil {
			return request{}, refuse(http.StatusBadRequest, "body: expected base64, as isBase64Encoded says")
		}
	}
	if len(body) > maxRequest {
		return request{}, refuse(http.StatusBadRequest, "body: expected at most %d bytes, has %d", maxRequest, len(body))
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return request{limit: defaultLimit}, nil
	}
	if kind := c.header("content-type"); kind != "" && !isJSON(kind) {
		return request{}, refuse(http.StatusUnsupportedMediaType, "content-type: expected application/json, found %q",
			deadletter.Bound(kind, 100))
	}
	return parseRequest(body)
}

func (c *call) header(name string) string {
	for key, value := range c.Headers {
		if strings.EqualFold(key, name) {
			return value
		}
	}
	return ""
}

func isJSON(kind string) bool {
	media, _, err := mime.ParseMediaType(kind)
	return err == nil && (media == "application/json" || strings.HasPrefix(media, "application/") &&
		strings.HasSuffix(media, "+json"))
}

// parseRequest reads the JSON object of a request. The refusal names every wrong key.
func parseRequest(body []byte) (request, *refusal) {
	if !json.Valid(body) || !utf8.Valid(body) {
		return request{}, refuse(http.StatusUnsupportedMediaType, "body: expected a JSON object, is not JSON")
	}
	r := request{limit: defaultLimit}
	var problems []string
	seen := make(map[string]bool)
	in := jsonscan.NewReader(body, 0)
	in.Object()
	for k, ok := in.Key(); ok; k, ok = in.Key() {
		key := string(k)
		if err := r.set(key, in.Value()); err != nil {
			problems = append(problems, err.Error())
		} else if seen[key] {
			problems = append(problems, key+": is given twice")
		}
		seen[key] = true
	}
	if !in.End() {
		return request{}, refuse(http.StatusBadRequest, "body: expected a JSON object, is another JSON value")
	}
	if !r.To.IsZero() && !r.From.Before(r.To) {
		problems = append(problems, "to: expected a time after from")
	}
	if r.Connector == deadletter.Unknown && !r.discard {
		problems = append(problems, "connector: dead letters of an unknown connector can only be discarded")
	}
	if problems != nil {
		return request{}, refuse(http.StatusBadRequest, "%s", deadletter.Bound(strings.Join(problems, "; "), 2000))
	}
	return r, nil
}

// set reads one key of the request.
func (r *request) set(key string, value json.RawMessage) error {
	var ok bool
	expected := "true or false"
	decode := func(into any) bool { return string(value) != "null" && json.Unmarshal(value, into) == nil }
	switch key {
	case "connector":
		ok = decode(&r.Connector) && (connectors.Known(r.Connector) || r.Connector == deadletter.Unknown)
		expected = "one of " + strings.Join(connectors.Names(), ", ")
	case "from":
		r.From, ok = timeOf(value)
		expected = `an RFC 3339 time such as "2026-03-13T00:00:00Z"`
	case "to":
		r.To, ok = timeOf(value)
		expected = `an RFC 3339 time such as "2026-03-13T00:00:00Z"`
	case "limit":
		n, err := strconv.Atoi(string(value))
		r.limit, ok = n, err == nil && n >= 1 && n <= maxLimit
		expected = fmt.Sprintf("an integer from 1 to %d", maxLimit)
	case "reason":
		ok = decode(&r.Reason) && r.Reason != ""
		expected = "a part of the error of a dead letter, which is not empty"
	case "message_ids":
		ok = decode(&r.MessageIDs) && len(r.MessageIDs) >= 1 && len(r.MessageIDs) <= maxMessageIDs &&
			!slices.Contains(r.MessageIDs, "")
		expected = fmt.Sprintf("an array of 1 to %d message ids", maxMessageIDs)
	case "dry_run":
		ok = decode(&r.dryRun)
	case "force":
		ok = decode(&r.force)
	case "discard":
		ok = decode(&r.discard)
	default:
		return fmt.Errorf("%q: is not known; expected connector, from, to, limit, dry_run, force, reason, message_ids or "+
			"discard",
			deadletter.Bound(key, 40))
	}
	if !ok {
		return fmt.Errorf("%s: expected %s, found %s", key, expected, deadletter.Bound(string(value), 60))
	}
	return nil
}

func timeOf(value json.RawMessage) (time.Time, bool) {
	var text string
	err := json.Unmarshal(value, &text)
	t, err2 := time.Parse(time.RFC3339, text)
	return t, err == nil && err2 == nil
}
