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
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"

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

// call is the payload of a Lambda function URL (format 2.0).
// https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
type call struct {
	events.LambdaFunctionURLRequest
}

// refusal is a response other than 200.
type refusal struct {
	status int
	text   string
	header map[string]string
}

// Error implements error.
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

// method returns POST, which replays, or GET, which counts. The error is a refusal.
func (c *call) method() (string, error) {
	if path := cmp.Or(c.RawPath, c.RequestContext.HTTP.Path); path != Path {
		return "", refuse(http.StatusNotFound, "path: expected %s, found %q", Path, deadletter.Bound(path, 200))
	}
	method := c.RequestContext.HTTP.Method
	if method != http.MethodPost && method != http.MethodGet {
		r := refuse(http.StatusMethodNotAllowed, "method: expected GET or POST, found %q", deadletter.Bound(method, 40))
		r.header = map[string]string{"allow": "GET, POST"}
		return "", r
	}
	// If a query was ignored, "?dry_run=true" would replay everything.
	if c.RawQueryString != "" {
		return "", refuse(http.StatusBadRequest, "query: expected none; the keys of the request belong into a JSON body")
	}
	return method, nil
}

// caller returns the ARN of the role or user who calls, "" if it is unknown.
func (c *call) caller() string {
	if a := c.RequestContext.Authorizer; a != nil && a.IAM != nil {
		return a.IAM.UserARN
	}
	return ""
}

// request reads the body. The error is a refusal.
func (c *call) request() (request, error) {
	body := []byte(c.Body)
	if c.IsBase64Encoded {
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
	for name, kind := range c.Headers {
		if strings.EqualFold(name, "content-type") && kind != "" && !isJSON(kind) {
			return request{}, refuse(http.StatusUnsupportedMediaType, "content-type: expected application/json, found %q",
				deadletter.Bound(kind, 100))
		}
	}
	return parseRequest(body)
}

func isJSON(kind string) bool {
	media, _, err := mime.ParseMediaType(kind)
	return err == nil && (media == "application/json" || strings.HasPrefix(media, "application/") &&
		strings.HasSuffix(media, "+json"))
}

// parseRequest reads the JSON object of a request. The refusal names every wrong key.
func parseRequest(body []byte) (request, error) {
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
	if r.Connector == connectors.Unknown && !r.discard {
		problems = append(problems, "connector: dead letters of an unknown connector can only be discarded")
	}
	if problems != nil {
		return request{}, refuse(http.StatusBadRequest, "%s", deadletter.Bound(strings.Join(problems, "; "), 2000))
	}
	return r, nil
}

// set reads one key of the request.
func (r *request) set(key string, value json.RawMessage) error {
	expected := "true or false"
	decode := func(into any) bool { return string(value) != "null" && json.Unmarshal(value, into) == nil }
	var ok bool
	switch key {
	case "connector":
		ok = decode(&r.Connector) && (connectors.Known(r.Connector) || r.Connector == connectors.Unknown)
		expected = "one of " + strings.Join(connectors.Names(), ", ")
	case "from", "to":
		at := map[string]*time.Time{"from": &r.From, "to": &r.To}[key]
		ok = decode(at)
		expected = `an RFC 3339 time such as "2026-03-13T00:00:00Z"`
	case "limit":
		ok = decode(&r.limit) && r.limit >= 1 && r.limit <= maxLimit
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
			"discard", deadletter.Bound(key, 40))
	}
	if !ok {
		return fmt.Errorf("%s: expected %s, found %s", key, expected, deadletter.Bound(string(value), 60))
	}
	return nil
}
