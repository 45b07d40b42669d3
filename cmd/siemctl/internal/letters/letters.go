// Package letters reads the pending dead letters of a bucket, chooses among them, and groups them by what went wrong. It
// changes nothing there: that is the replay function's business alone. What a replay has put back is left out, by its own
// ledger.
package letters

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/arbitex/siem-connectors/shared/deadletter"
)

// Store is what is needed of S3. *s3.Client is one.
type Store interface {
	ListObjectsV2(context.Context, *s3.ListObjectsV2Input, ...func(*s3.Options)) (*s3.ListObjectsV2Output, error)
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
}

// Box is where dead letters are kept.
type Box struct {
	store        Store
	bucket, root string // root is the prefix of all keys
}

// Open names the place by its path, s3://bucket/prefix.
func Open(store Store, path string) (*Box, error) {
	rest, ok := strings.CutPrefix(path, "s3://")
	bucket, prefix, _ := strings.Cut(rest, "/")
	if !ok || bucket == "" {
		return nil, fmt.Errorf("the replay function's SIEM_DEAD_LETTER_PATH: expected s3://bucket/prefix, found %q", path)
	}
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		prefix += "/"
	}
	return &Box{store: store, bucket: bucket, root: prefix}, nil
}

// Filter chooses dead letters. The zero value chooses all.
type Filter struct {
	Connector  string
	From, To   time.Time // by the record's time; from inclusive, to exclusive
	Reason     string    // a part of the error, in any case
	MessageIDs []string  // empty means all
}

func (f *Filter) matches(r *deadletter.Record) bool {
	return (f.Connector == "" || r.Connector == f.Connector) &&
		!r.Time.Before(f.From) && (f.To.IsZero() || r.Time.Before(f.To)) &&
		(f.Reason == "" || strings.Contains(strings.ToLower(r.Error), strings.ToLower(f.Reason))) &&
		(len(f.MessageIDs) == 0 || slices.Contains(f.MessageIDs, r.MessageID))
}

// Letter is a dead letter and the line it stands on, which are good until the function that was given them returns.
type Letter struct {
	deadletter.Record
	Line []byte
	Key  string // of its object
}

// ErrEnough ends the reading without being an error.
var ErrEnough = errors.New("enough")

const (
	// readers is how many objects are read at once: most are small, and the way to S3 is long.
	readers = 8
	// maxLine is the longest line that is read, the same as the replay function's.
	maxLine = 3 << 20
)

// Each calls take for every dead letter that the filter chooses, one at a time, in no order. It returns how many lines
// could not be understood.
func (b *Box) Each(ctx context.Context, f Filter, take func(*Letter) error) (broken int, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ledger, err := b.ledger(ctx, f.Connector)
	if err != nil {
		return 0, err
	}
	keys := make(chan string)
	var mu sync.Mutex
	var wait sync.WaitGroup
	for range readers {
		wait.Go(func() {
			for key := range keys {
				done, err := ledger.of(ctx, key)
				if err != nil {
					cancel(err)
					continue
				}
				if err := b.read(ctx, key, func(line []byte) error {
					mu.Lock()
					defer mu.Unlock()
					l := &Letter{Line: line, Key: key}
					if deadletter.ParseLine(line, &l.Record) != nil {
						broken++
						return nil
					}
					if !f.matches(&l.Record) || done[identOf(l.MessageID)] {
						return nil
					}
					return take(l)
				}); err != nil {
					cancel(err)
				}
			}
		})
	}
	err = b.list(ctx, &f, keys)
	close(keys)
	wait.Wait()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if errors.Is(err, ErrEnough) {
		err = nil
	}
	return broken, err
}

// list sends the keys of the objects that may hold what the filter chooses.
func (b *Box) list(ctx context.Context, f *Filter, keys chan<- string) error {
	return b.objects(ctx, b.root+ofConnector("pending/", f.Connector), func(key string) error {
		if !strings.HasSuffix(key, ".jsonl") || later(key, f.To) {
			return nil
		}
		select {
		case keys <- key:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
}

// later tells whether an object holds only what is later than asked for: its date is that of its oldest record.
func later(key string, to time.Time) bool {
	_, rest, ok := strings.Cut(key, "/date=")
	date, _, _ := strings.Cut(rest, "/")
	day, err := time.Parse(time.DateOnly, date)
	return ok && err == nil && !to.IsZero() && !day.Before(to)
}

// read calls take for each line of an object.
func (b *Box) read(ctx context.Context, key string, take func(line []byte) error) error {
	out, err := b.store.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.bucket, Key: &key})
	if err != nil {
		return fmt.Errorf("reading s3://%s/%s: %w", b.bucket, key, err)
	}
	defer out.Body.Close()
	lines := bufio.NewScanner(out.Body)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	for lines.Scan() {
		if line := bytes.TrimSpace(lines.Bytes()); len(line) > 0 {
			if err := take(line); err != nil {
				return err
			}
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading s3://%s/%s: %w", b.bucket, key, err)
	}
	return nil
}
