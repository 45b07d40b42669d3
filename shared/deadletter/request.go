package deadletter

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/arbitex/siem-connectors/shared/connectors"
)

// replayPath is where the replay answers, and nowhere else.
const replayPath = "/api/admin/siem/replay-dead-letter"

const (
	maxRequest   = 64 << 10
	defaultLimit = 10_000
	maxLimit     = 1_000_000
)

// call is what a Lambda function URL sends, as far as it is read.
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
		} `json:"http"`
		Authorizer struct {
			IAM struct {
				UserARN string `json:"userArn"`
			} `json:"iam"`
		} `json:"authorizer"`
	} `json:"requestContext"`
}

// refusal is an answer other than 200.
type refusal struct {
	status int
	text   string
	header map[string]string
}

func (r *refusal) Error() string { return r.text }

func refuse(status int, format string, args ...any) *refusal {
	return &refusal{status: status, text: fmt.Sprintf(format, args...)}
}

// request is what a replay shall do.
type request struct {
	connector string    // "" is all
	from, to  time.Time // zero is open
	limit     int
	dryRun    bool
	force     bool
}

// filtered tells whether records are chosen by their time.
func (r *request) filtered() bool { return !r.from.IsZero() || !r.to.IsZero() }

// matches tells whether a record's time is asked for.
func (r *request) matches(t time.Time) bool {
	return !t.Before(r.from) && (r.to.IsZero() || t.Before(r.to))
}

// check finds out what is asked for: true is a replay, false the pending counts.
func (c *call) check() (replay bool, refused *refusal) {
	if c.Path != replayPath {
		return false, refuse(http.StatusNotFound, "path: expected %s, found %q", replayPath, bound(c.Path, 200))
	}
	method := c.Context.HTTP.Method
	if method != http.MethodPost && method != http.MethodGet {
		r := refuse(http.StatusMethodNotAllowed, "method: expected GET or POST, found %q", bound(method, 40))
		r.header = map[string]string{"allow": "GET, POST"}
		return false, r
	}
	// A query that was ignored would let "?dry_run=true" replay everything.
	if c.Query != "" {
		return false, refuse(http.StatusBadRequest, "query: expected none, the request's keys stand in a JSON body")
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
		return request{}, refuse(http.StatusUnsupportedMediaType, "content-type: expected application/json, found %q", bound(kind, 100))
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
	return err == nil && (media == "application/json" || strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json"))
}

// parseRequest reads the JSON object of a request. It names every key at fault at once.
func parseRequest(body []byte) (request, *refusal) {
	if !json.Valid(body) || !utf8.Valid(body) {
		return request{}, refuse(http.StatusUnsupportedMediaType, "body: expected a JSON object, is not JSON")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return request{}, refuse(http.StatusBadRequest, "body: expected a JSON object, is another JSON value")
	}
	r := request{limit: defaultLimit}
	var problems []string
	seen := make(map[string]bool)
	for d.More() {
		token, err := d.Token()
		key, _ := token.(string)
		var value json.RawMessage
		if err = cmp.Or(err, d.Decode(&value)); err != nil {
			return request{}, refuse(http.StatusUnsupportedMediaType, "body: expected a JSON object, is not JSON")
		}
		if seen[key] {
			problems = append(problems, fmt.Sprintf("%q: stands there twice", bound(key, 40)))
		} else if err := r.set(key, value); err != nil {
			problems = append(problems, err.Error())
		}
		seen[key] = true
	}
	if len(problems) == 0 && !r.to.IsZero() && !r.from.Before(r.to) {
		problems = append(problems, "to: expected a time after from")
	}
	if problems != nil {
		return request{}, refuse(http.StatusBadRequest, "%s", bound(strings.Join(problems, "; "), 2000))
	}
	return r, nil
}

// set takes one key of the request.
func (r *request) set(key string, value json.RawMessage) (err error) {
	switch key {
	case "connector":
		if r.connector, err = stringOf(value); err != nil || !connectors.Known(r.connector) {
			return wrong(key, "one of "+strings.Join(connectors.Names(), ", "), value)
		}
	case "from":
		r.from, err = timeOf(key, value)
	case "to":
		r.to, err = timeOf(key, value)
	case "limit":
		if r.limit, err = strconv.Atoi(string(value)); err != nil || r.limit < 1 || r.limit > maxLimit {
			return wrong(key, fmt.Sprintf("an integer from 1 to %d", maxLimit), value)
		}
	case "dry_run":
		r.dryRun, err = boolOf(key, value)
	case "force":
		r.force, err = boolOf(key, value)
	default:
		return fmt.Errorf("%q: is not known, expected connector, from, to, limit, dry_run or force", bound(key, 40))
	}
	return err
}

func wrong(key, expected string, value json.RawMessage) error {
	return fmt.Errorf("%s: expected %s, found %s", key, expected, bound(string(value), 60))
}

func stringOf(value json.RawMessage) (text string, err error) {
	if value[0] != '"' {
		return "", errors.New("no string")
	}
	return text, json.Unmarshal(value, &text)
}

func timeOf(key string, value json.RawMessage) (time.Time, error) {
	text, err := stringOf(value)
	if err != nil {
		return time.Time{}, wrong(key, "a string, an RFC 3339 time such as \"2026-03-13T00:00:00Z\"", value)
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, wrong(key, "an RFC 3339 time such as \"2026-03-13T00:00:00Z\"", value)
	}
	return t, nil
}

func boolOf(key string, value json.RawMessage) (bool, error) {
	switch string(value) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, wrong(key, "true or false", value)
}
