package replay

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/deadletter"
)

const (
	// maxReplays is how often a dead letter is replayed without force: a fourth replay would probably fail, too.
	maxReplays = 3

	// minGroup and maxGroup bound the objects that are read together.
	minGroup, maxGroup = 16, 100

	// maxReadFailures is how many objects may fail to be read before the session ends.
	maxReadFailures = 5
)

// session is one replay or discard.
type session struct {
	*Replay
	request
	lease   *lease
	start   time.Time
	stop    time.Time // nothing is sent after it; zero is never
	targets []*target
	halted  bool             // nothing is read or sent any more
	unread  int              // objects that could not be read
	chosen  map[choice]*line // the lines to send of the objects that were read last
	passed  int              // objects that the next call does not examine again

	done      int // dead letters replayed or discarded
	remaining int
	skips     skips
	failures  []string // for the response
}

// target is one connector's part of a session.
type target struct {
	name     string
	queue    string               // URL
	obstacle skip                 // why nothing can be replayed, "" if it can
	progress *deadletter.Progress // nil until it is needed
	broken   bool                 // nothing more is replayed in this session
	waiting  []*line              // chosen lines in their order
	done     int
}

// choice identifies a record that is sent once, although several lines may hold it.
type choice struct {
	target *target
	id     deadletter.ID
}

func (r *Replay) newSession(ctx context.Context, req request) *session {
	if req.dryRun {
		r = r.dry()
	}
	s := &session{Replay: r, request: req, lease: newLease(&r.bucket, r.world.Now), start: r.world.Now(),
		skips: make(skips)}
	if deadline, ok := ctx.Deadline(); ok { // the rest is for saving the progress, and for counting what is left
		left := deadline.Sub(s.start)
		s.stop = deadline.Add(-min(max(3*time.Second, left/10), left/2))
	}
	for _, name := range append(connectors.Names(), deadletter.Unknown) {
		t := &target{name: name, queue: r.queues[name]}
		switch {
		case s.discard:
		case name == deadletter.Unknown:
			t.obstacle = skipUnknown
		case t.queue == "":
			t.obstacle = skipNotDeployed
		}
		s.targets = append(s.targets, t)
	}
	return s
}

func (s *session) target(o *deadletter.Object) *target {
	return s.targets[slices.IndexFunc(s.targets, func(t *target) bool { return t.name == o.Connector })]
}

func (s *session) result() result {
	texts, skipped := s.skips.texts()
	r := result{Skipped: skipped, ByConnector: make(map[string]int), Remaining: s.remaining, Passed: s.passed,
		DryRun: s.dryRun, Errors: append(texts, s.failures...)}
	if r.Replayed = s.done; s.discard {
		r.Replayed, r.Discarded = 0, &s.done
	}
	for _, t := range s.targets {
		if t.done > 0 {
			r.ByConnector[t.name] = t.done
		}
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
	objects, others, err := s.bucket.Pending(ctx, s.Connector)
	if err != nil {
		return err
	}
	for _, key := range others {
		s.skips.add(skipName, deadletter.Unknown, 1, key)
	}
	request := s.key()
	if c, ok := s.lease.Cursors[request]; ok && s.start.Sub(c.At) < cursorLife {
		objects = slices.DeleteFunc(objects, func(o deadletter.Object) bool { return c.passed(&o) })
	}
	next, passed := 0, 0
	for next < len(objects) && !s.full() && !s.late() && s.keep(ctx) {
		group := objects[next:]
		group = group[:s.groupSize(group)]
		s.group(ctx, group)
		if next += len(group); s.remaining == 0 && len(s.failures) == 0 {
			passed = next
		}
	}
	rest := objects[next:]
	if len(rest) == 0 && !s.halted || s.full() { // the next call comes as far as this one without a cursor
		delete(s.lease.Cursors, request)
	} else if passed > 0 && !s.dryRun {
		last := &objects[passed-1]
		s.lease.setCursor(request, cursor{At: s.start, Oldest: last.Oldest, RelKey: last.RelKey})
		s.passed = passed
	}
	for i := range rest {
		s.countByName(&rest[i])
	}
	for _, t := range s.targets {
		if t.progress == nil {
			continue
		}
		if err := t.progress.Save(ctx); err != nil {
			s.fail("the progress could not be saved", cause(err))
		}
	}
	return nil
}

// key identifies the request for the cursor.
func (s *session) key() string {
	id := deadletter.NewID(fmt.Appendf(nil, "%+v %v %v", s.Filter, s.force, s.discard))
	return hex.EncodeToString(id[:])
}

// late reports whether the session must stop, because its time is up or for another reason.
func (s *session) late() bool {
	s.halted = s.halted || !s.stop.IsZero() && !s.world.Now().Before(s.stop)
	return s.halted
}

// keep renews the lease, and reports whether it lasts for a while.
func (s *session) keep(ctx context.Context) bool {
	err := s.lease.renew(ctx)
	if err != nil {
		s.halted = true
		s.fail("the replay had to stop", cause(err))
	}
	return err == nil
}

// full reports whether the limit is reached with the lines that are about to be sent.
func (s *session) full() bool { return s.done+len(s.chosen) >= s.limit }

// groupSize returns how many objects to read together: about as many as the limit needs.
func (s *session) groupSize(objects []deadletter.Object) int {
	bytes, lines, n := int64(0), 0, 0
	for n < len(objects) && n < maxGroup && (n < minGroup || lines < s.limit-s.done) {
		if bytes += objects[n].Size; n > 0 && bytes > deadletter.PieceBytes {
			break
		}
		lines += objects[n].LinesAtMost()
		n++
	}
	return n
}

// countByName counts an object that is not read as remaining.
func (s *session) countByName(o *deadletter.Object) {
	t, lines := s.target(o), o.LinesAtMost()
	switch {
	case s.Excludes(o) || lines == 0:
	case t.obstacle != "":
		s.skips.add(t.obstacle, o.Connector, lines, place(o, 1))
	default:
		s.remaining += lines
	}
}

// group reads objects and processes them.
func (s *session) group(ctx context.Context, objects []deadletter.Object) {
	byName := s.From.IsZero() && s.To.IsZero() && s.Reason == "" && s.MessageIDs == nil // all lines match
	var readings []*reading
	for i := range objects {
		o := &objects[i]
		t := s.target(o)
		switch {
		case s.Excludes(o):
		case t.broken, byName && o.Lines >= 0 && t.obstacle != "":
			s.countByName(o)
		case o.Size > deadletter.PieceBytes:
			s.large(ctx, o)
		default:
			readings = append(readings, &reading{Object: o, target: t})
		}
	}
	errs := deadletter.Each(len(readings), func(i int) error {
		r := readings[i]
		return s.bucket.Pieces(ctx, r.Object, func(piece []byte) error { r.data = piece; return nil })
	})
	for i, err := range errs {
		if err != nil {
			s.unreadable(readings[i].Object, err)
			readings[i] = nil
		}
	}
	readings = slices.DeleteFunc(readings, func(r *reading) bool { return r == nil })
	_ = s.process(ctx, readings) // an object that could not be moved is in the response
}

var errHalted = errors.New("the session was halted")

// large processes an object that is too large to be read at once. Each piece with lines that stay becomes an object.
func (s *session) large(ctx context.Context, o *deadletter.Object) {
	err := s.bucket.Pieces(ctx, o, func(piece []byte) error {
		if s.late() || !s.keep(ctx) {
			return errHalted
		}
		part := *o
		part.RelKey = deadletter.PartName(o.RelKey, piece)
		return s.process(ctx, []*reading{{Object: &part, piece: true, target: s.target(o), data: piece}})
	})
	if err == nil {
		err = s.bucket.Delete(ctx, deadletter.PendingFolder+o.RelKey)
	}
	if err != nil {
		s.unreadable(o, err)
	}
}

// unreadable reports an object that could not be read. It stays pending.
func (s *session) unreadable(o *deadletter.Object, err error) {
	switch {
	case errors.Is(err, deadletter.ErrLongLine):
		s.skips.add(skipLine, o.Connector, 1, place(o, 1)+": "+err.Error())
		return
	case errors.Is(err, errHalted):
	case errors.Is(err, deadletter.ErrMissing), errors.Is(err, deadletter.ErrChanged):
		s.fail("objects changed while they were read; call again", place(o, 0))
	default:
		s.fail("objects could not be read", place(o, 0)+": "+cause(err))
		if s.unread++; s.unread >= maxReadFailures {
			s.halted = true
		}
	}
	s.remaining += o.LinesAtMost()
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

// skips counts skipped dead letters by kind and connector.
type skips map[skip]*skipped

type skipped struct {
	by    map[string]int
	first string // an object and a line
}

func (s skips) add(kind skip, connector string, n int, place string) {
	if s[kind] == nil {
		s[kind] = &skipped{by: make(map[string]int), first: place}
	}
	s[kind].by[connector] += n
}

// of returns the count of a connector.
func (s skips) of(connector string) (n int) {
	for _, one := range s {
		n += one.by[connector]
	}
	return n
}

// texts describes the counts, one entry for each kind, and returns their sum.
func (s skips) texts() (texts []string, total int) {
	texts = []string{}
	for _, kind := range slices.Sorted(maps.Keys(s)) {
		one, sum := s[kind], 0
		for _, n := range one.by {
			sum += n
		}
		names := strings.Join(slices.Sorted(maps.Keys(one.by)), ", ")
		texts = append(texts, fmt.Sprintf("%d skipped (%s): %s; the first is %s", sum, names, kind, one.first))
		total += sum
	}
	return texts, total
}
