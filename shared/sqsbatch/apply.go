package sqsbatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/arbitex/siem-connectors/shared/deliver"
)

// Queue is what the intake needs of SQS. *sqs.Client is one.
type Queue interface {
	ChangeMessageVisibilityBatch(context.Context, *sqs.ChangeMessageVisibilityBatchInput, ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error)
	SendMessageBatch(context.Context, *sqs.SendMessageBatchInput, ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error)
}

// The limits of a batch request of SQS.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
const (
	maxEntries    = 10
	maxBatchBytes = 1 << 20
)

// answering is what is kept of the time to answer in; a short-lived function keeps a tenth of what is left. A batch that is
// not answered comes again as a whole, with all that has been delivered of it.
const answering = 500 * time.Millisecond

// apply sends dead letters and sets the waiting times. Dead letters go first: one that could not be stored is listed
// and waits as any retry does, until SQS's own redrive takes it.
func (b *batch) apply(ctx context.Context) {
	if !slices.ContainsFunc(b.fates, func(f fate) bool { return f.listed }) {
		return // everything was delivered
	}
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-min(answering, max(0, time.Until(deadline)/10))))
		defer cancel()
	}
	b.sendDeadLetters(ctx)
	b.setWaits(ctx)
}

// group is a batch request in the making: the messages in it, by index.
type group struct {
	messages []int
	bytes    int
}

// groups packs messages into as few batch requests as the limits allow. size 0 means that bytes do not count.
func (b *batch) groups(want func(i int) bool, size func(i int) int) []group {
	var all []group
	for i := range b.messages {
		if !want(i) {
			continue
		}
		n := size(i)
		last := len(all) - 1
		if last < 0 || len(all[last].messages) == maxEntries || all[last].bytes+n > maxBatchBytes {
			all = append(all, group{})
			last++
		}
		all[last].messages = append(all[last].messages, i)
		all[last].bytes += n
	}
	return all
}

// concurrently calls do for every group at the same time: a hundred messages make ten requests, and each waits for the
// network alone.
func concurrently(groups []group, do func(group)) {
	if len(groups) == 1 {
		do(groups[0])
		return
	}
	var wg sync.WaitGroup
	for _, g := range groups {
		wg.Go(func() { do(g) })
	}
	wg.Wait()
}

// setWaits hides the listed messages for as long as their back-off says. Where that fails, the queue's own visibility
// time-out decides, and nothing is lost.
func (b *batch) setWaits(ctx context.Context) {
	groups := b.groups(func(i int) bool { return b.fates[i].listed }, func(int) int { return 0 })
	var mu sync.Mutex
	concurrently(groups, func(g group) {
		failed, err := b.setWait(ctx, g)
		if err != nil {
			mu.Lock()
			b.report.queueErrors = append(b.report.queueErrors, fmt.Errorf("setting the visibility time-out of %d messages: %w", failed, err))
			mu.Unlock()
		}
	})
}

func (b *batch) setWait(ctx context.Context, g group) (failed int, err error) {
	in := &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &b.QueueURL}
	for _, i := range g.messages {
		m := &b.messages[i]
		wait := b.Backoff.Wait(m.Receives, b.fates[i].fault)
		in.Entries = append(in.Entries, types.ChangeMessageVisibilityBatchRequestEntry{
			Id:                aws.String(strconv.Itoa(i)),
			ReceiptHandle:     aws.String(string(m.Receipt)),
			VisibilityTimeout: int32(min(wait, maxVisibility*time.Second) / time.Second), //nolint:gosec // at most 43,200
		})
	}
	out, err := b.Queue.ChangeMessageVisibilityBatch(ctx, in)
	if err != nil {
		return len(g.messages), err
	}
	return len(out.Failed), entryErrors(out.Failed)
}

func entryErrors(failed []types.BatchResultErrorEntry) error {
	if len(failed) == 0 {
		return nil
	}
	return errors.New(aws.ToString(failed[0].Code) + " " + strconv.Quote(aws.ToString(failed[0].Message)))
}

// sendDeadLetters sends the rejected and exhausted messages. One is no longer listed when the dead-letter queue has
// confirmed it by its entry's id, and not before.
func (b *batch) sendDeadLetters(ctx context.Context) {
	attributes := make(map[int]map[string]types.MessageAttributeValue)
	size := func(i int) int {
		if attributes[i] == nil {
			attributes[i] = b.deadLetterAttributes(i)
		}
		return len(b.messages[i].Body) + attributesBytes(attributes[i])
	}
	groups := b.groups(func(i int) bool { return b.fates[i].state == deliver.Rejected }, size)
	var mu sync.Mutex
	concurrently(groups, func(g group) {
		sent, err := b.sendGroup(ctx, g, attributes)
		mu.Lock()
		defer mu.Unlock()
		for _, i := range sent {
			b.fates[i].listed = false
		}
		if err != nil {
			b.report.queueErrors = append(b.report.queueErrors, fmt.Errorf("sending %d of %d dead letters: %w", len(g.messages)-len(sent), len(g.messages), err))
		}
	})
}

func (b *batch) sendGroup(ctx context.Context, g group, attributes map[int]map[string]types.MessageAttributeValue) (sent []int, err error) {
	if g.bytes > maxBatchBytes {
		return nil, fmt.Errorf("it would take %d bytes with its reason, and SQS takes %d: its own redrive will keep it", g.bytes, maxBatchBytes)
	}
	in := &sqs.SendMessageBatchInput{QueueUrl: &b.DeadLetterQueue}
	for _, i := range g.messages {
		in.Entries = append(in.Entries, types.SendMessageBatchRequestEntry{
			Id:                aws.String(strconv.Itoa(i)),
			MessageBody:       aws.String(sendable(b.messages[i].Body)),
			MessageAttributes: attributes[i],
		})
	}
	out, err := b.Queue.SendMessageBatch(ctx, in)
	if err != nil {
		return nil, err
	}
	for _, ok := range out.Successful {
		for _, i := range g.messages {
			if aws.ToString(ok.Id) == strconv.Itoa(i) {
				sent = append(sent, i)
			}
		}
	}
	return sent, entryErrors(out.Failed)
}

// sendable is a body as SQS can carry it. Bytes that are not UTF-8 never come from SQS, but by a direct invocation; the SDK
// would replace them without a word, find another checksum than it expected, and fail the whole request for that.
func sendable(body []byte) string { return strings.ToValidUTF8(string(body), "\uFFFD") }

// timeLayout is RFC 3339 with milliseconds; times are UTC.
const timeLayout = "2006-01-02T15:04:05.000Z"

// maxReason bounds a dead letter's reason: what an operator reads, and far less than a message may carry.
const maxReason = 1024

func (b *batch) deadLetterAttributes(i int) map[string]types.MessageAttributeValue {
	m := &b.messages[i]
	text := func(v string) types.MessageAttributeValue {
		return types.MessageAttributeValue{DataType: aws.String("String"), StringValue: &v}
	}
	attributes := map[string]types.MessageAttributeValue{
		"connector":  text(b.Connector),
		"error":      text(b.fates[i].reason(m.Receives)),
		"attempts":   text(strconv.Itoa(m.Receives)),
		"message_id": text(string(m.ID)),
		"failed_at":  text(b.report.ended.UTC().Format(timeLayout)),
	}
	if n, err := strconv.ParseUint(string(m.Attribute("replays")), 10, 31); err == nil && n > 0 {
		replays := text(strconv.FormatUint(n, 10))
		replays.DataType = aws.String("Number")
		attributes["replays"] = replays
	}
	return attributes
}

// reason is the dead letter's error, fit for an SQS attribute: bounded, and none of the characters SQS refuses.
func (f *fate) reason(attempts int) string {
	text := f.fault.Error()
	if f.exhausted {
		text = "given up after " + strconv.Itoa(attempts) + " attempts, the last of which: " + text
	}
	text = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r == 0xFFFE || r == 0xFFFF {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "�"))
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason-len("…")], "") + "…"
	}
	return text
}

func attributesBytes(attributes map[string]types.MessageAttributeValue) (n int) {
	for name, v := range attributes {
		n += len(name) + len(*v.DataType) + len(*v.StringValue)
	}
	return n
}
