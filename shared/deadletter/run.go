package deadletter

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"
)

const (
	// maxReplays is how often a dead letter is put back without force: one that comes back again is not mended by it.
	maxReplays = 3

	// maxOpen is how many objects may wait for the chunk to be sent.
	maxOpen = 500

	// maxLook is how many objects are still opened when the limit has been reached, to say exactly what remains; beyond,
	// their names are believed.
	maxLook = 1000

	// maxReadFailures is how many objects may fail to be read before the rest is left alone.
	maxReadFailures = 5

	// width is how many requests are under way at a time.
	width = 10
)

// run is one replay.
type run struct {
	*Replay
	request request
	lease   *lease
	stop    time.Time // no sending after it; zero is never

	reader  lineReader
	record  Record
	ledgers map[string]*ledger
	chunk   chunk
	open    []*reading // read, and waiting for the chunk

	halted   bool            // nothing is sent or read any more
	broken   map[string]bool // connectors that cannot be replayed in this call
	looked   int             // objects opened after the limit
	unread   int             // objects that could not be read
	failures []string        // for the answer

	replayed    int
	byConnector map[string]int
	remaining   int
	tally       tally
}

// reading is an object and what has become of its lines.
type reading struct {
	*object
	whole bool // read to its end
	lines int  // read so far
	done  int  // put back, in this call or before, or a second record of one that was
	left  int  // stay pending
}

func newRun(r *Replay, req request, l *lease, stop time.Time) *run {
	return &run{Replay: r, request: req, lease: l, stop: stop, chunk: chunk{most: r.chunk}, ledgers: make(map[string]*ledger),
		broken: make(map[string]bool), byConnector: make(map[string]int), tally: make(tally)}
}

func (s *run) answer() answer {
	errs := append(s.tally.texts(), s.failures...)
	return answer{Replayed: s.replayed, Skipped: s.tally.skipped(), ByConnector: s.byConnector, Remaining: s.remaining,
		DryRun: s.request.dryRun, Errors: errs}
}

// fail notes what the answer has to say, once.
func (s *run) fail(text string) {
	if !slices.Contains(s.failures, text) {
		s.failures = append(s.failures, text)
	}
}

// do replays what is asked for, the oldest first.
func (s *run) do(ctx context.Context) error {
	objects, notes, err := s.objects(ctx, s.request.connector)
	if err != nil {
		return err
	}
	noteDone(objects, notes)
	for i := range objects {
		o := &objects[i]
		if to := s.request.to; !to.IsZero() && !time.UnixMilli(o.oldest).Before(to) {
			continue // the other records are later than the oldest; none of them says how much, so from skips no object
		}
		s.late()
		s.keep(ctx)
		if s.byName(o) {
			s.countByName(o)
		} else {
			s.read(ctx, o)
		}
	}
	s.commit(ctx)
	if !s.request.dryRun {
		s.sweep(ctx, objects, notes)
	}
	return nil
}

// late stops the replay when its time is up.
func (s *run) late() {
	if !s.halted && !s.stop.IsZero() && !s.Now().Before(s.stop) {
		s.halted = true
	}
}

// keep keeps the lease while objects are read.
func (s *run) keep(ctx context.Context) {
	if s.halted || s.request.dryRun {
		return
	}
	if err := s.lease.renew(ctx); err != nil {
		s.halted = true
		s.fail("the replay had to stop: " + cause(err))
	}
}

// full tells whether the limit has been reached.
func (s *run) full() bool { return s.replayed+len(s.chunk.entries) >= s.request.limit }

// byName tells whether an object is counted without being opened: nothing of it can be put back in this call.
func (s *run) byName(o *object) bool {
	switch {
	case s.halted || s.broken[o.connector]:
		return true
	case o.lines < 0:
		return false
	case s.undeployed(o.connector) != "":
		return !s.request.filtered()
	case s.full():
		s.looked++
		return s.looked > maxLook
	}
	return false
}

// undeployed is why a connector's dead letters cannot be put back, "" when they can.
func (s *run) undeployed(connector string) skip {
	switch {
	case connector == unknown:
		return skipUnknown
	case s.queues[connector] == "":
		return skipNotDeployed
	}
	return ""
}

// countByName counts an object as its name says. With from or to it is the most that remains.
func (s *run) countByName(o *object) {
	n := max(0, max(1, o.lines)-o.done)
	if kind := s.undeployed(o.connector); kind != "" {
		s.tally.add(kind, o.connector, n)
		return
	}
	s.remaining += n
}

// read takes one object's lines.
func (s *run) read(ctx context.Context, o *object) {
	st := &reading{object: o}
	s.reader.open(&s.bucket, pendingFolder+o.tail, o.etag, o.size)
	for !s.halted && !s.broken[o.connector] {
		line, err := s.reader.next(ctx)
		if errors.Is(err, io.EOF) {
			st.whole = true
			break
		}
		if errors.Is(err, errLongLine) {
			st.lines, st.left = st.lines+1, st.left+1
			s.tally.add(skipLine, o.connector, 1)
			continue
		}
		if err != nil {
			s.unreadable(st, err)
			return
		}
		s.line(ctx, st, line)
	}
	if !st.whole {
		s.remaining += max(0, o.lines-st.lines)
	}
	if s.open = append(s.open, st); len(s.open) >= maxOpen {
		s.commit(ctx)
	}
}

// unreadable notes an object that could not be read to its end. It stays pending.
func (s *run) unreadable(st *reading, err error) {
	if errors.Is(err, errMissing) {
		return // it has been moved since it was listed
	}
	s.open = append(s.open, st)
	s.remaining += max(1, st.object.lines-st.lines)
	if errors.Is(err, errExists) {
		s.fail("objects have changed while they were read: call again")
		return
	}
	s.fail("objects could not be read: " + cause(err))
	if s.unread++; s.unread >= maxReadFailures {
		s.halted = true
	}
}

// cause is what a caller is told of an error: the code of AWS, else its text.
func cause(err error) string {
	if code := errorCode(err); code != "" {
		return code
	}
	return bound(err.Error(), 300)
}

// line decides about one line. Whatever it decides, the line is counted as done, left or waiting in the chunk.
func (s *run) line(ctx context.Context, st *reading, line []byte) {
	st.lines++
	r := &s.record
	if err := ParseLine(line, r); err != nil || r.Connector != st.connector {
		st.left++
		s.tally.add(skipLine, st.connector, 1)
		return
	}
	id, day := identOf(r.MessageID, st.tail, st.lines), dayOf(r.Time.UnixMilli())
	if kind := s.undeployed(st.connector); kind == "" {
		done, err := s.ledger(st.connector).has(ctx, day, id)
		if err != nil {
			s.broken[st.connector] = true
			s.fail("what was put back before could not be read: " + cause(err))
			st.left++
			s.remaining++
			return
		}
		if done {
			st.done++
			return
		}
	}
	s.decide(ctx, st, entry{connector: st.connector, id: id, day: day})
}

// decide puts the record just read into the chunk, unless something is against it.
func (s *run) decide(ctx context.Context, st *reading, e entry) {
	r := &s.record
	if !s.request.matches(r.Time) {
		st.left++
		return
	}
	if kind := s.refusal(r); kind != "" {
		st.left++
		s.tally.add(kind, st.connector, 1)
		return
	}
	if s.chunk.again(e, st) {
		return
	}
	if s.full() {
		st.left++
		s.remaining++
		return
	}
	if !s.chunk.fits(len(r.Body)) {
		if s.commit(ctx); s.halted || s.broken[st.connector] {
			st.left++
			s.remaining++
			return
		}
	}
	e.body, e.replays, e.from = string(r.Body), r.Replays, append(e.from, st)
	s.chunk.add(e)
}

// refusal is why a record cannot be put back, "" when it can.
func (s *run) refusal(r *Record) skip {
	if kind := s.undeployed(r.Connector); kind != "" {
		return kind
	}
	switch {
	case !r.Object:
		return skipBody
	case r.Replays >= maxReplays && !s.request.force:
		return skipReplayed
	}
	return ""
}

func (s *run) ledger(connector string) *ledger {
	l := s.ledgers[connector]
	if l == nil {
		l = newLedger(&s.bucket, connector, s.lease.owner, s.request.dryRun)
		s.ledgers[connector] = l
	}
	return l
}
