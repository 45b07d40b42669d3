// Package deliver takes events to a SIEM through a Connector: it encodes them, packs records into requests that keep
// the SIEM's limits, sends, and turns every answer into one outcome per event.
//
// An outcome is never assumed. Every event starts as "retry", and only a Connector's word that the SIEM took it makes it
// Delivered, only its word that the SIEM will never take it makes it Rejected. A request that is too large is halved. A
// request that is refused for its content is halved until the culprit stands alone, so that no event is held up by its
// neighbour; when everything is refused alike, the configuration is to blame and every event is held. A refused
// credential is renewed once, and the request tried once more. What the deadline leaves undone is retried.
//
// The package knows no HTTP, no queue and no clock but its context's.
package deliver

import (
	"context"
	"slices"

	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

// Connector knows one SIEM: its wire format, its limits, its answers. It is immutable but for its connections and caches,
// and safe for concurrent use. It reads no environment, sleeps never and retries nothing by itself: all that is the engine's.
type Connector interface {
	// Format says how records make a request body, and what the SIEM's limits are. It is constant.
	Format() Format

	// Append encodes e as one record behind dst. It is pure. truncated tells that the record is complete in form but
	// holds less than the whole event. An error rejects this one event for good; it must not quote a secret.
	Append(dst []byte, e *event.Event) (record []byte, truncated bool, err error)

	// Send makes one request of the batch. nil: the SIEM has accepted every record. A *PartialError: a verdict for each
	// record. Any other error is about the batch as a whole, none of which was accepted, and means what its
	// fault.Fault says; without one it is transient. Send obeys ctx, and keeps nothing of b when it returns.
	Send(ctx context.Context, b *Batch) error
}

// Checker is a Connector that can try the way to its SIEM: with the cheapest request that proves the credential and,
// where the SIEM has one, writes nothing. The error's fault.Fault tells the step that failed and a hint.
type Checker interface {
	Check(ctx context.Context) error
}

// Format is the shape of a request body, and the SIEM's limits. Limits count uncompressed bytes.
type Format struct {
	Open, Separator, Close string // around and between records; a body is Open, records joined by Separator, Close

	MaxRecords     int // most records of one request; 0 is no limit
	MaxBytes       int // most bytes of one body, Open, Separator and Close included; 0 is no limit
	MaxRecordBytes int // most bytes of one record; 0 is what MaxBytes leaves. When it is more, a record may go alone over MaxBytes
}

// recordLimit is the most bytes a record may have to be sent at all; 0 is no limit.
func (f Format) recordLimit() int {
	if f.MaxRecordBytes > 0 || f.MaxBytes == 0 {
		return f.MaxRecordBytes
	}
	return f.MaxBytes - len(f.Open) - len(f.Close)
}

// Batch is one request's worth of records. It is the engine's, and reused when Send has returned.
type Batch struct {
	Body   []byte           // as Format says
	Events []*event.Event   // in the order of the records
	Meter  *telemetry.Meter // for the sender to count requests and bytes

	spans    []span // of the records in Body
	warnings []string
}

// Warn notes something an operator should know about a batch that was accepted all the same. It must not hold event
// content or a secret.
func (b *Batch) Warn(text string) {
	if !slices.Contains(b.warnings, text) {
		b.warnings = append(b.warnings, text)
	}
}

// Warnings lists what Warn has noted.
func (b *Batch) Warnings() []string { return b.warnings }

type span struct{ start, end int }

// Len is the number of records.
func (b *Batch) Len() int { return len(b.Events) }

// Record returns the bytes of record i, a view into Body.
func (b *Batch) Record(i int) []byte { return b.Body[b.spans[i].start:b.spans[i].end:b.spans[i].end] }

// NewBatch packs records by hand; for tests and checks.
func NewBatch(f Format, records [][]byte, events []*event.Event) *Batch {
	b := &Batch{Events: events}
	b.Body = append(b.Body, f.Open...)
	for i, r := range records {
		if i > 0 {
			b.Body = append(b.Body, f.Separator...)
		}
		b.spans = append(b.spans, span{len(b.Body), len(b.Body) + len(r)})
		b.Body = append(b.Body, r...)
	}
	b.Body = append(b.Body, f.Close...)
	return b
}

// PartialError is Send's error when the SIEM judged the records one by one: nil for an accepted one, else what is wrong with
// it, as a fault.Fault. fault.Unjudged means that the SIEM stopped before the record, or wants it in another form.
type PartialError struct{ Results []error }

// Error implements error.
func (p *PartialError) Error() string {
	for _, err := range p.Results {
		if err != nil {
			return "some records were not accepted, the first of them: " + err.Error()
		}
	}
	return "some records were not accepted"
}
