package deliver_test

import (
	"context"
	"slices"
	"testing"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
)

// accepting is a SIEM that accepts every event except the one with the id refuse.
type accepting struct{ refuse *event.Event }

func (*accepting) Format() deliver.Format { return deliver.Format{Separator: "\n", MaxRecords: 100} }

func (*accepting) Append(dst []byte, e *event.Event) ([]byte, bool, error) {
	return append(dst, e.Body...), false, nil
}

func (a *accepting) Send(_ context.Context, b *deliver.Batch) error {
	b.Meter.Add(len(b.Body))
	if slices.Contains(b.Events, a.refuse) {
		return rejected
	}
	return nil
}

func (a *accepting) Current() deliver.Connector { return a }

func (a *accepting) Renew(context.Context) deliver.Connector { return a }

// BenchmarkDeliver reports the engine's own cost per batch, without encoding and network.
func BenchmarkDeliver(b *testing.B) {
	for name, c := range map[string]struct {
		events int
		refuse bool
	}{
		"100 events":                  {100, false},
		"100 events, one refused":     {100, true},
		"4000 events":                 {4000, false},
		"4000 events, one is refused": {4000, true},
	} {
		b.Run(name, func(b *testing.B) {
			in := items(numbered(c.events)...)
			siem := &accepting{}
			if c.refuse {
				siem.refuse = in[41].Event
			}
			out := make([]deliver.Outcome, len(in))
			b.ReportAllocs()
			for b.Loop() {
				deliver.Deliver(b.Context(), siem, in, out)
			}
		})
	}
}
