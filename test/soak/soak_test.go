package main

import (
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/catalog"
	"github.com/arbitex/siem-connectors/emulator/system"
	"github.com/arbitex/siem-connectors/shared/connectors"
)

func TestPercentileIsTheNearestRank(t *testing.T) {
	var hundred []time.Duration
	for n := 100; n > 0; n-- {
		hundred = append(hundred, time.Duration(n))
	}
	for _, c := range []struct {
		of   []time.Duration
		p    float64
		want time.Duration
	}{
		{nil, 50, 0},
		{[]time.Duration{7}, 99, 7},
		{[]time.Duration{3, 1, 2}, 50, 2},
		{[]time.Duration{4, 3, 2, 1}, 50, 2},
		{hundred, 50, 50},
		{hundred, 99, 99},
		{hundred, 100, 100},
		{hundred[:10], 99, 100}, // 91 to 100
	} {
		if got := percentile(c.of, c.p); got != c.want {
			t.Errorf("percentile %v of %d values = %d, want %d", c.p, len(c.of), got, c.want)
		}
	}
}

func TestBoundsOfTheOthersDelay(t *testing.T) {
	before := spread{10, 3 * time.Second, 5 * time.Second}
	for _, c := range []struct {
		during spread
		want   bool
	}{
		{before, true},
		{spread{10, time.Second, time.Second}, true},
		{spread{10, before.median + medianBound, before.ninetyNine + ninetyNineBound}, true},
		{spread{10, before.median + medianBound + 1, before.ninetyNine}, false},
		{spread{10, before.median, before.ninetyNine + ninetyNineBound + 1}, false},
		{spread{}, false}, // nothing was measured
	} {
		if got := unmoved(before, c.during); got != c.want {
			t.Errorf("unmoved(%v, %v) = %v", before, c.during, got)
		}
	}
}

func TestBalance(t *testing.T) {
	var b balance
	for _, e := range []entry{
		{accepted: 1}, {accepted: 3}, {accepted: 1, letters: 1}, {letters: 1}, {letters: 3}, {}, {settled: true},
	} {
		b.add(e)
	}
	if want := (balance{enqueued: 7, delivered: 3, dead: 2, lost: 2, twice: 2, both: 1, again: 2}); b != want {
		t.Errorf("balance = %+v, want %+v", b, want)
	}
}

// simulator is a SIEM that has accepted the events of the test.
type simulator struct {
	siem.Simulator
	took []siem.Accepted
}

func (s *simulator) Accepted() []siem.Accepted { return s.took }

func (s *simulator) take(l *pipeline, ids ...string) {
	for _, id := range ids {
		s.took = append(s.took, siem.Accepted{ID: id, Event: []byte("body of " + id)})
	}
	l.catchUp()
}

func open(name string, ids ...string) (*pipeline, *simulator, *tracker) {
	b, s := newTracker(), &simulator{}
	l := newPipeline(&system.SIEM{SIEM: catalog.SIEM{Connector: connectors.Connector{Name: name}}, Simulator: s}, b, 1,
		len(ids))
	for _, id := range ids {
		b.enqueue(id, l, "body of "+id, false)
	}
	return l, s, b
}

func TestCauseIsTheEndOfTheAttemptThatDelivered(t *testing.T) {
	for _, c := range []struct {
		siem string
		ends []ending // of the attempts before; the SIEM took the event in the first of them
		want cause
	}{
		{"splunk", []ending{listed}, causeAnswer},
		{sumo, []ending{listed}, causePartial},
		{"splunk", []ending{killed, listed}, causeKilled}, // the second attempt did not reach the SIEM
		{"splunk", []ending{listed, killed}, causeAnswer},
		{"splunk", []ending{timedOut}, causeTimedOut},
		{"splunk", []ending{failed}, causeFailed},
		{"splunk", []ending{finished}, causeQueue},
		{"splunk", nil, causeWithin},
	} {
		l, s, b := open(c.siem, "a")
		s.take(l, "a")
		for _, how := range c.ends {
			b.finish("a", how)
		}
		s.take(l, "a")
		if got := b.causes(); !reflect.DeepEqual(got, map[cause]int{c.want: 1}) {
			t.Errorf("%s after %v: %v, want %q", c.siem, c.ends, got, c.want)
		}
	}
}

func TestBooksSeeWhatIsLostAlteredAndStillOpen(t *testing.T) {
	l, s, b := open("splunk", "a", "b", "c", "d")
	s.take(l, "a", "unknown")
	s.took = append(s.took, siem.Accepted{ID: "b", Event: []byte("another body")}, siem.Accepted{ID: "b", Truncated: true})
	l.catchUp()
	b.finish("a", finished)
	b.finish("b", listed)
	b.letter("c", []byte("body of c"))
	b.letter("d", []byte("another body"))
	if n, _ := b.open(l); n != 1 {
		t.Errorf("%d events are open, want b alone", n)
	}
	altered, changed, standins := b.strange()
	if changed != 3 || len(altered) != 3 || standins != 1 {
		t.Errorf("%d altered (%q), %d truncated; want 3 and 1", changed, altered, standins)
	}
	want := balance{enqueued: 4, delivered: 2, dead: 2}
	if got := b.balance()[l]; got != want {
		t.Errorf("balance = %+v, want %+v", got, want)
	}
}

// TestRemainderOfAnArray: the function deletes the message of an event that it did not deliver, and sends the event
// again in a new message. The event is open until the SIEM has it, and its second acceptance is no redelivery by SQS.
func TestRemainderOfAnArray(t *testing.T) {
	l, s, b := open("splunk")
	b.enqueue("a", l, "body of a", true)
	b.finish("a", finished)
	if n, _ := b.open(l); n != 1 {
		t.Errorf("%d events are open before the event is delivered, want 1", n)
	}
	s.take(l, "a")
	b.finish("a", finished)
	if n, _ := b.open(l); n != 0 {
		t.Errorf("%d events are open after the event is delivered, want none", n)
	}
	s.take(l, "a")
	if got := b.causes(); !reflect.DeepEqual(got, map[cause]int{causeAnswer: 1}) {
		t.Errorf("causes %v", got)
	}
}

// TestHalfOfTheEventsAreInArrays: both forms of message are sent, within the limits.
func TestHalfOfTheEventsAreInArrays(t *testing.T) {
	l, _, b := open("splunk")
	const total = 20_000
	for sent := 0; sent < total; {
		sizes, n := l.sizes(total - sent)
		if len(sizes) > system.MaxSend || slices.Max(sizes) > maxArray {
			t.Fatalf("a request has messages of %v events", sizes)
		}
		for i, body := range l.messages(sizes) {
			if got := len(split(body)); got != sizes[i] {
				t.Fatalf("a message has %d events, want %d", got, sizes[i])
			}
		}
		sent += n
	}
	arrays := 0
	for _, e := range b.entries {
		if e.array {
			arrays++
		}
	}
	if sent, _, _ := b.standing(); sent != total || arrays < total*2/5 || arrays > total*3/5 {
		t.Errorf("%d of %d events are in arrays", arrays, sent)
	}
}

func TestOneSeedHasOnePlan(t *testing.T) {
	for _, entry := range catalog.List() {
		describe := func(seed uint64) (out []string) {
			last := -1
			for _, one := range plan(newPipeline(&system.SIEM{SIEM: entry}, newTracker(), seed, 0), 40_000) {
				if one.at < last || one.at >= 40_000 {
					t.Errorf("%s: %s comes at %d, after what comes at %d", entry.Name, one.name, one.at, last)
				}
				last = one.at
				out = append(out, number(one.at)+" "+one.name)
			}
			return out
		}
		if a, b := describe(1), describe(1); !reflect.DeepEqual(a, b) {
			t.Errorf("%s: one seed has two plans: %v, %v", entry.Name, a, b)
		}
		if reflect.DeepEqual(describe(1), describe(2)) {
			t.Errorf("%s: two seeds have one plan", entry.Name)
		}
	}
}

func TestFlatLooksAtTheEndAgainstTheStart(t *testing.T) {
	at := func(share float64, bytes int64) sample {
		return sample{share: share, functions: map[string]usage{"splunk": {processes: 1, largest: bytes}}}
	}
	samples := []sample{at(0.05, 90<<20), at(0.2, 20<<20), at(0.25, 30<<20), at(0.5, 50<<20), at(0.9, 30<<20+growth),
		at(1.1, 99<<20)}
	first, _ := peak(samples, "splunk", stretches()[0])
	last, ok := peak(samples, "splunk", stretches()[2])
	if first.largest != 30<<20 || !ok || !flat(first, last) {
		t.Errorf("start %+v, end %+v: want 30 MiB, and flat within the bound", first, last)
	}
	last.largest++
	if flat(first, last) {
		t.Error("a byte beyond the bound is flat")
	}
	if _, ok := peak(samples, "elastic", stretches()[0]); ok {
		t.Error("there is a sample of what was not there")
	}
}

func TestNumbers(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", -1000: "-1,000", -100: "-100",
		1234567: "1,234,567"} {
		if got := number(n); got != want {
			t.Errorf("number(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestWrongCommandLines(t *testing.T) {
	for _, args := range [][]string{{"-events", "0"}, {"-burst", "-1"}, {"more"}, {"-nothing"}} {
		if code := run(t.Context(), args, io.Discard, io.Discard); code != exitUsage {
			t.Errorf("%s: exit code %d, want %d", strings.Join(args, " "), code, exitUsage)
		}
	}
}

func TestReasonsLoseWhatDiffersFromEventToEvent(t *testing.T) {
	for reason, want := range map[string]string{
		`status 400, code 6: "event 7"`:                               "status 400, code 6",
		`given up after 5 attempts, the last of which: status 503: x`: "given up; the last attempt: status 503",
	} {
		if got := brief(reason); got != want {
			t.Errorf("brief(%q) = %q, want %q", reason, got, want)
		}
	}
}
