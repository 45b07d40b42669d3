package deadletter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/arbitex/siem-connectors/shared/deadletter/deadlettertest"
)

// TestLinesInPieces: whatever the size of the pieces, the lines are the same.
func TestLinesInPieces(t *testing.T) {
	w := newWorld(t)
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 60 {
		var want []string
		var body bytes.Buffer
		for i := range r.IntN(20) {
			line := strings.Repeat(fmt.Sprint(i), r.IntN(30))
			if line != "" {
				want = append(want, line)
			}
			body.WriteString(line + []string{"\n", "\n\n", "\n \n"}[r.IntN(3)])
		}
		if n%2 == 0 && body.Len() > 0 {
			body.WriteString("last")
			want = append(want, "last")
		}
		w.s3.Put(testPrefix+"o", body.Bytes())
		for _, piece := range []int64{1, 2, 7, 64, rangeBytes} {
			if got := readLines(t, w, body.Len(), piece); !slices.Equal(got, want) {
				t.Fatalf("pieces of %d: %q, want %q", piece, got, want)
			}
		}
	}
}

func readLines(t *testing.T, w *world, size int, piece int64) (lines []string) {
	t.Helper()
	var r lineReader
	b := &w.replayer().bucket
	b.store.(*deadlettertest.S3).Put(testPrefix+"copy", w.s3.Body(testPrefix+"o"))
	_, etag, _, err := b.small(t.Context(), "copy", 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	r.open(b, "copy", etag, int64(size))
	r.piece = piece
	for {
		line, err := r.next(t.Context())
		switch {
		case errors.Is(err, io.EOF):
			return lines
		case errors.Is(err, errLongLine):
			lines = append(lines, "(long)")
		case err != nil:
			t.Fatal(err)
		default:
			lines = append(lines, string(line))
		}
	}
}

func TestLongLinesAreSkipped(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("x", maxLine+1)
	fits := strings.Repeat("y", maxLine)
	body := "a\n" + long + "\nb\n" + fits + "\n" + long
	w.s3.Put(testPrefix+"o", []byte(body))
	for _, piece := range []int64{1 << 20, rangeBytes} {
		if got := readLines(t, w, len(body), piece); !slices.Equal(got, []string{"a", "(long)", "b", fits, "(long)"}) {
			t.Errorf("pieces of %d: %d lines", piece, len(got))
		}
	}
}

// TestLongLinesTakeNoMemory: of a line that is skipped no more is held than a piece and what is allowed.
func TestLongLinesTakeNoMemory(t *testing.T) {
	w := newWorld(t)
	w.s3.Put(testPrefix+"o", bytes.Repeat([]byte("x"), 40<<20))
	r, _ := openLines(t, w, 1<<20)
	if _, err := r.next(t.Context()); !errors.Is(err, errLongLine) {
		t.Errorf("a line of 40 MiB: %v", err)
	}
	if most := 2 * (maxLine + 1<<20); cap(r.buf) > most {
		t.Errorf("%d bytes were held, want at most %d", cap(r.buf), most)
	}
}

// TestLinesOfOneVersion: an object that changes between two pieces is not read on.
func TestLinesOfOneVersion(t *testing.T) {
	w := newWorld(t)
	w.s3.Put(testPrefix+"o", []byte("first\nsecond\nthird\n"))
	r, _ := openLines(t, w, 8)
	if line, err := r.next(t.Context()); err != nil || string(line) != "first" {
		t.Fatalf("%q, %v", line, err)
	}
	w.s3.Put(testPrefix+"o", []byte("FIRST\nSECOND\nTHIRD\n"))
	if line, err := r.next(t.Context()); !errors.Is(err, errExists) {
		t.Errorf("a piece of another version is read: %q, %v", line, err)
	}
}

// breaking is an S3 whose streams end early, a few times.
type breaking struct {
	Store
	times int
}

func (s *breaking) GetObject(ctx context.Context, in *s3.GetObjectInput, o ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	out, err := s.Store.GetObject(ctx, in, o...)
	if s.times--; err == nil && s.times >= 0 {
		out.Body = io.NopCloser(io.LimitReader(out.Body, 3))
	}
	return out, err
}

// TestBrokenStreams: a stream that breaks is begun again, and given up after a few times.
func TestBrokenStreams(t *testing.T) {
	for times, whole := range map[int]bool{1: true, tries - 1: true, tries: false} {
		w := newWorld(t)
		w.s3.Put(testPrefix+"o", []byte("first\nsecond\n"))
		r, b := openLines(t, w, 1<<20)
		b.store = &breaking{Store: b.store, times: times}
		line, err := r.next(t.Context())
		if (err == nil && string(line) == "first") != whole {
			t.Errorf("a stream that breaks %d times: %q, %v", times, line, err)
		}
	}
}

// openLines begins to read the object o.
func openLines(t *testing.T, w *world, piece int64) (*lineReader, *bucket) {
	t.Helper()
	b := &w.replayer().bucket
	body, etag, _, err := b.small(t.Context(), "o", 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	r := new(lineReader)
	r.open(b, "o", etag, int64(len(body)))
	r.piece = piece
	return r, b
}
