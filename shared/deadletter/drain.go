package deadletter

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/jsonscan"
	"github.com/arbitex/siem-connectors/shared/settings"
	"github.com/arbitex/siem-connectors/shared/sqsbatch"
	"github.com/arbitex/siem-connectors/shared/sqsevent"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

// Drain writes the messages of the dead-letter queue to S3. It is safe for concurrent use.
type Drain struct {
	Options
	store    Putter
	place    location
	queues   map[string]string // connector by name of its queue
	attempts int               // after which SQS moves a message by itself
	pause    pauseFunc
}

// NewDrain reads the settings SIEM_DEAD_LETTER_PATH, SIEM_MAX_ATTEMPTS and <CONNECTOR>_QUEUE_URL. The error names
// everything that is wrong with the settings read so far.
func NewDrain(s *settings.Settings, store Putter, o Options) (*Drain, error) {
	d := &Drain{Options: o, store: store, place: readLocation(s), queues: make(map[string]string), pause: pause}
	for c, url := range readQueues(s) {
		d.queues[queueName(url)] = c
	}
	d.attempts = sqsbatch.ReadBackoff(s).Attempts
	if err := s.Err(); err != nil {
		return nil, err
	}
	return d, nil
}

// batch is the dead letters of one connector, which make one object.
type batch struct {
	connector string
	ids       []string // of the messages on the dead-letter queue
	records   []Record
	err       error // of writing it; nil when S3 has it
}

// drainReserve is what is kept of the time to answer in; a short-lived function keeps a tenth.
const drainReserve = time.Second

// Handle writes one batch of an SQS event, an object for each connector in it, and returns the response of the
// invocation: it lists the messages that S3 has not confirmed. A repeated batch writes the same objects, which are
// there, and no second ones. An error means that nothing was written. The payload is spoilt.
func (d *Drain) Handle(ctx context.Context, payload []byte) ([]byte, error) {
	start := d.Now()
	var p sqsevent.Payload
	if err := p.Read(payload); err != nil {
		return nil, err
	}
	for i := range p.Messages {
		if len(p.Messages[i].ID) == 0 {
			return nil, fmt.Errorf("Records[%d].messageId: expected the id of an SQS message, is empty", i)
		}
	}
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-min(drainReserve, deadline.Sub(start)/10)))
		defer cancel()
	}
	batches := d.sort(p.Messages)
	for i, err := range each(len(batches), len(batches), func(i int) error { return d.write(ctx, batches[i]) }) {
		batches[i].err = err
	}
	d.report(ctx, batches, len(p.Messages), d.Now().Sub(start))
	return drainResponse(batches), nil
}

// sort makes records of messages, by connector. A message that stands in the event twice is taken once.
func (d *Drain) sort(messages []sqsevent.Message) []*batch {
	var batches []*batch
	seen := make(map[string]bool, len(messages))
	for i := range messages {
		m := &messages[i]
		id := string(m.ID)
		if seen[id] {
			continue
		}
		seen[id] = true
		r := d.record(m)
		n := slices.IndexFunc(batches, func(b *batch) bool { return b.connector == r.Connector })
		if n < 0 {
			n = len(batches)
			batches = append(batches, &batch{connector: r.Connector})
		}
		batches[n].ids = append(batches[n].ids, id)
		batches[n].records = append(batches[n].records, r)
	}
	return batches
}

// maxError bounds a dead letter's reason; the connectors write far less.
const maxError = 4096

// record reads the attributes of a message. Nothing in it depends on when or how often the message was received, so that
// a repeated batch has the same content.
func (d *Drain) record(m *sqsevent.Message) Record {
	r := Record{
		Connector: d.connector(m),
		Error:     bound(string(m.Attribute("error")), maxError),
		Body:      m.Body,
		Attempts:  count(m.Attribute("attempts")),
		MessageID: bound(string(m.Attribute("message_id")), maxError),
		Replays:   count(m.Attribute("replays")),
	}
	if r.MessageID == "" {
		r.MessageID = bound(string(m.ID), maxError)
	}
	var err error
	if r.Time, err = parseTime("failed_at", string(m.Attribute("failed_at"))); err != nil {
		r.Time = time.UnixMilli(min(max(m.Sent, 0), event.MaxTime)).UTC()
	}
	if m.Attribute("connector") == nil && m.Attribute("error") == nil {
		r.Attempts = d.attempts
		r.Error = fmt.Sprintf("SQS gave up after %d receives without an answer of the connector: see its log", d.attempts)
	}
	return r
}

// connector tells where a message comes from: by its own word, or by the queue that SQS moved it from.
func (d *Drain) connector(m *sqsevent.Message) string {
	if name := string(m.Attribute("connector")); name != "" {
		if connectors.Known(name) {
			return name
		}
		return unknown
	}
	arn := string(m.DeadLetterQueue)
	if c, ok := d.queues[arn[strings.LastIndexByte(arn, ':')+1:]]; ok {
		return c
	}
	return unknown
}

// count reads an attribute that is a number, 0 when it is none.
func count(value []byte) int {
	n, err := strconv.ParseUint(string(value), 10, 31)
	if err != nil {
		return 0
	}
	return int(min(n, math.MaxInt32))
}

const ndjson = "application/x-ndjson"

// write puts a batch into S3. That the object exists is success: its name holds the ids of all its messages.
func (d *Drain) write(ctx context.Context, b *batch) error {
	oldest := b.records[0].Time
	for i := range b.records {
		if t := b.records[i].Time; t.Before(oldest) {
			oldest = t
		}
	}
	key := d.place.prefix + pendingFolder + batchTail(b.connector, b.ids, oldest)
	_, err := put(ctx, d.store, d.pause, d.place.bucket, key, whenAbsent, ndjson, b.lines())
	if err == errExists { //nolint:errorlint // put returns it as it is
		return nil
	}
	return err
}

// lines are the records in the order of their times, so that the content is a function of the messages, too.
func (b *batch) lines() []byte {
	records := slices.Clone(b.records)
	slices.SortStableFunc(records, func(x, y Record) int {
		if c := x.Time.Compare(y.Time); c != 0 {
			return c
		}
		return strings.Compare(x.MessageID, y.MessageID)
	})
	const envelope = 256 // what a line takes besides event and error
	size := 0
	for i := range records {
		size += len(records[i].Body) + len(records[i].Error) + envelope
	}
	body := make([]byte, 0, size)
	for i := range records {
		body = records[i].AppendLine(body)
	}
	return body
}

// drainResponse lists the messages of the batches that failed. A message is deleted by not being listed, and none is
// without S3's word.
// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
func drainResponse(batches []*batch) []byte {
	r := []byte(`{"batchItemFailures":[`)
	first := true
	for _, b := range batches {
		if b.err == nil {
			continue
		}
		for _, id := range b.ids {
			if !first {
				r = append(r, ',')
			}
			first = false
			r = append(r, `{"itemIdentifier":`...)
			r = append(jsonscan.AppendQuoted(r, id), '}')
		}
	}
	return append(r, `]}`...)
}

// report writes one log line, and the metric of each connector.
func (d *Drain) report(ctx context.Context, batches []*batch, received int, took time.Duration) {
	level, objects, drained := slog.LevelInfo, 0, 0
	var failures []string
	for _, b := range batches {
		if b.err != nil {
			level = slog.LevelError
			failures = append(failures, b.connector+": "+bound(b.err.Error(), maxError))
			continue
		}
		objects, drained = objects+1, drained+len(b.ids)
		value := telemetry.Value{Name: "Drained", Unit: telemetry.Count, Number: float64(len(b.ids))}
		if err := telemetry.Write(d.Metrics, d.Now(), b.connector, value); err != nil {
			failures = append(failures, err.Error())
		}
	}
	attributes := []slog.Attr{
		slog.Int("received", received), slog.Int("drained", drained), slog.Int("objects", objects),
		slog.Int64("milliseconds", took.Milliseconds()),
	}
	if failures != nil {
		attributes = append(attributes, slog.String("error", strings.Join(failures, "; ")))
	}
	d.Log.LogAttrs(ctx, level, "drain", attributes...)
}
