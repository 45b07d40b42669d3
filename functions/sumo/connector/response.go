package connector

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
)

// meaning is what one of the source's statuses means for us.
type meaning struct {
	status int
	kind   failure.Kind
	hint   string
}

const (
	renewURL = "SUMO_HTTP_SOURCE_URL is not valid any more: a source's new URL replaces the old one at once"
	noSource = "there is no HTTP source at the address in SUMO_HTTP_SOURCE_URL"
)

// meanings are the statuses of the source's documents, and those of a wrong address. A status that is not here means what
// it means everywhere. https://www.sumologic.com/help/docs/send-data/hosted-collectors/http-source/troubleshooting/
var meanings = [...]meaning{
	{status: http.StatusBadRequest, kind: failure.Rejected},
	{status: http.StatusUnauthorized, kind: failure.Unauthorized, hint: renewURL},
	{status: http.StatusForbidden, kind: failure.Unauthorized, hint: renewURL},
	{status: http.StatusNotFound, kind: failure.Misconfigured, hint: noSource},
	{status: http.StatusMethodNotAllowed, kind: failure.Misconfigured, hint: noSource},
	{status: http.StatusRequestTimeout, kind: failure.Transient, hint: "the source may have taken a part of the events, which will be there twice"},
	{status: http.StatusRequestEntityTooLarge, kind: failure.TooLarge},
	{status: http.StatusTooManyRequests, kind: failure.Throttled},
}

// judge turns the source's answer into a verdict on the whole request: Sumo Logic says nothing of single events. A 200 is
// a success whatever comes with it; a body is Sumo Logic's way to say that something was wrong, and makes a warning.
// https://www.sumologic.com/help/docs/send-data/hosted-collectors/http-source/troubleshooting/
func (c *connector) judge(a *httpsend.Response) (warning string, err error) {
	if a.Status != http.StatusOK && a.Status != http.StatusNoContent {
		return "", c.judgeStatus(a)
	}
	r, ok := parseReply(a.Body)
	switch {
	case len(bytes.TrimSpace(a.Body)) == 0 && a.BodyErr == nil:
		return "", nil
	case ok:
		return "accepted with status " + strconv.Itoa(a.Status) + " and code " + c.code(r), nil
	}
	return "accepted with status " + strconv.Itoa(a.Status) + ", but not in Sumo Logic's words: check where SUMO_HTTP_SOURCE_URL leads", nil
}

func (c *connector) judgeStatus(a *httpsend.Response) error {
	r, _ := parseReply(a.Body)
	code := c.code(r)
	if code == unknown {
		code = ""
	}
	for _, m := range meanings {
		if m.status == a.Status {
			return a.Fault(m.kind, code, m.hint)
		}
	}
	return a.Fault(httpsend.KindOf(a.Status), code, "")
}

// judgeCheck judges the answer to a GET, which has nothing to be warned about. Only a page, which a source never shows,
// speaks against a success.
func (c *connector) judgeCheck(a *httpsend.Response) error {
	if _, err := c.judge(a); err != nil {
		return err
	}
	if a.BodyErr != nil || bytes.HasPrefix(bytes.TrimSpace(a.Body), []byte("<")) {
		return a.Fault(failure.Misconfigured, "", noSource)
	}
	return nil
}

// reply is the body of the source's answers, when they have one.
type reply struct {
	Code   string `json:"code"`
	Errors []struct {
		Code string `json:"code"`
	} `json:"errors"`
}

// parseReply tells whether body is a reply: a JSON object.
func parseReply(body []byte) (r reply, ok bool) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 || body[0] != '{' || !json.Valid(body) {
		return reply{}, false
	}
	_ = json.Unmarshal(body, &r) // what is of another type than it should be counts as absent
	return r, true
}

// unknown stands for a code that is not there, or is no code.
const unknown = "unknown"

// code is the reply's code, fit for a log: a word such as "header.invalid", and no secret.
func (c *connector) code(r reply) string {
	code := r.Code
	if code == "" && len(r.Errors) > 0 {
		code = r.Errors[0].Code
	}
	const most = 64
	if code == "" || len(code) > most || strings.Trim(code, letters) != "" {
		return unknown
	}
	return c.cfg.http.Redactor.Cut(code)
}

// letters are what codes are made of.
const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-"
