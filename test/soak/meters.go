package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/arbitex/siem-connectors/emulator/cloud"
)

// counts is what the functions say of their batches in their metrics, by attempt: an event that came three times was
// received three times.
type counts struct{ Received, Delivered, Retried, DeadLettered, Requests int }

// meters sums up the metrics among the lines that the functions print, and writes all lines on.
type meters struct {
	*cloud.Lines

	mu  sync.Mutex
	sum counts
}

func newMeters(log io.Writer) *meters {
	m := &meters{}
	m.Lines = cloud.NewLines(log, m.read)
	return m
}

func (m *meters) read(printed []byte) {
	var values struct {
		counts
		Connector string
	}
	if !bytes.HasPrefix(printed, []byte(`{"_aws":`)) || json.Unmarshal(printed, &values) != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
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
func (m *meters) note(err error) { fmt.Fprintln(m, "soak |", err) }
