package connector

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
)

// answer gets a real answer of that status and body through the client.
func answer(t testing.TB, status int, body string) *httpsend.Response {
	t.Helper()
	return connectortest.Answer(t, status, nil, body)
}

// statuses are HEC's codes with the status each comes with.
var statuses = [...]int{200, 403, 401, 401, 403, 400, 400, 400, 500, 503, 400, 400, 400, 400, 400, 400, 400, 200, 503, 503, 503, 400, 400, 503, 200, 200, 429, 429}

// words say in a README what a kind of failure leads to.
var words = map[failure.Kind]string{
	failure.Transient: "retry", failure.Throttled: "retry", failure.Unauthorized: "held", failure.Misconfigured: "held", failure.TooLarge: "split", failure.Rejected: "rejected",
}

func verdict(err error) string {
	if p, ok := err.(*deliver.PartialError); ok { //nolint:errorlint // as the engine does
		return words[failure.Of(p.Results[len(p.Results)-1]).Kind]
	}
	if f := failure.Of(err); f != nil {
		return words[f.Kind]
	}
	return "delivered"
}

// TestAnswerTable compares the README's table with what the code does.
func TestAnswerTable(t *testing.T) {
	var rows [][]string
	for code, status := range statuses {
		got := verdict(judge(answer(t, status, fmt.Sprintf(`{"text":"x","code":%d}`, code)), 1))
		rows = append(rows, []string{strconv.Itoa(status), strconv.Itoa(code), got})
	}
	for _, other := range []struct {
		label  string
		status int
	}{{"2xx", 200}, {"3xx", 302}, {"400", 400}, {"401", 401}, {"403", 403}, {"404", 404}, {"405", 405}, {"408", 408}, {"413", 413}, {"429", 429}, {"5xx", 502}, {"any other", 418}} {
		rows = append(rows, []string{other.label, "none", verdict(judge(answer(t, other.status, "<html>"), 1))})
	}
	connectortest.AnswerTable(t, "../README.md", rows)
	if len(statuses) != len(meanings) {
		t.Errorf("%d codes with a status, %d with a meaning", len(statuses), len(meanings))
	}
	for code, m := range meanings {
		if m.code != code {
			t.Errorf("meaning %d is of code %d", code, m.code)
		}
	}
}

func TestSettingsTable(t *testing.T) { connectortest.SettingsTable(t, Open, "../README.md") }

// TestPartial: what HEC says it took is not sent again.
func TestPartial(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		want   string // a letter a record: d accepted, x rejected, u unjudged, r retry; one letter: all alike
	}{
		"second of four":          {400, `{"code":6,"invalid-event-number":1}`, "dxuu"},
		"first of four":           {400, `{"code":12,"invalid-event-number":0}`, "xuuu"},
		"last of four":            {400, `{"code":13,"invalid-event-number":3}`, "dddx"},
		"fields":                  {400, `{"code":15,"invalid-event-number":2}`, "ddxu"},
		"busy after two":          {503, `{"code":9,"invalid-event-number":2}`, "ddrr"},
		"busy":                    {503, `{"code":9}`, "r"},
		"number out of range":     {400, `{"code":6,"invalid-event-number":4}`, "x"},
		"negative number":         {400, `{"code":6,"invalid-event-number":-1}`, "x"},
		"number without a right":  {403, `{"code":4,"invalid-event-number":2}`, "h"},
		"success that is none":    {500, `{"code":0}`, "r"},
		"refusal on a 200":        {200, `{"code":6,"invalid-event-number":1}`, "r"},
		"unknown code on a 400":   {400, `{"code":99}`, "r"},
		"unknown code on a 401":   {401, `{"code":99}`, "h"},
		"unknown code on a 200":   {200, `{"code":99}`, "r"},
		"no code":                 {200, `{"text":"Success"}`, "r"},
		"code of another type":    {200, `{"text":"Success","code":"0"}`, "r"},
		"capacity":                {200, `{"text":"Queue at capacity","code":24}`, "d"},
		"with an acknowledgement": {200, `{"text":"Success","code":0,"ackId":7}`, "d"},
	} {
		err := judge(answer(t, c.status, c.body), 4)
		var got strings.Builder
		if p, ok := err.(*deliver.PartialError); ok { //nolint:errorlint // as the engine does
			for _, v := range p.Results {
				got.WriteString(letter(failure.Of(v)))
			}
		} else {
			got.WriteString(letter(failure.Of(err)))
		}
		if got.String() != c.want {
			t.Errorf("%s: %s, want %s", name, got.String(), c.want)
		}
	}
}

func letter(f *failure.Error) string {
	if f == nil {
		return "d"
	}
	return map[failure.Kind]string{failure.Rejected: "x", failure.Unprocessed: "u", failure.Transient: "r", failure.Throttled: "r", failure.Misconfigured: "h", failure.Unauthorized: "h"}[f.Kind]
}

// FuzzAnswer: whatever is answered, there is a verdict, with as many letters as there were records, and a success only
// where HEC has said so.
func FuzzAnswer(f *testing.F) {
	for _, body := range []string{`{"text":"Success","code":0}`, `{"code":6,"invalid-event-number":1}`, `{"code":9,"invalid-event-number":9}`, `<html>`, ``, `{"code":1e9}`, `{"code":24}`} {
		f.Add(200, []byte(body), uint8(3))
		f.Add(400, []byte(body), uint8(0))
	}
	template := answer(f, http.StatusOK, "")
	f.Fuzz(func(t *testing.T, status int, body []byte, n uint8) {
		a := *template
		a.Status, a.Body = status, body
		err := judge(&a, int(n))
		if err == nil && (status/100 != 2 || !strings.Contains(strings.ToLower(string(body)), `code`)) {
			t.Fatalf("%d %q is taken for a success", status, body)
		}
		if p, ok := err.(*deliver.PartialError); ok && len(p.Results) != int(n) { //nolint:errorlint // as the engine does
			t.Fatalf("%d verdicts for %d records", len(p.Results), n)
		}
	})
}
