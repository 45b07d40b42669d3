package demo

import (
	"fmt"
	"slices"
	"time"

	"github.com/arbitex/siem-connectors/local/runtimeapi"
)

const measureFormat = "%-12s %11s %7s %9s %9s %11s %21s"

// measures says what the functions took. CPU is that of their processes with start, retries and failures, spread over the
// events enqueued; it is what the invocations cost.
func (d *demo) measures() {
	stats := d.cloud.Stats()
	d.screen.lines(strong, "", "What it took")
	d.screen.lines(faint, fmt.Sprintf(measureFormat, "", "invocations", "errors", "median", "longest", "cold start", "CPU per 1,000 events"))
	for _, a := range d.actors {
		d.screen.lines(plain, measure(a.Name, stats[a.Function()], len(d.messages)))
	}
	for _, own := range []struct{ name, function string }{{"dead letters", deadLetterFunction}, {"replay", replayFunction}} {
		d.screen.lines(plain, measure(own.name, stats[own.function], 0))
	}
}

func measure(name string, s runtimeapi.Stats, events int) string {
	cpu := ""
	if events > 0 && s.CPU > 0 {
		cpu = short(s.CPU * 1000 / time.Duration(events))
	}
	return fmt.Sprintf(measureFormat, name, number(s.Invocations), number(s.Errors), short(median(s.Durations)),
		short(longest(s.Durations)), short(median(s.Inits)), cpu)
}

func median(of []time.Duration) time.Duration {
	if len(of) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}

func longest(of []time.Duration) time.Duration {
	if len(of) == 0 {
		return 0
	}
	return slices.Max(of)
}

// short writes a duration with as much precision as anybody wants to read.
func short(d time.Duration) string {
	switch {
	case d == 0:
		return "-"
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
