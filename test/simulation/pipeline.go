package simulation

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/arbitex/siem-connectors/functions/all"
	"github.com/arbitex/siem-connectors/internal/ocsfgen"
	"github.com/arbitex/siem-connectors/internal/testkit/fakeaws"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
)

// Values of the template.
const (
	visibility   = 185 * time.Second
	timeLimit    = 30 * time.Second // of a function
	replayLimit  = 900 * time.Second
	guardLimit   = 120 * time.Second
	shortLimit   = 6 * time.Second        // of a replay that has to pass many old dead letters
	oldTakes     = 100 * time.Millisecond // to read one of many
	window       = 5 * time.Second        // of a batch
	maxAttempts  = 5
	replayPath   = "/api/admin/siem/replay-dead-letter"
	replayedPath = "replayed/"
	pendingPath  = "pending/"
)

func opener(name string) lambdahost.OpenFunc {
	for _, c := range all.Connectors() {
		if c.Name == name {
			return c.Open
		}
	}
	return nil
}

// pipeline is one connector's path: its queue, its function, its SIEM, its events.
type pipeline struct {
	*world
	name     string
	queueURL string
	queueARN string
	open     lambdahost.OpenFunc
	siem     destination
	events   []*event
	pollers  []*poller
	mapping  mapping
}

// destination is a SIEM with any protocol.
type destination interface {
	// settings and secret return the variables of its connector.
	settings() map[string]string
	secret() map[string]string
	// rotate revokes the credential and creates a new one.
	rotate()
	// connected accepts the server's end of a new connection.
	connected(ctx context.Context, c *conn) error
	// heal removes all faults of the simulator.
	heal()
	// violations returns what it has accepted against the wire format.
	violations() []string
	close()
}

func newPipeline(w *world, i int, name string) *pipeline {
	l := &pipeline{world: w, name: name, queueURL: "https://sqs.sim/1/" + name, queueARN: "arn:aws:sqs:eu-west-1:1:" +
		name, open: opener(name)}
	queue := fakeaws.Queue{URL: l.queueURL, ARN: l.queueARN, Visibility: visibility, MaxReceives: maxAttempts,
		DeadLetter: deadLetterQueue}
	if name == w.plan.Burst.Connector {
		queue.FirstID = firstOfBurst
	}
	if w.plan.Guard.On {
		queue.FirstID = (i + 1) * firstOfBurst / 10
		l.mapping.init(l)
	}
	w.sqs.Create(queue)
	if name == "qradar" {
		l.siem = newSyslog(l)
	} else {
		l.siem = newHTTP(l)
	}
	l.publish()
	l.makeEvents(uint64(i)) //nolint:gosec // an index
	return l
}

// publish stores the current credential in Secrets Manager.
func (l *pipeline) publish() {
	text, err := json.Marshal(l.siem.secret())
	if err != nil {
		panic(err) // strings always marshal
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.secrets[l.name] = string(text)
}

// newGenerator returns a source of valid events.
func newGenerator(l *pipeline, i uint64) func() string {
	g := ocsfgen.New(l.plan.Seed*8 + i)
	g.Now = time.Now
	return func() string { return string(g.Next()) }
}

// uidOf returns the metadata.uid of a body; invalid bodies have none.
func uidOf(body string) string {
	var e struct {
		Metadata struct {
			UID string `json:"uid"`
		} `json:"metadata"`
	}
	_ = json.Unmarshal([]byte(body), &e)
	return e.Metadata.UID
}

// enqueue sends the plan's events at times within its span.
func (l *pipeline) enqueue(ctx context.Context) {
	bodies := l.messages(l.events[:l.plan.Events])
	at := make([]time.Duration, len(bodies))
	for n := range at {
		most := l.plan.Span
		if l.plan.Guard.On && l.rng.chance(0.7, "early", l.name, n) {
			most = min(most, earlyEvents)
		}
		at[n] = l.rng.between(0, most, "enqueue", l.name, n)
	}
	slices.Sort(at)
	for n, body := range bodies {
		if !wait(ctx, at[n]-l.since()) {
			return
		}
		l.put(body, n)
	}
}

// earlyEvents is the time in which most events of a plan with the guard are sent: an alarm needs events in each minute.
const earlyEvents = 15 * time.Minute

// producer is the SenderId of the platform's messages.
const producer = "AIDAPRODUCER"

// put enqueues a message. Some producers use attributes with the names of the functions' own attributes.
func (l *pipeline) put(body string, n int) {
	events := l.eventsIn(body)
	l.mu.Lock()
	for _, e := range events {
		e.enqueuedAt = l.since()
		e.queued++
	}
	l.mu.Unlock()
	var attributes map[string]types.MessageAttributeValue
	if l.rng.chance(l.plan.Forged, "forged", l.name, n) {
		attributes = l.forged(n)
		l.count("fault: a producer uses the functions' attributes", 1)
	}
	id := l.sqs.Put(l.queueURL, body, attributes)
	l.sentBy(producer, id)
	l.count("events", len(events))
	if len(events) > 1 {
		l.count("messages of several events", 1)
	}
	l.tell("%v is enqueued as %s", events, short(id))
}

// forged returns attributes that only functions may set.
func (l *pipeline) forged(n int) map[string]types.MessageAttributeValue {
	other := l.pipelines[l.rng.below(len(l.pipelines), "forged", l.name, n)].name
	forged := map[string]types.MessageAttributeValue{}
	for name, value := range map[string]string{
		"connector": other, "error": "forged", "message_id": "conversation-7", "failed_at": "2999-01-01T00:00:00.000Z",
		"attempts": "4", "replays": "3",
	} {
		kind := "String"
		if name == "attempts" || name == "replays" {
			kind = "Number"
		}
		forged[name] = types.MessageAttributeValue{DataType: &kind, StringValue: &value}
	}
	return forged
}

// rotate revokes the credential and publishes its successor, as often as the plan says.
func (l *pipeline) rotate(ctx context.Context) {
	for _, r := range l.plan.Rotations {
		if r.Connector != l.name || !wait(ctx, r.At-l.since()) {
			continue
		}
		l.siem.rotate()
		l.count("fault: a credential is revoked before its successor is published", 1)
		l.tell("%s revokes the credential", l.name)
		if !wait(ctx, r.Gap) {
			return
		}
		l.publish()
		l.tell("%s: the new credential is published", l.name)
	}
}

// uuidLength is the length of an event's metadata.uid.
const uuidLength = 36

// find returns the events in the text of a request, each once.
func (l *pipeline) find(text string) []*event {
	const size = uuidLength
	var found []*event
	seen := map[*event]bool{}
	for i := 0; i+size <= len(text); i++ {
		j := strings.IndexByte(text[i:], '-')
		if j < 0 {
			break
		}
		i += j - 8
		if i < 0 || i+size > len(text) {
			i += 8
			continue
		}
		e := l.byUID[text[i:i+size]] // complete before the run
		if e != nil && !seen[e] {
			seen[e] = true
			found = append(found, e)
			i += size - 1
			continue
		}
		i += 8
	}
	return found
}

// short returns the part of a message id that differs.
func short(id string) string {
	id, _, _ = strings.Cut(id, "-")
	return "message " + strings.TrimLeft(id, "0")
}
