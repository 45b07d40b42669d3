package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/shared/deadletter"
)

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
	if err := json.Unmarshal(a.stdout.Bytes(), &results); err != nil || len(results) != 1 || len(results[0].Events) != 1 {
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
			"delivered: without receipts (SIEM_RECEIPTS), a batch does not name its events; latest batch: received 1", 1, 1},
		{"retried", "", func([]byte) { a.stack.receipts = []string{batch(`"retried":1,"failures":{"status 503":1}`)} },
			unconfirmed, "enqueued", "latest batch: received 1, retried 1; failures: 1 times status 503", 9, 99},
		{"dead letter", "", func(event []byte) {
			at := time.Now().Add(a.ahead).UTC()
			a.stack.letters = map[string]string{"dead/pending/connector=splunk/date=" + at.Format(time.DateOnly) + "/a.jsonl": fmt.Sprintf(`{"timestamp":%q,"connector":"splunk","error":"status 400","event":%s,"attempts":1,"message_id":"m",`+
				`"replays":0}`+"\n", at.Format(deadletter.TimeLayout), event)}
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
