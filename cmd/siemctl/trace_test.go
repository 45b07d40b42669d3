package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/shared/deadletter"
)

// TestTrace: the receipt, a log line, the dead letters and the SIEM's copies of one event.
func TestTrace(t *testing.T) {
	states := []string{"pending", "replayed", "discarded"}
	eachSIEM(t, func(t *testing.T, a *audit) {
		a.deliver(300, never, every(300, 42, 1), never)
		a.stack.receipts = append(a.stack.receipts, fmt.Sprintf(
			`{"time":"2026-03-13T00:00:00Z","level":"INFO","msg":"batch","received":100,"truncated":["%s","x"]}`,
			eventID(42)), `{"level":"INFO","msg":"batch","received":100,"delivered":100,"request":"r-0"}`,
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
