package replay

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/arbitex/siem-connectors/shared/deadletter"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
	"github.com/arbitex/siem-connectors/shared/sqsbatch"
)

// maxChunk is how many events are sent before the progress is saved: what a crash may repeat.
const maxChunk = 500

// send sends the waiting lines of a connector, and saves the progress after each chunk. Only what is saved is gone.
func (s *session) send(ctx context.Context, t *target) {
	for chunk := range slices.Chunk(t.waiting, s.chunk) {
		if t.broken || s.late() || !s.keep(ctx) {
			break
		}
		s.sendChunk(ctx, t, chunk)
		s.save(ctx, t, chunk)
	}
	for _, l := range t.waiting {
		switch {
		case l.sent:
			s.done++
			t.done++
		case l.refused:
			s.skips.add(skipRefused, t.name, 1, l.place())
		default:
			s.remaining++
		}
	}
	t.waiting = nil
}

// sendChunk sends lines to their queue, and those again that SQS fails for now. It ends while the lease lasts, so that
// no other replay can send the same events; and when half of the time for the end is left.
func (s *session) sendChunk(ctx context.Context, t *target, lines []*line) {
	most := s.lease.left() / 2
	if deadline, ok := ctx.Deadline(); ok {
		most = min(most, deadline.Sub(s.world.Now())-deadline.Sub(s.stop)/2)
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for n := 1; ; n++ {
		sender := sqsbatch.NewSender(ctx, s.world.SQS, t.queue, "events", func(i int) { lines[i].sent = true })
		sender.Refused = func(i int) { lines[i].refused = true }
		for i, l := range lines {
			sender.Add(i, l.record.Body, 0, l.attributes())
		}
		err := cmp.Or(sender.Wait()...)
		if err == nil {
			return
		}
		if deadletter.ErrorCode(err) != "" || !s.bucket.Again(ctx, n) { // the SDK has repeated a failed request
			t.broken = true
			s.fail(fmt.Sprintf("events of %s could not be sent", t.name), cause(err))
			return
		}
		lines = slices.DeleteFunc(slices.Clone(lines), func(l *line) bool { return l.sent || l.refused })
	}
}

// attributes counts the replays of the message. A message of the largest size is replayed without it rather than not at
// all.
func (l *line) attributes() sqsbatch.Attributes {
	a := sqsbatch.Attributes{sqsbatch.Replays: sqsbatch.Number(l.record.Replays + 1)}
	if a.Size(l.record.Body) > sqsbatch.MaxBytes {
		return nil
	}
	return a
}

// save adds the sent lines of a chunk to the progress. A chunk that could not be saved is sent again by the next call,
// so this call ends.
func (s *session) save(ctx context.Context, t *target, chunk []*line) {
	for _, l := range chunk {
		if l.sent {
			t.progress.Add(l.id)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.lease.left()) // so that the next replay finds all of it
	defer cancel()
	if err := t.progress.Save(ctx); err != nil {
		s.halted = true
		s.fail(fmt.Sprintf("the progress could not be saved, and the next call may replay up to %d events of %s again",
			len(chunk), t.name), cause(err))
		return
	}
	for _, l := range chunk {
		l.gone = l.sent
	}
}

// dry returns a replay that reads the same, and writes and sends without effect.
func (r *Replay) dry() *Replay {
	d := *r
	d.bucket.Store, d.world.SQS = dryRun{Store: r.bucket.Store}, dryRun{}
	return &d
}

// dryRun is S3 and SQS of a dry run. Every write succeeds.
type dryRun struct {
	deadletter.Store
	lambdahost.SQS
}

// PutObject implements deadletter.Store.
func (dryRun) PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	return &s3.PutObjectOutput{}, nil
}

// CopyObject implements deadletter.Store.
func (dryRun) CopyObject(context.Context, *s3.CopyObjectInput, ...func(*s3.Options)) (*s3.CopyObjectOutput, error) {
	return &s3.CopyObjectOutput{}, nil
}

// DeleteObject implements deadletter.Store.
func (dryRun) DeleteObject(
	context.Context, *s3.DeleteObjectInput, ...func(*s3.Options),
) (*s3.DeleteObjectOutput, error) {
	return &s3.DeleteObjectOutput{}, nil
}

// SendMessageBatch implements lambdahost.SQS.
func (dryRun) SendMessageBatch(
	_ context.Context, in *sqs.SendMessageBatchInput, _ ...func(*sqs.Options),
) (*sqs.SendMessageBatchOutput, error) {
	out := &sqs.SendMessageBatchOutput{}
	for _, e := range in.Entries {
		out.Successful = append(out.Successful, types.SendMessageBatchResultEntry{Id: e.Id})
	}
	return out, nil
}
