package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"

	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/deadletter"
)

const (
	// maxReplays is how often a dead letter is replayed without force: a fourth replay would probably fail, too.
	maxReplays = 3

	// minGroup and maxGroup bound the objects that are read together.
	minGroup, maxGroup = 16, 100

	// maxReadFailures is how many objects S3 may fail to return before the session reads no more.
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
	halted  bool            // nothing is read or sent any more
	unread  int             // objects that S3 failed to return
	chosen  map[choice]bool // the records to send of the objects that were read last
	passed  int             // objects that the next call does not examine again

	done      int // dead letters replayed or discarded
	remaining int
	skips     map[skip]*skipped
	failures  []string // for the response
}

// target is one connector's part of a session.
type target struct {
	name     string
	obstacle skip                 // why nothing can be replayed, "" if it can
	progress *deadletter.Progress // nil until it is needed, and if it could not be saved
	broken   bool                 // nothing more is replayed in this session
	waiting  []*line              // chosen lines in their order
	done     int
	skipped  int
}

// choice identifies a record that is sent once, although several lines may hold it.
type choice struct {
	target *target
	id     deadletter.ID
}

func (r *Replay) newSession(ctx context.Context, req request) *session {
	s := &session{Replay: r, request: req, start: r.world.Now(), skips: make(map[skip]*skipped)}
	if req.dryRun {
		dry := *r
		dry.bucket.DryRun, s.Replay = true, &dry
	}
	s.lease = newLease(&s.bucket, r.world.Now)
	if deadline, ok := ctx.Deadline(); ok { // the rest is for saving the progress, and for counting what is left
		left := deadline.Sub(s.start)
		s.stop = deadline.Add(-min(max(3*time.Second, left/10), left/2))
	}
	for _, name := range append(connectors.Names(), connectors.Unknown) {
		t := &target{name: name}
		switch {
		case s.discard:
		case name == connectors.Unknown:
			t.obstacle = skipUnknown
		case r.queues[name] == "":
			t.obstacle = skipNotDeployed
		}
		s.targets = append(s.targets, t)
	}
	return s
}

func (s *session) target(connector string) *target {
	return s.targets[slices.IndexFunc(s.targets, func(t *target) bool { return t.name == connector })]
}

func (s *session) result() result {
	r := result{Replayed: s.done, ByConnector: make(map[string]int), Remaining: s.remaining, Passed: s.passed,
		DryRun: s.dryRun, Errors: []string{}}
	if s.discard {
		r.Replayed, r.Discarded = 0, &s.done
	}
	for _, t := range s.targets {
		r.Skipped += t.skipped
		if t.done > 0 {
			r.ByConnector[t.name] = t.done
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(s.skips)) {
		one := s.skips[kind]
		names := strings.Join(slices.Sorted(maps.Keys(one.connectors)), ", ")
		r.Errors = append(r.Errors, fmt.Sprintf("%d skipped (%s): %s; the first is %s", one.n, names, kind, one.first))
	}
	r.Errors = append(r.Errors, s.failures...)
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
		s.skip(s.target(connectors.Unknown), skipName, 1, key)
	}
	id := deadletter.NewID(fmt.Appendf(nil, "%+v %v %v", s.Filter, s.force, s.discard))
	request := fmt.Sprintf("%x", id) // the key of its cursor
	if c, ok := s.lease.Cursors[request]; ok {
		objects = slices.DeleteFunc(objects, func(o deadletter.Object) bool { return c.passed(&o) })
	}
	next, passed := 0, 0
	for next < len(objects) && !s.full() && s.unread < maxReadFailures && s.ready(ctx) {
		group := objects[next : next+s.groupSize(objects[next:])]
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
		s.lease.Cursors[request] = cursor{At: s.start, Oldest: last.Oldest, RelKey: last.RelKey}
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

// ready reports whether the session may go on: its time is not up, and it keeps the lease.
func (s *session) ready(ctx context.Context) bool {
	s.halted = s.halted || !s.stop.IsZero() && !s.world.Now().Before(s.stop)
	return !s.halted && s.keep(ctx)
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
		if bytes += objects[n].Size; n > 0 && bytes > s.bucket.Piece {
			break
		}
		lines += objects[n].LinesAtMost()
		n++
	}
	return n
}

// countByName counts an object that is not read as remaining.
func (s *session) countByName(o *deadletter.Object) {
	switch t := s.target(o.Connector); {
	case s.Excludes(o):
	case t.obstacle != "":
		s.skip(t, t.obstacle, o.LinesAtMost(), place(o, 1))
	default:
		s.remaining += o.LinesAtMost()
	}
}

// group reads objects and processes them.
func (s *session) group(ctx context.Context, objects []deadletter.Object) {
	byName := s.From.IsZero() && s.To.IsZero() && s.Reason == "" && s.MessageIDs == nil // all lines match
	var readings []*reading
	for i := range objects {
		o := &objects[i]
		t := s.target(o.Connector)
		switch {
		case s.Excludes(o):
		case byName && o.Lines >= 0 && t.obstacle != "", !s.load(ctx, t):
			s.countByName(o)
		case o.Size > s.bucket.Piece:
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
		readings[i].err = err
	}
	_ = s.process(ctx, readings) // an object that could not be moved is in the response
}

// load reads the progress of a connector when it is first needed. It reports whether its dead letters can be processed.
func (s *session) load(ctx context.Context, t *target) bool {
	if t.progress == nil && !t.broken && t.obstacle == "" && !s.discard {
		var err error
		if t.progress, err = deadletter.LoadProgress(ctx, &s.bucket, t.name); err != nil {
			t.broken = true
			s.fail("the progress of "+t.name+" could not be read", cause(err))
		}
	}
	return !t.broken
}

var errHalted = errors.New("the session was halted")

// large processes an object that is too large to be read at once. Each piece with lines that stay becomes an object.
func (s *session) large(ctx context.Context, o *deadletter.Object) {
	err := s.bucket.Pieces(ctx, o, func(piece []byte) error {
		if !s.ready(ctx) {
			return errHalted
		}
		part := *o
		part.RelKey = deadletter.PartName(o.RelKey, piece)
		return s.process(ctx, []*reading{{Object: &part, piece: true, target: s.target(o.Connector), data: piece}})
	})
	if err == nil {
		err = s.bucket.Delete(ctx, deadletter.PendingFolder+o.RelKey, o.ETag)
	}
	if err != nil {
		s.unreadable(o, err)
	}
}

// unreadable reports an object that could not be read. It stays pending.
func (s *session) unreadable(o *deadletter.Object, err error) {
	switch {
	case errors.Is(err, deadletter.ErrLongLine):
		s.skip(s.target(o.Connector), skipLine, 1, place(o, 1)+": "+err.Error())
		return
	case errors.Is(err, errHalted):
	case errors.Is(err, deadletter.ErrMissing), errors.Is(err, deadletter.ErrChanged):
		s.fail("objects changed while they were read; call again", place(o, 0))
	default:
		s.fail("objects could not be read", place(o, 0)+": "+cause(err))
		if !refused(err) {
			s.unread++
		}
	}
	s.remaining += o.LinesAtMost()
}

// refused reports whether S3 refuses an object, for example because it is archived or its key is disabled: other
// objects may be readable.
func refused(err error) bool {
	retryable := retry.IsErrorRetryables(retry.DefaultRetryables).IsErrorRetryable(err)
	return deadletter.ErrorCode(err) != "" && retryable != aws.TrueTernary
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
	return cmp.Or(deadletter.ErrorCode(err), deadletter.Bound(err.Error(), 300))
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

// skipped counts the dead letters that are skipped for one reason.
type skipped struct {
	n          int
	connectors map[string]bool
	first      string // an object and a line
}

func (s *session) skip(t *target, kind skip, n int, place string) {
	one := s.skips[kind]
	if one == nil {
		one = &skipped{connectors: make(map[string]bool), first: place}
		s.skips[kind] = one
	}
	one.n += n
	one.connectors[t.name] = true
	t.skipped += n
}
