package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// counts is what the functions say of their batches in their metrics, by attempt: an event that came three times was
// received three times.
type counts struct{ Received, Delivered, Retried, DeadLettered, Requests int }

// meters sums up the metrics among the lines that the functions print, and writes all lines on.
type meters struct {
	log io.Writer

	mu   sync.Mutex
	rest []byte
	sum  counts
}

func newMeters(log io.Writer) *meters { return &meters{log: log} }

// Write takes output as package cloud writes it: lines of "function | what it printed".
func (m *meters) Write(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rest = append(m.rest, b...)
	for {
		line, rest, ok := bytes.Cut(m.rest, []byte("\n"))
		if !ok {
			break
		}
		m.read(line)
		m.rest = rest
	}
	m.rest = bytes.Clone(m.rest)
	return m.log.Write(b)
}

func (m *meters) read(line []byte) {
	_, printed, _ := bytes.Cut(line, []byte(" | "))
	var values struct {
		counts
		Connector string
	}
	if !bytes.HasPrefix(printed, []byte(`{"_aws":`)) || json.Unmarshal(printed, &values) != nil {
		return
	}
	m.sum.Received += values.Received
	m.sum.Delivered += values.Delivered
	m.sum.Retried += values.Retried
	m.sum.DeadLettered += values.DeadLettered
	m.sum.Requests += values.Requests
}

// total is the sum so far.
func (m *meters) total() counts {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sum
}

// note writes an error of the soak's own between the lines.
func (m *meters) note(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, _ = fmt.Fprintln(m.log, "soak |", err)
}
