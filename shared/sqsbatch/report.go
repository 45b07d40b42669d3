package sqsbatch

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/jsonscan"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

// The bounds of a log line. They keep it far below the 256 KB of a CloudWatch Logs event.
const (
	maxNamed = 20   // ids, failures, warnings or errors in a line
	maxText  = 1024 // bytes of one of them
	maxID    = 64   // bytes of an event id; a longer one may be text, and is replaced by the event's hash
)

// report collects what the batch writes about itself.
type report struct {
	deliver.Report
	took  time.Duration // of the delivery
	ended time.Time     // of the delivery

	oldest       time.Time // time of the oldest delivered event; zero while none is
	truncated    int
	truncatedIDs []string
	converted    int // events whose time is in another unit
	placeholder  int // events whose time is 0 or in the year 9999
	receipts     []byte
	receiptEnds  []int // the end of each receipt in receipts
	queueErrors  []error
}

// add adds the report of a delivery.
func (r *report) add(d deliver.Report) {
	r.Requests += d.Requests
	r.Bytes += d.Bytes
	r.Backpressure += d.Backpressure
	for _, w := range d.Warnings {
		if !slices.Contains(r.Warnings, w) {
			r.Warnings = append(r.Warnings, w)
		}
	}
}

// sent notes an event that is to be sent.
func (r *report) sent(e *event.Event) {
	if e.TimeConverted {
		r.converted++
	}
	if e.TimePlaceholder() {
		r.placeholder++
	}
}

// delivered notes a delivered event.
func (b *batch) delivered(e *event.Event, truncated bool) {
	r := &b.report
	if at := time.UnixMilli(e.Time); r.oldest.IsZero() || at.Before(r.oldest) {
		r.oldest = at
	}
	if truncated {
		r.truncated++
		if len(r.truncatedIDs) < maxNamed {
			r.truncatedIDs = append(r.truncatedIDs, string(appendLogID(nil, e)))
		}
	}
	if b.Receipts {
		r.receipts = appendReceipt(r.receipts, e)
		r.receiptEnds = append(r.receiptEnds, len(r.receipts))
	}
}

// appendLogID appends the id of an event for a log line.
func appendLogID(dst []byte, e *event.Event) []byte {
	start := len(dst)
	if dst = e.AppendID(dst); len(dst)-start > maxID {
		dst = e.AppendHashID(dst[:start])
	}
	return dst
}

// counts holds the number of events by outcome. received is the sum of delivered, retried, deadLettered and filtered;
// held is part of retried.
type counts struct {
	received, delivered, retried, deadLettered, filtered, held int

	failures map[string]int // by kind, status and code
}

func (b *batch) count() counts {
	c := counts{received: len(b.records)}
	var causes map[*failure.Error]int
	for i := range b.records {
		r := &b.records[i]
		switch r.disposition {
		case delivered:
			c.delivered++
		case filtered:
			c.filtered++
		case deadLettered:
			c.deadLettered++
		case retry, deadLetter:
			c.retried++
			if r.fault.Kind == failure.Misconfigured || r.fault.Kind == failure.Unauthorized {
				c.held++
			}
		}
		if r.fault != nil {
			if causes == nil {
				causes = make(map[*failure.Error]int)
			}
			causes[r.fault]++
		}
	}
	c.failures = briefs(causes)
	return c
}

// briefs counts failures by their brief description.
func briefs(causes map[*failure.Error]int) map[string]int {
	if len(causes) == 0 {
		return nil
	}
	failures := make(map[string]int)
	for f, n := range causes {
		key := bounded(f.Brief())
		if _, known := failures[key]; !known && len(failures) >= maxNamed-1 {
			key = "other"
		}
		failures[key] += n
	}
	return failures
}

func bounded(s string) string { return s[:min(len(s), maxText)] }

// write writes the metrics and the log line. An error of standard output cannot be reported anywhere.
func (b *batch) write(ctx context.Context) {
	c, r := b.count(), &b.report
	count := telemetry.Counted
	values := append(make([]telemetry.Value, 0, 12),
		count("Received", c.received), count("Delivered", c.delivered), count("Retried", c.retried),
		count("DeadLettered", c.deadLettered), count("Filtered", c.filtered), count("Held", c.held),
		count("Truncated", r.truncated), count("Requests", r.Requests), count("Backpressure", r.Backpressure),
		telemetry.Value{Name: "BytesSent", Unit: telemetry.Bytes, Number: float64(r.Bytes)},
		telemetry.Value{Name: "DeliveryMilliseconds", Unit: telemetry.Milliseconds, Number: milliseconds(r.took)},
	)
	if !r.oldest.IsZero() {
		delay := milliseconds(max(0, r.ended.Sub(r.oldest)))
		values = append(values, telemetry.Value{Name: "EndToEndMilliseconds", Unit: telemetry.Milliseconds, Number: delay})
	}
	telemetry.Write(b.Out, r.ended, b.Stack, b.Connector, values...)
	b.log(ctx, &c)
}

func milliseconds(d time.Duration) float64 { return float64(d.Milliseconds()) }

func (b *batch) log(ctx context.Context, c *counts) {
	r := &b.report
	level := slog.LevelInfo
	attrs := append(make([]slog.Attr, 0, 15),
		slog.String("connector", b.Connector), slog.Int("received", c.received), slog.Int("delivered", c.delivered),
		slog.Int("retried", c.retried), slog.Int("dead_lettered", c.deadLettered), slog.Int("requests", r.Requests),
		slog.Int64("bytes_sent", r.Bytes), slog.Int64("milliseconds", r.took.Milliseconds()),
	)
	if request := requestID(ctx); request != "" {
		attrs = append(attrs, slog.String("request", request))
	}
	if c.filtered > 0 {
		attrs = append(attrs, slog.Int("filtered", c.filtered))
	}
	if len(c.failures) > 0 {
		level = slog.LevelWarn
		attrs = append(attrs, slog.Any("failures", c.failures))
	}
	if len(r.truncatedIDs) > 0 {
		attrs = append(attrs, slog.Any("truncated", r.truncatedIDs))
	}
	if warnings := r.warnings(); len(warnings) > 0 {
		level = slog.LevelWarn
		attrs = append(attrs, slog.Any("warnings", warnings))
	}
	if len(r.queueErrors) > 0 {
		level = slog.LevelError
		attrs = append(attrs, slog.Any("queue_errors", r.errorTexts()))
	}
	b.Log.LogAttrs(ctx, level, "batch", attrs...)
}

// warnings returns the warnings of the batch: those of the SIEM, and those about the events' times.
func (r *report) warnings() (texts []string) {
	if r.converted > 0 {
		texts = append(texts,
			"time: expected Unix milliseconds, converted from another unit in "+strconv.Itoa(r.converted)+" events")
	}
	if r.placeholder > 0 {
		texts = append(texts, "time: is 0 or in the year 9999 in "+strconv.Itoa(r.placeholder)+" events")
	}
	for _, w := range r.Warnings {
		if len(texts) == maxNamed {
			break
		}
		texts = append(texts, bounded(w))
	}
	return texts
}

func (r *report) errorTexts() (texts []string) {
	for _, err := range r.queueErrors {
		if len(texts) == maxNamed-1 && len(r.queueErrors) > maxNamed {
			return append(texts, strconv.Itoa(len(r.queueErrors)-len(texts))+" more errors")
		}
		texts = append(texts, bounded(err.Error()))
	}
	return texts
}

// maxLine bounds a line of receipts: the largest event that CloudWatch Logs keeps.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html
const maxLine = 256 << 10

// appendReceipt appends the receipt of a delivered event: ["<event id>","<hash of its content>"].
func appendReceipt(dst []byte, e *event.Event) []byte {
	dst = append(dst, '[')
	start := len(dst)
	dst = event.QuoteFrom(appendLogID(dst, e), start)
	dst = append(dst, `,"`...)
	dst = e.AppendContentHash(dst)
	return append(dst, `"]`...)
}

// requestID is the id of the invocation, which its receipts and its batch line share; "" outside of Lambda.
func requestID(ctx context.Context) string {
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		return lc.AwsRequestID
	}
	return ""
}

// writeReceipts writes the receipts collected so far, in as few lines as the limit allows.
//
//	{"receipt":{"stack":"…","connector":"…","at":"…","request":"…","delivered":[["…","…"],…]}}
func (b *batch) writeReceipts(ctx context.Context) {
	r := &b.report
	if len(r.receiptEnds) == 0 {
		return
	}
	line := append(make([]byte, 0, min(maxLine, len(r.receipts)+len(r.receiptEnds)+512)), `{"receipt":{"stack":`...)
	line = jsonscan.AppendQuoted(line, b.Stack)
	line = append(line, `,"connector":`...)
	line = jsonscan.AppendQuoted(line, b.Connector)
	line = append(line, `,"at":"`...)
	line = b.Now().UTC().AppendFormat(line, timeLayout)
	line = append(line, `","request":`...)
	line = jsonscan.AppendQuoted(line, requestID(ctx))
	line = append(line, `,"delivered":[`...)
	const tail = "]}}\n"
	head, start := len(line), 0
	for _, end := range r.receiptEnds {
		receipt := r.receipts[start:end]
		start = end
		if len(line)+len(",")+len(receipt)+len(tail) > maxLine {
			_, _ = b.Out.Write(append(line, tail...)) // an error of standard output cannot be reported anywhere
			line = line[:head]
		}
		if len(line) > head {
			line = append(line, ',')
		}
		line = append(line, receipt...)
	}
	_, _ = b.Out.Write(append(line, tail...)) // as above
	r.receipts, r.receiptEnds = r.receipts[:0], r.receiptEnds[:0]
}
