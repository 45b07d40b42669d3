package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/arbitex/siem-connectors/shared/deadletter"
)

// process decides about each line, sends the events, and moves the lines that are replayed or discarded.
func (s *session) process(ctx context.Context, readings []*reading) {
	c := &chunks{index: make(map[chunkKey]*entry)}
	for _, r := range readings {
		if r.skipped {
			continue
		}
		if s.broken[r.Connector] {
			r.skipped, r.left = true, true
			s.countByName(r.Object)
			continue
		}
		if r.err == nil {
			r.err = s.parse(ctx, r)
		}
		if r.err != nil {
			s.unreadable(r, r.err)
			continue
		}
		for n := range r.lines {
			s.decide(c, r, n)
		}
	}
	s.send(ctx, c.entries)
	for _, r := range readings {
		s.account(r)
	}
	if !s.dryRun {
		s.move(ctx, readings)
	}
}

// unreadable reports an object that could not be read. It stays pending.
func (s *session) unreadable(r *reading, err error) {
	r.skipped = true
	switch {
	case errors.Is(err, deadletter.ErrLongLine):
		s.skips.add(skipLine, r.Connector, 1, place(r.Object, 1)+": "+err.Error())
		return
	case errors.Is(err, deadletter.ErrMissing), errors.Is(err, deadletter.ErrChanged):
		s.fail("objects changed while they were read; call again", place(r.Object, 0))
	default:
		s.fail("objects could not be read", place(r.Object, 0)+": "+cause(err))
		if s.unread++; s.unread >= maxReadFailures {
			s.halted = true
		}
	}
	r.left = true
	s.remaining += r.LinesAtMost(s.shortest)
}

// parse reads the lines of an object, and which of them have been replayed.
func (s *session) parse(ctx context.Context, r *reading) error {
	for text := range deadletter.Lines(r.data) {
		l := line{text: text}
		l.err = deadletter.ParseLine(text, &l.record)
		l.id = l.record.ID(fmt.Sprint(r.RelKey, r.ETag, len(r.lines)))
		s.shortest = min(s.shortest, int64(len(text)))
		r.lines = append(r.lines, l)
	}
	if s.discard || s.undeployed(r.Connector) != "" {
		return nil
	}
	p, err := s.progressOf(ctx, r.Connector)
	if err != nil {
		s.broken[r.Connector] = true
		return fmt.Errorf("the progress of %s could not be read: %w", r.Connector, err)
	}
	all := len(r.lines) > 0
	for i := range r.lines {
		l := &r.lines[i]
		l.gone = l.err == nil && p.Has(l.id)
		all = all && l.gone
	}
	if !all || !p.Has(movedID(r.RelKey)) {
		return nil
	}
	return s.again(ctx, r, p)
}

// again handles an object that a replay has moved away before. If its copy in replayed/ is gone, an operator has moved
// it back in order to replay it once more: its records then have other ids. Otherwise the drain has written a repeated
// batch.
func (s *session) again(ctx context.Context, r *reading, p *deadletter.Progress) error {
	found, err := s.bucket.Exists(ctx, deadletter.ReplayedFolder+r.RelKey)
	if err != nil {
		return err
	}
	if found {
		s.fail("objects are in replayed/ already and are moved there again; to replay one again, move it instead of "+
			"copying it", place(r.Object, 0))
		return nil
	}
	for i := range r.lines {
		l := &r.lines[i]
		l.id = deadletter.NewID([]byte("again"), []byte(r.Modified.UTC().String()), l.id[:])
		l.gone = p.Has(l.id)
	}
	return nil
}

// movedID identifies an object that a replay has moved to replayed/.
func movedID(relKey string) deadletter.ID { return deadletter.NewID([]byte("moved"), []byte(relKey)) }

func (s *session) progressOf(ctx context.Context, connector string) (*deadletter.Progress, error) {
	if p := s.progress[connector]; p != nil {
		return p, nil
	}
	p, err := deadletter.LoadProgress(ctx, &s.bucket, connector)
	if err == nil {
		s.progress[connector] = p
	}
	return p, err
}

// decide decides about line n of an object.
func (s *session) decide(c *chunks, r *reading, n int) {
	l := &r.lines[n]
	rec := &l.record
	switch {
	case l.gone:
		return
	case l.err != nil:
		s.skips.add(skipLine, r.Connector, 1, place(r.Object, n+1)+": "+l.err.Error())
		return
	case rec.Connector != r.Connector:
		s.skips.add(skipLine, r.Connector, 1, place(r.Object, n+1)+": connector: expected that of the folder")
		return
	case !s.Matches(rec):
		return
	}
	if s.discard {
		if l.gone = !s.full(0); l.gone {
			s.discarded++
			s.byConnector[r.Connector]++
		} else {
			r.left = true
			s.remaining++
		}
		return
	}
	if kind := s.refusal(rec); kind != "" {
		s.skips.add(kind, r.Connector, 1, place(r.Object, n+1))
		return
	}
	key := chunkKey{r.Connector, l.id}
	if l.entry = c.index[key]; l.entry != nil {
		return // a second record of the message
	}
	if s.full(len(c.entries)) {
		r.left = true
		s.remaining++
		return
	}
	l.entry = &entry{connector: r.Connector, id: l.id, body: rec.Body, replays: rec.Replays, place: place(r.Object, n+1)}
	c.index[key] = l.entry
	c.entries = append(c.entries, l.entry)
}

// refusal returns why a record cannot be replayed, "" when it can.
func (s *session) refusal(r *deadletter.Record) skip {
	if kind := s.undeployed(r.Connector); kind != "" {
		return kind
	}
	switch {
	case !r.Object:
		return skipBody
	case len(r.Body) > maxBatchBytes:
		return skipRefused
	case r.Replays >= maxReplays && !s.force:
		return skipReplayed
	}
	return ""
}

// account takes the outcomes of the entries to the lines.
func (s *session) account(r *reading) {
	for i := range r.lines {
		if l := &r.lines[i]; l.entry != nil {
			l.gone = l.entry.state == sent && l.entry.saved
			r.left = r.left || l.entry.state == notSent
		}
	}
}

// move moves the objects whose lines are all replayed or discarded, and splits the objects with some such lines.
func (s *session) move(ctx context.Context, readings []*reading) {
	if !s.keep(ctx) {
		return
	}
	folder := deadletter.ReplayedFolder
	if s.discard {
		folder = deadletter.DiscardedFolder
	}
	ctx, cancel := context.WithTimeout(ctx, s.lease.left())
	defer cancel()
	moved := make([]string, len(readings))
	var g errgroup.Group
	g.SetLimit(width)
	for i, r := range readings {
		if r.skipped {
			continue
		}
		g.Go(func() error {
			return deadletter.Guard(func() error {
				relKey, err := r.move(ctx, &s.bucket, folder)
				if err == nil {
					moved[i] = relKey
				}
				return err
			})
		})
	}
	if err := g.Wait(); err != nil {
		s.fail("objects could not be moved; the next call moves them", cause(err))
	}
	for i, r := range readings {
		if p := s.progress[r.Connector]; p != nil && moved[i] != "" {
			p.Add(movedID(moved[i]))
		}
	}
}

// move moves the lines that are replayed or discarded to folder. It returns the relative key of the new object, "" if
// it writes none.
func (r *reading) move(ctx context.Context, b *deadletter.Bucket, folder string) (string, error) {
	var gone, rest bytes.Buffer
	for i := range r.lines {
		to := &rest
		if r.lines[i].gone {
			to = &gone
		}
		to.Write(r.lines[i].text)
		to.WriteByte('\n')
	}
	switch {
	case rest.Len() == 0:
		return r.RelKey, b.Move(ctx, r.Object, folder)
	case gone.Len() == 0:
		return "", nil
	}
	return deadletter.PartName(r.RelKey, gone.Bytes()), b.Split(ctx, r.Object, folder, gone.Bytes(), rest.Bytes())
}
