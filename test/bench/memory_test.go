package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// memory is a network with one SIEM that responds at once and allocates nothing per request, so that only the
// connector's allocations are counted. It implements the part of HTTP that the connectors use.
type memory struct {
	success string
	records int // in a response of Elasticsearch

	mu       sync.Mutex
	requests int // token requests are not counted
	down     bool
}

func (m *memory) dial(context.Context, string, string) (net.Conn, error) {
	c := &memoryConn{m: m}
	c.cond.L = &c.mu
	return c, nil
}

// count returns the number of requests since the last call.
func (m *memory) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.requests
	m.requests = 0
	return n
}

// reply returns the response of the SIEM at path.
func (m *memory) reply(path []byte) string {
	status, body := "200 OK", m.success
	m.mu.Lock()
	down := m.down
	m.mu.Unlock()
	if down && !strings.HasSuffix(string(path), "/token") {
		return "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"
	}
	switch p := string(path); {
	case strings.HasSuffix(p, "/token"):
		body = `{"token_type":"Bearer","expires_in":3599,"access_token":"a-token"}`
	case strings.HasSuffix(p, "/_bulk"):
		body = `{"errors":false,"items":[` + strings.TrimSuffix(strings.Repeat(`{"index":{"status":201}},`, m.records), ",") +
			`]}`
	case strings.Contains(p, "dataCollectionRules"):
		status = "204 No Content"
	case strings.HasPrefix(p, "/services"):
		body = `{"text":"Success","code":0}`
	case strings.HasSuffix(p, "/api/v2/logs"):
		status, body = "202 Accepted", "{}"
	}
	return "HTTP/1.1 " + status + "\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
}

// memoryConn is both ends of a connection.
type memoryConn struct {
	m    *memory
	mu   sync.Mutex
	cond sync.Cond

	header []byte // of the request that is coming in
	left   int    // bytes of its body that are to come; only when the header is complete
	whole  bool   // the header is complete
	target string // the path the answer was made for
	answer string // made once
	out    string // of the answer, to be read
	closed bool
}

// Write implements net.Conn.
func (c *memoryConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(p)
	for len(p) > 0 && !c.closed {
		p = c.take(p)
	}
	return n, nil
}

// take consumes the part of p that belongs to the header or the body.
func (c *memoryConn) take(p []byte) (rest []byte) {
	if !c.whole {
		before := len(c.header)
		c.header = append(c.header, p...)
		end := bytes.Index(c.header, []byte("\r\n\r\n"))
		if end < 0 {
			return nil
		}
		end += 4
		c.header, p, c.whole = c.header[:end], p[end-before:], true
		c.left = contentLength(c.header)
	}
	n := min(c.left, len(p))
	if c.left -= n; c.left == 0 {
		c.respond()
	}
	return p[n:]
}

func (c *memoryConn) respond() {
	_, path, _ := bytes.Cut(c.header, []byte(" "))
	path, _, _ = bytes.Cut(path, []byte(" "))
	path, _, _ = bytes.Cut(path, []byte("?"))
	if c.target != string(path) || c.answer == "" {
		c.target, c.answer = string(path), c.m.reply(path)
	}
	if !strings.HasSuffix(c.target, "/token") {
		c.m.mu.Lock()
		c.m.requests++
		c.m.mu.Unlock()
	}
	c.header, c.whole, c.out = c.header[:0], false, c.answer
	c.cond.Broadcast()
}

func contentLength(header []byte) (n int) {
	_, value, _ := bytes.Cut(header, []byte("\r\nContent-Length: "))
	for _, digit := range value {
		if digit < '0' || digit > '9' {
			break
		}
		n = n*10 + int(digit-'0')
	}
	return n
}

// Read implements net.Conn.
func (c *memoryConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.out == "" && !c.closed {
		c.cond.Wait()
	}
	if c.closed {
		return 0, io.EOF
	}
	n := copy(p, c.out)
	c.out = c.out[n:]
	return n, nil
}

// Close implements net.Conn.
func (c *memoryConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.cond.Broadcast()
	return nil
}

// LocalAddr and the methods after it implement net.Conn.
func (c *memoryConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *memoryConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *memoryConn) SetDeadline(time.Time) error      { return nil }
func (c *memoryConn) SetReadDeadline(time.Time) error  { return nil }
func (c *memoryConn) SetWriteDeadline(time.Time) error { return nil }
