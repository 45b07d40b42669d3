package simulation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/arbitex/siem-connectors/internal/testkit/fakeaws"
)

// queueClient is the SQS client of a process.
type queueClient struct{ *process }

// ChangeMessageVisibilityBatch implements lambdahost.SQS.
func (c queueClient) ChangeMessageVisibilityBatch(ctx context.Context, in *sqs.ChangeMessageVisibilityBatchInput,
	_ ...func(*sqs.Options)) (out *sqs.ChangeMessageVisibilityBatchOutput, err error) {
	const op = "ChangeMessageVisibilityBatch"
	err = c.effect(ctx, op, aws.ToString(in.Entries[0].ReceiptHandle), func(inv *invocation, n int) error {
		if c.inject(visibilityFails, inv, op, n) {
			return fakeaws.Error("InternalError")
		}
		asked := *in
		var failed []types.BatchResultErrorEntry
		if c.inject(visibilityEntry, inv, op, n) {
			failed = append(failed, types.BatchResultErrorEntry{Id: in.Entries[0].Id, Code: aws.String("InternalError"),
				Message: aws.String("injected")})
			asked.Entries = in.Entries[1:]
		}
		out = &sqs.ChangeMessageVisibilityBatchOutput{}
		if len(asked.Entries) > 0 {
			if out, err = c.sqs.ChangeMessageVisibilityBatch(ctx, &asked); err != nil {
				return err
			}
		}
		for _, e := range asked.Entries {
			c.checkWait(inv, aws.ToString(e.ReceiptHandle), int(e.VisibilityTimeout))
		}
		out.Failed = append(out.Failed, failed...)
		return nil
	})
	return out, err
}

// SendMessageBatch implements lambdahost.SQS.
func (c queueClient) SendMessageBatch(ctx context.Context, in *sqs.SendMessageBatchInput,
	_ ...func(*sqs.Options)) (out *sqs.SendMessageBatchOutput, err error) {
	const op = "SendMessageBatch"
	var sure []func() // what the function knows once it has the response
	var bodies []string
	err = c.effect(ctx, op, aws.ToString(in.Entries[0].MessageBody), func(inv *invocation, n int) error {
		if c.inject(sendFails, inv, op, n) {
			return fakeaws.Error("InternalError")
		}
		asked := *in
		var failed []types.BatchResultErrorEntry
		if c.inject(sendEntry, inv, op, n) {
			failed = append(failed, types.BatchResultErrorEntry{Id: in.Entries[0].Id, Code: aws.String("InternalError"),
				Message: aws.String("injected")})
			asked.Entries = in.Entries[1:]
		}
		out = &sqs.SendMessageBatchOutput{}
		if len(asked.Entries) > 0 {
			if out, err = c.sqs.SendMessageBatch(ctx, &asked); err != nil {
				return err
			}
		}
		for _, ok := range out.Successful {
			i := slices.IndexFunc(asked.Entries, func(e types.SendMessageBatchRequestEntry) bool { return *e.Id == *ok.Id })
			c.sentBy(roleID(c.role)+":function", *ok.MessageId)
			bodies = append(bodies, aws.ToString(asked.Entries[i].MessageBody))
			sure = append(sure, c.sent(inv, aws.ToString(in.QueueUrl), &asked.Entries[i]))
		}
		out.Failed = append(out.Failed, failed...)
		if c.inject(sendLost, inv, op, n) {
			return errLost
		}
		return nil
	})
	if err != nil {
		c.excuse("the response of SendMessageBatch was lost", bodies...)
		return out, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, note := range sure {
		note()
	}
	return out, err
}

var errLost = errors.New("the response is lost")

// sent records a message that a function has sent: a dead letter, the remainder of a message, or a replayed event. The
// function that it returns records that the function knows it; the world is then locked.
func (p *process) sent(inv *invocation, queue string, entry *types.SendMessageBatchRequestEntry) func() {
	events := p.eventsIn(aws.ToString(entry.MessageBody))
	switch {
	case len(events) == 0:
		p.broken("nothing is invented", "%s sends a message whose body was never enqueued: %.200q", inv,
			aws.ToString(entry.MessageBody))
		return func() {}
	case queue == deadLetterQueue:
		return p.sentLetter(inv, events[0], entry)
	case p.pipeline != nil:
		return p.sentRemainder(inv, queue, events, entry)
	}
	return p.sentReplay(inv, queue, events[0])
}

func (p *process) sentLetter(inv *invocation, e *event, entry *types.SendMessageBatchRequestEntry) func() {
	p.tell("%s sends %s to the dead-letter queue: %s", inv, e, attribute(entry, "error"))
	p.mu.Lock()
	e.dead++
	p.counts["dead letters"]++
	p.mu.Unlock()
	p.checkLetter(inv, e, entry)
	return func() { inv.dead[attribute(entry, "message_id")] = true }
}

func (p *process) sentReplay(inv *invocation, queue string, e *event) func() {
	p.tell("%s replays %s", inv, e)
	if queue != e.pipeline.queueURL {
		p.broken("to the queue it came from", "%s replays %s to %s", inv, e, queue)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	e.putBack++
	e.queued++
	p.counts["events replayed"]++
	inv.putBack = append(inv.putBack, e)
	return func() {}
}

// sentRemainder records the events of a message that are to be retried, which the connector sends to its own queue.
func (p *process) sentRemainder(inv *invocation, queue string, events []*event,
	entry *types.SendMessageBatchRequestEntry) func() {
	p.mu.Lock()
	attempts := attribute(entry, "attempts")
	r, ids := inv.remainder(events, attempts)
	for _, e := range events {
		e.queued++
	}
	p.counts["remainders sent"]++
	p.mu.Unlock()
	p.tell("%s sends a remainder of %d events of %s, in %d s", inv, len(events), short(r.id), entry.DelaySeconds)
	// Without time to send all events, the attempt does not count.
	counted := attempts == fmt.Sprint(r.attempt) && (r.attempt < maxAttempts || inv.sendFailed()) ||
		attempts == fmt.Sprint(r.attempt-1) && inv.slow()
	switch {
	case ids == nil || queue != p.pipeline.queueURL:
		p.broken("nothing is invented", "%s sends %v to %s, which is not a part of a message", inv, events, queue)
		return func() {}
	case !counted:
		p.broken("five attempts and no more", "%s sends a remainder with attempts %q after attempt %d", inv, attempts,
			r.attempt)
	case attribute(entry, "replays") != r.replays:
		p.broken("replays are counted", "%s sends a remainder with replays %q instead of %q", inv,
			attribute(entry, "replays"), r.replays)
	default:
		p.checkDelay(inv, r, events, int(entry.DelaySeconds))
	}
	return func() {
		for _, id := range ids {
			inv.resent[id] = true
		}
		for _, e := range events {
			inv.again[e]++
		}
	}
}

// remainder returns the smallest array of the batch that contains the events in their order and others, and the ids of
// these events. A message all of whose events are to be retried is not sent again. Two messages of a batch may have the
// same events, so an id counts once, and an array whose attempts the remainder continues comes first. The world is
// locked.
func (i *invocation) remainder(events []*event, attempts string) (of received, ids []string) {
	fits := func(r received) bool { return attempts == fmt.Sprint(r.attempt) || attempts == fmt.Sprint(r.attempt-1) }
	for _, r := range i.batch {
		var found []string
		for n, e := range r.events {
			if id := r.letterID(n); len(found) < len(events) && e == events[len(found)] && !i.claimed[id] {
				found = append(found, id)
			}
		}
		if r.array && len(found) == len(events) && len(found) < len(r.events) &&
			(ids == nil || fits(r) && !fits(of) || fits(r) == fits(of) && len(r.events) < len(of.events)) {
			of, ids = r, found
		}
	}
	for _, id := range ids {
		i.claimed[id] = true
	}
	return of, ids
}

func attribute(e *types.SendMessageBatchRequestEntry, name string) string {
	return aws.ToString(e.MessageAttributes[name].StringValue)
}

// secretsClient is the Secrets Manager client of a process.
type secretsClient struct{ *process }

// GetSecretValue implements lambdahost.Secrets.
func (c secretsClient) GetSecretValue(ctx context.Context, in *secretsmanager.GetSecretValueInput,
	_ ...func(*secretsmanager.Options)) (out *secretsmanager.GetSecretValueOutput, err error) {
	const op = "GetSecretValue"
	err = c.effect(ctx, op, "", func(inv *invocation, n int) error {
		if c.inject(secretFails, inv, op, n) {
			return fakeaws.Error("InternalServiceError")
		}
		if c.inject(secretHangs, inv, op, n) {
			<-ctx.Done()
			return ctx.Err()
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		out = &secretsmanager.GetSecretValueOutput{SecretString: aws.String(c.secrets[*in.SecretId])}
		return nil
	})
	return out, err
}

// storeClient is the S3 client of a process.
type storeClient struct{ *process }

// random matches the random part of a key, the name of a replay.
var random = regexp.MustCompile(`[0-9a-f]{32}-`)

// guarded performs a request to S3 with its faults.
func guarded[T any](ctx context.Context, c storeClient, op, key string, conditional bool,
	do func() (*T, error)) (out *T, err error) {
	err = c.effect(ctx, op, random.ReplaceAllString(key, ""), func(inv *invocation, n int) error {
		switch {
		case c.inject(s3Fails, inv, op, n):
			return fakeaws.Error("InternalError")
		case conditional && c.inject(s3Conflict, inv, op, n):
			return fakeaws.Error("ConditionalRequestConflict")
		}
		if out, err = do(); err != nil {
			return err
		}
		if c.inject(s3Lost, inv, op, n) {
			return errLost
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// PutObject implements the S3 API.
func (c storeClient) PutObject(ctx context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput,
	error) {
	body, err := io.ReadAll(in.Body)
	if err != nil {
		return nil, err
	}
	return guarded(ctx, c, "PutObject", *in.Key, in.IfNoneMatch != nil || in.IfMatch != nil, func() (*s3.PutObjectOutput,
		error) {
		asked := *in
		asked.Body = strings.NewReader(string(body))
		out, err := c.s3.PutObject(ctx, &asked)
		if err == nil {
			c.stored(*in.Key, body)
		}
		return out, err
	})
}

// GetObject implements the S3 API.
func (c storeClient) GetObject(ctx context.Context, in *s3.GetObjectInput, _ ...func(*s3.Options)) (*s3.GetObjectOutput,
	error) {
	return guarded(ctx, c, "GetObject", *in.Key, false, func() (*s3.GetObjectOutput, error) {
		if strings.Contains(*in.Key, "/"+oldName) && !c.openOld(ctx, *in.Key) {
			return nil, ctx.Err()
		}
		out, err := c.s3.GetObject(ctx, in)
		if err == nil {
			inv, n := c.next("read" + random.ReplaceAllString(*in.Key, ""))
			n += 1000 * c.rng.below(1<<40, random.ReplaceAllString(*in.Key, ""))
			if inv != nil && c.inject(s3Breaks, inv, "read", n) {
				out.Body = &broken{out.Body, aws.ToInt64(out.ContentLength) / 2}
			}
		}
		return out, err
	})
}

// openOld takes the time to read an old dead letter, and counts it.
func (c storeClient) openOld(ctx context.Context, key string) bool {
	c.count("old dead letters opened", 1)
	c.guard.Lock()
	c.opened++
	c.guard.Unlock()
	return c.plan.Old <= fewOld || wait(ctx, c.rng.between(oldTakes/2, oldTakes*3/2, "old", key))
}

// broken is a stream that ends with an error.
type broken struct {
	io.ReadCloser
	left int64
}

func (b *broken) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// DeleteObject implements the S3 API.
func (c storeClient) DeleteObject(ctx context.Context, in *s3.DeleteObjectInput,
	_ ...func(*s3.Options)) (*s3.DeleteObjectOutput, error) {
	return guarded(ctx, c, "DeleteObject", *in.Key, false, func() (*s3.DeleteObjectOutput, error) {
		out, err := c.s3.DeleteObject(ctx, in)
		if err == nil {
			c.deleted(*in.Key)
		}
		return out, err
	})
}

// ListObjectsV2 implements the S3 API.
func (c storeClient) ListObjectsV2(ctx context.Context, in *s3.ListObjectsV2Input,
	_ ...func(*s3.Options)) (*s3.ListObjectsV2Output, error) {
	return guarded(ctx, c, "ListObjectsV2", aws.ToString(in.Prefix), false, func() (*s3.ListObjectsV2Output,
		error) {
		return c.s3.ListObjectsV2(ctx, in)
	})
}
