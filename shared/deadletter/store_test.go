package deadletter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/arbitex/siem-connectors/internal/testkit/fakeaws"
)

const testKey = "connector=splunk/date=2026-03-13/o.jsonl"

func fakeBucket() (*Bucket, *fakeaws.S3) {
	store := &fakeaws.S3{}
	noPause := func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	return &Bucket{Name: "letters", Prefix: "dead/", Store: store, Sleep: noPause, Piece: pieceBytes}, store
}

// put stores a pending object and returns it as it is listed.
func put(t *testing.T, b *Bucket, store *fakeaws.S3, body string) *Object {
	t.Helper()
	store.Put(b.Prefix+PendingFolder+testKey, []byte(body))
	objects, _, err := b.Pending(t.Context(), "")
	if err != nil || len(objects) != 1 {
		t.Fatal(objects, err)
	}
	return &objects[0]
}

func pieces(t *testing.T, b *Bucket, o *Object) (all []string, err error) {
	t.Helper()
	err = b.Pieces(t.Context(), o, func(piece []byte) error {
		all = append(all, string(piece))
		return nil
	})
	return all, err
}

// TestPieces: a piece is whole lines, and the pieces together are the object.
func TestPieces(t *testing.T) {
	long := strings.Repeat("x", 17)
	for _, c := range []struct {
		body string
		want []string
		err  error
	}{
		{"", nil, nil},
		{"a\nb", []string{"a\nb"}, nil},
		{"a\n" + long + "\n", []string{"a\n" + long + "\n"}, nil},
		{"a\n" + long + "\nb\nc\n", []string{"a\n" + long + "\n", "b\nc\n"}, nil},
		{"ab\n" + long + "\nb\n", []string{"ab\n", long + "\nb\n"}, nil},
		{"a\n" + long + long, []string{"a\n"}, ErrLongLine},
	} {
		b, store := fakeBucket()
		b.Piece = 20
		got, err := pieces(t, b, put(t, b, store, c.body))
		if !slices.Equal(got, c.want) || !errors.Is(err, c.err) {
			t.Errorf("%d bytes: %d pieces, %v", len(c.body), len(got), err)
		}
	}
}

// TestPiecesOfOneVersion: an object that changes between two pieces is not read further.
func TestPiecesOfOneVersion(t *testing.T) {
	b, store := fakeBucket()
	b.Piece = 20
	body := "a\n" + strings.Repeat("x", 20) + "\n"
	o := put(t, b, store, body)
	err := b.Pieces(t.Context(), o, func([]byte) error {
		store.Put(b.Prefix+PendingFolder+testKey, []byte(strings.ToUpper(body)))
		return nil
	})
	if !errors.Is(err, ErrChanged) {
		t.Errorf("a piece of another version is read: %v", err)
	}
}

// breaking is an S3 whose streams end early, a few times.
type breaking struct {
	Store
	times int
}

func (s *breaking) GetObject(ctx context.Context, in *s3.GetObjectInput, o ...func(*s3.Options)) (*s3.GetObjectOutput,
	error) {
	out, err := s.Store.GetObject(ctx, in, o...)
	if s.times--; err == nil && s.times >= 0 {
		out.Body = io.NopCloser(io.MultiReader(io.LimitReader(out.Body, 3), &failing{}))
	}
	return out, err
}

type failing struct{}

func (*failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestBrokenStreams: a read that breaks is repeated a few times.
func TestBrokenStreams(t *testing.T) {
	for times, whole := range map[int]bool{1: true, Tries - 1: true, Tries: false} {
		b, store := fakeBucket()
		o := put(t, b, store, "first\nsecond\n")
		b.Store = &breaking{Store: store, times: times}
		got, err := pieces(t, b, o)
		if (err == nil && strings.Join(got, "") == "first\nsecond\n") != whole {
			t.Errorf("a stream that breaks %d times: %q, %v", times, got, err)
		}
	}
}

// TestConditions: a write under a condition that is not met changes nothing.
func TestConditions(t *testing.T) {
	b, store := fakeBucket()
	write := func(condition, body string) error {
		_, err := b.Put(t.Context(), "x", condition, []byte(body))
		return err
	}
	if err := write(IfAbsent, "first"); err != nil {
		t.Fatal(err)
	}
	_, out, err := b.Get(t.Context(), "x", 10)
	if err != nil {
		t.Fatal(err)
	}
	etag := *out.ETag
	for condition, want := range map[string]error{IfAbsent: ErrChanged, `"other"`: ErrChanged} {
		if err := write(condition, "second"); !errors.Is(err, want) || string(store.Body("dead/x")) != "first" {
			t.Errorf("%s: %v", condition, err)
		}
	}
	if err := write(etag, "second"); err != nil || string(store.Body("dead/x")) != "second" {
		t.Error(err)
	}
	n := 0
	store.Hook = func(_, _ string, after bool) error {
		if n++; !after && n < Tries {
			return fakeaws.Error("ConditionalRequestConflict")
		}
		return nil
	}
	if err := write(Always, "third"); err != nil {
		t.Errorf("a conflict that passes: %v", err)
	}
	store.Hook = func(string, string, bool) error { return fakeaws.Error("ConditionalRequestConflict") }
	if err := write(Always, "fourth"); ErrorCode(err) != "ConditionalRequestConflict" {
		t.Errorf("a conflict that stays: %v", err)
	}
}

// TestDeletesOnlyWhatWasRead: a changed object is not deleted. An object that is gone is deleted.
func TestDeletesOnlyWhatWasRead(t *testing.T) {
	b, store := fakeBucket()
	o := put(t, b, store, "first\nsecond\n")
	for _, body := range []string{"changed\n", "first\nsecond\n"} {
		store.Put(b.Prefix+PendingFolder+testKey, []byte(body))
		err := b.Delete(t.Context(), PendingFolder+testKey, o.ETag)
		got := string(store.Body(b.Prefix + PendingFolder + testKey))
		if changed := body == "changed\n"; errors.Is(err, ErrChanged) != changed || (got == body) != changed {
			t.Errorf("deleted after %q: %v; the object is now %q", body, err, got)
		}
	}
	if err := b.Delete(t.Context(), PendingFolder+testKey, o.ETag); err != nil {
		t.Errorf("deleted twice: %v", err)
	}
}

// TestPutPendingKeepsWhatExists: the object holds the same batch, of which a replay may have moved lines.
func TestPutPendingKeepsWhatExists(t *testing.T) {
	b, store := fakeBucket()
	for _, body := range []string{"first\n", "second\n"} {
		if err := b.PutPending(t.Context(), testKey, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if got := string(store.Body("dead/pending/" + testKey)); got != "first\n" {
		t.Errorf("the object is now %q", got)
	}
}

func TestPendingListsMoreThanAPage(t *testing.T) {
	b, store := fakeBucket()
	for i := range 1203 {
		store.Put(fmt.Sprintf("dead/pending/connector=splunk/date=2026-03-13/+%04d.jsonl", i), []byte("x"))
	}
	objects, others, err := b.Pending(t.Context(), "splunk")
	if len(objects) != 1203 || len(others) != 0 || err != nil ||
		objects[7].RelKey != "connector=splunk/date=2026-03-13/+0007.jsonl" {
		t.Errorf("%d objects, %q, %v", len(objects), others, err)
	}
	if found, err := b.Exists(t.Context(), "pending/connector=splunk/date=2026-03-13/+0007"); found || err != nil {
		t.Error("a part of a key exists", err)
	}
}

func TestProgress(t *testing.T) {
	b, store := fakeBucket()
	id := func(n int) ID { return NewID([]byte(fmt.Sprint(n))) }
	total := 0
	for range 3 {
		p, err := LoadProgress(t.Context(), b, "splunk")
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			for range maxIDs/4 + 1 { // four times this is more than an object should have
				p.Add(id(total))
				p.Add(id(0)) // once is enough
				total++
			}
			if err := p.Save(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	size := 0
	keys := store.Keys("dead/progress/connector=splunk/")
	for _, key := range keys {
		size += len(store.Body(key))
	}
	if len(keys) != 3 || size != total*len(ID{}) {
		t.Errorf("%d objects of %d bytes, want 3 of %d", len(keys), size, total*len(ID{}))
	}
	p, err := LoadProgress(t.Context(), b, "splunk")
	if err != nil {
		t.Fatal(err)
	}
	for n := range total {
		if !p.Has(id(n)) {
			t.Fatal(n)
		}
	}
	if p.Has(id(total)) {
		t.Error("an id that was never added")
	}
	if other, err := LoadProgress(t.Context(), b, "elastic"); err != nil || other.Has(id(0)) {
		t.Error("connectors share their progress", err)
	}
	p.Add(id(total))
	store.Put(keys[2], bytes.Repeat([]byte("x"), 32))
	if err := p.Save(t.Context()); !errors.Is(err, ErrChanged) {
		t.Errorf("another replay's progress is overwritten: %v", err)
	}
	store.Put(keys[1], []byte("short"))
	if _, err := LoadProgress(t.Context(), b, "splunk"); err == nil {
		t.Error("a broken object was read")
	}
}
