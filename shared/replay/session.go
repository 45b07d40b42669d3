package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/arbitex/siem-connectors/shared/deadletter"
)

const (
	// maxReplays is how often a dead letter is replayed without force: a fourth replay would probably fail, too.
	maxReplays = 3

	// minGroup and maxGroup bound the objects that are read together.
	minGroup, maxGroup = 16, 100

	// maxReadFailures is how many objects may fail to be read before the session ends.
	maxReadFailures = 5

	// width is the number of concurrent requests.
	width = 10
)

// session is one replay or discard.
type session struct {
	*Replay
	request
	lease *lease
	stop  time.Time // nothing is sent after it; zero is never

	progress map[string]*deadletter.Progress // by connector, once loaded
	halted   bool                            // nothing is read or sent any more
	broken   map[string]bool                 // connectors that cannot be replayed in this call
	unread   int                             // objects that could not be read
	shortest int64                           // bytes of the shortest line read in this call
	last     *deadletter.Object              // the last of the examined objects that no other precedes
	stuck    bool                            // last does not advance: an object has matching lines left
	failures []string                        // for the response

	replayed, discarded, remaining int
	byConnector                    map[string]int
	skips                          skipCounts
}

// reading is an object that is being processed.
type reading struct {
	*deadletter.Object
	data    []byte
	err     error // of reading data
	skipped bool  // not read
	lines   []line
	left    bool // matching lines stay pending that a later call may replay
}

// line is one line of a reading.
type line struct {
	text   []byte
	record deadletter.Record
	err    error // of parsing it
	id     deadletter.ID
	gone   bool   // replayed, now or before, or to be discarded
	entry  *entry // the event to send, nil when the line is not sent
}

func (s *session) result() result {
	r := result{Replayed: s.replayed, Skipped: s.skips.total(""), ByConnector: s.byConnector, Remaining: s.remaining,
		DryRun: s.dryRun, Errors: append(s.skips.texts(), s.failures...)}
	if s.discard {
		r.Discarded = &s.discarded
	}
	return r
}

// fail adds an error to the response, one of each kind.
func (s *session) fail(kind, detail string) {
	if !slices.ContainsFunc(s.failures, func(f string) bool { return strings.HasPrefix(f, kind) }) {
		s.failures = append(s.failures, kind+": "+detail)
	}
}

// run processes the objects in groups, the oldest first.
func (s *session) run(ctx context.Context) error {
	objects, err := s.list(ctx)
	if err != nil {
		return err
	}
	var cursor *deadletter.Cursor
	if !s.dryRun {
		if cursor, err = deadletter.LoadCursor(ctx, &s.bucket, s.key()); err != nil {
			return err
		}
	}
	// A cursor from a call of some time ago would hide objects that can be replayed now.
	const cursorLife = 15 * time.Minute
	if cursor != nil && s.world.Now().Sub(cursor.At) < cursorLife {
		objects = slices.DeleteFunc(objects, func(o deadletter.Object) bool { return cursor.Passed(&o) })
	}
	for len(objects) > 0 && !s.full(0) && !s.late() && s.keep(ctx) {
		n := s.groupSize(objects)
		s.group(ctx, objects[:n])
		objects = objects[n:]
	}
	for i := range objects {
		s.countByName(&objects[i])
	}
	s.end(ctx, cursor, len(objects) > 0)
	return nil
}

// list lists the pending objects. It breaks those that are too large to be read at once.
func (s *session) list(ctx context.Context) ([]deadletter.Object, error) {
	objects, others, err := s.bucket.Pending(ctx, s.Connector)
	if err != nil {
		return nil, err
	}
	for _, key := range others {
		s.skips.add(skipName, deadletter.Unknown, 1, key)
	}
	broken := false
	for i := range objects {
		if o := &objects[i]; o.Size > deadletter.PieceBytes && !s.dryRun && !s.Excludes(o) {
			if s.late() || !s.keep(ctx) {
				break
			}
			if err := s.bucket.Break(ctx, o); err != nil {
				s.fail("large objects could not be broken into pieces", place(o, 0)+": "+cause(err))
			} else {
				broken = true
			}
		}
	}
	if broken {
		objects, _, err = s.bucket.Pending(ctx, s.Connector)
	}
	return objects, err
}

// key identifies the request for the cursor.
func (s *session) key() string { return fmt.Sprintf("%+v %v %v", s.Filter, s.force, s.discard) }

// end saves what the next call needs. The cursor is needed only if the time ran out: otherwise the next call comes as far
// as this one.
func (s *session) end(ctx context.Context, cursor *deadletter.Cursor, unfinished bool) {
	if s.dryRun {
		return
	}
	for _, p := range s.progress {
		if err := p.Save(ctx); err != nil {
			s.fail("the progress could not be saved", cause(err))
		}
	}
	var next *deadletter.Cursor
	if s.last != nil {
		next = &deadletter.Cursor{At: s.world.Now(), Oldest: s.last.Oldest, RelKey: s.last.RelKey}
	}
	isLate := unfinished && !s.full(0)
	if next != nil && isLate || cursor != nil && !isLate {
		if !isLate {
			next = nil
		}
		if err := next.Save(ctx, &s.bucket, s.key()); err != nil {
			s.fail("the cursor could not be saved", cause(err))
		}
	}
}

// late reports whether the session must stop, because its time is up or for another reason.
func (s *session) late() bool {
	s.halted = s.halted || !s.stop.IsZero() && !s.world.Now().Before(s.stop)
	return s.halted
}

// keep renews the lease, and reports whether it lasts for a while.
func (s *session) keep(ctx context.Context) bool {
	if s.dryRun {
		return true
	}
	err := s.lease.renew(ctx)
	if err != nil {
		s.halted = true
		s.fail("the replay had to stop", cause(err))
	}
	return err == nil
}

// full reports whether the limit is reached with so many events that are about to be sent.
func (s *session) full(waiting int) bool { return s.replayed+s.discarded+waiting >= s.limit }

// groupSize returns how many objects to read together: about as many as the limit needs.
func (s *session) groupSize(objects []deadletter.Object) int {
	bytes, lines, n := int64(0), 0, 0
	for n < len(objects) && n < maxGroup && (n < minGroup || lines < s.limit-s.replayed-s.discarded) {
		if bytes += objects[n].Size; n > 0 && bytes > deadletter.PieceBytes {
			break
		}
		lines += objects[n].LinesAtMost(s.shortest)
		n++
	}
	return n
}

// countByName counts an object that is not read as remaining.
func (s *session) countByName(o *deadletter.Object) {
	if s.Excludes(o) {
		return
	}
	if kind := s.undeployed(o.Connector); kind != "" && !s.discard {
		s.skips.add(kind, o.Connector, o.LinesAtMost(s.shortest), place(o, 1))
		return
	}
	s.remaining += o.LinesAtMost(s.shortest)
}

// undeployed returns why a connector's dead letters cannot be replayed, "" when they can.
func (s *session) undeployed(connector string) skip {
	switch {
	case connector == deadletter.Unknown:
		return skipUnknown
	case s.queues[connector] == "":
		return skipNotDeployed
	}
	return ""
}

// group reads objects and processes them.
func (s *session) group(ctx context.Context, objects []deadletter.Object) {
	readings := make([]*reading, len(objects))
	var g errgroup.Group
	g.SetLimit(width)
	for i := range objects {
		o := &objects[i]
		r := &reading{Object: o}
		readings[i] = r
		whole := s.From.IsZero() && s.To.IsZero() && s.Reason == "" && s.MessageIDs == nil && o.Lines >= 0
		switch {
		case s.Excludes(o):
			r.skipped = true
		case s.broken[o.Connector], whole && !s.discard && s.undeployed(o.Connector) != "":
			r.skipped, r.left = true, s.broken[o.Connector]
			s.countByName(o)
		case o.Size > deadletter.PieceBytes:
			s.large(ctx, r)
		default:
			g.Go(func() error {
				r.err = deadletter.Guard(func() error {
					return s.bucket.Pieces(ctx, o, func(piece []byte) error { r.data = piece; return nil })
				})
				return nil
			})
		}
	}
	_ = g.Wait()
	s.process(ctx, readings)
	for _, r := range readings {
		if s.stuck = s.stuck || r.left; !s.stuck {
			s.last = r.Object
		}
	}
}

// large counts the lines of a large object in a dry run. Otherwise the object could not be broken into pieces.
func (s *session) large(ctx context.Context, r *reading) {
	r.skipped = true
	if !s.dryRun {
		r.left = true
		s.countByName(r.Object)
		return
	}
	if err := s.bucket.Pieces(ctx, r.Object, func(piece []byte) error {
		s.process(ctx, []*reading{{Object: r.Object, data: piece}})
		return nil
	}); err != nil {
		s.unreadable(r, err)
	}
}

// process decides about each line, sends the events, and moves the lines that are gone.
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

// again handles an object that a replay has moved away before. If its copy in replayed/ is gone, an operator has moved it
// back in order to replay it once more: its records then have other ids. Otherwise the drain has written a repeated batch.
func (s *session) again(ctx context.Context, r *reading, p *deadletter.Progress) error {
	found, err := s.bucket.Exists(ctx, deadletter.ReplayedFolder+r.RelKey)
	if err != nil {
		return err
	}
	if found {
		s.fail("objects are in replayed/ already and are moved there again; to replay one again, move it instead of copying it", place(r.Object, 0))
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

// move moves the objects whose every line is gone, and splits those of which some lines are gone.
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

// move moves the lines that are gone. It returns the relative key of the object in folder, "" when there is none.
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

// place names a line of an object; line 0 names the object.
func place(o *deadletter.Object, line int) string {
	if line == 0 {
		return deadletter.PendingFolder + o.RelKey
	}
	return fmt.Sprintf("%s%s line %d", deadletter.PendingFolder, o.RelKey, line)
}

// cause returns what a caller is told of an error: the code of AWS, else its text.
func cause(err error) string {
	if code := deadletter.ErrorCode(err); code != "" {
		return code
	}
	return deadletter.Bound(err.Error(), 300)
}
