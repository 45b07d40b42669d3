package siem

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"
)

// The problems of a body that cannot be decoded.
var (
	ErrTooLarge = errors.New("body is larger than the limit")
	ErrEncoding = errors.New("body does not match its Content-Encoding")
)

// Request is a request with its decoded body.
type Request struct {
	*http.Request
	// Body is the decoded body, owned by the handler, and cut at the limit if Problem is [ErrTooLarge].
	Body []byte
	// Wire is the size of the body on the wire.
	Wire int64
	// Encoding is the Content-Encoding in lower case, "" for none.
	Encoding string
	// Problem is nil, or wraps [ErrTooLarge] or [ErrEncoding], or is the error of reading.
	Problem error
}

type counted struct {
	io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

// read reads at most MaxWire bytes of the body, and decodes them to at most MaxBody bytes.
func (s *Server) read(w http.ResponseWriter, r *http.Request) *Request {
	request := &Request{Request: r, Encoding: strings.ToLower(r.Header.Get("Content-Encoding"))}
	wire := &counted{Reader: http.MaxBytesReader(w, r.Body, s.config.MaxWire)}
	request.Body, request.Problem = decode(wire, request.Encoding, s.config.MaxBody)
	if _, ok := errors.AsType[*http.MaxBytesError](request.Problem); ok {
		request.Problem = ErrTooLarge
	}
	// Read the rest: closing a connection with unread data resets it, and the client may lose the response.
	_, _ = io.Copy(io.Discard, wire)
	request.Wire = wire.n
	return request
}

func decode(wire io.Reader, encoding string, limit int64) ([]byte, error) {
	decoded := wire
	var err error
	switch encoding {
	case "", "identity":
	case "gzip":
		decoded, err = gzip.NewReader(wire)
	case "deflate":
		decoded, err = zlib.NewReader(wire)
	default:
		err = fmt.Errorf("unknown encoding %q", encoding)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEncoding, err)
	}
	body, err := io.ReadAll(io.LimitReader(decoded, limit+1))
	if int64(len(body)) > limit {
		return body[:limit], ErrTooLarge
	}
	if err != nil && decoded != wire {
		err = fmt.Errorf("%w: %w", ErrEncoding, err)
	}
	return body, err
}

// EventID returns the id of an event: metadata.uid, else the first 32 hex digits of the SHA-256 of the event without
// the white space between its tokens.
func EventID(event []byte) string {
	if uid := OwnID(event); uid != "" {
		return uid
	}
	return ContentHash(event)[:32]
}

// OwnID returns the event's metadata.uid, "" if it has none.
func OwnID(event []byte) string {
	var e struct {
		Metadata json.RawMessage `json:"metadata"`
	}
	var metadata struct {
		UID json.RawMessage `json:"uid"`
	}
	var uid string
	_ = json.Unmarshal(event, &e)
	_ = json.Unmarshal(e.Metadata, &metadata)
	_ = json.Unmarshal(metadata.UID, &uid)
	return uid
}

// ContentHash returns the SHA-256, in hex, of an event without the white space between its tokens.
func ContentHash(event []byte) string {
	var compact bytes.Buffer
	if json.Compact(&compact, event) != nil {
		compact.Reset()
		compact.Write(event)
	}
	sum := sha256.Sum256(compact.Bytes())
	return hex.EncodeToString(sum[:])
}

// OneLine reports whether an event contains no line break.
func OneLine(event []byte) bool { return !bytes.ContainsAny(event, "\r\n") }

// Standin reports whether event is the replacement for an event that exceeds its field, and returns that event's id.
func Standin(event []byte) (id string, ok bool) {
	var s struct {
		Truncated bool   `json:"truncated"`
		Bytes     *int64 `json:"bytes"`
		SHA256    string `json:"sha256"`
	}
	if json.Unmarshal(event, &s) != nil || !s.Truncated || s.Bytes == nil || len(s.SHA256) != 64 {
		return "", false
	}
	if uid := OwnID(event); uid != "" {
		return uid, true
	}
	return s.SHA256[:32], true
}

// MaxEvents is the largest number of events in one request, which the wire format limits.
const MaxEvents = 100

// CheckRequest records violations of the wire format that every HTTP SIEM accepts: the content type, a query string,
// bytes that are not UTF-8.
func (s *Server) CheckRequest(r *Request, contentType, query string) {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != contentType {
		s.Violate("content type is %q, not %s", r.Header.Get("Content-Type"), contentType)
	}
	if r.URL.RawQuery != query {
		s.Violate("the query of the url is %q, not %q", r.URL.RawQuery, query)
	}
	if !utf8.Valid(r.Body) {
		s.Violate("the body is not utf-8")
	}
}

// CheckCount records a violation if a request has more than [MaxEvents] events.
func (s *Server) CheckCount(n int) {
	if n > MaxEvents {
		s.Violate("more than %d events in a request", MaxEvents)
	}
}
