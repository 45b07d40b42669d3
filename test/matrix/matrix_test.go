// Package matrix tests every connector against every fault on the path to its SIEM. The functions are the built
// binaries in a Lambda runtime. The SIEMs are servers on real sockets that reset, hang and refuse; SQS and Secrets
// Manager respond to the SDK's own requests.
//
// The expected outcomes are tables written by hand from the documented behaviour. Each cell is tried on the first
// attempt and on the last and, where a request can fail after another was accepted, after part of the batch was
// delivered. In each of them the function responds before its time limit, uses little memory, and shows no secret. The
// test compares the results with testdata/results.txt and docs/reliability.md:
//
//	go test ./test/matrix -update
package matrix

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

var update = flag.Bool("update", false, "write the results into testdata/results.txt and docs/reliability.md")

// TestMain runs more cells at once than there are processors, because most of them wait for a timeout.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("8")
	}
	os.Exit(m.Run())
}

// section is one table of results.
type section struct {
	title string
	text  string
	rows  []row
}

func sections(all []*target) []section {
	list := []section{
		{"Path to the SIEM", "Under TLS 1.3, a peer reports a missing client certificate only after the handshake. " +
			"QRadar's connector " +
			"waits for that. Over HTTP, the report may be lost, so the wait is 300 s or 1 s.", routeRows()},
		{"Proxy", "The address of the proxy, with its password, is in the secret.", proxyRows()},
		{"One request", "A syslog receiver sends no responses. The rows test what it may do on a connection.", requestRows()},
		{"Early responses", "The peer responds before it has read the request, and closes the connection.", earlyRows()},
		{"Successes", "Only a success that the documentation of the SIEM describes counts.", successRows()},
		{"Refusals", "A refusal rejects an event only in the SIEM's own error format.", refusalRows()},
		{"Status codes", "The body is not in the SIEM's own format, like that of a proxy.", statusRows()},
	}
	for _, c := range all {
		if c.rows != nil {
			list = append(list, section{"Responses of " + c.title, "", only(c.name, c.rows())})
		}
	}
	return list
}

// only limits rows to one connector.
func only(name string, rows []row) []row {
	for i := range rows {
		rows[i].only, rows[i].events = name, max(rows[i].events, 3)
	}
	return rows
}

// columns are the connectors for which at least one row is tried.
func (s *section) columns(all []*target) []*target {
	return slices.DeleteFunc(slices.Clone(all), func(c *target) bool {
		return !slices.ContainsFunc(s.rows, func(r row) bool { return r.expected(c) != none })
	})
}

// cells are the results, by row and connector.
type cells struct {
	mu       sync.Mutex
	outcomes map[string]string
	reasons  map[string]string
}

func (c *cells) put(row, target, outcome, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outcomes[row+"/"+target], c.reasons[row+"/"+target] = outcome, reason
}

func TestTargets(t *testing.T) { targets(t) }

func TestMatrix(t *testing.T) {
	all := targets(t)
	for _, c := range all {
		if _, err := os.Stat(bootstrap(c.name)); err != nil {
			t.Fatalf("%v (run `make build`)", err)
		}
	}
	f := newFixture(t)
	results := &cells{outcomes: map[string]string{}, reasons: map[string]string{}}
	list := sections(all)
	t.Run("cells", func(t *testing.T) {
		for _, s := range list {
			for i := range s.rows {
				for _, c := range all {
					if s.rows[i].expected(c) != none {
						t.Run(s.title+"/"+s.rows[i].name+"/"+c.name, func(t *testing.T) {
							t.Parallel()
							f.cell(t, s.title, &s.rows[i], c, results)
						})
					}
				}
			}
		}
	})
	t.Logf("%d cells, at most %d MiB each", len(results.outcomes), f.largest.Load()>>20)
	if filter := flag.Lookup("test.run").Value.String(); !t.Failed() && !strings.Contains(filter, "/") {
		compare(t, list, all, results)
	}
}

// expected is the outcome on the first attempt, none if the row is not tried with the connector.
func (r *row) expected(c *target) string {
	switch {
	case r.only != "" && r.only != c.name, r.large && !c.large:
		return none
	case c.syslog && r.stream == nil && (r.respond != nil || r.token != nil || r.proxy != nil || r.fault == intact):
		return none
	case !c.syslog && (r.fault == intact || r.syslogOnly) && r.respond == nil && r.token == nil && r.proxy == nil:
		return none
	case c.syslog && r.syslogWant != "":
		return r.syslogWant
	case r.respond != nil && r.proxy == nil && slices.Contains(c.accepts, r.name):
		return "delivered"
	}
	return r.want
}

// cell tries one fault with one connector: on the first attempt, on the last, and after a part that was accepted.
func (f *fixture) cell(t *testing.T, section string, r *row, c *target, results *cells) {
	want := r.expected(c)
	a := attempt{
		receives: 1, events: max(2, r.events), filler: r.filler, env: r.env, fault: r.fault, proxy: r.proxy,
		token: r.token, stream: r.stream, respond: r.responder(), hang: r.hang,
	}
	if r.slow {
		a.env = maps.Clone(r.env)
		if a.env == nil {
			a.env = map[string]string{}
		}
		a.env["SIEM_REQUEST_TIMEOUT_SECONDS"] = shortSeconds
	}
	s := f.run(t, c, a)
	got := words(s.outcomes)
	if got != want {
		t.Errorf("first attempt: %s, want %s: %.400s", got, want, fmt.Sprintf("%+v", s.outcomes))
	}
	if r.requests > 0 && s.requests != r.requests {
		t.Errorf("first attempt: %d requests, want %d", s.requests, r.requests)
	}
	if !c.syslog && r.renewed != (s.reads > 1) {
		t.Errorf("first attempt: the secret was read %d times, want it read again: %t", s.reads, r.renewed)
	}
	a.receives = maxAttempts
	s = f.run(t, c, a)
	r.checkLast(t, s.outcomes, want)
	results.put(section+r.name, c.name, got, firstReason(s.outcomes))
	if r.part && !c.syslog {
		f.afterPart(t, r, c, a, want)
	}
}

// responder returns the row's responses, by the number of the request.
func (r *row) responder() func(n int) responder {
	return func(n int) responder {
		if r.respond == nil || r.once && n > 1 {
			return (*request).accept
		}
		return r.respond
	}
}

// checkLast checks the last attempt: no event is retried, and each dead letter states the reason.
func (r *row) checkLast(t *testing.T, outcomes []outcome, want string) {
	t.Helper()
	if r.last != "" {
		want = r.last
	} else {
		parts := strings.Split(want, " · ")
		for i := range parts {
			if parts[i] != "delivered" && parts[i] != failed {
				parts[i] = "dead letter"
			}
		}
		if len(slices.Compact(slices.Clone(parts))) == 1 {
			parts = parts[:1]
		}
		want = strings.Join(parts, " · ")
	}
	if got := words(outcomes); got != want {
		t.Errorf("last attempt: %s, want %s: %.400s", got, want, fmt.Sprintf("%+v", outcomes))
	}
	for i, o := range outcomes {
		if o.state == "delivered" {
			continue
		}
		if !strings.Contains(o.reason, r.reason) || o.reason == "" {
			t.Fatalf("last attempt: the reason of event %d is %q, want %q in it", i, o.reason, r.reason)
		}
		if o.state == "dead letter" && o.attempts != fmt.Sprint(maxAttempts) {
			t.Errorf("last attempt: the dead letter of event %d states %s attempts", i, o.attempts)
		}
	}
}

// afterPart has the first of two events accepted alone. The second one meets the fault.
func (f *fixture) afterPart(t *testing.T, r *row, c *target, a attempt, want string) {
	t.Helper()
	if r.alone != "" {
		want = r.alone
	}
	a.receives, a.events = 1, 2
	a.respond = func(n int) responder {
		switch n {
		case 1:
			return status(413)
		case 2:
			return (*request).accept
		}
		return r.respond
	}
	s := f.run(t, c, a)
	if got := []string{words(s.outcomes[:1]), words(s.outcomes[1:])}; got[0] != "delivered" || got[1] != want {
		t.Errorf("after an accepted part: %v, want delivered and %s: %+v", got, want, s.outcomes)
	}
}

// words returns the outcomes as the tables show them: once, if all are equal.
func words(outcomes []outcome) string {
	var all []string
	for _, o := range outcomes {
		word := o.state
		if o.state == "retry" {
			wait := o.wait
			if 110 < wait && wait < 120 { // a date two minutes after the request
				wait = 120
			}
			word = fmt.Sprintf("%d s", wait)
		}
		all = append(all, word)
	}
	if len(slices.Compact(slices.Clone(all))) == 1 {
		return all[0]
	}
	return strings.Join(all, " · ")
}

func firstReason(outcomes []outcome) string {
	for _, o := range outcomes {
		if o.reason != "" {
			return o.reason
		}
	}
	return ""
}
