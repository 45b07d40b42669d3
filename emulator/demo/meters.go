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

// meters keeps what the functions say of themselves in their metrics, and what their processes take. It is the writer of
// their output, which it hands on.
type meters struct {
	*cloud.Lines

	mu      sync.Mutex
	tallies map[string]tally    // by connector
	warm    map[string][]sample // by function
	cold    []time.Duration     // first batches, whatever became of them
}

// tally sums up a connector's metrics. Received is by attempt: an event that came three times counts three times.
type tally struct{ Received, Retried int }

// sample is one batch that nothing befell, handled by a process that had handled one before.
type sample struct {
	events int
	cpu    time.Duration
}

func newMeters(log io.Writer) *meters {
	m := &meters{tallies: map[string]tally{}, warm: map[string][]sample{}}
	m.Lines = cloud.NewLines(log, m.read)
	return m
}

// read enters a line of embedded metrics; others it ignores.
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

// observe enters a batch; see cloud.Options.
func (m *meters) observe(function string, payload []byte, r runtimeapi.Result) {
	var batch struct{ Records []struct{} }
	var answer struct{ BatchItemFailures []struct{} }
	if r.Init > 0 {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.cold = append(m.cold, r.CPU)
		return
	}
	if r.Error != nil || r.CPU == 0 || json.Unmarshal(payload, &batch) != nil || json.Unmarshal(r.Payload, &answer) != nil {
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

// fullBatch is how many events a batch must have to be counted: in a smaller one, what a batch costs whatever its size would
// be taken for the events' cost.
const fullBatch = 50

// fewBatches are too few to take a median of: one of them may have been halved to find an event that the SIEM refuses.
const fewBatches = 3

// steady is the CPU time a warm process takes for 1,000 events: the median of the batches, 0 when there are too few.
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

// start is the CPU time of a process from its start to the end of its first batch: the program's start, the secret, TLS
// handshakes and the batch. 0 when there was none.
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
