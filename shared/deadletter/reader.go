package deadletter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
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
	return !f.To.IsZero() && o.Oldest >= f.To.UnixMilli() || !f.From.IsZero() &&
		o.Newest < f.From.Truncate(time.Millisecond).UnixMilli()
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
	l, err := ParseLocation(path)
	if err != nil {
		return nil, err
	}
	return &Reader{Bucket{Location: l, Store: store, Pause: Sleep}}, nil
}

// width is the number of concurrent requests to S3.
const width = 10

// Each calls take for every pending dead letter that the filter selects, one at a time, in no order. The letter is
// valid until take returns. It returns the number of lines that are not dead letters.
func (r *Reader) Each(ctx context.Context, f Filter, take func(*Letter) error) (broken int, err error) {
	objects, _, err := r.bucket.Pending(ctx, f.Connector)
	if err != nil {
		return 0, err
	}
	return r.each(ctx, objects, f, take)
}

// queueRetention is how long a dead letter can wait for the drain, so that an object's date is at most so much earlier
// than its latest record.
const queueRetention = 14 * 24 * time.Hour

// Moved is Each for the dead letters of one connector in [ReplayedFolder] or [DiscardedFolder]. It opens only objects
// whose name and time allow a record since Filter.From, which must be set.
func (r *Reader) Moved(ctx context.Context, folder string, f Filter, take func(*Letter) error) (broken int, err error) {
	date := f.From.Add(-queueRetention).UTC().Format(time.DateOnly)
	objects, _, err := r.bucket.objects(ctx, folder, f.Connector, date)
	if err != nil {
		return 0, err
	}
	objects = slices.DeleteFunc(objects, func(o Object) bool { return o.Modified.Before(f.From.Truncate(time.Second)) })
	return r.each(ctx, objects, f, take)
}

func (r *Reader) each(ctx context.Context, objects []Object, f Filter, take func(*Letter) error) (broken int,
	err error) {
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(width)
	for i := range objects {
		o := &objects[i]
		if f.Excludes(o) {
			continue
		}
		g.Go(func() error {
			l := Letter{Key: r.bucket.Prefix + o.folder + o.RelKey}
			if o.folder != PendingFolder {
				l.Moved = o.Modified
			}
			err := r.bucket.Pieces(ctx, o, func(piece []byte) error {
				mu.Lock()
				defer mu.Unlock()
				for l.Line = range Lines(piece) {
					if ctx.Err() != nil {
						return ctx.Err()
					}
					if ParseLine(l.Line, &l.Record) != nil {
						broken++
					} else if f.Matches(&l.Record) {
						if err := take(&l); err != nil {
							return err
						}
					}
				}
				return nil
			})
			if errors.Is(err, ErrMissing) || errors.Is(err, ErrChanged) { // a replay is running
				return nil
			}
			return err
		})
	}
	if err = g.Wait(); errors.Is(err, SkipAll) {
		err = nil
	}
	return broken, err
}

// Lines iterates over the lines of a piece that are not blank, without their newlines.
func Lines(piece []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for line := range bytes.Lines(piece) {
			if line = bytes.TrimRight(line, "\r\n"); len(bytes.TrimSpace(line)) > 0 && !yield(line) {
				return
			}
		}
	}
}

// Counts is the number of pending dead letters by connector, and the time of the oldest; zero when nothing is pending.
type Counts struct {
	Pending map[string]int
	Oldest  time.Time
}

// Count counts the pending dead letters. It opens only the objects whose names do not count their lines.
func (b *Bucket) Count(ctx context.Context) (Counts, error) {
	objects, _, err := b.Pending(ctx, "")
	if err != nil {
		return Counts{}, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(width)
	for i := range objects {
		if o := &objects[i]; o.Lines < 0 {
			g.Go(func() error { return Guard(func() error { return b.count(ctx, o) }) })
		}
	}
	c := Counts{Pending: make(map[string]int)}
	if err := g.Wait(); err != nil {
		return c, err
	}
	oldest := int64(-1)
	for i := range objects {
		if o := &objects[i]; o.Lines > 0 {
			c.Pending[o.Connector] += o.Lines
			if oldest < 0 || o.Oldest < oldest {
				oldest = o.Oldest
				c.Oldest = time.UnixMilli(oldest).UTC()
			}
		}
	}
	return c, nil
}

// count sets the number of lines of an object and the time of its oldest record.
func (b *Bucket) count(ctx context.Context, o *Object) error {
	o.Lines = 0
	oldest := int64(-1)
	var r Record
	err := b.Pieces(ctx, o, func(piece []byte) error {
		for line := range Lines(piece) {
			o.Lines++
			if ParseLine(line, &r) == nil && (oldest < 0 || r.Time.UnixMilli() < oldest) {
				oldest = r.Time.UnixMilli()
			}
		}
		return nil
	})
	if oldest >= 0 {
		o.Oldest = oldest
	}
	switch {
	case errors.Is(err, ErrMissing), errors.Is(err, ErrChanged): // a replay is running
		return nil
	case errors.Is(err, ErrLongLine):
		o.Lines++
		return nil
	case err != nil:
		return fmt.Errorf("reading a pending object: %w", err)
	}
	return nil
}
