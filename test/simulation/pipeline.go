package simulation

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/internal/ocsfgen"
	"github.com/arbitex/siem-connectors/internal/testkit/fakeaws"
	"github.com/arbitex/siem-connectors/shared/lambdahost"

	datadog "github.com/arbitex/siem-connectors/functions/datadog/connector"
	elastic "github.com/arbitex/siem-connectors/functions/elastic/connector"
	qradar "github.com/arbitex/siem-connectors/functions/qradar/connector"
	sentinel "github.com/arbitex/siem-connectors/functions/sentinel/connector"
	splunk "github.com/arbitex/siem-connectors/functions/splunk/connector"
	sumo "github.com/arbitex/siem-connectors/functions/sumo/connector"
	xsiam "github.com/arbitex/siem-connectors/functions/xsiam/connector"
)

// What the template deploys.
const (
	visibility   = 185 * time.Second
	timeLimit    = 30 * time.Second // of a function
	replayLimit  = 900 * time.Second
	window       = 5 * time.Second // of a batch
	maxAttempts  = 5
	replayPath   = "/api/admin/siem/replay-dead-letter"
	replayedPath = "replayed/"
	pendingPath  = "pending/"
)

func openers() map[string]lambdahost.Opener {
	return map[string]lambdahost.Opener{
		"splunk": splunk.Open, "sentinel": sentinel.Open, "elastic": elastic.Open, "datadog": datadog.Open,
		"sumo": sumo.Open, "qradar": qradar.Open, "xsiam": xsiam.Open,
	}
}

// pipeline is one connector's path: its queue, its function, its SIEM, its events.
type pipeline struct {
	*world
	name     string
	queueURL string
	queueARN string
	open     lambdahost.Opener
	siem     destination
	events   []*event
}

// destination is a SIEM, whatever it speaks.
type destination interface {
	// address is where it listens.
	address() string
	// settings and secret are what its connector needs.
	settings() map[string]string
	secret() map[string]string
	// rotate revokes the credential and makes another.
	rotate()
	// connected takes the server's end of a new connection.
	connected(ctx context.Context, c *conn) error
	// heal ends the poisoning of events.
	heal()
	// violations are what it took and the contract forbids.
	violations() []string
	close()
}

func newPipeline(w *world, i int, name string) *pipeline {
	l := &pipeline{world: w, name: name, queueURL: "https://sqs.sim/1/" + name, queueARN: "arn:aws:sqs:eu-west-1:1:" + name, open: openers()[name]}
	queue := fakeaws.Queue{URL: l.queueURL, ARN: l.queueARN, Visibility: visibility, MaxReceives: maxAttempts, DeadLetter: deadLetterQueue}
	if name == w.plan.Burst.Connector {
		queue.FirstID = firstOfBurst
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

// publish puts the present credential into Secrets Manager.
func (l *pipeline) publish() {
	text, err := json.Marshal(l.siem.secret())
	if err != nil {
		panic(err) // strings always marshal
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.secrets[l.name] = string(text)
}

// sort is what kind of a message it is.
type sort uint8

const (
	good      sort = iota
	poisonous      // the SIEM refuses it
	blocked        // an intermediary refuses requests that contain it
	malformed      // it is no event
)

// event is one message's content, and all that has become of it.
type event struct {
	pipeline *pipeline
	uid      string
	body     string
	compact  string
	sort     sort

	enqueuedAt time.Duration
	acceptedAt time.Duration // first

	taken   int             // times the SIEM has accepted it and kept it
	lied    int             // times the SIEM has said so and did not
	excuses int             // times it may be sent again although it was accepted
	causes  []string        // of the excuses
	letters map[string]bool // ids of its messages that are dead letters in S3
	dead    int             // messages of it that were sent to the dead-letter queue
	putBack int             // messages of it that a replay has sent
}

func (e *event) String() string { return fmt.Sprintf("event %s of %s", e.uid, e.pipeline.name) }

// arrived tells whether the SIEM has it, or says so.
func (e *event) arrived() bool { return e.taken > 0 || e.lied > 0 }

// excuse allows one more acceptance. The world is locked.
func (e *event) excuse(cause string) {
	e.excuses++
	e.causes = append(e.causes, cause)
}

func (l *pipeline) makeEvents(i uint64) {
	g := ocsfgen.New(l.plan.Seed*8 + i)
	g.Now = time.Now
	count := l.plan.Events
	if l.name == l.plan.Burst.Connector {
		count += l.plan.Burst.Events
	}
	for n := range count {
		body := string(g.Next())
		e := &event{pipeline: l, body: body, compact: body, letters: map[string]bool{}}
		e.uid = uidOf(body)
		switch {
		case l.rng.chance(l.plan.Malformed, "malformed", l.name, n):
			e.sort = malformed
			e.body = l.misshapen(n, e.uid)
		case l.rng.chance(l.plan.Poison, "poison", l.name, n):
			e.sort = poisonous
		case l.rng.chance(l.plan.Blocked, "blocked", l.name, n) && l.name != "qradar":
			e.sort = blocked
		case n%7 == 3: // as an editor would leave it
			var spaced bytes.Buffer
			if json.Indent(&spaced, []byte(body), "", "  ") == nil {
				e.body = spaced.String()
			}
		}
		l.events = append(l.events, e)
		l.byBody[e.body] = e
		if e.sort != malformed {
			l.byBody[e.compact] = e // as a replay puts it back
		}
		l.byUID[e.uid] = e
	}
}

func (l *pipeline) misshapen(n int, uid string) string {
	switch l.rng.below(4, "misshapen", l.name, n) {
	case 0:
		return "no JSON " + uid
	case 1:
		return `["` + uid + `"]`
	case 2:
		return `{"time":"yesterday","metadata":{"uid":"` + uid + `"}}`
	}
	return `{"metadata":{"uid":"` + uid + `"}`
}

func uidOf(body string) string {
	var e struct {
		Metadata struct {
			UID string `json:"uid"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		panic(err) // the generator's
	}
	return e.Metadata.UID
}

// enqueue is the platform: it sends the events within the plan's span.
func (l *pipeline) enqueue(ctx context.Context) {
	at := make([]time.Duration, l.plan.Events)
	for n := range at {
		at[n] = l.rng.between(0, l.plan.Span, "enqueue", l.name, n)
	}
	slices.Sort(at)
	for n, e := range l.events[:len(at)] {
		if !wait(ctx, at[n]-l.since()) {
			return
		}
		l.put(e)
	}
}

func (l *pipeline) put(e *event) {
	l.mu.Lock()
	e.enqueuedAt = l.since()
	l.mu.Unlock()
	id := l.sqs.Put(l.queueURL, e.body, nil)
	l.count("events", 1)
	l.tell("%s is enqueued as %s", e, short(id))
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

// find returns the events that stand in the text of a request, each once.
func (l *pipeline) find(text string) []*event {
	const size = 36 // of a UUID
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
		e := l.byUID[text[i:i+size]] // it does not change any more
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

// short is the part of a message's id that tells it apart.
func short(id string) string {
	id, _, _ = strings.Cut(id, "-")
	return "message " + strings.TrimLeft(id, "0")
}
