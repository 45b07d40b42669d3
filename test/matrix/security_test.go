package matrix

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// mark stands in every hostile text, so that it is found where it should not be.
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
	return fmt.Sprintf(`{"class_uid":6003,"time":1741824000123,"severity_id":1,"metadata":{"uid":"%s","labels":[%[2]s]},"activity_name":%[2]s,`+
		`"actor":{"user":{"uid":%[2]s,"email_addr":%[2]s,"groups":[{"uid":%[2]s},{"name":%[2]s}]}},"api":{"operation":%[2]s,"request":{"uid":%[2]s}},`+
		`"unmapped":{"model_id":%[2]s,"policy_action":%[2]s,"dlp_labels":[%[2]s,%[2]s],%[2]s:1}}`, eventID(i), q)
}

// records counts what a SIEM would take a request's body for, by its format; -1 is none of it.
func records(name string, body []byte) int {
	lines := bytes.Count(bytes.TrimSuffix(body, []byte("\n")), []byte("\n")) + 1
	switch name {
	case "elastic":
		if lines%2 != 0 {
			return -1
		}
		return lines / 2
	case "splunk", "sumo":
		n := 0
		for d := json.NewDecoder(bytes.NewReader(body)); ; n++ {
			var v map[string]any
			if err := d.Decode(&v); err == io.EOF && n == lines {
				return n
			} else if err != nil {
				return -1
			}
		}
	case "xsiam":
		var envelope struct{ Events []map[string]any }
		if json.Unmarshal(body, &envelope) != nil {
			return -1
		}
		return len(envelope.Events)
	}
	var list []map[string]any
	if json.Unmarshal(body, &list) != nil {
		return -1
	}
	return len(list)
}

// TestHostileEvents: whatever stands in an event, it is one record, and says nothing anywhere else.
func TestHostileEvents(t *testing.T) {
	w := newWorld(t)
	var bodies []string
	for i, text := range hostileTexts() {
		bodies = append(bodies, hostileBody(2*i, text), eventBody(2*i+1, ""))
	}
	bodies = append(bodies, strings.ReplaceAll(eventBody(len(bodies), ""), `,"`, ",\r\n\t \""))
	for _, c := range targets() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := attempt{receives: 1, bodies: bodies, answer: func(int) answer { return (*exchange).accept }}
			var mu sync.Mutex
			var syslog bytes.Buffer
			a.syslog = func(c net.Conn) {
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
			s := w.run(t, c, a)
			if got := words(s.fates); got != "delivered" {
				t.Errorf("%s, want all delivered", got)
			}
			checkOutput(t, s.printed)
			if c.name == "qradar" {
				mu.Lock()
				defer mu.Unlock()
				checkSyslog(t, syslog.Bytes(), len(bodies))
				return
			}
			n := 0
			for i, body := range s.bodies {
				n += max(0, records(c.name, body))
				for name, values := range s.headers[i] {
					if all := name + strings.Join(values, ""); strings.Contains(all, mark) || strings.Contains(all, "Evil") {
						t.Errorf("an event stands in a header: %s", all)
					}
				}
			}
			if n != len(bodies) {
				t.Errorf("%d records arrived, want %d", n, len(bodies))
			}
		})
	}
}

// checkSyslog holds messages to their form: as many as events, each on a line of its own, with eight fields of CEF.
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
		if strings.ContainsFunc(line, func(r rune) bool { return r < 0x20 || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 }) {
			t.Errorf("a control character is left: %q", line)
		}
		extension := strings.ReplaceAll(strings.Join(fields[min(6, len(fields)):], "|"), `\=`, "")
		if strings.Contains(extension, " suser=admin") || strings.Contains(extension, " act=allow") {
			t.Errorf("a key was added: %q", cef)
		}
	}
}

// checkOutput holds what the function prints to its form: a JSON object a line, nothing of an event or an answer in it.
func checkOutput(t *testing.T, printed string) {
	t.Helper()
	for line := range strings.Lines(printed) {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			t.Errorf("a line that is no JSON object: %q", line)
		}
		if msg := object["msg"]; msg != nil && msg != "batch" {
			t.Errorf("a line that nobody should have written: %q", line)
		}
	}
	if strings.Contains(printed, mark) || strings.Contains(printed, "forged") {
		t.Errorf("the output quotes what it should not: %s", printed)
	}
}

// TestHostileAnswers: whatever a SIEM says, the log has its lines and no others, and a dead letter's reason is one line.
func TestHostileAnswers(t *testing.T) {
	w := newWorld(t)
	for _, c := range targets() {
		if c.name == "qradar" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for i, text := range hostileTexts() {
				for _, body := range hostileAnswers(text) {
					s := w.run(t, c, attempt{receives: maxAttempts, events: 2, answer: func(int) answer {
						return says([]int{http.StatusBadRequest, http.StatusOK, http.StatusServiceUnavailable}[i%3], body, "X-Ms-Error-Code", "x\t"+mark, "Retry-After", mark)
					}})
					checkOutput(t, s.printed)
					for _, f := range s.fates {
						if strings.ContainsFunc(f.reason, func(r rune) bool { return r < 0x20 || r == 0x7f }) || len(f.reason) > 1024 {
							t.Errorf("a reason of %d bytes: %q", len(f.reason), f.reason)
						}
					}
				}
			}
		})
	}
}

// hostileAnswers are a text by itself, and in the place of every code and word that a SIEM has.
func hostileAnswers(text string) []string {
	q, _ := json.Marshal(text) // a string always marshals
	return []string{text, fmt.Sprintf(`{"code":%[1]s,"text":%[1]s,"message":%[1]s,"status":%[1]s,"error":{"code":%[1]s,"type":%[1]s,"reason":%[1]s},"errors":[{"code":%[1]s}]}`, q)}
}

// TestMonsters: messages that are too large, too deep, or no events at all cost their neighbours nothing.
func TestMonsters(t *testing.T) {
	const huge, deep = 400_000, 200_000 // an invocation has at most 6 MB
	w := newWorld(t)
	nested := func(open, end string, n int) string { return strings.Repeat(open, n) + "1" + strings.Repeat(end, n) }
	event := func(i int, more string) string {
		return strings.TrimSuffix(eventBody(i, ""), "}") + `,"more":` + more + "}"
	}
	dead := []string{
		nested("[", "]", deep), nested(`{"a":`, "}", 50_000), event(1, nested("[", "]", deep)), strings.Repeat("{", deep), strings.Repeat(`{"actor":`, 30_000),
		`{"time":` + strings.Repeat("9", huge) + `}`, `{"time":1e999999999}`, "", "\x00", "null", `{"time":1`, "\ufeff" + eventBody(1, ""),
	}
	var keys strings.Builder
	for i := range 30_000 {
		fmt.Fprintf(&keys, `"k%d":0,`, i)
	}
	alive := []string{
		event(21, nested("[", "]", 9_000)), event(22, `"`+strings.Repeat("x", huge)+`"`), event(23, "{"+strings.TrimSuffix(keys.String(), ",")+"}"),
		event(24, `"`+strings.Repeat(`\u0000`, 50_000)+`"`), eventBody(25, ""),
	}
	for _, c := range targets() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			bodies := slices.Clone(dead)
			for len(bodies) < 21 {
				bodies = append(bodies, eventBody(len(bodies), ""))
			}
			s := w.run(t, c, attempt{receives: 1, bodies: append(bodies, alive...), answer: func(int) answer { return (*exchange).accept }})
			checkOutput(t, s.printed)
			for i, f := range s.fates {
				want := "delivered"
				if i < len(dead) {
					want = "dead letter"
				}
				if f.state != want || i < len(dead) && len(f.reason) > 1024 {
					t.Errorf("message %d (%.40q): %+v, want %s", i, bodyOf(bodies, alive, i), f, want)
				}
			}
		})
	}
}

func bodyOf(bodies, more []string, i int) string { return slices.Concat(bodies, more)[i] }
