package deadletter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/arbitex/siem-connectors/shared/connectors"
)

const (
	// maxChunk and maxChunkBytes are how much is sent before the ledger is written: what a crash may repeat.
	maxChunk      = 500
	maxChunkBytes = 8 << 20

	// The limits of a batch request of SQS, attributes included.
	// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
	maxEntries    = 10
	maxBatchBytes = 1 << 20
)

// chunk is the events that are sent together, before the ledger is written once.
type chunk struct {
	most    int // entries
	entries []entry
	bytes   int
	index   map[chunkKey]int // of entries
}

type chunkKey struct {
	connector string
	id        ident
}

// entry is one event to put back.
type entry struct {
	connector string
	id        ident
	day       int64
	body      string
	replays   int        // so far
	from      []*reading // the objects whose lines it settles; more than one when a message has several records

	state sendState
}

type sendState uint8

const (
	notSent sendState = iota
	sent
	refusedBySQS
)

func (c *chunk) fits(bytes int) bool {
	return len(c.entries) == 0 || len(c.entries) < c.most && c.bytes+bytes <= maxChunkBytes
}

func (c *chunk) add(e entry) {
	if c.index == nil {
		c.index = make(map[chunkKey]int, c.most)
	}
	c.index[chunkKey{e.connector, e.id}] = len(c.entries)
	c.entries = append(c.entries, e)
	c.bytes += len(e.body)
}

// again tells whether the message is in the chunk already; what becomes of it is then also this record's fate.
func (c *chunk) again(e entry, st *reading) bool {
	i, ok := c.index[chunkKey{e.connector, e.id}]
	if ok {
		c.entries[i].from = append(c.entries[i].from, st)
	}
	return ok
}

func (c *chunk) reset() {
	clear(c.entries)
	clear(c.index)
	c.entries, c.bytes = c.entries[:0], 0
}

// commit sends the chunk, writes the ledger, and moves the objects that are done with. In this order: what has been sent
// is noted before anything is moved, and only what is noted counts as done.
func (s *run) commit(ctx context.Context) {
	if len(s.chunk.entries) > 0 {
		s.late()
		if !s.halted {
			s.send(ctx)
		}
		noted := s.note(ctx)
		for i := range s.chunk.entries {
			s.account(&s.chunk.entries[i], noted)
		}
		s.chunk.reset()
	}
	if !s.request.dryRun {
		s.settle(ctx)
	}
	s.open = s.open[:0]
}

// note writes the ledger. A chunk that was sent and could not be noted is sent again by the next call, so this one ends.
func (s *run) note(ctx context.Context) bool {
	for i := range s.chunk.entries {
		if e := &s.chunk.entries[i]; e.state == sent {
			s.ledger(e.connector).add(e.day, e.id)
		}
	}
	if !s.request.dryRun {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.lease.left()) // so that the next replay finds all of it
		defer cancel()
	}
	for _, connector := range connectors.Names() {
		l := s.ledgers[connector]
		if l == nil {
			continue
		}
		if err := l.save(ctx); err != nil {
			s.halted = true
			s.fail(fmt.Sprintf("what was put back could not be noted, and the next call may put up to %d events of %s back again: %s",
				s.chunk.most, connector, cause(err)))
			return false
		}
	}
	return true
}

// account counts what has become of an entry.
func (s *run) account(e *entry, noted bool) {
	switch e.state {
	case sent:
		s.replayed++
		s.byConnector[e.connector]++
	case refusedBySQS:
		s.tally.add(skipRefused, e.connector, 1)
	case notSent:
		s.remaining++
	}
	for _, st := range e.from {
		if e.state == sent && noted {
			st.done++
		} else {
			st.left++
		}
	}
}

// send puts the chunk's events on their queues. It ends while the lease still holds, so that no other replay can be
// sending the same events.
func (s *run) send(ctx context.Context) {
	if s.request.dryRun {
		for i := range s.chunk.entries {
			s.chunk.entries[i].state = sent
		}
		return
	}
	if s.keep(ctx); s.halted {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, min(s.lease.left()/2, s.untilEnd(ctx)))
	defer cancel()
	batches := s.batches()
	errs := each(len(batches), width, func(i int) error { return s.sendBatch(ctx, batches[i]) })
	for i, err := range errs {
		if err == nil {
			continue
		}
		connector := batches[i][0].connector
		s.fail(fmt.Sprintf("events of %s could not be put back: %s", connector, cause(err)))
		s.broken[connector] = true
	}
}

// untilEnd is how long sending may take at most: half of what is kept for the end is left.
func (s *run) untilEnd(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return leaseTime
	}
	return deadline.Sub(s.Now()) - deadline.Sub(s.stop)/2
}

// batches packs the chunk's entries by the queue's limits, each queue's apart.
func (s *run) batches() [][]*entry {
	var all [][]*entry
	last := make(map[string]int)
	sizes := make(map[string]int)
	for i := range s.chunk.entries {
		e := &s.chunk.entries[i]
		n := len(e.body) + e.attributeBytes()
		at, ok := last[e.connector]
		if !ok || len(all[at]) == maxEntries || sizes[e.connector]+n > maxBatchBytes {
			at, sizes[e.connector] = len(all), 0
			last[e.connector] = at
			all = append(all, nil)
		}
		all[at] = append(all[at], e)
		sizes[e.connector] += n
	}
	return all
}

// replaysAttribute carries how often a message has been put back. The connectors hand it on to the next dead letter.
const replaysAttribute, numberType = "replays", "Number"

// attributeBytes is what the attribute takes, 0 when it does not fit: a message of the largest size is put back
// without it rather than not at all.
func (e *entry) attributeBytes() int {
	n := len(replaysAttribute) + len(numberType) + len(strconv.Itoa(e.replays+1))
	if len(e.body)+n > maxBatchBytes {
		return 0
	}
	return n
}

func (e *entry) request(id int) types.SendMessageBatchRequestEntry {
	r := types.SendMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(id)), MessageBody: &e.body}
	if e.attributeBytes() > 0 {
		r.MessageAttributes = map[string]types.MessageAttributeValue{
			replaysAttribute: {DataType: aws.String(numberType), StringValue: aws.String(strconv.Itoa(e.replays + 1))},
		}
	}
	return r
}

// sendBatch sends the entries of one request, and those again that the queue asks for again. An entry is sent when the
// queue says so by its id, and not before.
func (s *run) sendBatch(ctx context.Context, entries []*entry) error {
	url := s.queues[entries[0].connector]
	waiting := entries
	for n := 1; ; n++ {
		in := &sqs.SendMessageBatchInput{QueueUrl: &url}
		for i, e := range waiting {
			in.Entries = append(in.Entries, e.request(i))
		}
		out, err := s.queue.SendMessageBatch(ctx, in)
		if err != nil {
			return err
		}
		if err = judge(waiting, out); err == nil {
			return nil
		}
		var again []*entry
		for _, e := range waiting {
			if e.state == notSent {
				again = append(again, e)
			}
		}
		if n == tries || len(again) == 0 {
			return err
		}
		if e := s.bucket.pause(ctx, wait(n)); e != nil {
			return cmp.Or(err, e)
		}
		waiting = again
	}
}

// judge takes the queue's answer. The error is about those that may be sent again.
func judge(entries []*entry, out *sqs.SendMessageBatchOutput) error {
	at := func(id *string) *entry {
		if i, err := strconv.Atoi(aws.ToString(id)); err == nil && 0 <= i && i < len(entries) {
			return entries[i]
		}
		return &entry{}
	}
	for _, ok := range out.Successful {
		at(ok.Id).state = sent
	}
	var err error
	for _, failed := range out.Failed {
		if failed.SenderFault {
			at(failed.Id).state = refusedBySQS
			continue
		}
		err = errors.New("SQS: " + bound(aws.ToString(failed.Code)+" "+aws.ToString(failed.Message), 300))
	}
	for _, e := range entries {
		if e.state == notSent && err == nil {
			err = errors.New("SQS: has not answered for every message")
		}
	}
	return err
}
