package deadletter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

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
