package httpsend

import (
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/secret"
)

// respond makes a response of a SIEM whose own format is {"code":"…","text":"…"}, and {} for a success.
func respond(status int, body string) *Response {
	c := New(Config{Redactor: secret.NewRedactor(secret.New("hec-token-0123456789"))})
	return &Response{Status: status, Body: []byte(body), Header: map[string][]string{}, client: c}
}

func readTest(a *Response) Reply {
	members := a.Object()
	code, own := Text(members["code"])
	text, _ := Text(members["text"])
	return Reply{Success: members != nil && !own, Own: own, Code: code, Text: text}
}

var testCodes = &Codes{SIEM: "Test", Read: readTest, Hint: "wrong address", Rows: []Code{
	{Status: 400, Code: "index", Kind: failure.Misconfigured, Hint: "index"},
	{Words: "disk is full", Kind: failure.Throttled, Hint: "disk"},
	{Status: 403, Kind: failure.Unauthorized, Hint: "key"},
	{Status: 409, Code: Any, Kind: failure.Transient, Hint: "busy"},
}}

func TestClassify(t *testing.T) {
	const hint = "wrong address"
	for _, c := range []struct {
		status     int
		body       string
		kind       failure.Kind
		hint, code string
		foreign    bool
	}{
		{200, `<html>`, failure.Transient, hint, "", false},
		{200, `{"code":"index","text":"no"}`, failure.Transient, hint, "index", false},
		{400, `{"code":"syntax","text":"no"}`, failure.Rejected, "", "syntax", false},
		{400, `{"code":"index","text":"no"}`, failure.Misconfigured, "index", "index", false},
		{400, `{"code":"syntax","text":"the Disk is full"}`, failure.Throttled, "disk", "syntax", false},
		{422, `{"code":"syntax"}`, failure.Rejected, "", "syntax", false},
		{409, `{"code":"x"}`, failure.Transient, "busy", "x", false},
		{400, `<html>`, failure.Misconfigured, hint, "", true},
		{400, ``, failure.Misconfigured, hint, "", true},
		{400, `{"text":"the disk is full"}`, failure.Misconfigured, hint, "", true},
		{409, `{"text":"x"}`, failure.Misconfigured, hint, "", true},
		{418, ``, failure.Misconfigured, hint, "", true},
		{422, `<html>`, failure.Misconfigured, hint, "", true},
		{403, `<html>`, failure.Unauthorized, "key", "", true},
		{403, `{"code":"x"}`, failure.Unauthorized, "key", "x", false},
		{401, ``, failure.Unauthorized, "", "", false},
		{404, ``, failure.Misconfigured, "", "", false},
		{408, ``, failure.Transient, "", "", false},
		{413, ``, failure.TooLarge, "", "", false},
		{429, ``, failure.Throttled, "", "", false},
		{500, `{}`, failure.Transient, "", "", false},
		{503, `<html>`, failure.Transient, "", "", false},
		{400, `{"code":"hec-token-0123456789"}`, failure.Rejected, "", "", false},
		{400, `{"code":"two words"}`, failure.Rejected, "", "", false},
		{400, `{"code":"` + strings.Repeat("x", 65) + `"}`, failure.Rejected, "", "", false},
	} {
		f := testCodes.Classify(respond(c.status, c.body))
		if f == nil || f.Kind != c.kind || f.Hint != c.hint || f.Code != c.code || f.Foreign != c.foreign ||
			f.Status != c.status {
			t.Errorf("%d %s: %+v, want %v, hint %q, code %q, foreign %t", c.status, c.body, f, c.kind, c.hint, c.code, c.foreign)
		}
	}
	if f := testCodes.Classify(respond(299, `{}`)); f != nil {
		t.Errorf("a success: %v", f)
	}
	short := respond(200, `{}`)
	short.BodyErr = errTooLong
	if f := testCodes.Classify(short); f == nil || f.Kind != failure.Transient {
		t.Errorf("a success that is not complete: %+v", f)
	}
}

// TestClassifyQuotes: a reason quotes the SIEM's own message, bounded and without secrets. It does not quote a response
// in another format.
func TestClassifyQuotes(t *testing.T) {
	f := testCodes.Classify(respond(400, `{"code":"x","text":"token hec-token-0123456789 `+strings.Repeat("y", 4096)+`"}`))
	if !strings.Contains(f.Detail, "token [redacted]") || len(f.Detail) > 2*failure.MaxQuote {
		t.Errorf("own: %s", f.Detail)
	}
	for _, status := range []int{200, 400, 401, 403, 404, 429, 500} {
		for _, body := range []string{"you sent: alice's event", `{"text":"you sent: alice's event"}`} {
			if f := testCodes.Classify(respond(status, body)); f != nil && strings.Contains(f.Error(), "alice") {
				t.Errorf("%d: %v", status, f)
			}
		}
	}
}
