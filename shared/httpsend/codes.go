package httpsend

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/shared/failure"
)

// Codes is the response table of one SIEM: what confirms acceptance, what the SIEM's own error format is, and what its
// codes mean. Only a response in the SIEM's own format delivers or rejects an event; any other is retried or held.
type Codes struct {
	SIEM string                // the SIEM's name, for reasons
	Read func(*Response) Reply // reads a response in the SIEM's own format
	Rows []Code                // the first row that matches applies; KindOf decides where none does
	Hint string                // for a response that is not in the SIEM's own format, and for a 404 or 405

	// WaitHeaders name headers that state the time to wait after a 429 in place of Retry-After; the first one counts.
	WaitHeaders []string
}

// Reply is a response as far as it is in the SIEM's own format.
type Reply struct {
	Success bool   // confirms acceptance, if the status is 2xx
	Own     bool   // in the SIEM's own error format
	Code    string // the SIEM's code or error type; "" is none
	Text    string // the SIEM's message; neither bounded nor redacted
}

// Code is a row of the table. A row without Code and Words applies to any response with the status, so its kind is
// never failure.Rejected. Any other row applies only to a response in the SIEM's own format.
type Code struct {
	Status int    // 0 matches any
	Code   string // the code, or several separated by spaces; "" matches any
	Words  string // lower-case text that Reply.Text contains, in any case
	Kind   failure.Kind
	Hint   string
}

// maxWords bounds the part of a message in which Code.Words are looked for.
const maxWords = 32 << 10

// Any in Code.Code limits a row to responses in the SIEM's own format, whatever their code.
const Any = "*"

// Call makes one request, and returns the response with what it means. The error is that of Do, for which there is no
// response, or that of Classify.
func (c *Client) Call(ctx context.Context, r Request, codes *Codes) (*Response, error) {
	a, err := c.Do(ctx, r)
	if err != nil {
		return nil, err
	}
	return a, codes.Classify(a)
}

// Classify returns nil if the SIEM accepted the request, and a *failure.Error otherwise.
func (c *Codes) Classify(a *Response) error {
	r := c.Read(a)
	if r.Success && a.OK() {
		return nil
	}
	kind, hint := c.Explain(a.Status, r)
	if a.Status/100 == 2 {
		f := a.failure(failure.Transient, r, cmp.Or(hint, c.Hint))
		f.Detail = cmp.Or(f.Detail, "the response is a success, but not one of "+c.SIEM)
		return f
	}
	f := a.failure(kind, r, hint)
	if !r.Own && refuses(a.Status) {
		f.Foreign = true
		f.Detail = "the response is not in the error format of " + c.SIEM
	}
	for _, name := range c.WaitHeaders {
		if f.Kind == failure.Throttled && f.RetryAfter == 0 {
			f.RetryAfter = RetryAfter(a.Header.Get(name), a.client.Now())
		}
	}
	return f
}

// Explain returns what a reply with that status means. It also applies to one item of a response.
func (c *Codes) Explain(status int, r Reply) (kind failure.Kind, hint string) {
	kind = KindOf(status)
	if status == http.StatusNotFound || status == http.StatusMethodNotAllowed { // a wrong address
		hint = c.Hint
	}
	text := strings.ToLower(r.Text[:min(len(r.Text), maxWords)])
	for _, row := range c.Rows {
		if row.matches(status, r, text) {
			kind, hint = row.Kind, row.Hint
			break
		}
	}
	if !r.Own && (kind == failure.Rejected || kind == failure.Transient && refuses(status)) {
		return failure.Misconfigured, cmp.Or(hint, c.Hint)
	}
	return kind, hint
}

func (row *Code) matches(status int, r Reply, text string) bool {
	if row.Status != 0 && row.Status != status {
		return false
	}
	if row.Code == "" && row.Words == "" {
		return true
	}
	return r.Own && (row.Code == "" || row.Code == Any || slices.Contains(strings.Fields(row.Code), r.Code)) &&
		strings.Contains(text, row.Words)
}

// refuses reports whether the status refuses a request that may be well-formed, authorized and of good size. A firewall
// or proxy in front of the SIEM uses such a status as well.
func refuses(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusProxyAuthRequired,
		http.StatusRequestTimeout, http.StatusGone, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
		http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return status/100 == 4
}

// maxRetryAfter is the longest wait that we grant a SIEM.
const maxRetryAfter = 900 * time.Second

// RetryAfter reads a Retry-After header: seconds, rounded up, or an HTTP date (RFC 9110, section 10.2.3). It is at
// most 15 minutes, and 0 for any other value and for a date in the past.
func RetryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if digits := strings.Replace(value, ".", "", 1); digits != "" && strings.Trim(digits, "0123456789") == "" {
		seconds, err := strconv.ParseFloat(value, 64)
		if err != nil || seconds > maxRetryAfter.Seconds() {
			return maxRetryAfter
		}
		return time.Duration(math.Ceil(seconds)) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil || !at.After(now) {
		return 0
	}
	wait := min(at.Sub(now), maxRetryAfter).Round(time.Millisecond)
	return (wait + time.Second - 1).Truncate(time.Second)
}

// Quote bounds and quotes a message of the SIEM, without secrets.
func (a *Response) Quote(text string) string {
	return failure.Quote(a.redact(text))
}

// Word returns a code that is fit for a log: one short word that holds no secret, "" for any other text.
func (a *Response) Word(code string) string {
	const most = 64
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-"
	if len(code) > most || strings.Trim(code, letters) != "" || a.redact(code) != code {
		return ""
	}
	return code
}

// Empty reports whether the body is complete and holds nothing but white space.
func (a *Response) Empty() bool { return a.BodyErr == nil && len(bytes.TrimSpace(a.Body)) == 0 }

var emptyObject = map[string]json.RawMessage{}

// Object returns the members of a body that is a JSON object, nil for any other body.
func (a *Response) Object() map[string]json.RawMessage {
	body := bytes.Trim(a.Body, " \t\r\n") // RFC 8259 section 2
	if len(body) == 0 || body[0] != '{' {
		return nil
	}
	if string(body) == "{}" { // many SIEMs' success
		return emptyObject
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) != nil {
		return nil
	}
	return members
}

// Absent reports whether a member is missing or null.
func Absent(member json.RawMessage) bool { return len(member) == 0 || string(member) == "null" }

// Text returns the text of a JSON string; ok is false for any other value.
func Text(member json.RawMessage) (text string, ok bool) {
	if len(member) == 0 || member[0] != '"' {
		return "", false
	}
	return text, json.Unmarshal(member, &text) == nil
}
