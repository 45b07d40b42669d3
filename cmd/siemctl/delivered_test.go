package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/internal/ocsfgen"
	"github.com/arbitex/siem-connectors/shared/deadletter"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
)

// noQueue refuses every call: nothing is retried or rejected.
type noQueue struct{ lambdahost.SQS }

func (noQueue) SendMessageBatch(context.Context, *sqs.SendMessageBatchInput, ...func(*sqs.Options)) (
	*sqs.SendMessageBatchOutput, error) {
	return nil, fmt.Errorf("there is no queue")
}

// deliverByFunction delivers events with the connector's own function, and keeps its receipts. The SIEM loses some of
// them.
func (a *audit) deliverByFunction(events [][]byte, lost int) {
	a.t.Helper()
	list, err := find([]string{a.connector})
	if err != nil {
		a.t.Fatal(err)
	}
	env := a.siem.Settings()
	maps.Copy(env, a.siem.Secret())
	maps.Copy(env, map[string]string{"SIEM_RECEIPTS": "true", "SIEM_STACK": "receipts",
		"SIEM_QUEUE_URL": "https://sqs/q", "SIEM_DEAD_LETTER_QUEUE_URL": "https://sqs/dlq"})
	var out bytes.Buffer
	f := lambdahost.NewConnector(list[0].Name, list[0].Open, lambdahost.Deps{Out: &out, Now: time.Now, SQS: noQueue{},
		Env: func(name string) string { return env[name] }})
	accepted := len(a.siem.Accepted()) + len(events) - lost
	for start := 0; start < len(events); start += 100 {
		var records []any
		for i, body := range events[start:min(start+100, len(events))] {
			records = append(records, map[string]any{"messageId": fmt.Sprint("m-", start+i), "receiptHandle": "r",
				"body": string(body), "attributes": map[string]string{"ApproximateReceiveCount": "1"}})
		}
		payload, err := json.Marshal(map[string]any{"Records": records})
		if err != nil {
			a.t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(a.t.Context(), time.Minute)
		answer, err := f.Invoke(ctx, payload)
		cancel()
		if err != nil || strings.Contains(string(answer), "itemIdentifier") {
			a.t.Fatalf("%s %v: %s", answer, err, &out)
		}
	}
	if a.connector == "qradar" { // its host acknowledges what QRadar has not read yet
		a.waitUntilAccepted(accepted)
	}
	for line := range strings.Lines(out.String()) {
		a.stack.receipts = append(a.stack.receipts, strings.TrimSpace(line))
	}
}

func (a *audit) waitUntilAccepted(n int) {
	a.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(patience); len(a.siem.Accepted()) < n; {
		select {
		case <-tick.C:
		case <-limit:
			a.t.Fatalf("QRadar has read %d of %d events", len(a.siem.Accepted()), n)
		}
	}
}

// TestReconcileDelivered: reconcile finds delivered events unchanged: generated events, and events with white space,
// without metadata.uid, with a long one, and over the SIEM's limit. It names each event that the SIEM loses after a
// success response.
func TestReconcileDelivered(t *testing.T) {
	eachSIEM(t, func(t *testing.T, a *audit) {
		a.start, a.ahead = time.Now().Add(-30*time.Minute), time.Hour
		g := ocsfgen.New(7)
		g.Now = time.Now
		var events [][]byte
		for range 200 {
			events = append(events, g.Next())
		}
		now := time.Now().UnixMilli()
		events = append(events,
			fmt.Appendf(nil, " {\n \"time\": %d, \"metadata\" : { \"uid\" : \"spaced \\u00e9 \\\"=|\" } } ", now),
			fmt.Appendf(nil, `{"time":%d,"class_uid":1}`, now),
			fmt.Appendf(nil, `{"@timestamp":"2026-03-13T00:00:00.000Z","time":%d,"metadata":{"uid":"own"}}`, now),
			fmt.Appendf(nil, `{"time":%d,"metadata":{"uid":"large"},"raw":%q}`, now, strings.Repeat("x", 70_000)))
		if a.connector != "elastic" { // its _id is not known from the receipt of a long id
			events = append(events, fmt.Appendf(nil, `{"time":%d,"metadata":{"uid":%q}}`, now, strings.Repeat("long", 20)))
		}
		if a.connector == "qradar" { // CEF replaces line breaks, and cuts; ids must survive
			events = events[:len(events)-1]
		}
		a.deliverByFunction(events, 0)
		if code := a.reconcile("--output", "json", "--settle", "0s"); code != exitOK {
			t.Errorf("exit code %d: %s", code, &a.stderr)
		}
		r := a.evidence()
		if c := r.Counts; c.Missing+c.Altered+c.Repeated != 0 || c.Delivered != len(events) ||
			c.Present != len(events) {
			t.Fatalf("%+v %+v", c, r.Lists)
		}
		var lost []string
		events = events[:0]
		for n := range 120 {
			events = append(events, g.Next())
			if n%3 == 0 {
				lost = append(lost, siem.EventID(events[n]))
			}
		}
		a.siem.Inject(siem.Fault{Kind: siem.Lose, Match: func(id string) bool { return slices.Contains(lost, id) }})
		a.deliverByFunction(events, len(lost))
		if code := a.reconcile("--output", "json", "--settle", "0s"); code != exitProblems {
			t.Errorf("40 lost: exit code %d: %s", code, &a.stderr)
		}
		r = a.evidence()
		slices.Sort(lost)
		if got := idsOf(r.MissingEvents); !slices.Equal(got, lost) || r.Counts.Altered != 0 {
			t.Errorf("missing %q, want %q: %+v", got, lost, r.Counts)
		}
	})
}

// TestTrace: the receipt, a log line, the dead letters and the SIEM's copies of one event.
func TestTrace(t *testing.T) {
	states := []string{"pending", "replayed", "discarded"}
	eachSIEM(t, func(t *testing.T, a *audit) {
		a.deliver(300, never, every(300, 42, 1), never)
		a.stack.receipts = append(a.stack.receipts, fmt.Sprintf(
			`{"time":"2026-03-13T00:00:00Z","level":"INFO","msg":"batch","received":100,"truncated":["%s","x"]}`,
			eventID(42)), `{"level":"INFO","msg":"batch","received":100,"delivered":100,"request":"r-0"}`,
			`{"level":"INFO","msg":"batch","received":3,"truncated":["`+eventID(42)+`-2"]}`,
			`{"level":"INFO","msg":"batch","received":7,"delivered":7,"request":"r-100"}`)
		a.stack.environment["SIEM_DEAD_LETTER_PATH"] = "s3://bucket/dead"
		a.stack.letters = map[string]string{}
		for replays, state := range states {
			at := a.start.Add(time.Duration(replays) * time.Minute).UTC()
			a.stack.letters[fmt.Sprintf("dead/%s/connector=%s/date=%s/a.jsonl", state, a.connector,
				at.Format(time.DateOnly))] =
				fmt.Sprintf(`{"timestamp":%q,"connector":%q,"error":"given up after 5 attempts","event":%s,"attempts":5,`+
					`"message_id":"m-%s","replays":%d}`+"\n", at.Format(deadletter.TimeLayout), a.connector, a.event(42, "login"),
					state, replays)
		}
		args := []string{"trace", eventID(42), "--connector", a.connector, "--output", "json"}
		if code := a.run(args...); code != exitOK {
			t.Fatalf("exit code %d: %s", code, &a.stderr)
		}
		var list []traced
		if err := json.Unmarshal(a.stdout.Bytes(), &list); err != nil {
			t.Fatal(err)
		}
		found := map[string]traced{}
		copies, logged := 0, ""
		for _, l := range list {
			found[l.Source+l.State] = l
			if l.Source == "log" {
				logged += l.What + "\n"
			}
			if l.Source == "siem" {
				copies++
				if l.What == "2 copies" {
					copies++
				}
			}
		}
		hash := contentHash(a.event(42, "login"))
		if r := found["receipt"]; r.Request != "r-0" || r.Hash != hash || r.Connector != a.connector {
			t.Errorf("receipt %+v", r)
		}
		want := "batch: received 100, delivered 100\nbatch: received 100; truncated: " + eventID(42) + "\n"
		if logged != want {
			t.Errorf("log %q, want %q", logged, want)
		}
		moved := a.stack.start.UTC().Truncate(time.Second)
		for replays, state := range states {
			l := found["dead letter"+state]
			want := state + "; failed after 5 attempts: given up"
			if state != "pending" {
				want = state + " at " + moved.Format(listTime) + "; failed after 5 attempts"
			}
			if replays == 1 {
				want += " and 1 replay: given up"
			}
			if l.MessageID != "m-"+state || !strings.HasPrefix(l.What, want) || l.Hash != hash ||
				l.MovedAt.Equal(moved) != (state != "pending") {
				t.Errorf("%s dead letter %+v, want %q", state, l, want)
			}
		}
		if s := found["siem"]; copies != 2 || s.Hash != hash && a.connector != "qradar" {
			t.Errorf("%d copies in the SIEM: %+v", copies, s)
		}
		if code := a.run("trace", eventID(42), "--connector", a.connector); code != exitOK ||
			!strings.Contains(a.stdout.String(), "receipt") {
			t.Errorf("table: %d %s%s", code, &a.stdout, &a.stderr)
		}
		if code := a.run("trace", "unknown-event", "--connector", a.connector); code != exitProblems ||
			!strings.Contains(a.stderr.String(), "nothing is known about the event") {
			t.Errorf("unknown event: %d %s", code, &a.stderr)
		}
	})
}

// TestTraceSince: --since bounds the search of the SIEM and of the dead letters.
func TestTraceSince(t *testing.T) {
	a := newAudit(t, "splunk")
	a.deliver(10, never, never, never)
	a.stack.receipts = nil
	a.stack.environment["SIEM_DEAD_LETTER_PATH"] = "s3://bucket/dead"
	if code := a.run("trace", eventID(3), "--connector", "splunk", "--since", "1h"); code != exitProblems {
		t.Errorf("exit code %d: %s%s", code, &a.stdout, &a.stderr)
	}
	if code := a.run("trace", eventID(3), "--connector", "splunk", "--since", "3h"); code != exitOK {
		t.Errorf("exit code %d: %s%s", code, &a.stdout, &a.stderr)
	}
	if len(a.waits) > 0 && a.waits[0] > time.Second {
		t.Errorf("waited %v", a.waits)
	}
}

// sendAndWait sends a generated event, calls arrive with it while the command waits for the first time, and returns the
// exit code and what the command reports about the event.
func (a *audit) sendAndWait(arrive func(event []byte)) (int, waited) {
	a.t.Helper()
	a.waits = nil
	a.wait = func() {
		a.ahead += a.waits[len(a.waits)-1]
		if len(a.waits) == 1 {
			bodies := a.stack.fresh.bodies
			arrive([]byte(bodies[len(bodies)-1]))
		}
	}
	code := a.run("send", "--to", a.connector, "--generate", "1", "--per-message", "1", "--wait", "-o", "json")
	var results []sent
	if err := json.Unmarshal(a.stdout.Bytes(), &results); err != nil || len(results) != 1 ||
		len(results[0].Events) != 1 {
		a.t.Fatalf("%v: %s%s", err, &a.stdout, &a.stderr)
	}
	return code, *results[0].Events[0]
}

func (w *waited) says(confirmed, not string) bool {
	return strings.Contains(strings.Join(w.Confirmed, "; "), confirmed) &&
		strings.Contains(strings.Join(w.NotConfirmed, "; "), not) && (not == "") == (len(w.NotConfirmed) == 0)
}

// TestSendWait: in each SIEM, an event that arrives is reported as searchable, and one that the SIEM loses is not.
func TestSendWait(t *testing.T) {
	eachSIEM(t, func(t *testing.T, a *audit) {
		a.stack.letters, a.stack.environment["SIEM_DEAD_LETTER_PATH"] = nil, "s3://bucket/dead"
		a.stack.environment["SIEM_RECEIPTS"] = "true"
		code, w := a.sendAndWait(func(event []byte) { a.deliverByFunction([][]byte{event}, 0) })
		if code != exitOK || w.State != searchable || w.DeliveredAt == nil || w.Seconds < firstPoll.Seconds() ||
			w.Seconds > 10 || !w.says("searchable at ", "") {
			t.Errorf("exit code %d: %+v %s", code, w, &a.stderr)
		}
		known := filepath.Join(t.TempDir(), "event.jsonl")
		if err := os.WriteFile(known, []byte(a.stack.fresh.bodies[0]), 0o600); err != nil {
			t.Fatal(err)
		}
		if code := a.run("send", "--to", a.connector, "--file", known, "--wait"); code != exitUsage ||
			!strings.Contains(a.stderr.String(), "already") || len(a.stack.fresh.bodies) != 1 {
			t.Errorf("known: exit code %d, %d messages: %s", code, len(a.stack.fresh.bodies), &a.stderr)
		}
		a.siem.Inject(siem.Fault{Kind: siem.Lose, Match: func(string) bool { return true }})
		code, w = a.sendAndWait(func(event []byte) { a.deliverByFunction([][]byte{event}, 1) })
		if code != exitProblems || w.State != delivered ||
			!w.says("by its receipt", "the search found nothing so far") {
			t.Errorf("lost: exit code %d: %+v %s", code, w, &a.stderr)
		}
		total := time.Duration(0)
		for _, wait := range a.waits {
			total += wait
		}
		if total < 9*time.Minute || total > 10*time.Minute+5*time.Second { // the default of --timeout
			t.Errorf("waited %s", total)
		}
	})
}

// TestSendWaitWithoutCredential: the command reports what receipts, batches and dead letters confirm, and ends as soon
// as nothing more can be confirmed.
func TestSendWaitWithoutCredential(t *testing.T) {
	batch := func(more string) string {
		return `{"time":"2026-03-13T00:00:00Z","level":"INFO","msg":"batch","connector":"splunk","received":1,` + more + `}`
	}
	a := newAudit(t, "splunk")
	a.stack.environment["SIEM_DEAD_LETTER_PATH"] = "s3://bucket/dead"
	a.env = map[string]string{}
	for _, x := range []struct {
		name           string
		receipts       string
		arrive         func(event []byte)
		state          string
		confirmed, not string
		least, most    int
	}{
		{"receipt", "true", func(event []byte) { a.deliverByFunction([][]byte{event}, 0) }, delivered, "by its receipt",
			"searchable: no search credential; store one with: siemctl configure --search splunk", 1, 1},
		{"batch of another event", "true", func([]byte) { a.stack.receipts = []string{batch(`"delivered":1`)} }, unconfirmed,
			"enqueued", "no receipt since; latest batch: received 1, delivered 1", 9, 99},
		{"batch", "false", func([]byte) { a.stack.receipts = []string{batch(`"delivered":1`)} }, unconfirmed, "enqueued",
			"delivered: without receipts (SIEM_RECEIPTS), a batch does not name its events; latest batch: received 1",
			1, 1},
		{"retried", "", func([]byte) { a.stack.receipts = []string{batch(`"retried":1,"failures":{"status 503":1}`)} },
			unconfirmed, "enqueued", "latest batch: received 1, retried 1; failures: 1 times status 503", 9, 99},
		{"dead letter", "", func(event []byte) {
			at := time.Now().Add(a.ahead).UTC()
			key := "dead/pending/connector=splunk/date=" + at.Format(time.DateOnly) + "/a.jsonl"
			a.stack.letters = map[string]string{key: fmt.Sprintf(`{"timestamp":%q,"connector":"splunk",`+
				`"error":"status 400","event":%s,"attempts":1,"message_id":"m","replays":0}`+"\n",
				at.Format(deadletter.TimeLayout), event)}
		}, deadLettered, "dead letter, pending; failed after 1 attempt: status 400", "", 1, 1},
		{"nothing", "", func([]byte) {}, unconfirmed, "enqueued", "no batch of splunk since", 9, 99},
	} {
		a.stack.receipts, a.stack.letters, a.stack.environment["SIEM_RECEIPTS"] = nil, nil, x.receipts
		code, w := a.sendAndWait(x.arrive)
		if code != exitProblems || w.State != x.state || !w.says(x.confirmed, x.not) || len(a.waits) < x.least ||
			len(a.waits) > x.most {
			t.Errorf("%s: exit code %d, %d waits: %+v %s", x.name, code, len(a.waits), w, &a.stderr)
		}
	}
}
