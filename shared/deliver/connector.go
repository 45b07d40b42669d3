// Package deliver sends events to a SIEM through a Connector. It encodes the events, packs the records into requests
// within the SIEM's limits, sends them, and returns one outcome per event.
//
// An outcome is never assumed. Every event starts as Retry. It becomes Delivered only if the SIEM accepted it, and
// Rejected only if the SIEM refused it by itself, or if it cannot be encoded. An accepted event is never sent again.
//
//   - A request that is too large, or that the SIEM refuses for its content, is bisected until each failing event is
//     alone, so that one event does not delay its neighbours.
//   - If every event gets the same refusal, the configuration is at fault, and the events are held (Misconfigured).
//     A sample of the events is enough for this conclusion, except for an event on its last attempt.
//   - If an event is on its last attempt, its request is also bisected after other failures that one event can cause,
//     such as a 500 or a broken connection.
//   - A refused credential is renewed once per delivery, and the request is sent once more.
//   - A delivery makes at most 200 requests for each 100 events.
//
// The package uses no HTTP, no queue, and no clock except the deadline of its context.
package deliver

import (
	"context"
	"slices"

	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

// Connector implements the protocol of one SIEM: its wire format, its limits and its responses. It is safe for
// concurrent use, and immutable except for its connections and caches. It does not read the environment, sleep or
// retry.
type Connector interface {
	// Format returns the shape of a request body and the SIEM's limits. It is constant.
	Format() Format

	// Append appends e as one record to dst. It has no side effects. truncated reports whether the record is complete
	// in form but holds less than the whole event. An error rejects this event; it must not quote a secret.
	Append(dst []byte, e *event.Event) (record []byte, truncated bool, err error)

	// Send makes one request with the batch. It returns nil if the SIEM accepted every record, and a *PartialError if
	// the SIEM returned a result for each record. Any other error is about the request as a whole: no record was
	// accepted, and its failure.Error says why; without one the failure is Transient. Send obeys ctx, and does not
	// use b after it returns.
	Send(ctx context.Context, b *Batch) error
}

// Checker is a Connector that can check the connection to its SIEM, with the cheapest request that proves the
// credential and, where the SIEM has one, writes nothing. The failure.Error of a returned error has the failed step and
// a hint.
type Checker interface {
	Check(ctx context.Context) error
}

// Confirmer is a Connector whose SIEM confirms a request some time after it accepted it. For such a request, Send
// returns a *PendingError, and the engine calls Confirm once for all of them, after the last request.
type Confirmer interface {
	// Confirm waits until the SIEM has confirmed the requests with these ids, or ctx ends. It returns a result for each:
	// nil if the SIEM confirmed it. It does not keep ids.
	Confirm(ctx context.Context, ids []int64, m *telemetry.Meter) []error
}

// PendingError is Send's error for a request that the SIEM accepted and will confirm.
type PendingError struct{ ID int64 }

func (p *PendingError) Error() string { return "the SIEM has not confirmed the request yet" }

// Noter is a Checker that has something to say about a connection that works. Note is called after a successful Check.
type Noter interface {
	Note(ctx context.Context) Note
}

// Note is what is known about a connection that works; the zero value is nothing.
type Note struct {
	Text         string
	Backpressure bool // the SIEM says that its queues are full or nearly full
}

// Format is the shape of a request body, and the SIEM's limits. Limits count uncompressed bytes.
type Format struct {
	Open, Separator, Close string // around and between records; a body is Open, records joined by Separator, Close

	MaxRecords int // maximum records of one request; 0, or more than 100, means 100
	MaxBytes   int // maximum bytes of one body, including Open, Separator and Close; 0 means no limit

	// MaxRecordBytes is the maximum size of one record. 0 means what MaxBytes leaves. If it is larger than that, a
	// record may exceed MaxBytes in a request of its own.
	MaxRecordBytes int

	// Stream reports whether the records are written to a connection without requests, as in syslog. Then MaxBytes is
	// the only limit.
	Stream bool
}

// recordLimit returns the maximum size of a record in bytes; 0 means no limit.
func (f Format) recordLimit() int {
	if f.MaxRecordBytes > 0 || f.MaxBytes == 0 {
		return f.MaxRecordBytes
	}
	return f.MaxBytes - len(f.Open) - len(f.Close)
}

// maxRequestEvents is the maximum number of events in a request, even if the SIEM's own limit is higher.
const maxRequestEvents = 100

// recordsLimit returns the maximum number of records in a request; 0 means no limit.
func (f Format) recordsLimit() int {
	switch {
	case f.Stream:
		return 0
	case f.MaxRecords == 0:
		return maxRequestEvents
	}
	return min(f.MaxRecords, maxRequestEvents)
}

// Batch holds the records of one request. The engine owns it, and reuses it after Send returns.
type Batch struct {
	Body   []byte           // as described by Format
	Events []*event.Event   // in the order of the records
	Meter  *telemetry.Meter // the sender counts requests and bytes here

	spans    []span // of the records in Body
	first    []bool // of the events
	warnings []string
}

// Warn adds a warning about a batch that was accepted nevertheless. The text must not hold event content or a secret.
func (b *Batch) Warn(text string) {
	if !slices.Contains(b.warnings, text) {
		b.warnings = append(b.warnings, text)
	}
}

// Warnings returns the warnings added by Warn.
func (b *Batch) Warnings() []string { return b.warnings }

type span struct{ start, end int }

// Len returns the number of records.
func (b *Batch) Len() int { return len(b.Events) }

// Record returns the bytes of record i, a view into Body.
func (b *Batch) Record(i int) []byte { return b.Body[b.spans[i].start:b.spans[i].end:b.spans[i].end] }

// First reports whether this is the first attempt of event i, so that the SIEM cannot have it yet.
func (b *Batch) First(i int) bool { return i < len(b.first) && b.first[i] }

// NewBatch returns a batch of the given records, for tests and checks.
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

// PartialError is the error of Send if the SIEM returned a result for each record.
type PartialError struct {
	// Results has one entry per record: nil if the record was accepted, else its failure.Error. The kind Unprocessed
	// means that the SIEM did not process the record, or needs it in another form.
	Results []error
}

func (p *PartialError) Error() string {
	for _, err := range p.Results {
		if err != nil {
			return "some records were not accepted; the first error: " + err.Error()
		}
	}
	return "some records were not accepted"
}
