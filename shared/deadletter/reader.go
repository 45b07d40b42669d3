package deadletter

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/arbitex/siem-connectors/shared/lambdahost"
)

// Filter selects dead letters. The zero value selects all.
type Filter struct {
	Connector  string
	From, To   time.Time // by the record's time; from inclusive, to exclusive
	Reason     string    // a part of the error
	MessageIDs []string
}

// Matches reports whether the filter selects a record.
func (f *Filter) Matches(r *Record) bool {
	return (f.Connector == "" || r.Connector == f.Connector) &&
		!r.Time.Before(f.From) && (f.To.IsZero() || r.Time.Before(f.To)) &&
		(f.Reason == "" || strings.Contains(r.Error, f.Reason)) &&
		(len(f.MessageIDs) == 0 || slices.Contains(f.MessageIDs, r.MessageID))
}

// Excludes reports whether an object holds no record that the filter selects, as far as its name tells.
func (f *Filter) Excludes(o *Object) bool {
	return !f.To.IsZero() && !time.UnixMilli(o.Oldest).Before(f.To) || !f.From.IsZero() &&
		o.Newest < f.From.UnixMilli()
}

// Letter is a stored dead letter.
type Letter struct {
	Record
	Line  []byte    // without its newline
	Key   string    // of its object
	Moved time.Time // when it was replayed or discarded, to the second; zero while it is pending
}

// SkipAll ends [Reader.Each] without an error when the function that it calls returns it.
var SkipAll = errors.New("skip all that follows") //nolint:errname,revive,staticcheck // as fs.SkipAll

// Reader reads dead letters and changes nothing.
type Reader struct{ bucket Bucket }

// NewReader names the location by its path, s3://bucket/prefix.
func NewReader(store Store, path string) (*Reader, error) {
	b, err := newBucket(path, store)
	return &Reader{b}, err
}

// Each calls take for every pending dead letter that the filter selects, one at a time, in no order. The letter is
// valid until take returns. It returns the number of lines that are not dead letters.
func (r *Reader) Each(ctx context.Context, f Filter, take func(*Letter) error) (broken int, err error) {
	return r.each(ctx, PendingFolder, "", time.Time{}, f, take)
}

// queueRetention is how long a dead letter can wait for the drain, so that an object's date is at most so much earlier
// than its latest record.
const queueRetention = 14 * 24 * time.Hour

// Moved is Each for the dead letters of one connector in [ReplayedFolder] or [DiscardedFolder]. It opens only objects
// whose name and time allow a record since Filter.From, which must be set.
func (r *Reader) Moved(ctx context.Context, folder string, f Filter, take func(*Letter) error) (broken int, err error) {
	date := f.From.Add(-queueRetention).UTC().Format(time.DateOnly)
	return r.each(ctx, folder, date, f.From.Truncate(time.Second), f, take)
}

// each leaves out the objects with an earlier date and those that were written before since.
func (r *Reader) each(
	ctx context.Context, folder, date string, since time.Time, f Filter, take func(*Letter) error,
) (broken int, err error) {
	objects, _, err := r.bucket.objects(ctx, folder, f.Connector, date)
	if err != nil {
		return 0, err
	}
	objects = slices.DeleteFunc(objects, func(o Object) bool { return f.Excludes(&o) || o.Modified.Before(since) })
	err = r.bucket.scan(ctx, objects, func(o *Object, line []byte) error {
		l := Letter{Line: line, Key: r.bucket.Prefix + folder + o.RelKey}
		if folder != PendingFolder {
			l.Moved = o.Modified
		}
		switch {
		case ParseLine(line, &l.Record) != nil:
			broken++
		case f.Matches(&l.Record):
			return take(&l)
		}
		return nil
	})
	if errors.Is(err, SkipAll) {
		err = nil
	}
	return broken, err
}

// scan calls take for every line of objects, one at a time; a line that is too long is nil. It leaves out the objects
// that a replay moves or rewrites meanwhile.
func (b *Bucket) scan(ctx context.Context, objects []Object, take func(o *Object, line []byte) error) error {
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(width)
	for i := range objects {
		o := &objects[i]
		takePiece := func(piece []byte) error {
			mu.Lock()
			defer mu.Unlock()
			for line := range Lines(piece) {
				if err := cmp.Or(ctx.Err(), take(o, line)); err != nil {
					return err
				}
			}
			return nil
		}
		g.Go(func() error {
			err := lambdahost.Guard(func() error { return b.Pieces(ctx, o, takePiece) })
			switch {
			case errors.Is(err, ErrMissing), errors.Is(err, ErrChanged):
				return nil
			case errors.Is(err, ErrLongLine):
				mu.Lock()
				defer mu.Unlock()
				return take(o, nil)
			}
			return err
		})
	}
	return g.Wait()
}

// Lines iterates over the lines of a piece that are not blank, without their newlines.
func Lines(piece []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for line := range bytes.Lines(piece) {
			if line = bytes.TrimRight(line, "\r\n"); len(bytes.TrimSpace(line)) > 0 && !yield(line) {
				return
			}
		}
	}
}

// Count counts the pending dead letters by connector, and returns the time of the oldest, zero when nothing is pending.
// It opens only the objects whose names do not count their lines.
func (b *Bucket) Count(ctx context.Context) (pending map[string]int, oldest time.Time, err error) {
	objects, _, err := b.Pending(ctx, "")
	if err != nil {
		return nil, oldest, err
	}
	pending = make(map[string]int)
	add := func(o *Object, lines int, at int64) {
		pending[o.Connector] += lines
		if at := time.UnixMilli(at).UTC(); oldest.IsZero() || at.Before(oldest) {
			oldest = at
		}
	}
	var uncounted []Object
	for _, o := range objects {
		if o.Lines >= 0 {
			add(&o, o.Lines, o.Oldest)
		} else {
			uncounted = append(uncounted, o)
		}
	}
	var r Record
	err = b.scan(ctx, uncounted, func(o *Object, line []byte) error {
		at := o.Oldest // at the earliest
		if ParseLine(line, &r) == nil {
			at = r.Time.UnixMilli()
		}
		add(o, 1, at)
		return nil
	})
	if err != nil {
		err = fmt.Errorf("reading a pending object: %w", err)
	}
	return pending, oldest, err
}
