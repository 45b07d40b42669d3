package simulation

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/emulator/lambda/eventsource"
)

// poller is one poller of a queue's event source mapping, with the execution environment that it invokes. It injects
// the faults of the mapping and of the queue.
type poller struct {
	*world
	pipeline   *pipeline // nil for the dead-letter queue and the guard's
	role       string
	slot       int
	url, arn   string
	batchSize  int
	window     time.Duration
	visibility time.Duration

	source *eventsource.Poller
	off    bool   // the mapping is disabled
	halt   func() // ends the current receive

	process *process
	number  int    // of the batch
	calls   int    // to the queue, for the batch
	kept    string // receipt of the first message of the last deletion that was suppressed
}

// between returns a time that only this poller takes at this point, so that no two events coincide.
func (p *poller) between(least, most time.Duration, what string) time.Duration {
	return p.rng.between(least, most, what, p.role, p.slot, p.number, p.calls)
}

// longPoll is longer than a run: an idle poller must not wake up.
const longPoll = 240 * time.Hour

func (p *poller) start(ctx context.Context) {
	p.number = 1
	p.source = eventsource.Start(ctx, eventsource.Config{
		QueueARN: p.arn, Region: "eu-west-1", BatchSize: p.batchSize, Window: p.window, LongPoll: longPoll,
		MaximumConcurrency:      1,
		ReportBatchItemFailures: true, Enabled: true, Queue: p, Invoke: p.invoke, Rand: p.nextBatch,
		Attributes: p.system,
	})
	p.spawn(func() { <-p.source.Done() })
}

// set enables or disables the poller, which completes its batch, and sets the batch size.
func (p *poller) set(on bool, batchSize int) {
	p.mu.Lock()
	p.off = !on
	if p.off && p.halt != nil {
		p.halt()
	}
	p.mu.Unlock()
	p.source.SetBatchSize(batchSize)
	p.source.SetEnabled(on)
}

// system returns the system attributes that the queue in memory does not have.
func (p *poller) system(m eventsource.Message) map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return map[string]string{"SenderId": p.senders[m.ID]}
}

// nextBatch numbers the batch, and draws the length of its window.
func (p *poller) nextBatch() float64 {
	p.number++
	p.calls = 0
	return p.rng.fraction("window", p.role, p.slot, p.number)
}

// Receive implements eventsource.Queue.
func (p *poller) Receive(ctx context.Context, limit int, most time.Duration) ([]eventsource.Message, error) {
	until, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	p.mu.Lock()
	off := p.off
	p.halt = cancel
	p.mu.Unlock()
	if off {
		return nil, nil
	}
	p.calls++
	if p.sqs.Wait(until, p.url) != nil || !wait(ctx, p.between(time.Microsecond, 50*time.Millisecond, "poll")) {
		return nil, nil
	}
	return eventsource.SQS{Client: p.sqs, URL: p.url}.Receive(ctx, limit, 0)
}

// Delete implements eventsource.Queue.
func (p *poller) Delete(ctx context.Context, messages []eventsource.Message) ([]eventsource.Message, error) {
	p.calls++
	if !wait(ctx, p.between(time.Millisecond, 10*time.Millisecond, "delete")) {
		return nil, ctx.Err()
	}
	first := messages[0].ReceiptHandle
	if first == p.kept { // the mapping's second attempt
		return messages, nil
	}
	if p.injects(deleteLost, p.role, p.role, p.slot, p.number, first) {
		p.kept = first
		p.excuse("it was finished and not deleted", bodiesOf(messages)...)
		p.tell("%s: %d messages are not deleted", p.role, len(messages))
		return messages, nil
	}
	return eventsource.SQS{Client: p.sqs, URL: p.url}.Delete(ctx, messages)
}

// invoke invokes the function with a batch, and checks the response.
func (p *poller) invoke(ctx context.Context, payload []byte) ([]byte, error) {
	batch, role := decode(payload), p.role
	key := []any{role, p.slot, p.number}
	if p.injects(throttled, role, key...) {
		p.tell("%s: an invocation with %d messages is throttled", role, len(batch))
		return nil, errThrottled
	}
	if p.injects(late, role, key...) {
		p.excuse("its visibility timeout had ended before the invocation", bodiesOf(batch)...)
		p.tell("%s: an invocation begins %s late", role, p.visibility)
		if !wait(ctx, p.visibility+p.between(time.Second, 2*time.Second, "late")) {
			return nil, ctx.Err()
		}
	}
	if p.process == nil || p.process.isDead() || p.process.badProxy ||
		p.rng.chance(0.05, append([]any{"recycled"}, key...)...) {
		p.process = p.newProcess(role, p.pipeline)
	}
	f := p.process
	f.thaw()
	inv := f.begin(p.number, batch)
	p.tell("%s gets %d messages:%s", inv, len(batch), list(inv))
	r := f.invoke(inv, payload) //nolint:contextcheck // an invocation has a context of its own
	if ctx.Err() != nil || !wait(ctx, p.between(time.Microsecond, time.Millisecond, "returned")) {
		return nil, ctx.Err()
	}
	err := p.finish(inv, r, batch, key)
	if !f.isDead() {
		f.freeze(p.number)
	}
	return r.response, err
}

// list names the messages of an invocation for the story.
func list(inv *invocation) string {
	if !inv.process.plan.Story {
		return ""
	}
	var b strings.Builder
	for _, r := range inv.batch {
		fmt.Fprintf(&b, " %s(%d)", strings.TrimPrefix(short(r.id), "message "), r.attempt)
	}
	return b.String()
}

// finish checks the end of an invocation, and returns the error that the mapping gets.
func (p *poller) finish(inv *invocation, r result, batch []eventsource.Message, key []any) error {
	retained := map[string]bool{}
	for _, m := range batch {
		retained[m.ID] = true
	}
	err := r.err
	switch {
	case r.died:
		err = errDead
	case err != nil && p.role == "guard":
		p.checkStuck(err)
	case err == nil && p.injects(mappingLost, p.role, key...):
		err = errLost
	case err == nil:
		var done []eventsource.Message
		if done, err = eventsource.Finished(r.response, batch); err != nil {
			p.broken("a response that AWS accepts", "%s returns %q: %v", inv, r.response, err)
		}
		for _, m := range done {
			delete(retained, m.ID)
		}
	}
	if p.pipeline != nil {
		p.process.checkProxy(inv, r)
		p.checkBatch(inv, r, err, retained)
	}
	if err != nil {
		p.tell("%s ends with: %v", inv, err)
		p.count("invocations that failed", 1)
		return err
	}
	p.tell("%s ends: %d done, %d retained", inv, len(batch)-len(retained), len(retained))
	return nil
}

func bodiesOf(messages []eventsource.Message) []string {
	bodies := make([]string, len(messages))
	for i := range messages {
		bodies[i] = messages[i].Body
	}
	return bodies
}

// decode returns the messages of an invocation's payload.
func decode(payload []byte) []eventsource.Message {
	var event struct {
		Records []struct {
			MessageID, ReceiptHandle, Body string
			Attributes                     map[string]string
			MessageAttributes              map[string]eventsource.Attribute
		}
	}
	if err := json.Unmarshal(payload, &event); err != nil {
		panic(err) // the mapping's own encoding
	}
	var batch []eventsource.Message
	for _, r := range event.Records {
		batch = append(batch, eventsource.Message{
			ID: r.MessageID, ReceiptHandle: r.ReceiptHandle, Body: r.Body, Attributes: r.Attributes,
			MessageAttributes: r.MessageAttributes,
		})
	}
	return batch
}
