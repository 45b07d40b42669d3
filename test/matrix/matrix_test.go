package matrix

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

var update = flag.Bool("update", false, "write what was seen into docs/reliability.md")

// TestMain lets more cells run at once than there are processors: most of them wait for a time-out.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("8")
	}
	os.Exit(m.Run())
}

// section is one table.
type section struct {
	title string
	text  string
	rows  []row
	names []string // of the connectors in it
}

func sections() []section {
	all := []string{"splunk", "sentinel", "elastic", "datadog", "sumo", "qradar", "xsiam"}
	http := []string{"splunk", "sentinel", "elastic", "datadog", "sumo", "xsiam"}
	return []section{
		{"The way to the SIEM", "Under TLS 1.3 a peer says only after the handshake that it wants a client certificate. QRadar's connector waits for that. Over HTTP " +
			"the word may be lost against our request, so that it is 300 s or 1 s, as it happens.", wayRows(), all},
		{"One request", "QRadar's connector gets no answers: what is said of one is tried there with what the peer may say all the same.", requestRows(), all},
		{"Status codes", "With a body that is not the SIEM's own, as a proxy sends it.", statusRows(), http},
		{"Splunk's answers", "", splunkRows(), []string{"splunk"}},
		{"Sentinel's answers", "", sentinelRows(), []string{"sentinel"}},
		{"Elasticsearch's answers", "", elasticRows(), []string{"elastic"}},
		{"Datadog's answers", "", datadogRows(), []string{"datadog"}},
		{"Sumo Logic's answers", "", sumoRows(), []string{"sumo"}},
		{"XSIAM's answers", "", xsiamRows(), []string{"xsiam"}},
	}
}

// cells are what was seen, by row and connector.
type cells struct {
	mu     sync.Mutex
	fates  map[string]string
	reason map[string]string
}

func (c *cells) put(row, target, fate, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fates[row+"/"+target], c.reason[row+"/"+target] = fate, reason
}

func TestMatrix(t *testing.T) {
	for _, c := range targets() {
		if _, err := os.Stat(bootstrap(c.name)); err != nil {
			t.Fatalf("%v (`make build` makes it)", err)
		}
	}
	w := newWorld(t)
	seen := &cells{fates: map[string]string{}, reason: map[string]string{}}
	t.Run("cells", func(t *testing.T) {
		for _, s := range sections() {
			for i := range s.rows {
				for _, c := range targets() {
					if s.rows[i].expected(c.name) != none {
						t.Run(s.title+"/"+s.rows[i].name+"/"+c.name, func(t *testing.T) {
							t.Parallel()
							w.cell(t, s.title, &s.rows[i], c, seen)
						})
					}
				}
			}
		}
	})
	t.Logf("%d cells, at most %d MiB each", len(seen.fates), w.largest.Load()>>20)
	if !t.Failed() {
		compare(t, sections(), seen)
	}
}

// expected is what has to become of the events, none when the row is not for the connector.
func (r *row) expected(name string) string {
	if other, ok := r.but[name]; ok {
		return other
	}
	return r.want
}

// cell tries one fault with one connector: on the first attempt, on the last, and behind a part that was accepted.
func (w *world) cell(t *testing.T, section string, r *row, c *target, seen *cells) {
	want := r.expected(c.name)
	a := attempt{receives: 1, events: max(2, r.events), filler: r.filler, env: r.env, way: r.way, token: r.token, syslog: r.syslog, answer: r.answers()}
	if r.slow {
		a.env = map[string]string{"SIEM_REQUEST_TIMEOUT_SECONDS": shortSeconds}
	}
	s := w.run(t, c, a)
	got := words(s.fates)
	if got != want {
		t.Errorf("first attempt: %s, want %s: %+v", got, want, s.fates)
	}
	if r.requests > 0 && s.requests != r.requests {
		t.Errorf("first attempt: %d requests, want %d", s.requests, r.requests)
	}
	if c.name != "qradar" && r.renewed != (s.reads > 1) {
		t.Errorf("first attempt: the secret was read %d times, want it read again: %t", s.reads, r.renewed)
	}
	a.receives = maxAttempts
	s = w.run(t, c, a)
	r.checkLast(t, s.fates, want)
	seen.put(section+r.name, c.name, got, firstReason(s.fates))
	if r.part && c.name != "qradar" {
		w.behindPart(t, r, c, a, want)
	}
}

// answers are a row's, by the number of the request.
func (r *row) answers() func(n int) answer {
	return func(n int) answer {
		if r.answer == nil || r.once && n > 1 {
			return (*exchange).accept
		}
		return r.answer
	}
}

// checkLast holds the last attempt to its promise: nothing is kept, and every dead letter says why.
func (r *row) checkLast(t *testing.T, fates []fate, want string) {
	t.Helper()
	if r.last != "" {
		want = r.last
	} else {
		parts := strings.Split(want, " · ")
		for i := range parts {
			if parts[i] != "delivered" {
				parts[i] = "dead letter"
			}
		}
		if len(slices.Compact(slices.Clone(parts))) == 1 {
			parts = parts[:1]
		}
		want = strings.Join(parts, " · ")
	}
	if got := words(fates); got != want {
		t.Errorf("last attempt: %s, want %s: %+v", got, want, fates)
	}
	for i, f := range fates {
		if f.state == "dead letter" && (f.attempts != fmt.Sprint(maxAttempts) || !strings.Contains(f.reason, r.says) || f.reason == "") {
			t.Errorf("last attempt: the dead letter of event %d says %q after %s attempts, want %q in it", i, f.reason, f.attempts, r.says)
		}
	}
}

// behindPart has the first of two events accepted by itself, and the second meet the fault.
func (w *world) behindPart(t *testing.T, r *row, c *target, a attempt, want string) {
	t.Helper()
	if r.alone != "" {
		want = r.alone
	}
	a.receives, a.events = 1, 2
	a.answer = func(n int) answer {
		switch n {
		case 1:
			return status(413)
		case 2:
			return (*exchange).accept
		}
		return r.answer
	}
	s := w.run(t, c, a)
	if got := []string{words(s.fates[:1]), words(s.fates[1:])}; got[0] != "delivered" || got[1] != want {
		t.Errorf("behind an accepted part: %v, want delivered and %s: %+v", got, want, s.fates)
	}
}

// words says what became of the events as the tables do: once, when all fare alike.
func words(fates []fate) string {
	var all []string
	alike := true
	for _, f := range fates {
		word := f.state
		if f.state == "kept" {
			wait := f.wait
			if 110 < wait && wait < 120 { // two minutes from a moment ago
				wait = 120
			}
			word = fmt.Sprintf("%d s", wait)
		}
		all = append(all, word)
		alike = alike && word == all[0]
	}
	if alike {
		return all[0]
	}
	return strings.Join(all, " · ")
}

func firstReason(fates []fate) string {
	for _, f := range fates {
		if f.reason != "" {
			return f.reason
		}
	}
	return ""
}
