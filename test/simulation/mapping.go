package simulation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// mapping is one poller of an event source mapping: it gathers batches, invokes its process, and deletes what is done. It
// never touches a message's visibility.
type mapping struct {
	*world
	pipeline *pipeline // nil for the dead-letter queue
	slot     int
	url      string
	arn      string

	process *process
	number  int // of batches
}

func (m *mapping) role() string {
	if m.pipeline == nil {
		return "deadletter"
	}
	return m.pipeline.name
}

// own is a time that only this poller takes at this point, so that no two do something at the same moment.
func (m *mapping) own(least, most time.Duration, what string) time.Duration {
	return m.rng.between(least, most, what, m.role(), m.slot, m.number)
}

func (m *mapping) poll(ctx context.Context) {
	for ctx.Err() == nil {
		m.number++
		batch := m.gather(ctx)
		if len(batch) > 0 {
			m.handle(ctx, batch)
		}
	}
}

// gather waits for messages, and then for more of them until the batch is full or the window is over.
func (m *mapping) gather(ctx context.Context) []types.Message {
	if m.sqs.Wait(ctx, m.url) != nil || !wait(ctx, m.own(time.Microsecond, 50*time.Millisecond, "poll")) {
		return nil
	}
	var batch []types.Message
	end := time.Now().Add(m.own(0, window, "window"))
	for len(batch) < m.plan.BatchSize {
		in := &sqs.ReceiveMessageInput{QueueUrl: &m.url, MaxNumberOfMessages: int32(min(10, m.plan.BatchSize-len(batch)))} //nolint:gosec // at most 10
		out, err := m.sqs.ReceiveMessage(ctx, in)
		if err != nil {
			return nil
		}
		batch = append(batch, unseen(batch, out.Messages)...)
		if len(out.Messages) > 0 {
			continue
		}
		until, cancel := context.WithDeadline(ctx, end)
		err = m.sqs.Wait(until, m.url)
		cancel()
		if err != nil || !wait(ctx, m.own(time.Microsecond, time.Millisecond, "more")) {
			break
		}
	}
	return batch
}

// unseen leaves out messages that the batch has already: a mapping gives each once.
func unseen(batch, more []types.Message) []types.Message {
	var all []types.Message
	for _, msg := range more {
		there := false
		for i := range batch {
			if *batch[i].MessageId == *msg.MessageId {
				batch[i], there = msg, true
			}
		}
		if !there {
			all = append(all, msg)
		}
	}
	return all
}

// handle takes a batch through an invocation.
func (m *mapping) handle(ctx context.Context, batch []types.Message) {
	role := m.role()
	key := []any{role, m.slot, m.number}
	if m.injects(throttled, role, key...) {
		m.tell("%s: an invocation with %d messages is throttled", role, len(batch))
		return
	}
	if m.injects(late, role, key...) {
		m.excuse(batch, "its visibility time-out was over before the invocation")
		m.tell("%s: an invocation begins %s late", role, visibility)
		if !wait(ctx, visibility+m.own(time.Second, 2*time.Second, "late")) {
			return
		}
	}
	if m.process == nil || m.process.isDead() || m.rng.chance(0.05, append([]any{"recycled"}, key...)...) {
		m.process = m.newProcess(role, m.pipeline)
	}
	p := m.process
	p.thaw()
	inv := p.begin(m.number, batch, m.byBody)
	m.tell("%s gets %d messages:%s", inv, len(batch), list(inv))
	r := p.invoke(inv, encode(m.arn, batch)) //nolint:contextcheck // an invocation has a context of its own
	if ctx.Err() != nil || !wait(ctx, m.own(time.Microsecond, time.Millisecond, "answered")) {
		return
	}
	done := m.judge(inv, r, batch, key)
	m.remove(ctx, inv, done, key)
	if !p.isDead() {
		p.freeze(m.number)
	}
}

func list(inv *invocation) string {
	if !inv.process.plan.Story {
		return ""
	}
	var b strings.Builder
	for _, r := range inv.batch {
		fmt.Fprintf(&b, " %s(%d)", strings.TrimPrefix(short(r.id), "message "), r.receives)
	}
	return b.String()
}

// judge returns the messages that are done.
func (m *mapping) judge(inv *invocation, r result, batch []types.Message, key []any) []types.Message {
	role := m.role()
	var listed map[string]bool
	err := r.err
	switch {
	case r.died:
		err = errDead
	case err == nil && m.injects(mappingLost, role, key...):
		err = errLost
	case err == nil:
		listed, err = failures(r.response, batch)
		if err != nil {
			m.broken("a response that AWS understands", "%s answers %q: %v", inv, r.response, err)
		}
	}
	if m.pipeline != nil {
		m.checkBatch(inv, r, err, listed)
	}
	if err != nil {
		m.tell("%s ends with: %v", inv, err)
		m.count("invocations that did not end well", 1)
		return nil
	}
	var done []types.Message
	for _, msg := range batch {
		if !listed[*msg.MessageId] {
			done = append(done, msg)
		}
	}
	m.tell("%s ends: %d done, %d to be kept", inv, len(done), len(batch)-len(done))
	return done
}

var errUnknown = errors.New("names a message that is not in the batch")

// failures reads a response by AWS's rules for partial failures.
func failures(response []byte, batch []types.Message) (map[string]bool, error) {
	var answer struct {
		Failures *[]struct {
			ID string `json:"itemIdentifier"`
		} `json:"batchItemFailures"`
	}
	if err := json.Unmarshal(response, &answer); err != nil {
		return nil, err
	}
	if answer.Failures == nil {
		return nil, errors.New("no batchItemFailures, which AWS takes for a complete success")
	}
	ids := map[string]bool{}
	for i := range batch {
		ids[*batch[i].MessageId] = true
	}
	listed := map[string]bool{}
	for _, f := range *answer.Failures {
		if !ids[f.ID] {
			return nil, errUnknown
		}
		listed[f.ID] = true
	}
	return listed, nil
}

// remove deletes messages.
func (m *mapping) remove(ctx context.Context, inv *invocation, done []types.Message, key []any) {
	if len(done) == 0 || !wait(ctx, m.own(time.Millisecond, 10*time.Millisecond, "delete")) {
		return
	}
	for n := 0; len(done) > 0; n++ {
		some := done[:min(10, len(done))]
		done = done[len(some):]
		if m.injects(deleteLost, m.role(), append(key, n)...) {
			m.excuse(some, "it was done and not deleted")
			m.tell("%s: %d messages are not deleted", inv, len(some))
			continue
		}
		in := &sqs.DeleteMessageBatchInput{QueueUrl: &m.url}
		for i := range some {
			in.Entries = append(in.Entries, types.DeleteMessageBatchRequestEntry{Id: aws.String(fmt.Sprint(i)), ReceiptHandle: some[i].ReceiptHandle})
		}
		if _, err := m.sqs.DeleteMessageBatch(ctx, in); err != nil {
			return // the world ends
		}
	}
}

// excuse lets messages be delivered once more.
func (m *mapping) excuse(batch []types.Message, cause string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range batch {
		if e := m.byBody[aws.ToString(batch[i].Body)]; e != nil {
			e.excuse(cause)
		}
	}
}

// record is a message as Lambda hands it to a function.
type record struct {
	MessageID     string                     `json:"messageId"`
	ReceiptHandle string                     `json:"receiptHandle"`
	Body          string                     `json:"body"`
	Attributes    map[string]string          `json:"attributes"`
	Own           map[string]recordAttribute `json:"messageAttributes"`
	Source        string                     `json:"eventSource"`
	SourceARN     string                     `json:"eventSourceARN"`
}

type recordAttribute struct {
	Type  string `json:"dataType"`
	Value string `json:"stringValue"`
}

func encode(arn string, batch []types.Message) []byte {
	var payload struct {
		Records []record
	}
	for _, m := range batch {
		r := record{*m.MessageId, *m.ReceiptHandle, *m.Body, m.Attributes, map[string]recordAttribute{}, "aws:sqs", arn}
		for name, v := range m.MessageAttributes {
			r.Own[name] = recordAttribute{aws.ToString(v.DataType), aws.ToString(v.StringValue)}
		}
		payload.Records = append(payload.Records, r)
	}
	out, err := json.Marshal(payload)
	if err != nil {
		panic(err) // strings always marshal
	}
	return out
}
