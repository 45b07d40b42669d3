package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/arbitex/siem-connectors/shared/deadletter"
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
