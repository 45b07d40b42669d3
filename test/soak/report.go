package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/arbitex/siem-connectors/internal/downalarm"
)

// report is the final report.
type report struct {
	conditions string
	tables     []table
	digest     []string // sentences for a page
	problems   []error  // what was promised and did not hold
}

// report makes the tables.
func (s *soak) report(did *load, b *burst, letters map[letterReason]int) *report {
	r := &report{conditions: s.conditions(did)}
	r.tables = append(r.tables, s.account(r), s.twice(), reasons(letters), s.memory(r), s.cost(r, did))
	if did.unmoved > 0 {
		r.fail("%d events did not come to rest within %s", did.unmoved, stuck)
	}
	if b != nil {
		r.tables = append(r.tables, b.table(r))
	}
	return r
}

func (r *report) fail(format string, args ...any) {
	r.problems = append(r.problems, fmt.Errorf(format, args...))
}

// verdict returns nil if all guarantees hold.
func (r *report) verdict() error { return errors.Join(r.problems...) }

func (s *soak) conditions(did *load) string {
	total := s.meters.total()
	return fmt.Sprintf("%s events, half of them in messages of up to %d, seed %d, in %s: %.0f a second on %d cores, "+
		"which the SIEMs, the functions and AWS (moto) share; "+
		"back-off %d to %d s, visibility timeout %d s. The functions' metrics, including the burst: %s received, "+
		"%s requests, %s retried, %s dead letters.",
		number(s.options.events), maxArray, s.options.seed, did.took.Round(time.Second),
		float64(s.options.events)/did.took.Seconds(), runtime.NumCPU(), backoffInitial, backoffMax, visibility,
		number(total.Received), number(total.Requests), number(total.Retried), number(total.DeadLettered))
}

// account is the table of where every event is, including the burst.
func (s *soak) account(r *report) table {
	t := table{
		title: "Where the events are",
		head: []string{"", "enqueued", "in the SIEM", "dead letters", "lost", "twice", "delivered and dead",
			"dead letters twice"},
	}
	balances := s.tracker.balance()
	var sum balance
	for _, l := range s.pipelines {
		b := balances[l]
		t.add(l.Name, b.enqueued, b.delivered, b.dead, b.lost, b.twice, b.both, b.again)
		sum.sum(b)
	}
	t.add("all", sum.enqueued, sum.delivered, sum.dead, sum.lost, sum.twice, sum.both, sum.again)
	altered, changed, standins := s.tracker.strange()
	t.note = fmt.Sprintf("%s altered. %s arrived truncated, as the SIEM's limits require. Elastic has no "+
		"duplicates: an event that is sent again overwrites its document.",
		number(changed), number(standins))
	r.digest = append(r.digest, fmt.Sprintf("%s events with those of the burst: %s in the SIEMs, %s dead letters, "+
		"%s lost, %s altered. %s were delivered twice; %s are in the SIEM and a dead letter.", number(sum.enqueued),
		number(sum.delivered), number(sum.dead), number(sum.lost), number(changed), number(sum.twice), number(sum.both)))
	if sum.lost > 0 {
		r.fail("%d events are lost", sum.lost)
	}
	if changed > 0 {
		r.fail("%d events were altered, such as %s", changed, strings.Join(altered, "; "))
	}
	return t
}

func (s *soak) twice() table {
	t := table{title: "Twice in a SIEM, by cause", head: []string{"cause", "times"}}
	causes := s.tracker.causes()
	for c := causeAnswer; c <= causeWithin; c++ {
		t.add(c.String(), causes[c])
	}
	t.note = "The cause is the end of the attempt in which the SIEM accepted the event first. Only Sumo Logic responds " +
		"408, and it loses no other response, which separates the first two causes."
	return t
}

// maxReason is the maximum length of a reason in the table.
const maxReason = 70

// letterReason is what the table shows of a dead letter.
type letterReason struct{ connector, reason string }

func reasons(count map[letterReason]int) table {
	t := table{title: "Dead letters, by reason", head: []string{"connector", "reason", "times"}}
	for _, r := range slices.SortedFunc(maps.Keys(count), func(a, b letterReason) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(a.connector, b.connector), cmp.Compare(a.reason, b.reason))
	}) {
		t.add(r.connector, r.reason, count[r])
	}
	return t
}

// brief returns a dead letter's reason without the parts that differ between events.
func brief(reason string) string {
	how := ""
	if _, last, ok := strings.Cut(reason, ", the last of which: "); ok {
		how, reason = "given up; the last attempt: ", last
	}
	reason, _, _ = strings.Cut(reason, ": ")
	return how + reason[:min(len(reason), maxReason)]
}

// memory is the table of the functions' processes in three parts of the load.
func (s *soak) memory(r *report) table {
	t := table{
		title: "Over time: at the start of the steady state, in the middle, at the end",
		head:  []string{"function", "largest process", "processes", "threads", "sockets", "flat"},
	}
	samples := s.watch.all()
	functions := [][2]string{{"deadletter", "DeadLetterFunction"}}
	for _, l := range s.pipelines {
		functions = append(functions, [2]string{l.Name, l.Function()})
	}
	most := int64(0)
	for _, f := range functions {
		name, id := f[0], f[1]
		var at [3]usage
		told := true
		for i, one := range stretches() {
			var ok bool
			at[i], ok = peak(samples, id, one)
			told = told && ok
			most = max(most, at[i].largest)
		}
		flatness := "yes"
		switch {
		case !told:
			flatness = "unknown"
		case !flat(at[0], at[2]):
			flatness = "no"
			r.fail("%s grew from %s to %s", name, mib(at[0].largest), mib(at[2].largest))
		}
		t.add(name, over(at, func(u usage) string { return fmt.Sprintf("%.1f", float64(u.largest)/(1<<20)) })+" MiB",
			over(at, func(u usage) string { return fmt.Sprint(u.processes) }),
			over(at, func(u usage) string { return fmt.Sprint(u.threads) }),
			over(at, func(u usage) string { return fmt.Sprint(u.sockets) }), flatness)
	}
	t.note = fmt.Sprintf("The maximum of each part, sampled every %s. Flat: the largest process grew by no more than "+
		"%s. The goroutines of a function are not visible from outside, so the table has its threads. The process of the "+
		"test, which includes the SIEMs, had %s goroutines.",
		sampling, mib(growth), s.watch.goroutines())
	r.digest = append(r.digest, fmt.Sprintf("The largest process had %s; none grew by more than %s.", mib(most),
		mib(growth)))
	return t
}

func over(at [3]usage, text func(usage) string) string {
	return text(at[0]) + " · " + text(at[1]) + " · " + text(at[2])
}

func (s *soak) cost(r *report, did *load) table {
	t := table{title: "CPU time of the functions, for a million events", head: []string{"connector", "CPU seconds"}}
	var sum time.Duration
	for _, l := range s.pipelines {
		t.add(l.Name, perMillion(did.cpu[l], l.share))
		sum += did.cpu[l]
	}
	t.add("all", perMillion(sum, s.options.events))
	t.note = "User and system time of all processes of a function under load, including starts, retries and bisections."
	r.digest = append(r.digest, fmt.Sprintf("A million events took %s s of CPU time, including starts, retries and "+
		"bisections.", perMillion(sum, s.options.events)))
	return t
}

func perMillion(cpu time.Duration, events int) string {
	if events == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f", cpu.Seconds()*1e6/float64(events))
}

func (b *burst) table(r *report) table {
	t := table{
		title: fmt.Sprintf("The burst: %s events for %s", number(b.events), b.pipeline.Name),
		head:  []string{"the others' delay", "events", "median", "99th percentile"},
	}
	short := func(d time.Duration) string { return d.Round(10 * time.Millisecond).String() }
	t.add("before", b.before.count, short(b.before.median), short(b.before.ninetyNine))
	t.add("during", b.during.count, short(b.during.median), short(b.during.ninetyNine))
	t.note = fmt.Sprintf("The burst was enqueued in %s while the SIEM was down for %s, and delivered %s after its "+
		"recovery. A delay is the time from sending to acceptance, including the batching window of 5 s. The median may "+
		"change by %s, the 99th percentile by %s.",
		b.enqueueing.Round(time.Second), b.outage.Round(time.Second), b.draining.Round(time.Second),
		medianBound, ninetyNineBound)
	r.digest = append(r.digest, fmt.Sprintf("A burst of %s events for %s, whose SIEM was down for %s, was delivered %s "+
		"after its recovery. The others' median delay was %s before and %s during it, the 99th percentile %s and %s.",
		number(b.events), b.pipeline.Name, b.outage.Round(time.Second), b.draining.Round(time.Second),
		short(b.before.median), short(b.during.median), short(b.before.ninetyNine), short(b.during.ninetyNine)))
	switch {
	case b.unmoved > 0:
		r.fail("the burst did not drain: %d events did not move for %s", b.unmoved, stuck)
	case !unmoved(b.before, b.during):
		r.fail("the burst moved the others' delay: median %s to %s, 99th percentile %s to %s",
			short(b.before.median), short(b.during.median), short(b.before.ninetyNine), short(b.during.ninetyNine))
	}
	return t
}

// table is one table of the report.
type table struct {
	title string
	head  []string
	rows  [][]string
	note  string
}

func (t *table) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
		if n, ok := c.(int); ok {
			row[i] = number(n)
		}
	}
	t.rows = append(t.rows, row)
}

// number returns a number with commas between thousands.
func number(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// print prints the report to a terminal.
func (r *report) print(out io.Writer) {
	fmt.Fprintf(out, "\n%s\n", r.conditions)
	for _, t := range r.tables {
		fmt.Fprintf(out, "\n%s\n\n", t.title)
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		for _, row := range append([][]string{t.head}, t.rows...) {
			fmt.Fprintln(w, strings.Join(row, "\t"))
		}
		_ = w.Flush() // a terminal's errors cannot be told to it
		if t.note != "" {
			fmt.Fprintf(out, "\n%s\n", t.note)
		}
	}
	fmt.Fprintln(out)
}

// markdown writes the digest for a page.
func (r *report) markdown() string {
	lines := append([]string{r.conditions + "\n"}, r.digest...)
	if err := r.verdict(); err != nil {
		lines = append(lines, "**What was promised did not hold: "+strings.ReplaceAll(err.Error(), "\n", "; ")+".**")
	}
	return strings.Join(lines, "\n- ")
}

// percentile returns the smallest value that at least p percent of the values do not exceed (nearest rank); 0 if there
// are none.
func percentile(of []time.Duration, p float64) time.Duration {
	if len(of) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(of))
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// spread is a summary of delays.
type spread struct {
	count      int
	median     time.Duration
	ninetyNine time.Duration
}

func spreadOf(d []time.Duration) spread {
	return spread{count: len(d), median: percentile(d, 50), ninetyNine: percentile(d, 99)}
}

// The bounds of the delays of other connectors during a burst. An event waits up to the 5 s of the batching window, and
// the median depends on its phase.
const (
	medianBound     = time.Second
	ninetyNineBound = 2500 * time.Millisecond
)

// unmoved reports whether delays are unchanged, within the bounds.
func unmoved(before, during spread) bool {
	return before.count > 0 && during.count > 0 &&
		during.median <= before.median+medianBound && during.ninetyNine <= before.ninetyNine+ninetyNineBound
}

// counts are the metrics of the functions. They count attempts: an event that was received three times counts three
// times.
type counts struct{ Received, Delivered, Retried, DeadLettered, Requests int }

// meters sums the metrics in the lines that the functions print.
type meters struct {
	mu  sync.Mutex
	sum counts
}

func (m *meters) read(printed []byte) {
	_, _, sums, _ := downalarm.Metrics(printed)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sum.Received += int(sums["Received"])
	m.sum.Delivered += int(sums["Delivered"])
	m.sum.Retried += int(sums["Retried"])
	m.sum.DeadLettered += int(sums["DeadLettered"])
	m.sum.Requests += int(sums["Requests"])
}

// total returns the sum so far.
func (m *meters) total() counts {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sum
}
