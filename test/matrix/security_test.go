package matrix

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// mark is in every hostile text, so that a test can find it in an output.
const mark = "h0st1le"

// hostileTexts try to end a header, a log line, a CEF field, a syslog message, a JSON string, a record.
func hostileTexts() []string {
	return []string{
		mark + "\r\nX-Evil: 1\r\n\r\n{\"level\":\"INFO\",\"msg\":\"forged\"}",
		mark + "\n<134>1 2026-01-01T00:00:00Z h a - - - CEF:0|x|y|z|1|forged|1|",
		mark + `|forged|10|rt=0 act=allow msg=a\=b \\`,
		mark + "=x suser=admin\tcs1=none",
		mark + "\u2028\u2029\u0085\u0000\u0007\u001b[2J\u001b]0;owned\u007f",
		mark + `"},{"event":"forged"},{"x":"`,
		mark + "\"}\n{\"index\":{\"_index\":\"forged\"}}\n{\"a\":\"",
		mark + "${jndi:ldap://x/a}{{7*7}}%s%n%00../../etc/passwd<script>",
		mark + "\\u000a\\\"", "😀é" + mark,
	}
}

// hostileBody is an event with a text in every field that a connector reads.
func hostileBody(i int, text string) string {
	q, _ := json.Marshal(text) // a string always marshals
	return fmt.Sprintf(`{"class_uid":6003,"time":1741824000123,"severity_id":1,"metadata":{"uid":"%s",`+
		`"labels":[%[2]s]},"activity_name":%[2]s,`+
		`"actor":{"user":{"uid":%[2]s,"email_addr":%[2]s,"groups":[{"uid":%[2]s},{"name":%[2]s}]}},`+
		`"api":{"operation":%[2]s,"request":{"uid":%[2]s}},`+
		`"unmapped":{"model_id":%[2]s,"policy_action":%[2]s,"dlp_labels":[%[2]s,%[2]s],%[2]s:1}}`, eventID(i), q)
}

// jsonLines counts the objects of a body with one JSON object per line, -1 if it is not one.
func jsonLines(body []byte) int {
	lines := bytes.Split(bytes.TrimSuffix(body, []byte("\n")), []byte("\n"))
	for _, line := range lines {
		var v map[string]any
		if json.Unmarshal(line, &v) != nil {
			return -1
		}
	}
	return len(lines)
}

// bulkActions counts the documents of a bulk request.
func bulkActions(body []byte) int {
	lines := jsonLines(body)
	if lines%2 != 0 {
		return -1
	}
	return lines / 2
}

// jsonArray counts the objects of a JSON array.
func jsonArray(body []byte) int {
	var list []map[string]any
	if json.Unmarshal(body, &list) != nil {
		return -1
	}
	return len(list)
}

// envelope counts the objects of {"events":[…]}.
func envelope(body []byte) int {
	var object struct{ Events []map[string]any }
	if json.Unmarshal(body, &object) != nil {
		return -1
	}
	return len(object.Events)
}

// TestHostileEvents checks that any event is one record, and that its text is nowhere else.
func TestHostileEvents(t *testing.T) {
	f := newFixture(t)
	var bodies []string
	for i, text := range hostileTexts() {
		bodies = append(bodies, hostileBody(2*i, text), eventBody(2*i+1, ""))
	}
	bodies = append(bodies, strings.ReplaceAll(eventBody(len(bodies), ""), `,"`, ",\r\n\t \""))
	for _, c := range targets(t) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := attempt{receives: 1, bodies: bodies, respond: func(int) responder { return (*request).accept }}
			var mu sync.Mutex
			var syslog bytes.Buffer
			a.stream = func(c net.Conn) {
				chunk := make([]byte, 64<<10)
				for {
					n, err := c.Read(chunk)
					mu.Lock()
					syslog.Write(chunk[:n])
					mu.Unlock()
					if err != nil {
						return
					}
				}
			}
			s := f.run(t, c, a)
			if got := words(s.outcomes); got != "delivered" {
				t.Errorf("%s, want all delivered", got)
			}
			checkOutput(t, s.printed)
			if c.syslog {
				mu.Lock()
				defer mu.Unlock()
				checkSyslog(t, syslog.Bytes(), len(bodies))
				return
			}
			n := 0
			for i, body := range s.bodies {
				n += max(0, c.records(body))
				for name, values := range s.headers[i] {
					if all := name + strings.Join(values, ""); strings.Contains(all, mark) || strings.Contains(all, "Evil") {
						t.Errorf("event text in a header: %s", all)
					}
				}
			}
			if n != len(bodies) {
				t.Errorf("%d records arrived, want %d", n, len(bodies))
			}
		})
	}
}

// checkSyslog checks that there is one message per event, on one line, with the eight fields of CEF.
func checkSyslog(t *testing.T, stream []byte, events int) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(string(stream), "\n"), "\n")
	if len(lines) != events {
		t.Errorf("%d messages arrived, want %d", len(lines), events)
	}
	for _, line := range lines {
		header, cef, ok := strings.Cut(line, " CEF:0|")
		if !ok || len(strings.Split(header, " ")) != 7 {
			t.Errorf("a header was changed: %q", line)
		}
		fields := strings.Split(strings.ReplaceAll(strings.ReplaceAll(cef, `\\`, ""), `\|`, ""), "|")
		if len(fields) < 7 || !strings.HasPrefix(fields[6], "rt=1741824000123") {
			t.Errorf("a field was added: %q", cef)
		}
		if strings.ContainsFunc(line, func(r rune) bool {
			return r < 0x20 || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029
		}) {
			t.Errorf("a control character is left: %q", line)
		}
		extension := strings.ReplaceAll(strings.Join(fields[min(6, len(fields)):], "|"), `\=`, "")
		if strings.Contains(extension, " suser=admin") || strings.Contains(extension, " act=allow") {
			t.Errorf("a key was added: %q", cef)
		}
	}
}

// checkOutput checks that each line is a JSON object, without text of an event or a response.
func checkOutput(t *testing.T, printed string) {
	t.Helper()
	for line := range strings.Lines(printed) {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			t.Errorf("a line is not a JSON object: %q", line)
		}
		if msg := object["msg"]; msg != nil && msg != "batch" {
			t.Errorf("unexpected line: %q", line)
		}
	}
	if strings.Contains(printed, mark) || strings.Contains(printed, "forged") {
		t.Errorf("the output contains hostile text: %s", printed)
	}
}

// overHTTP runs a test for each connector over HTTP.
func overHTTP(t *testing.T, test func(*testing.T, *target)) {
	t.Helper()
	for _, c := range targets(t) {
		if !c.syslog {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				test(t, c)
			})
		}
	}
}

// TestHostileResponses checks that no response adds a line to the log, and that the reason of a dead letter is one
// line.
func TestHostileResponses(t *testing.T) {
	f := newFixture(t)
	overHTTP(t, func(t *testing.T, c *target) {
		for i, text := range hostileTexts() {
			for _, body := range hostileResponses(text) {
				s := f.run(t, c, attempt{receives: maxAttempts, events: 2, respond: func(int) responder {
					return reply([]int{http.StatusBadRequest, http.StatusOK, http.StatusServiceUnavailable}[i%3], body,
						"X-Ms-Error-Code", "x\t"+mark, "Retry-After", mark)
				}})
				checkOutput(t, s.printed)
				for _, o := range s.outcomes {
					if strings.ContainsFunc(o.reason, func(r rune) bool { return r < 0x20 || r == 0x7f }) || len(o.reason) > 1024 {
						t.Errorf("a reason of %d bytes: %q", len(o.reason), o.reason)
					}
				}
			}
		}
	})
}

// hostileResponses are a text alone, and in the place of every code and message of a SIEM.
func hostileResponses(text string) []string {
	q, _ := json.Marshal(text) // a string always marshals
	return []string{text, fmt.Sprintf(`{"code":%[1]s,"text":%[1]s,"message":%[1]s,"status":%[1]s,"error":{"code":%[1]s,`+
		`"type":%[1]s,"reason":%[1]s},"errors":[{"code":%[1]s}]}`, q)}
}

// TestInvalidMessages checks that messages that are too large, too deep or invalid do not affect other messages.
func TestInvalidMessages(t *testing.T) {
	const huge, deep = 400_000, 200_000 // an invocation has at most 6 MB
	f := newFixture(t)
	nested := func(open, end string, n int) string { return strings.Repeat(open, n) + "1" + strings.Repeat(end, n) }
	event := func(i int, more string) string {
		return strings.TrimSuffix(eventBody(i, ""), "}") + `,"more":` + more + "}"
	}
	dead := []string{
		nested("[", "]", deep), nested(`{"a":`, "}", 50_000), event(1, nested("[", "]", deep)), strings.Repeat("{", deep),
		strings.Repeat(`{"actor":`, 30_000),
		`{"time":` + strings.Repeat("9", huge) + `}`, `{"time":1e999999999}`, "", "\x00", "null", `{"time":1`,
	}
	var keys strings.Builder
	for i := range 30_000 {
		fmt.Fprintf(&keys, `"k%d":0,`, i)
	}
	alive := []string{
		event(21, nested("[", "]", 9_000)), event(22, `"`+strings.Repeat("x", huge)+`"`),
		event(23, "{"+strings.TrimSuffix(keys.String(), ",")+"}"),
		event(24, `"`+strings.Repeat(`\u0000`, 50_000)+`"`), "\ufeff" + eventBody(25, ""), // a byte order mark
	}
	for _, c := range targets(t) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			bodies := slices.Clone(dead)
			for len(bodies) < 21 {
				bodies = append(bodies, eventBody(len(bodies), ""))
			}
			s := f.run(t, c, attempt{receives: 1, bodies: append(bodies, alive...),
				respond: func(int) responder { return (*request).accept }})
			checkOutput(t, s.printed)
			for i, o := range s.outcomes {
				want := "delivered"
				if i < len(dead) {
					want = "dead letter"
				}
				if o.state != want || i < len(dead) && len(o.reason) > 1024 {
					t.Errorf("message %d (%.40q): %+v, want %s", i, slices.Concat(bodies, alive)[i], o, want)
				}
			}
		})
	}
}

// TestPoisonFlood refuses all events but two, on the last attempt. The two are delivered wherever they are in the
// batch, and each dead letter states the refusal of its own event.
func TestPoisonFlood(t *testing.T) {
	f := newFixture(t)
	overHTTP(t, func(t *testing.T, c *target) {
		for _, first := range []int{0, 17, maxEvents / 2, maxEvents - 2} {
			good := []string{eventID(first), eventID(first + 1)}
			s := f.run(t, c, attempt{receives: maxAttempts, events: maxEvents, respond: func(int) responder {
				return func(q *request) {
					q.read()
					for _, id := range q.ids {
						if !slices.Contains(good, id) {
							reply(http.StatusBadRequest, c.refusal)(q)
							return
						}
					}
					q.accept()
				}
			}})
			for i, o := range s.outcomes {
				want := "dead letter"
				if slices.Contains(good, eventID(i)) {
					want = "delivered"
				}
				if o.state != want || want == "dead letter" && !strings.Contains(o.reason, "Invalid data format") {
					t.Errorf("good events from %d: event %d: %+v, want %s", first, i, o, want)
				}
			}
			if s.requests > 200 {
				t.Errorf("%d requests, want at most 200", s.requests)
			}
		}
	})
}
