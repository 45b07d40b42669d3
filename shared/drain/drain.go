// Package drain writes the messages of the dead-letter queue to S3.
package drain

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/deadletter"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/jsonscan"
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
		bucket:     deadletter.Bucket{Location: deadletter.ReadLocation(s), Store: store, Pause: deadletter.Sleep},
		replayRole: s.String("SIEM_REPLAY_ROLE_ID", ""), attempts: sqsbatch.ReadBackoff(s).Attempts,
		stack: s.String("SIEM_STACK", "local"),
	}
	for connector, url := range deadletter.ReadQueues(s) {
		d.connectors[deadletter.QueueName(url)] = connector
	}
	for _, c := range connectors.All() {
		d.roles[c.Name] = s.String(c.Variable("ROLE_ID"), "")
	}
	err := s.Err()
	if err == nil && store == nil {
		d.bucket.Store, err = deadletter.OpenS3(w.Env)
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

// batch is the dead letters of one connector, which make one object.
type batch struct {
	connector string
	messages  []string // their ids on the dead-letter queue
	ids       []string // of the records: the id of the message, with the event's index if there are several
	records   []deadletter.Record
	err       error // of the write; nil when S3 has confirmed it
}

// reserve is the time kept for the response; a function with a short timeout keeps a tenth.
const reserve = time.Second

// Handle writes one batch of an SQS event, one object for each connector, and returns the response of the invocation.
// The response lists the messages that S3 has not confirmed. A repeated batch writes the same objects, which exist, and
// no others. An error means that nothing was written. Handle overwrites payload.
func (d *Drain) Handle(ctx context.Context, payload []byte) ([]byte, error) {
	start := d.world.Now()
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
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-min(reserve, max(0, time.Until(deadline))/10)))
		defer cancel()
	}
	batches := d.batches(p.Messages)
	var g errgroup.Group
	for _, b := range batches {
		g.Go(func() error {
			b.err = deadletter.Guard(func() error { return d.write(ctx, b) })
			return nil
		})
	}
	_ = g.Wait()
	d.report(ctx, batches, len(p.Messages), d.world.Now().Sub(start))
	return response(batches), nil
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
		b, id := batches[n], string(messages[i].ID)
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
	const envelope = 256 // bytes of a line without event and error
	size := 0
	for i := range b.records {
		size += len(b.records[i].Body) + len(b.records[i].Error) + envelope
	}
	lines := make([]byte, 0, size)
	for i := range b.records {
		lines = b.records[i].AppendLine(lines)
	}
	oldest, newest := b.records[0].Time, b.records[len(b.records)-1].Time
	return d.bucket.PutPending(ctx, deadletter.ObjectName(b.connector, b.ids, len(lines), oldest, newest), lines)
}

// response lists the messages of the batches that failed. SQS deletes the messages that are not listed.
// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
func response(batches []*batch) []byte {
	r := []byte(`{"batchItemFailures":[`)
	for _, b := range batches {
		if b.err == nil {
			continue
		}
		for _, id := range b.messages {
			if r[len(r)-1] != '[' {
				r = append(r, ',')
			}
			r = append(jsonscan.AppendQuoted(append(r, `{"itemIdentifier":`...), id), '}')
		}
	}
	return append(r, `]}`...)
}

// report writes one log line, and the metrics of each connector. DrainFailed makes a failure visible to an alarm: the
// invocation itself succeeds, and SQS leaves messages out of its age metric after their third receive.
func (d *Drain) report(ctx context.Context, batches []*batch, received int, took time.Duration) {
	level, objects, drained := slog.LevelInfo, 0, 0
	var failures []string
	for _, b := range batches {
		value := telemetry.Value{Name: "Drained", Unit: telemetry.Count, Number: float64(len(b.records))}
		if b.err != nil {
			level = slog.LevelError
			value = telemetry.Value{Name: "DrainFailed", Unit: telemetry.Count, Number: value.Number}
			failures = append(failures, b.connector+": "+deadletter.Bound(b.err.Error(), maxError))
		} else {
			objects, drained = objects+1, drained+len(b.records)
		}
		if err := telemetry.Write(d.world.Out, d.world.Now(), d.stack, b.connector, value); err != nil {
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
	d.log.LogAttrs(ctx, level, "drain", attributes...)
}

// maxError bounds a dead letter's reason, in bytes; the connectors write far less.
const maxError = 4096

// records makes the records of a message. Nothing in them depends on when or how often the message was received.
func (d *Drain) records(m *sqsevent.Message) []deadletter.Record {
	if len(m.DeadLetterQueue) > 0 {
		return d.moved(m)
	}
	r := deadletter.Record{Body: m.Body, MessageID: deadletter.Bound(string(m.ID), maxError),
		Connector: deadletter.Unknown}
	r.Time = time.UnixMilli(min(max(m.Sent, 0), event.MaxTime)).UTC()
	name := string(m.Attribute("connector"))
	if role := d.roles[name]; role != "" && !sentBy(m, role) {
		r.Error = fmt.Sprintf("the message names the connector %s, but the sender is not its role; "+
			"its attributes are ignored", name)
		return []deadletter.Record{r}
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
	if t, err := deadletter.ParseTime("failed_at", string(m.Attribute("failed_at"))); err == nil {
		r.Time = t
	}
	return []deadletter.Record{r}
}

// moved makes the records of a message that SQS itself moved: one for each event of its body. Its attributes are its
// sender's; only the count of replays counts, and only from the replay's role.
func (d *Drain) moved(m *sqsevent.Message) []deadletter.Record {
	arn := string(m.DeadLetterQueue)
	r := deadletter.Record{
		Connector: d.connectors[arn[strings.LastIndexByte(arn, ':')+1:]], Body: m.Body, Attempts: d.attempts,
		Time: time.UnixMilli(min(max(m.Sent, 0), event.MaxTime)).UTC(), MessageID: deadletter.Bound(string(m.ID), maxError),
		Error: fmt.Sprintf("SQS stopped retrying the message after %d receives without a response of the connector; see "+
			"its log", d.attempts),
	}
	if r.Connector == "" {
		r.Connector = deadletter.Unknown
	}
	if d.replayRole != "" && sentBy(m, d.replayRole) {
		r.Replays = number(m.Attribute("replays"))
	}
	events := elements(m.Body)
	if len(events) == 0 {
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

// elements returns the elements of a body that is a valid JSON array, nil for any other body.
func elements(body []byte) (all [][]byte) {
	r := jsonscan.NewReader(bytes.TrimPrefix(body, []byte("\uFEFF")), 1)
	if r.Peek() != '[' || !utf8.Valid(body) {
		return nil
	}
	for r.Array(); r.Element() && len(all) <= maxEvents; {
		all = append(all, r.Value())
	}
	if !r.End() || len(all) > maxEvents {
		return nil
	}
	return all
}

// sentBy reports whether a role sent the message: SenderId is the role's id, a colon and the name of the session.
func sentBy(m *sqsevent.Message, role string) bool { return bytes.HasPrefix(m.Sender, []byte(role)) }

// number reads an attribute, 0 when it is not a number.
func number(value []byte) int {
	n, err := strconv.ParseUint(string(value), 10, 31)
	if err != nil {
		return 0
	}
	return int(n)
}
