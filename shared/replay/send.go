package replay

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
	"golang.org/x/sync/errgroup"

	"github.com/arbitex/siem-connectors/shared/deadletter"
)

const (
	// maxChunk and maxChunkBytes are how much is sent before the progress is saved: what a crash may repeat.
	maxChunk      = 500
	maxChunkBytes = 8 << 20

	// The limits of a batch request of SQS, attributes included.
	// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
	maxEntries    = 10
	maxBatchBytes = 1 << 20
)

// chunks is the events to send for a group of objects, each once.
type chunks struct {
	entries []*entry
	index   map[chunkKey]*entry
}

type chunkKey struct {
	connector string
	id        deadletter.ID
}

// entry is one event to send.
type entry struct {
	connector string
	id        deadletter.ID
	body      []byte
	replays   int // before this one
	place     string

	state sendState
	saved bool // the progress contains it
}

type sendState uint8

const (
	notSent sendState = iota
	sent
	refusedBySQS
)

// send sends entries and saves the progress after each chunk. Only what is saved counts as gone.
func (s *session) send(ctx context.Context, entries []*entry) {
	for rest := entries; len(rest) > 0; {
		n, bytes := 0, 0
		for n < len(rest) && n < s.chunk && (n == 0 || bytes+len(rest[n].body) <= maxChunkBytes) {
			bytes += len(rest[n].body)
			n++
		}
		if s.late() {
			break
		}
		s.sendChunk(ctx, rest[:n])
		s.save(ctx, rest[:n])
		rest = rest[n:]
	}
	for _, e := range entries {
		switch e.state {
		case sent:
			s.replayed++
			s.byConnector[e.connector]++
		case refusedBySQS:
			s.skips.add(skipRefused, e.connector, 1, e.place)
		case notSent:
			s.remaining++
		}
	}
}

// save adds the sent entries of a chunk to the progress. A chunk that could not be saved is sent again by the next
// call, so this call ends.
func (s *session) save(ctx context.Context, chunk []*entry) {
	for _, e := range chunk {
		if e.state == sent {
			s.progress[e.connector].Add(e.id)
		}
	}
	if s.dryRun {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.lease.left()) // so that the next replay finds all of it
	defer cancel()
	failed := make(map[string]bool)
	for connector, p := range s.progress {
		if err := p.Save(ctx); err != nil {
			s.halted, failed[connector] = true, true
			s.fail(fmt.Sprintf("the progress could not be saved, and the next call may replay up to %d events of %s again",
				len(chunk), connector), cause(err))
		}
	}
	for _, e := range chunk {
		e.saved = e.state == sent && !failed[e.connector]
	}
}

// sendChunk sends events to their queues. It ends while the lease lasts, so that no other replay can send the same
// events.
func (s *session) sendChunk(ctx context.Context, chunk []*entry) {
	if s.dryRun {
		for _, e := range chunk {
			e.state = sent
		}
		return
	}
	if !s.keep(ctx) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, min(s.lease.left()/2, s.untilEnd(ctx)))
	defer cancel()
	batches := s.batches(chunk)
	errs := make([]error, len(batches))
	var g errgroup.Group
	g.SetLimit(width)
	for i, batch := range batches {
		g.Go(func() error {
			errs[i] = deadletter.Guard(func() error { return s.sendBatch(ctx, batch) })
			return nil
		})
	}
	_ = g.Wait()
	for i, err := range errs {
		if err != nil {
			connector := batches[i][0].connector
			s.fail(fmt.Sprintf("events of %s could not be sent", connector), cause(err))
			s.broken[connector] = true
		}
	}
}

// untilEnd is how long sending may take: half of the time that is kept for the end must be left.
func (s *session) untilEnd(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return leaseTime
	}
	return deadline.Sub(s.world.Now()) - deadline.Sub(s.stop)/2
}

// batches packs entries by the limits of a batch request, for each queue. It leaves out the broken connectors.
func (s *session) batches(entries []*entry) (all [][]*entry) {
	last, sizes := make(map[string]int), make(map[string]int)
	for _, e := range entries {
		if s.broken[e.connector] {
			continue
		}
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

// replaysAttribute counts the replays of a message. The connectors copy it to the next dead letter.
const replaysAttribute, numberType = "replays", "Number"

// attributeBytes is the size of the attribute, 0 when it does not fit: a message of the largest size is replayed
// without it rather than not at all.
func (e *entry) attributeBytes() int {
	n := len(replaysAttribute) + len(numberType) + len(strconv.Itoa(e.replays+1))
	if len(e.body)+n > maxBatchBytes {
		return 0
	}
	return n
}

func (e *entry) request(id int) types.SendMessageBatchRequestEntry {
	r := types.SendMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(id)), MessageBody: aws.String(string(e.body))}
	if e.attributeBytes() > 0 {
		r.MessageAttributes = map[string]types.MessageAttributeValue{
			replaysAttribute: {DataType: aws.String(numberType), StringValue: aws.String(strconv.Itoa(e.replays + 1))},
		}
	}
	return r
}

// sendBatch sends the entries of one request, and repeats those that the queue fails for now. An entry is sent only
// when the queue has confirmed it by its id.
func (s *session) sendBatch(ctx context.Context, entries []*entry) error {
	url := s.queues[entries[0].connector]
	for n := 1; ; n++ {
		in := &sqs.SendMessageBatchInput{QueueUrl: &url}
		for i, e := range entries {
			in.Entries = append(in.Entries, e.request(i))
		}
		out, err := s.world.SQS.SendMessageBatch(ctx, in)
		if err != nil {
			return err
		}
		if entries, err = classify(entries, out); len(entries) == 0 || n == deadletter.Tries {
			return err
		}
		if e := s.bucket.Pause(ctx, deadletter.Wait(n)); e != nil {
			return cmp.Or(err, e)
		}
	}
}

// classify sets the states of the entries, and returns those to repeat with the reason.
func classify(entries []*entry, out *sqs.SendMessageBatchOutput) (again []*entry, err error) {
	at := func(id *string) *entry {
		if i, err := strconv.Atoi(aws.ToString(id)); err == nil && 0 <= i && i < len(entries) {
			return entries[i]
		}
		return &entry{}
	}
	for _, ok := range out.Successful {
		at(ok.Id).state = sent
	}
	for _, failed := range out.Failed {
		if failed.SenderFault {
			at(failed.Id).state = refusedBySQS
			continue
		}
		err = errors.New("SQS: " + deadletter.Bound(aws.ToString(failed.Code)+" "+aws.ToString(failed.Message), 300))
	}
	for _, e := range entries {
		if e.state == notSent {
			again = append(again, e)
			err = cmp.Or(err, errors.New("SQS: the response does not name every message"))
		}
	}
	return again, err
}
