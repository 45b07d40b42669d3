package demo

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/emulator/cloud"
	"github.com/arbitex/siem-connectors/emulator/lambda/runtimeapi"
)

// meters collects the metrics of the functions and the CPU time of their processes. The functions' output is written to
// it.
type meters struct {
	*cloud.Lines

	mu      sync.Mutex
	tallies map[string]tally    // by connector
	warm    map[string][]sample // by function
	cold    []time.Duration     // first batches, with any result
}

// tally is the sum of a connector's metrics. Received counts attempts: an event that was received three times counts
// three times.
type tally struct{ Received, Retried int }

// sample is a batch without failures, of a process that had completed a batch before.
type sample struct {
	events int
	cpu    time.Duration
}

func newMeters(log io.Writer) *meters {
	m := &meters{tallies: map[string]tally{}, warm: map[string][]sample{}}
	m.Lines = cloud.NewLines(log, m.read)
	return m
}

// read records a line of embedded metrics, and ignores other lines.
func (m *meters) read(printed []byte) {
	if !bytes.HasPrefix(printed, []byte(`{"_aws":`)) {
		return
	}
	var values struct {
		Connector string
		tally
	}
	if json.Unmarshal(printed, &values) != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	sum := m.tallies[values.Connector]
	sum.Received += values.Received
	sum.Retried += values.Retried
	m.tallies[values.Connector] = sum
}

// observe records a batch; see cloud.Options.
func (m *meters) observe(function string, payload []byte, r runtimeapi.Result) {
	var batch struct{ Records []struct{} }
	var answer struct{ BatchItemFailures []struct{} }
	if r.Init > 0 {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.cold = append(m.cold, r.CPU)
		return
	}
	if r.Error != nil || r.CPU == 0 || json.Unmarshal(payload, &batch) != nil || json.Unmarshal(r.Payload,
		&answer) != nil {
		return
	}
	if len(batch.Records) == 0 || len(answer.BatchItemFailures) > 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.warm[function] = append(m.warm[function], sample{len(batch.Records), r.CPU})
}

func (m *meters) tally(connector string) tally {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tallies[connector]
}

// fullBatch is the smallest batch that is counted. In smaller ones, the fixed cost of a batch dominates.
const fullBatch = 50

// fewBatches are too few for a median: one of them may have been bisected.
const fewBatches = 3

// steady returns the CPU time of a warm process for 1,000 events: the median of the batches, 0 if there are too few.
func (m *meters) steady(function string) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	var costs []time.Duration
	for _, s := range m.warm[function] {
		if s.events >= fullBatch {
			costs = append(costs, s.cpu*1000/time.Duration(s.events))
		}
	}
	if len(costs) < fewBatches {
		return 0
	}
	return median(costs)
}

// start returns the CPU time of a process from its start to the end of its first batch, including the secret and the
// TLS handshakes; 0 if there was none.
func (m *meters) start() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return median(m.cold)
}

func median(of []time.Duration) time.Duration {
	if len(of) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}
