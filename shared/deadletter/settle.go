package deadletter

import (
	"cmp"
	"context"
	"errors"
)

// settle moves the objects whose every line has been put back, and notes of others how many lines have.
func (s *run) settle(ctx context.Context) {
	errs := each(len(s.open), width, func(i int) error {
		st := s.open[i]
		switch {
		case st.whole && st.left == 0 && st.done == st.lines:
			return s.move(ctx, st.object)
		case st.done > st.object.done:
			return s.notePartial(ctx, st)
		}
		return nil
	})
	if err := cmp.Or(errs...); err != nil {
		s.fail("objects could not be moved, the next call will: " + cause(err))
	}
}

// moved is what an object has done that is pending no more: no note says so, and sweep deletes them all.
const moved = -1

// move takes an object out of pending. It is copied before it is deleted, and repeated it does the same again.
func (s *run) move(ctx context.Context, o *object) error {
	err := s.bucket.copy(ctx, pendingFolder+o.tail, replayedFolder+o.tail, o.etag)
	if errors.Is(err, errMissing) {
		return nil // another replay has moved it
	}
	if err != nil {
		return err
	}
	if err := s.bucket.delete(ctx, pendingFolder+o.tail); err != nil {
		return err
	}
	o.done = moved
	return nil
}

// notePartial writes how many lines of an object have been put back. Only the counting of pending dead letters reads it.
func (s *run) notePartial(ctx context.Context, st *reading) error {
	_, err := s.bucket.put(ctx, partialFolder+partialTail(st.tail, st.done), always, "text/plain", nil)
	if err == nil {
		st.object.done = st.done
	}
	return err
}

// sweep deletes notes that are no longer true: of objects that have been moved, and those that a later one replaces.
// Failing, it leaves them to the next call.
func (s *run) sweep(ctx context.Context, objects []object, notes map[string][]int) {
	if s.halted || len(notes) == 0 {
		return
	}
	done := make(map[string]int, len(objects))
	for i := range objects {
		done[objects[i].tail] = objects[i].done
	}
	var stale []string
	for tail, counts := range notes {
		for _, n := range counts {
			if now, pending := done[tail]; !pending || now != n {
				stale = append(stale, partialFolder+partialTail(tail, n))
			}
		}
	}
	_ = each(len(stale), width, func(i int) error { return s.bucket.delete(ctx, stale[i]) })
}
