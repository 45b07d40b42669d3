package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/arbitex/siem-connectors/emulator/cloud"
)

// counts are the metrics of the functions. They count attempts: an event that was received three times counts three
// times.
type counts struct{ Received, Delivered, Retried, DeadLettered, Requests int }

// meters sums the metrics in the lines that the functions print, and writes all lines to a file.
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

// total returns the sum so far.
func (m *meters) total() counts {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sum
}

// note writes an error of the soak itself between the lines.
func (m *meters) note(err error) { fmt.Fprintln(m, "soak |", err) }
