package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/arbitex/siem-connectors/shared/deadletter"
	"github.com/arbitex/siem-connectors/shared/sqsbatch"
)

// reading is an object that is being processed.
type reading struct {
	*deadletter.Object
	piece  bool // of a larger object; it is not stored by itself
	target *target
	data   []byte
	err    error // why it could not be read
	lines  []*line
	moved  string // relative key of the object that its lines were moved to, "" if there is none
}

// line is one line of a reading.
type line struct {
	object    *deadletter.Object
	number    int // from 1
	text      []byte
	record    deadletter.Record
	err       error         // why it is not a dead letter
	id        deadletter.ID // zero if it is not a dead letter
	discarded bool
	sent      bool // SQS confirmed it
	refused   bool // SQS will not accept it
}

func (l *line) place() string { return place(l.object, l.number) }

// process decides about each line, sends the events, and moves the lines that are replayed or discarded. An error means
// that not all of them could be moved.
func (s *session) process(ctx context.Context, readings []*reading) error {
	s.chosen = make(map[choice]bool)
	for _, r := range readings {
		if r.err == nil {
			r.err = s.parse(ctx, r)
		}
		if r.err != nil {
			s.unreadable(r.Object, r.err)
			continue
		}
		for _, l := range r.lines {
			s.decide(r.target, l)
		}
	}
	for _, t := range s.targets {
		s.send(ctx, t)
	}
	s.chosen = nil
	return s.move(ctx, slices.DeleteFunc(readings, func(r *reading) bool { return r.err != nil }))
}

// parse reads the lines of an object.
func (s *session) parse(ctx context.Context, r *reading) error {
	progress := r.target.progress
	moved, replayed := progress.Has(movedID(r.RelKey)), true
	for text := range deadletter.Lines(r.data) {
		l := &line{object: r.Object, number: len(r.lines) + 1, text: text}
		if l.err = deadletter.ParseLine(text, &l.record); l.err == nil && l.record.Connector != r.Connector {
			l.err = errors.New("connector: expected that of the folder")
		}
		if l.err == nil {
			l.id = l.record.ID(fmt.Sprint(r.RelKey, r.ETag, len(r.lines)))
		}
		r.lines = append(r.lines, l)
		replayed = replayed && progress.Has(l.id)
	}
	if !moved || !replayed || r.piece {
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
	}
	return nil
}

// movedID identifies an object that a replay has moved to replayed/.
func movedID(relKey string) deadletter.ID { return deadletter.NewID([]byte("moved"), []byte(relKey)) }

// decide decides about one line.
func (s *session) decide(t *target, l *line) {
	c := choice{t, l.id}
	switch obstacle := s.obstacle(t, &l.record); {
	case t.progress.Has(l.id):
	case l.err != nil:
		s.skip(t, skipLine, 1, l.place()+": "+l.err.Error())
	case !s.Matches(&l.record):
	case obstacle != "":
		s.skip(t, obstacle, 1, l.place())
	case s.chosen[c]: // another record of the message is sent
	case s.full():
		s.remaining++
	case s.discard:
		l.discarded = true
		s.done++
		t.done++
	default:
		s.chosen[c] = true
		t.waiting = append(t.waiting, l)
	}
}

// obstacle returns why a record cannot be replayed, "" when it can.
func (s *session) obstacle(t *target, r *deadletter.Record) skip {
	switch {
	case t.obstacle != "" || s.discard:
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

// move moves the lines of objects that are replayed or discarded.
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
	errs := deadletter.Each(len(readings), func(i int) error { return readings[i].move(ctx, &s.bucket, folder) })
	for i, r := range readings {
		if errs[i] == nil && r.moved != "" && r.target.progress != nil {
			r.target.progress.Add(movedID(r.moved))
		}
	}
	err := cmp.Or(errs...)
	if err != nil {
		s.fail("objects could not be moved; the next call moves them", cause(err))
	}
	return err
}

// move writes the lines that are replayed or discarded to an object in folder, and then deletes or rewrites the pending
// object, if it is still the one that was read. Repeated after a failure, it has the same effect.
func (r *reading) move(ctx context.Context, b *deadletter.Bucket, folder string) (err error) {
	var gone, rest []byte
	for _, l := range r.lines {
		to := &rest
		if l.discarded || r.target.progress.Has(l.id) {
			to = &gone
		}
		*to = append(append(*to, l.text...), '\n')
	}
	switch {
	case len(rest) == 0 && !r.piece:
		r.moved, gone = r.RelKey, r.data
	case len(gone) > 0:
		r.moved = deadletter.PartName(r.RelKey, gone)
	}
	if r.moved != "" {
		if _, err = b.Put(ctx, folder+r.moved, deadletter.Always, gone); err != nil {
			return err
		}
	}
	switch {
	case r.piece && len(rest) > 0:
		err = b.PutPending(ctx, r.RelKey, rest)
	case r.piece || r.moved == "":
	case len(rest) == 0:
		err = b.Delete(ctx, deadletter.PendingFolder+r.RelKey, r.ETag)
	default:
		_, err = b.Replace(ctx, deadletter.PendingFolder+r.RelKey, r.ETag, rest)
	}
	return err
}

// maxChunk is how many events are sent before the progress is saved: what a crash may repeat.
const maxChunk = 500

// send sends the waiting lines of a connector, and saves the progress after each chunk. Only what is saved is moved.
func (s *session) send(ctx context.Context, t *target) {
	for chunk := range slices.Chunk(t.waiting, s.chunk) {
		if t.broken || !s.ready(ctx) {
			break
		}
		if !s.dryRun {
			s.sendChunk(ctx, t, chunk)
		}
		s.save(ctx, t, chunk)
	}
	for _, l := range t.waiting {
		switch {
		case l.sent:
			s.done++
			t.done++
		case l.refused:
			s.skip(t, skipRefused, 1, l.place())
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
		sender := sqsbatch.NewSender(ctx, s.world.SQS, s.queues[t.name], "events", func(i int) { lines[i].sent = true })
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
// so this call ends and moves nothing of the connector.
func (s *session) save(ctx context.Context, t *target, chunk []*line) {
	for _, l := range chunk {
		if l.sent = l.sent || s.dryRun; l.sent {
			t.progress.Add(l.id)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.lease.left()) // so that the next replay finds all of it
	defer cancel()
	if err := t.progress.Save(ctx); err != nil {
		t.progress, t.broken, s.halted = nil, true, true
		s.fail(fmt.Sprintf("the progress could not be saved, and the next call may replay up to %d events of %s again",
			len(chunk), t.name), cause(err))
	}
}
