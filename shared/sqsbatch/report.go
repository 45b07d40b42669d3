package sqsbatch

import (
	"context"
	"log/slog"
	"time"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

// report is what a batch says of itself.
type report struct {
	deliver.Report
	took  time.Duration // of the delivery
	ended time.Time     // of the delivery

	oldest      int64    // time of the delivered event that took longest; 0 when none was
	truncated   []string // ids of events that arrived with less than the whole
	failures    map[string]int
	held        int // events whose set-up is at fault
	queueErrors []error
}

func (r *report) delivered(e *event.Event, truncated bool) {
	if r.oldest == 0 || e.Time < r.oldest {
		r.oldest = e.Time
	}
	if truncated {
		r.truncated = append(r.truncated, string(e.AppendID(nil)))
	}
}

func (r *report) failed(f *failure.Error) {
	if f == nil {
		return
	}
	if r.failures == nil {
		r.failures = map[string]int{}
	}
	r.failures[f.Brief()]++
	if f.Kind == failure.Misconfigured || f.Kind == failure.Unauthorized {
		r.held++
	}
}

// counts are the three ends a message can have; their sum is the number received.
func (b *batch) counts() (delivered, retried, deadLettered int) {
	for _, f := range b.fates {
		switch {
		case f.listed:
			retried++
		case f.state == deliver.Delivered:
			delivered++
		default:
			deadLettered++
		}
	}
	return delivered, retried, deadLettered
}

// write writes the batch's one log line and its one line of metrics. A line that cannot be written is given up: standard
// output is all there is to complain to.
func (b *batch) write(ctx context.Context) {
	delivered, retried, deadLettered := b.counts()
	r := &b.report
	values := append(make([]telemetry.Value, 0, 10),
		count("Received", len(b.messages)), count("Delivered", delivered), count("Retried", retried),
		count("DeadLettered", deadLettered), count("Held", r.held), count("Truncated", len(r.truncated)), count("Requests", r.Requests),
		telemetry.Value{Name: "BytesSent", Unit: telemetry.Bytes, Number: float64(r.Bytes)},
		telemetry.Value{Name: "DeliveryMilliseconds", Unit: telemetry.Milliseconds, Number: float64(r.took.Milliseconds())},
	)
	if delivered > 0 {
		delay := max(0, r.ended.UnixMilli()-r.oldest)
		values = append(values, telemetry.Value{Name: "EndToEndMilliseconds", Unit: telemetry.Milliseconds, Number: float64(delay)})
	}
	_ = telemetry.Write(b.Metrics, r.ended, b.Connector, values...)
	b.log(ctx, delivered, retried, deadLettered)
}

func count(name string, n int) telemetry.Value {
	return telemetry.Value{Name: name, Unit: telemetry.Count, Number: float64(n)}
}

func (b *batch) log(ctx context.Context, delivered, retried, deadLettered int) {
	r := &b.report
	level := slog.LevelInfo
	attrs := append(make([]slog.Attr, 0, 12),
		slog.String("connector", b.Connector), slog.Int("received", len(b.messages)), slog.Int("delivered", delivered),
		slog.Int("retried", retried), slog.Int("dead_lettered", deadLettered), slog.Int("requests", r.Requests),
		slog.Int64("bytes_sent", r.Bytes), slog.Int64("milliseconds", r.took.Milliseconds()),
	)
	if len(r.failures) > 0 {
		level = slog.LevelWarn
		attrs = append(attrs, slog.Any("failures", r.failures))
	}
	if len(r.truncated) > 0 {
		attrs = append(attrs, slog.Any("truncated", r.truncated))
	}
	if len(r.Warnings) > 0 {
		level = slog.LevelWarn
		attrs = append(attrs, slog.Any("warnings", r.Warnings))
	}
	if len(r.queueErrors) > 0 {
		level = slog.LevelError
		texts := make([]string, len(r.queueErrors))
		for i, err := range r.queueErrors {
			texts[i] = err.Error()
		}
		attrs = append(attrs, slog.Any("queue_errors", texts))
	}
	b.Log.LogAttrs(ctx, level, "batch", attrs...)
}
