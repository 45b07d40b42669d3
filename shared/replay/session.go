package replay

import (
	"context"
	"fmt"
	"maps"
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
	examined int                             // objects up to last
	passed   int                             // of them, those that the next call does not examine again
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
		Passed: s.passed, DryRun: s.dryRun, Errors: append(s.skips.texts(), s.failures...)}
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

// end saves what the next call needs. The cursor is needed only if the time ran out: otherwise the next call comes as
// far as this one.
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
		} else if isLate {
			s.passed = s.examined
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
			s.examined++
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

// place names a line of an object; line 0 names the object.
func place(o *deadletter.Object, line int) string {
	if line == 0 {
		return deadletter.PendingFolder + o.RelKey
	}
	return fmt.Sprintf("%s%s line %d", deadletter.PendingFolder, o.RelKey, line)
}

// cause returns an error's text for the caller: the code of AWS if it has one, otherwise its message.
func cause(err error) string {
	if code := deadletter.ErrorCode(err); code != "" {
		return code
	}
	return deadletter.Bound(err.Error(), 300)
}

// skip is a kind of reason why a dead letter cannot be replayed.
type skip string

// The kinds. Each makes one entry in the response's errors.
const (
	skipUnknown     skip = `their connector is unknown`
	skipNotDeployed skip = `their connector is not deployed: the function has no queue URL for it`
	skipBody        skip = `their body is not a JSON object`
	skipLine        skip = `their line is not a dead letter of its folder's connector`
	skipName        skip = `their object is not named pending/connector=<connector>/date=<date>/<name>.jsonl`
	skipReplayed    skip = `they have been replayed three times already; "force": true replays them nevertheless`
	skipRefused     skip = `SQS refuses them`
)

// skipCounts counts skipped dead letters by kind and connector.
type skipCounts map[skip]*skipCount

type skipCount struct {
	by    map[string]int
	place string // of the first: an object and a line
}

func (c skipCounts) add(kind skip, connector string, n int, place string) {
	if n <= 0 {
		return
	}
	if c[kind] == nil {
		c[kind] = &skipCount{by: make(map[string]int), place: place}
	}
	c[kind].by[connector] += n
}

// total returns the count of one connector, or of all for "".
func (c skipCounts) total(connector string) (n int) {
	for _, one := range c {
		for by, count := range one.by {
			if connector == "" || connector == by {
				n += count
			}
		}
	}
	return n
}

// texts describes the counts, one entry for each kind.
func (c skipCounts) texts() []string {
	texts := make([]string, 0, len(c))
	for _, kind := range slices.Sorted(maps.Keys(c)) {
		sum := 0
		for _, n := range c[kind].by {
			sum += n
		}
		names := strings.Join(slices.Sorted(maps.Keys(c[kind].by)), ", ")
		texts = append(texts, fmt.Sprintf("%d skipped (%s): %s; the first is %s", sum, names, kind, c[kind].place))
	}
	return texts
}
