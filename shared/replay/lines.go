package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/arbitex/siem-connectors/shared/deadletter"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
	"github.com/arbitex/siem-connectors/shared/sqsbatch"
)

// reading is an object that is being processed.
type reading struct {
	*deadletter.Object
	piece  bool // of a larger object; it is not stored by itself
	target *target
	data   []byte
	lines  []*line
}

// line is one line of a reading.
type line struct {
	object *deadletter.Object
	number int // from 1
	text   []byte
	record deadletter.Record
	err    error // why it is not a dead letter
	id     deadletter.ID

	first   *line // the chosen line with the same record, which is sent for this one, too
	sent    bool  // SQS confirmed it
	refused bool  // SQS will not accept it
	gone    bool  // replayed, now or before, or to be discarded
}

func (l *line) place() string { return place(l.object, l.number) }

// process decides about each line, sends the events, and moves the lines that are replayed or discarded. An error means
// that not all of them could be moved.
func (s *session) process(ctx context.Context, readings []*reading) error {
	s.chosen = make(map[choice]*line)
	var parsed []*reading
	for _, r := range readings {
		if err := s.parse(ctx, r); err != nil {
			s.unreadable(r.Object, err)
			continue
		}
		for _, l := range r.lines {
			s.decide(r.target, l)
		}
		parsed = append(parsed, r)
	}
	for _, t := range s.targets {
		s.send(ctx, t)
	}
	s.chosen = nil
	return s.move(ctx, parsed)
}

// parse reads the lines of an object, and which of them have been replayed.
func (s *session) parse(ctx context.Context, r *reading) error {
	t := r.target
	if t.broken {
		return errHalted
	}
	for text := range deadletter.Lines(r.data) {
		l := &line{object: r.Object, number: len(r.lines) + 1, text: text}
		if l.err = deadletter.ParseLine(text, &l.record); l.err == nil && l.record.Connector != r.Connector {
			l.err = errors.New("connector: expected that of the folder")
		}
		l.id = l.record.ID(fmt.Sprint(r.RelKey, r.ETag, len(r.lines)))
		r.lines = append(r.lines, l)
	}
	if s.discard || t.obstacle != "" {
		return nil
	}
	if t.progress == nil {
		var err error
		if t.progress, err = deadletter.LoadProgress(ctx, &s.bucket, r.Connector); err != nil {
			t.progress, t.broken = nil, true
			return fmt.Errorf("the progress of %s could not be read: %w", r.Connector, err)
		}
	}
	replayed := 0
	for _, l := range r.lines {
		if l.gone = l.err == nil && t.progress.Has(l.id); l.gone {
			replayed++
		}
	}
	if replayed == 0 || replayed < len(r.lines) || !t.progress.Has(movedID(r.RelKey)) {
		return nil
	}
	return s.again(ctx, r)
}

// again handles an object that a replay has moved away before. If its copy in replayed/ is gone, an operator has moved
// it back in order to replay it once more: its records then have other ids. Otherwise the drain has written a repeated
// batch.
func (s *session) again(ctx context.Context, r *reading) error {
	found, err := s.bucket.Exists(ctx, deadletter.ReplayedFolder+r.RelKey)
	if err != nil {
		return err
	}
	if found {
		s.fail("objects are in replayed/ already and are moved there again; to replay one again, move it instead of "+
			"copying it", place(r.Object, 0))
		return nil
	}
	for _, l := range r.lines {
		l.id = deadletter.NewID([]byte("again"), []byte(r.Modified.UTC().String()), l.id[:])
		l.gone = r.target.progress.Has(l.id)
	}
	return nil
}

// movedID identifies an object that a replay has moved to replayed/.
func movedID(relKey string) deadletter.ID { return deadletter.NewID([]byte("moved"), []byte(relKey)) }

// decide decides about one line.
func (s *session) decide(t *target, l *line) {
	switch {
	case l.gone:
	case l.err != nil:
		s.skips.add(skipLine, t.name, 1, l.place()+": "+l.err.Error())
	case !s.Matches(&l.record):
	case !s.discard:
		s.choose(t, l)
	case s.full():
		s.remaining++
	default:
		l.gone = true
		s.done++
		t.done++
	}
}

// choose chooses a line to be sent, if it can be replayed and the limit allows it.
func (s *session) choose(t *target, l *line) {
	if kind := s.obstacle(t, &l.record); kind != "" {
		s.skips.add(kind, t.name, 1, l.place())
		return
	}
	c := choice{t, l.id}
	if l.first = s.chosen[c]; l.first != nil {
		return // a second record of the message
	}
	if s.full() {
		s.remaining++
		return
	}
	s.chosen[c] = l
	t.waiting = append(t.waiting, l)
}

// obstacle returns why a record cannot be replayed, "" when it can.
func (s *session) obstacle(t *target, r *deadletter.Record) skip {
	switch {
	case t.obstacle != "":
		return t.obstacle
	case !r.Object:
		return skipBody
	case len(r.Body) > sqsbatch.MaxBytes:
		return skipRefused
	case r.Replays >= maxReplays && !s.force:
		return skipReplayed
	}
	return ""
}

// move moves the objects whose lines are all replayed or discarded, and splits the objects with some such lines.
func (s *session) move(ctx context.Context, readings []*reading) error {
	if !s.keep(ctx) {
		return errHalted
	}
	folder := deadletter.ReplayedFolder
	if s.discard {
		folder = deadletter.DiscardedFolder
	}
	ctx, cancel := context.WithTimeout(ctx, s.lease.left())
	defer cancel()
	moved := make([]string, len(readings))
	errs := deadletter.Each(len(readings), func(i int) (err error) {
		moved[i], err = readings[i].move(ctx, &s.bucket, folder)
		return err
	})
	for i, r := range readings {
		if errs[i] == nil && moved[i] != "" && r.target.progress != nil {
			r.target.progress.Add(movedID(moved[i]))
		}
	}
	err := cmp.Or(errs...)
	if err != nil {
		s.fail("objects could not be moved; the next call moves them", cause(err))
	}
	return err
}

// move moves the lines that are replayed or discarded to folder. It returns the relative key of the new object, "" if
// it writes none. Repeated after a failure, it has the same effect.
func (r *reading) move(ctx context.Context, b *deadletter.Bucket, folder string) (relKey string, err error) {
	var gone, rest []byte
	for _, l := range r.lines {
		to := &rest
		if l.gone || l.first != nil && l.first.gone {
			to = &gone
		}
		*to = append(append(*to, l.text...), '\n')
	}
	switch {
	case len(rest) == 0 && !r.piece:
		return r.RelKey, b.Move(ctx, r.Object, folder)
	case len(gone) > 0:
		relKey = deadletter.PartName(r.RelKey, gone)
		_, err = b.Put(ctx, folder+relKey, deadletter.Always, gone)
	case !r.piece:
		return "", nil
	}
	switch {
	case err != nil || len(rest) == 0:
	case r.piece:
		err = b.PutPending(ctx, r.RelKey, rest)
	default:
		_, err = b.Put(ctx, deadletter.PendingFolder+r.RelKey, r.ETag, rest)
	}
	return relKey, err
}

// maxChunk is how many events are sent before the progress is saved: what a crash may repeat.
const maxChunk = 500

// send sends the waiting lines of a connector, and saves the progress after each chunk. Only what is saved is gone.
func (s *session) send(ctx context.Context, t *target) {
	for chunk := range slices.Chunk(t.waiting, s.chunk) {
		if t.broken || s.late() || !s.keep(ctx) {
			break
		}
		s.sendChunk(ctx, t, chunk)
		s.save(ctx, t, chunk)
	}
	for _, l := range t.waiting {
		switch {
		case l.sent:
			s.done++
			t.done++
		case l.refused:
			s.skips.add(skipRefused, t.name, 1, l.place())
		default:
			s.remaining++
		}
	}
	t.waiting = nil
}

// sendChunk sends lines to their queue, and those again that SQS fails for now. It ends while the lease lasts, so that
// no other replay can send the same events; and when half of the time for the end is left.
func (s *session) sendChunk(ctx context.Context, t *target, lines []*line) {
	most := s.lease.left() / 2
	if deadline, ok := ctx.Deadline(); ok {
		most = min(most, deadline.Sub(s.world.Now())-deadline.Sub(s.stop)/2)
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for n := 1; ; n++ {
		sender := sqsbatch.NewSender(ctx, s.world.SQS, t.queue, "events", func(i int) { lines[i].sent = true })
		sender.Refused = func(i int) { lines[i].refused = true }
		for i, l := range lines {
			sender.Add(i, l.record.Body, 0, l.attributes())
		}
		err := cmp.Or(sender.Wait()...)
		if err == nil {
			return
		}
		if deadletter.ErrorCode(err) != "" || !s.bucket.Again(ctx, n) { // the SDK has repeated a failed request
			t.broken = true
			s.fail(fmt.Sprintf("events of %s could not be sent", t.name), cause(err))
			return
		}
		lines = slices.DeleteFunc(slices.Clone(lines), func(l *line) bool { return l.sent || l.refused })
	}
}

// attributes counts the replays of the message. A message of the largest size is replayed without it rather than not at
// all.
func (l *line) attributes() sqsbatch.Attributes {
	a := sqsbatch.Attributes{sqsbatch.Replays: sqsbatch.Number(l.record.Replays + 1)}
	if a.Size(l.record.Body) > sqsbatch.MaxBytes {
		return nil
	}
	return a
}

// save adds the sent lines of a chunk to the progress. A chunk that could not be saved is sent again by the next call,
// so this call ends.
func (s *session) save(ctx context.Context, t *target, chunk []*line) {
	for _, l := range chunk {
		if l.sent {
			t.progress.Add(l.id)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.lease.left()) // so that the next replay finds all of it
	defer cancel()
	if err := t.progress.Save(ctx); err != nil {
		s.halted = true
		s.fail(fmt.Sprintf("the progress could not be saved, and the next call may replay up to %d events of %s again",
			len(chunk), t.name), cause(err))
		return
	}
	for _, l := range chunk {
		l.gone = l.sent
	}
}

// dry returns a replay that reads the same, and writes and sends without effect.
func (r *Replay) dry() *Replay {
	d := *r
	d.bucket.Store, d.world.SQS = dryRun{Store: r.bucket.Store}, dryRun{}
	return &d
}

// dryRun is S3 and SQS of a dry run. Every write succeeds.
type dryRun struct {
	deadletter.Store
	lambdahost.SQS
}

// PutObject implements deadletter.Store.
func (dryRun) PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	return &s3.PutObjectOutput{}, nil
}

// CopyObject implements deadletter.Store.
func (dryRun) CopyObject(context.Context, *s3.CopyObjectInput, ...func(*s3.Options)) (*s3.CopyObjectOutput, error) {
	return &s3.CopyObjectOutput{}, nil
}

// DeleteObject implements deadletter.Store.
func (dryRun) DeleteObject(
	context.Context, *s3.DeleteObjectInput, ...func(*s3.Options),
) (*s3.DeleteObjectOutput, error) {
	return &s3.DeleteObjectOutput{}, nil
}

// SendMessageBatch implements lambdahost.SQS.
func (dryRun) SendMessageBatch(
	_ context.Context, in *sqs.SendMessageBatchInput, _ ...func(*sqs.Options),
) (*sqs.SendMessageBatchOutput, error) {
	out := &sqs.SendMessageBatchOutput{}
	for _, e := range in.Entries {
		out.Successful = append(out.Successful, types.SendMessageBatchResultEntry{Id: e.Id})
	}
	return out, nil
}
