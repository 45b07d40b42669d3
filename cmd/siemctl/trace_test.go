package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem/catalog"
)

// TestTrace: the receipt, a log line, a dead letter and the SIEM's copies of one event.
func TestTrace(t *testing.T) {
	for _, entry := range catalog.List() {
		t.Run(entry.Name, func(t *testing.T) {
			a := newAudit(t, entry.Name)
			a.deliver(300, never, every(300, 42, 1), never)
			a.stack.receipts = append(a.stack.receipts, fmt.Sprintf(
				`{"time":"2026-03-13T00:00:00Z","level":"INFO","msg":"batch","received":100,"truncated":["%s","x"]}`,
				eventID(42)))
			a.stack.environment["SIEM_DEAD_LETTER_PATH"] = "s3://bucket/dead"
			a.stack.letters = fmt.Sprintf(`{"timestamp":%q,"connector":%q,"error":"given up after 5 attempts","event":%s,`+
				`"attempts":5,"message_id":"m-7","replays":1}`+"\n", a.start.UTC().Format("2006-01-02T15:04:05.000Z"), entry.Name,
				a.event(42, "login"))
			args := []string{"trace", eventID(42), "--connector", entry.Name, "--output", "json"}
			if code := a.run(args...); code != exitOK {
				t.Fatalf("exit code %d: %s", code, &a.stderr)
			}
			var list []traced
			if err := json.Unmarshal(a.stdout.Bytes(), &list); err != nil {
				t.Fatal(err)
			}
			found := map[string]traced{}
			copies := 0
			for _, l := range list {
				found[l.Source] = l
				if l.Source == "siem" {
					copies++
					if l.What == "2 copies" {
						copies++
					}
				}
			}
			hash := contentHash(a.event(42, "login"))
			if r := found["receipt"]; r.Request != "r-0" || r.Hash != hash || r.Connector != entry.Name {
				t.Errorf("receipt %+v", r)
			}
			if l := found["log"]; !strings.Contains(l.What, "truncated: "+eventID(42)) || strings.Contains(l.What,
				"truncated: x") {
				t.Errorf("log %+v", l)
			}
			if l := found["dead letter"]; l.MessageID != "m-7" || !strings.Contains(l.What, "after 5 attempts and 1 replay") ||
				l.Hash != hash {
				t.Errorf("dead letter %+v", l)
			}
			if s := found["siem"]; copies != 2 || s.Hash != hash && entry.Name != "qradar" {
				t.Errorf("%d copies in the SIEM: %+v", copies, s)
			}
			if code := a.run("trace", eventID(42), "--connector", entry.Name); code != exitOK ||
				!strings.Contains(a.stdout.String(), "receipt") {
				t.Errorf("table: %d %s%s", code, &a.stdout, &a.stderr)
			}
			if code := a.run("trace", "unknown-event", "--connector", entry.Name); code != exitProblems ||
				!strings.Contains(a.stderr.String(), "nothing is known about the event") {
				t.Errorf("unknown event: %d %s", code, &a.stderr)
			}
		})
	}
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
