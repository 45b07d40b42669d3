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
	"net/http"
	"strings"
)

// The problems a body can have before anybody looks into it.
var (
	ErrTooLarge = errors.New("body is larger than the limit")
	ErrEncoding = errors.New("body is not what its Content-Encoding says")
)

// Request is one request with its body read and decoded.
type Request struct {
	*http.Request
	// Body is the decoded body, owned by the handler; cut at the limit when Problem is [ErrTooLarge].
	Body []byte
	// Wire is how many bytes of body came over the wire.
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

// read takes the body in: at most MaxWire bytes of it, and of what they decode to at most MaxBody.
func (s *Server) read(w http.ResponseWriter, r *http.Request) *Request {
	request := &Request{Request: r, Encoding: strings.ToLower(r.Header.Get("Content-Encoding"))}
	wire := &counted{Reader: http.MaxBytesReader(w, r.Body, s.config.MaxWire)}
	request.Body, request.Problem = decode(wire, request.Encoding, s.config.MaxBody)
	if _, ok := errors.AsType[*http.MaxBytesError](request.Problem); ok {
		request.Problem = ErrTooLarge
	}
	// What is left is read away: a server that closes on a client still sending resets the answer out of its hands.
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

// EventID is the id of an event by the contract: metadata.uid, else the first 32 hex digits of SHA-256 over its bytes. (The
// contract takes the bytes as received by the function: for an event without metadata.uid that was not compact when
// enqueued, this is another id.)
func EventID(event []byte) string {
	var e struct {
		Metadata json.RawMessage `json:"metadata"`
	}
	var metadata struct {
		UID json.RawMessage `json:"uid"`
	}
	var uid string
	if json.Unmarshal(event, &e) == nil && json.Unmarshal(e.Metadata, &metadata) == nil &&
		json.Unmarshal(metadata.UID, &uid) == nil && uid != "" {
		return uid
	}
	sum := sha256.Sum256(event)
	return hex.EncodeToString(sum[:16])
}

// OneLine tells whether the JSON text is compact enough to be one event a line: no line break in it.
func OneLine(event []byte) bool { return !bytes.ContainsAny(event, "\r\n") }

// Standin reads the stand-in for an event too large for its field (contract 3): ok tells whether event is one.
func Standin(event []byte) (id string, ok bool) {
	var s struct {
		Truncated bool   `json:"truncated"`
		Bytes     *int64 `json:"bytes"`
		SHA256    string `json:"sha256"`
		Metadata  struct {
			UID string `json:"uid"`
		} `json:"metadata"`
	}
	if json.Unmarshal(event, &s) != nil || !s.Truncated || s.Bytes == nil || len(s.SHA256) != 64 {
		return "", false
	}
	if s.Metadata.UID == "" {
		return s.SHA256[:32], true
	}
	return s.Metadata.UID, true
}
