package deadletter

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
)

const (
	// rangeBytes is how much of an object is read at a time, so that no stream stays open while messages are sent.
	rangeBytes = 8 << 20

	// maxLine is the longest line that is read: an event of 1 MiB takes at most twice that as a JSON string.
	maxLine = 3 << 20
)

// errLongLine says that a line was longer than maxLine, and has been skipped.
var errLongLine = errors.New("line: expected at most 3 MiB")

// lineReader reads the lines of one object in pieces, in memory that does not depend on the object's size.
type lineReader struct {
	bucket *bucket
	key    string
	etag   string
	size   int64
	piece  int64 // bytes read at a time

	offset int64  // of the next piece
	buf    []byte // what has been read
	pos    int    // of the next line in buf
	skip   bool   // the line that begins at pos is too long
}

// open begins to read an object. The buffer of the reader is used again.
func (r *lineReader) open(b *bucket, key, etag string, size int64) {
	*r = lineReader{bucket: b, key: key, etag: etag, size: size, piece: rangeBytes, buf: r.buf[:0]}
}

// next returns the next line that is not empty, without its newline; it is good until the next call. At the end the
// error is io.EOF. After errLongLine the reading goes on, after any other error it does not.
func (r *lineReader) next(ctx context.Context) ([]byte, error) {
	for {
		rest := r.buf[r.pos:]
		end := bytes.IndexByte(rest, '\n')
		if end < 0 && r.offset < r.size {
			if r.skip = r.skip || len(rest) > maxLine; r.skip {
				r.pos = len(r.buf)
			}
			if err := r.fill(ctx); err != nil {
				return nil, err
			}
			continue
		}
		long := r.skip || end > maxLine || end < 0 && len(rest) > maxLine
		line := rest
		if end >= 0 {
			line = rest[:end]
			end++
		} else {
			end = len(rest)
		}
		r.pos, r.skip = r.pos+end, false
		switch {
		case long:
			return nil, errLongLine
		case len(bytes.TrimSpace(line)) > 0:
			return line, nil
		case r.pos == len(r.buf) && r.offset >= r.size:
			return nil, io.EOF
		}
	}
}

// fill reads the next piece behind what is left of the last.
func (r *lineReader) fill(ctx context.Context) error {
	n := int(min(r.piece, r.size-r.offset))
	left := copy(r.buf, r.buf[r.pos:])
	r.buf, r.pos = slices.Grow(r.buf[:left], n), 0
	if err := r.bucket.get(ctx, r.key, r.etag, r.offset, r.buf[left:left+n]); err != nil {
		return err
	}
	r.buf, r.offset = r.buf[:left+n], r.offset+int64(n)
	return nil
}
