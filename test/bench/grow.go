package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/arbitex/siem-connectors/internal/testkit/docgen"
)

// The sizes of events and batches.
var (
	growSizes   = [...]int{200, 1_000, 10_000, 100_000, 900_000}
	growBatches = [...]int{1, 10, 100}
)

const (
	growBytes  = 40_000_000 // of events a round, and not more than growEvents
	growEvents = 10_000
	// payloadBytes is the largest payload of an invocation; a batch is as large as fits.
	// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
	payloadBytes = 6 << 20
)

// grow measures one process of the Splunk function, with gzip, by event and batch size, and updates the page's table.
func (p *plan) grow(s *sink) error {
	run := lambda(filepath.Join(p.builds, "splunk", "bootstrap"), senders[0].with("gzip"))
	var b strings.Builder
	fmt.Fprintf(&b, "%s; medians of %d rounds.\n\n| an event | 1 a batch | 10 | 100 | on the wire |\n"+
		"| ---: | ---: | ---: | ---: | ---: |\n", machine(), p.rounds)
	for _, size := range growSizes {
		fmt.Fprintf(&b, "| %s |", bytesText(size))
		fits := payloadBytes / len(makePayloads(1, 1, size)[0])
		wire, before := 0., 0
		for _, want := range growBatches {
			batch := min(want, fits)
			if batch == before {
				b.WriteString(" – |")
				continue
			}
			before = batch
			count := max(batch, min(growEvents, growBytes/size)/batch*batch)
			payloads := makePayloads(count, batch, size)
			var rs []result
			for round := range p.rounds {
				fmt.Fprintf(os.Stderr, "\r%d bytes, %d a batch, round %d of %d%20s", size, batch, round+1, p.rounds, "")
				r, err := run(s, &work{count: count, batch: batch, payloads: payloads})
				if err != nil {
					return fmt.Errorf("%d bytes, %d a batch: %w", size, batch, err)
				}
				rs = append(rs, r)
			}
			events := float64(count)
			cpu := median(rs, func(r result) float64 { return r.cpu.Seconds() * 1e6 / events })
			rate := median(rs, func(r result) float64 { return events / r.wall.Seconds() })
			wire = median(rs, func(r result) float64 { return float64(r.wire) / events })
			if batch < want {
				fmt.Fprintf(&b, " %d a batch:", batch)
			}
			fmt.Fprintf(&b, " %s µs, %s/s |", digits(cpu), digits(rate))
		}
		fmt.Fprintf(&b, " %s B |\n", digits(wire)) // of the largest batch
	}
	fmt.Fprintln(os.Stderr)
	return docgen.Update(p.growth, "measured", b.String())
}

func bytesText(n int) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%d KB", n/1000)
}

// digits returns a number with two significant digits, and commas.
func digits(x float64) string {
	unit := 1.
	for x/unit >= 100 {
		unit *= 10
	}
	n := int(x/unit+.5) * int(unit)
	switch {
	case x < 9.95:
		return fmt.Sprintf("%.1f", x)
	case n < 1000:
		return fmt.Sprint(n)
	case n < 1_000_000:
		return fmt.Sprintf("%d,%03d", n/1000, n%1000)
	}
	return fmt.Sprintf("%d,%03d,%03d", n/1_000_000, n/1000%1000, n%1000)
}
