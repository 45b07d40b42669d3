package deadletter

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// ident is what the ledger knows a line by: the first half of a SHA-256.
type ident [16]byte

// identOf identifies a line by its message id, so that two records of one message are one; a line without an id by its
// place.
func identOf(messageID, tail string, line int) ident {
	text := "id\x00" + messageID
	if messageID == "" {
		text = "line\x00" + tail + "\x00" + strconv.Itoa(line)
	}
	sum := sha256.Sum256([]byte(text))
	return ident(sum[:16])
}

const (
	// windowDays is how far the timestamps of two records of one message may be apart: its queue keeps a message for 4
	// days, and SQS's own record bears the time of its sending, the connector's that of its failing.
	windowDays = 5

	maxSegment  = 8192 // ids in one object of this call, which is written anew with every chunk
	maxSegments = 32   // objects of one day, before they are made one
)

// ledger knows which lines of one connector have been put back: in calls before this one by the objects in S3, of which
// it reads those whose day is near, and in this one.
type ledger struct {
	bucket    *bucket
	connector string
	call      string // makes the names of this call's objects unique
	readOnly  bool   // for a dry run

	listed   bool
	segments map[int64][]segment // by day, in S3 and not read yet
	covered  map[int64]bool      // days whose window has been read
	before   []ident             // of calls before, sorted
	fresh    map[ident]struct{}  // of this call
	open     map[int64]*segment  // being written
	next     int                 // number of the next object
}

// segment is one object of the ledger.
type segment struct {
	key   string // without prefix
	size  int64
	ids   []byte // of one being written
	dirty bool
}

func newLedger(b *bucket, connector, call string, readOnly bool) *ledger {
	return &ledger{bucket: b, connector: connector, call: call, readOnly: readOnly, segments: make(map[int64][]segment),
		covered: make(map[int64]bool), fresh: make(map[ident]struct{}), open: make(map[int64]*segment)}
}

// has tells whether a line has been put back whose record is of that day.
func (l *ledger) has(ctx context.Context, day int64, id ident) (bool, error) {
	if !l.covered[day] {
		if err := l.load(ctx, day); err != nil {
			return false, fmt.Errorf("reading the ledger of %s: %w", l.connector, err)
		}
	}
	if _, ok := l.fresh[id]; ok {
		return true, nil
	}
	_, ok := slices.BinarySearchFunc(l.before, id, compareIdents)
	return ok, nil
}

func compareIdents(a, b ident) int { return bytes.Compare(a[:], b[:]) }

// load reads the objects of the days around.
func (l *ledger) load(ctx context.Context, day int64) error {
	if err := l.list(ctx); err != nil {
		return err
	}
	read := len(l.before)
	for d := day - windowDays; d <= day+windowDays; d++ {
		if err := l.loadDay(ctx, d); err != nil {
			return err
		}
	}
	l.covered[day] = true
	if len(l.before) > read {
		slices.SortFunc(l.before, compareIdents)
	}
	return nil
}

func (l *ledger) list(ctx context.Context) error {
	if l.listed {
		return nil
	}
	folder := ledgerFolder + "connector=" + l.connector + "/"
	err := l.bucket.list(ctx, folder, func(tail string, o *types.Object) {
		tail = "connector=" + l.connector + "/" + tail
		if m := segmentTail.FindStringSubmatch(tail); m != nil {
			if date, err := time.Parse(dateLayout, m[1]); err == nil {
				day := dayOf(date.UnixMilli())
				l.segments[day] = append(l.segments[day], segment{key: ledgerFolder + tail, size: aws.ToInt64(o.Size)})
			}
		}
	})
	l.listed = err == nil
	return err
}

// loadDay reads the objects of one day.
func (l *ledger) loadDay(ctx context.Context, day int64) error {
	segments := l.segments[day]
	bodies := make([][]byte, len(segments))
	errs := each(len(segments), width, func(i int) (err error) {
		bodies[i], _, _, err = l.bucket.small(ctx, segments[i].key, segments[i].size+1)
		if err == nil && len(bodies[i])%len(ident{}) != 0 {
			err = fmt.Errorf("%s: expected ids of %d bytes, has %d bytes", segments[i].key, len(ident{}), len(bodies[i]))
		}
		return err
	})
	if err := cmp.Or(errs...); err != nil {
		return err
	}
	for _, body := range bodies {
		for ids := range slices.Chunk(body, len(ident{})) {
			l.before = append(l.before, ident(ids))
		}
	}
	delete(l.segments, day)
	if len(segments) > maxSegments && !l.readOnly {
		return l.merge(ctx, day, segments, bytes.Join(bodies, nil))
	}
	return nil
}

// merge makes one object of many. It is written before the others go, and repeated ids do no harm.
func (l *ledger) merge(ctx context.Context, day int64, segments []segment, ids []byte) error {
	if err := l.write(ctx, l.newSegment(day), ids); err != nil {
		return err
	}
	errs := each(len(segments), width, func(i int) error { return l.bucket.delete(ctx, segments[i].key) })
	return cmp.Or(errs...)
}

func (l *ledger) newSegment(day int64) *segment {
	l.next++
	return &segment{key: fmt.Sprintf("%sconnector=%s/date=%s/%s-%d.ids", ledgerFolder, l.connector,
		dayStart(day).Format(dateLayout), l.call, l.next)}
}

func (l *ledger) write(ctx context.Context, s *segment, ids []byte) error {
	_, err := l.bucket.put(ctx, s.key, always, "application/octet-stream", ids)
	return err
}

// add notes a line that has been put back. It lasts when save has returned.
func (l *ledger) add(day int64, id ident) {
	l.fresh[id] = struct{}{}
	s := l.open[day]
	if s == nil || len(s.ids) >= maxSegment*len(id) && !s.dirty {
		s = l.newSegment(day)
		l.open[day] = s
	}
	s.ids, s.dirty = append(s.ids, id[:]...), true
}

// save writes what has been added, unless the ledger is for reading only.
func (l *ledger) save(ctx context.Context) error {
	if l.readOnly {
		return nil
	}
	for _, day := range slices.Sorted(maps.Keys(l.open)) {
		s := l.open[day]
		if !s.dirty {
			continue
		}
		if err := l.write(ctx, s, s.ids); err != nil {
			return fmt.Errorf("writing the ledger of %s: %w", l.connector, err)
		}
		s.dirty = false
	}
	return nil
}
