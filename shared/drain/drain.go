// Package drain writes the messages of the dead-letter queue to S3.
package drain

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/deadletter"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
	"github.com/arbitex/siem-connectors/shared/settings"
	"github.com/arbitex/siem-connectors/shared/sqsbatch"
	"github.com/arbitex/siem-connectors/shared/sqsevent"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

// Drain is the function's handler. It is safe for concurrent use.
type Drain struct {
	world      lambdahost.Deps
	log        *slog.Logger
	bucket     deadletter.Bucket
	connectors map[string]string // by the name of their queue
	roles      map[string]string // role id by connector, where it is known
	replayRole string            // role id, "" when it is not known
	attempts   int               // after which SQS moves a message
	stack      string            // dimension of the metrics
}

// NewFunction makes the Lambda handler. A nil store is S3.
func NewFunction(w lambdahost.Deps, store deadletter.Store) *lambdahost.Function {
	return lambdahost.NewFunction(w, func(s *settings.Settings) (lambdahost.Handler, error) { return New(s, w, store) })
}

// New reads the settings SIEM_DEAD_LETTER_PATH, SIEM_MAX_ATTEMPTS, <CONNECTOR>_QUEUE_URL, <CONNECTOR>_ROLE_ID,
// SIEM_REPLAY_ROLE_ID and SIEM_STACK. The error names every wrong setting. A nil store is S3.
func New(s *settings.Settings, w lambdahost.Deps, store deadletter.Store) (*Drain, error) {
	d := &Drain{
		world: w, log: w.Logger(s), connectors: make(map[string]string), roles: make(map[string]string),
		replayRole: s.String("SIEM_REPLAY_ROLE_ID", ""), attempts: sqsbatch.ReadBackoff(s).Attempts,
		stack: s.String("SIEM_STACK", "local"),
	}
	for connector, url := range deadletter.ReadQueues(s) {
		d.connectors[deadletter.QueueName(url)] = connector
	}
	for _, c := range connectors.All() {
		d.roles[c.Name] = s.String(c.Variable("ROLE_ID"), "")
	}
	var err error
	d.bucket, err = deadletter.OpenBucket(s, w.Env, store)
	return d, err
}

// batch is the dead letters of one connector, which make one object.
type batch struct {
	connector string
	messages  [][]byte // their ids on the dead-letter queue
	ids       []string // of the records: the id of the message, with the event's index if there are several
	records   []deadletter.Record
}

// Handle writes one batch of an SQS event, one object for each connector, and returns the response of the invocation.
// The response lists the messages that S3 has not confirmed. A repeated batch writes the same objects, which exist, and
// no others. An error means that nothing was written. Handle overwrites payload.
func (d *Drain) Handle(ctx context.Context, payload []byte) ([]byte, error) {
	start := d.world.Now()
	var p sqsevent.Payload
	if err := p.Read(payload); err != nil {
		return nil, err
	}
	if err := sqsevent.CheckIDs(p.Messages); err != nil {
		return nil, err
	}
	received := len(p.Messages)
	ctx, cancel := sqsbatch.Reserve(ctx, time.Second, 10)
	defer cancel()
	batches := d.batches(p.Messages)
	errs := deadletter.Each(len(batches), func(i int) error { return d.write(ctx, batches[i]) })
	var failed [][]byte
	for i, err := range errs {
		if err != nil {
			failed = append(failed, batches[i].messages...)
		}
	}
	d.report(ctx, batches, errs, received, d.world.Now().Sub(start))
	return sqsevent.Response(failed), nil
}

// batches makes records of messages. Their order depends on the messages only, so that a repeated batch has the same
// content. A message that is in the event twice is taken once.
func (d *Drain) batches(messages []sqsevent.Message) []*batch {
	slices.SortFunc(messages, func(x, y sqsevent.Message) int { return strings.Compare(string(x.ID), string(y.ID)) })
	messages = slices.CompactFunc(messages, func(x, y sqsevent.Message) bool { return string(x.ID) == string(y.ID) })
	var batches []*batch
	for i := range messages {
		records := d.records(&messages[i])
		n := slices.IndexFunc(batches, func(b *batch) bool { return b.connector == records[0].Connector })
		if n < 0 {
			n = len(batches)
			batches = append(batches, &batch{connector: records[0].Connector})
		}
		b, id := batches[n], messages[i].ID
		b.messages, b.records = append(b.messages, id), append(b.records, records...)
		for i := range records {
			b.ids = append(b.ids, fmt.Sprintf("%s/%d", id, i))
		}
	}
	return batches
}

// write puts a batch into S3.
func (d *Drain) write(ctx context.Context, b *batch) error {
	slices.SortStableFunc(b.records, func(x, y deadletter.Record) int { return x.Time.Compare(y.Time) })
	var lines []byte
	for i := range b.records {
		lines = b.records[i].AppendLine(lines)
	}
	oldest, newest := b.records[0].Time, b.records[len(b.records)-1].Time
	return d.bucket.PutPending(ctx, deadletter.ObjectName(b.connector, b.ids, len(lines), oldest, newest), lines)
}

// report writes one log line, and the metrics of each connector. DrainFailed makes a failure visible to an alarm: the
// invocation itself succeeds, and SQS leaves messages out of its age metric after their third receive.
func (d *Drain) report(ctx context.Context, batches []*batch, errs []error, received int, took time.Duration) {
	level, objects, drained := slog.LevelInfo, 0, 0
	var failures []string
	for i, b := range batches {
		metric := "Drained"
		if errs[i] != nil {
			level, metric = slog.LevelError, "DrainFailed"
			failures = append(failures, b.connector+": "+deadletter.Bound(errs[i].Error(), maxError))
		} else {
			objects, drained = objects+1, drained+len(b.records)
		}
		telemetry.Write(d.world.Out, d.world.Now(), d.stack, b.connector, telemetry.Counted(metric, len(b.records)))
	}
	attributes := []slog.Attr{
		slog.Int("received", received), slog.Int("drained", drained), slog.Int("objects", objects),
		slog.Int64("milliseconds", took.Milliseconds()),
	}
	if failures != nil {
		attributes = append(attributes, slog.String("error", strings.Join(failures, "; ")))
	}
	d.log.LogAttrs(ctx, level, "drain", attributes...)
}

// maxError bounds a dead letter's reason, in bytes; the connectors write far less.
const maxError = 4096

// records makes the records of a message. Nothing in them depends on when or how often the message was received.
func (d *Drain) records(m *sqsevent.Message) []deadletter.Record {
	r := deadletter.Record{
		Connector: connectors.Unknown, Body: m.Body, MessageID: deadletter.Bound(string(m.ID), maxError),
		Time: time.UnixMilli(min(max(m.Sent, 0), event.MaxTime)).UTC(),
	}
	if len(m.DeadLetterQueue) > 0 {
		return d.moved(m, r)
	}
	d.sent(m, &r)
	return []deadletter.Record{r}
}

// sent completes the record of a message that a connector sent.
func (d *Drain) sent(m *sqsevent.Message, r *deadletter.Record) {
	name := string(m.Attribute("connector"))
	if !m.SentBy(d.roles[name]) {
		r.Error = fmt.Sprintf("the message names the connector %s, but the sender is not its role; "+
			"its attributes are ignored", name)
		return
	}
	if connectors.Known(name) {
		r.Connector = name
	}
	r.Error = deadletter.Bound(string(m.Attribute("error")), maxError)
	if r.Error == "" {
		r.Error = "the message on the dead-letter queue states no reason"
	}
	r.Attempts, r.Replays = number(m.Attribute("attempts")), number(m.Attribute("replays"))
	if id := m.Attribute("message_id"); len(id) > 0 {
		r.MessageID = deadletter.Bound(string(id), maxError)
	}
	if t, err := deadletter.ParseTime(string(m.Attribute("failed_at"))); err == nil {
		r.Time = t
	}
}

// moved completes the record of a message that SQS itself moved, and makes one for each event of its body. The
// attributes of such a message are its sender's: only the count of replays counts, and only from the replay or from the
// connector that resent the message.
func (d *Drain) moved(m *sqsevent.Message, r deadletter.Record) []deadletter.Record {
	arn := string(m.DeadLetterQueue)
	r.Connector = cmp.Or(d.connectors[arn[strings.LastIndexByte(arn, ':')+1:]], connectors.Unknown)
	r.Attempts = d.attempts
	r.Error = fmt.Sprintf("SQS stopped retrying the message after %d receives without a response of the connector; see "+
		"its log", d.attempts)
	resent := m.SentBy(d.roles[r.Connector]) && m.Attribute("attempts") != nil
	if resent || m.SentBy(d.replayRole) {
		r.Replays = number(m.Attribute("replays"))
	}
	events := event.Elements(m.Body)
	if len(events) == 0 || len(events) > maxEvents {
		return []deadletter.Record{r}
	}
	records := make([]deadletter.Record, len(events))
	for i := range records {
		records[i] = r
		records[i].Body, records[i].MessageID = events[i], fmt.Sprintf("%s/%d", r.MessageID, i)
	}
	return records
}

// maxEvents is the largest number of events of a message that become records of their own. A record takes 200 bytes or
// more, and a message of 1 MiB may hold 500,000 elements.
const maxEvents = 10_000

// number reads an attribute, 0 when it is not a number.
func number(value []byte) int {
	n, err := strconv.ParseUint(string(value), 10, 31)
	if err != nil {
		return 0
	}
	return int(n)
}
