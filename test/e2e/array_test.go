package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

func array(events ...string) string { return "[" + strings.Join(events, ",") + "]" }

// TestArray sends one message with valid events, an invalid one and one that the SIEM refuses. Each event has its own
// outcome, and its own dead letter, which is replayed alone.
func TestArray(t *testing.T) {
	for _, a := range w.order {
		t.Run(a.Name, func(t *testing.T) {
			w.emptyBucket(t)
			w.feed(t, a)
			valid, bad := events(3), events(1)[0]
			body, invalid := []string{valid[0], `{"class_uid":6003}`, valid[1], valid[2]}, 1
			refused := a.traits().reason != ""
			if refused {
				a.poisoned(t, idOf(bad))
				body = append(body, bad)
			}
			mark := len(w.output.String())
			id := w.enqueue(t, w.cloud.Queue(a.Queue()), array(body...))[0]
			w.settle(t, a)
			arrived(t, a, valid)
			letters := w.pending(t)
			hasReason(t, a, letters, fmt.Sprintf("%s/%d", id, invalid), body[invalid], "time: expected an integer")
			if refused {
				hasReason(t, a, letters, id+"/4", bad, a.traits().reason)
			}
			if want := len(body) - len(valid); len(letters) != want {
				t.Errorf("%d dead letters, want %d", len(letters), want)
			}
			if got := metricsSince(t, mark, a); got["Received"] != len(body) || got["Delivered"] != len(valid) {
				t.Errorf("metrics %v, want %d received and %d delivered", got, len(body), len(valid))
			}
			if refused {
				a.Inject(siem.Fault{Kind: siem.Heal})
				if r := w.replay(t, fmt.Sprintf(`{"message_ids":["%s/4"]}`, id)); r.Replayed != 1 {
					t.Errorf("the replay of one event of the array: %+v", r)
				}
				w.settle(t, a)
				arrived(t, a, append(valid, bad))
			}
			w.emptyBucket(t)
		})
	}
}

// TestArrayIsResentInPart has Elasticsearch throttle every second event of a message. The connector sends these events
// to its own queue as a new message, whose attempts continue, and the old message is deleted.
func TestArrayIsResentInPart(t *testing.T) {
	a := w.siems["elastic"]
	w.feed(t, a)
	mark := time.Now()
	a.Inject(siem.Fault{Kind: siem.Product, Code: "item 429", Times: 1})
	sent := events(4)
	queue := w.cloud.Queue(a.Queue())
	w.enqueue(t, queue, array(sent...))
	w.settle(t, a)
	arrivedOnce(t, a, sent)
	var resent []string
	for _, e := range named(w.gate.since(mark, a.Name), "SendMessageBatch") {
		var in struct {
			QueueUrl string //nolint:revive // AWS's name
			Entries  []struct {
				MessageBody       string
				DelaySeconds      int
				MessageAttributes map[string]struct{ StringValue string }
			}
		}
		if err := json.Unmarshal(e.request, &in); err != nil {
			t.Fatal(err)
		}
		for _, entry := range in.Entries {
			resent = append(resent, fmt.Sprintf("%t %s %d s, attempts %s", in.QueueUrl == queue, entry.MessageBody,
				entry.DelaySeconds,
				entry.MessageAttributes["attempts"].StringValue))
		}
	}
	var want []string
	for i := range sent { // the simulator throttles every second one
		if len(taken(a)[idOf(sent[i])]) == 1 && i%2 == 1 {
			want = append(want, compact(t, sent[i]))
		}
	}
	if expected := fmt.Sprintf("true %s %d s, attempts 1", array(want...), backoffInitial); len(resent) != 1 ||
		resent[0] != expected {
		t.Errorf("resent %q, want %q", resent, expected)
	}
	for id, waits := range waitsSince(t, mark, a) {
		t.Errorf("the visibility timeout of message %s was changed: %v", id, waits)
	}
}

// TestFilterAndReceipts checks that a filtered event is not sent, and that the receipts name each delivered event.
func TestFilterAndReceipts(t *testing.T) {
	for _, a := range w.order {
		t.Run(a.Name, func(t *testing.T) {
			env := w.full(t, a)
			env["SIEM_MIN_SEVERITY"], env["SIEM_RECEIPTS"] = "4", "true"
			event := func(severity int) string {
				return fmt.Sprintf(`{"time":%d,"class_uid":6003,"severity_id":%d,"metadata":{"uid":"%s-%d-%d"}}`,
					time.Now().UnixMilli(), severity, a.Name, severity, time.Now().UnixNano())
			}
			low, high, other := event(3), event(4), event(99)
			mark := len(w.output.String())
			invoke := beside(t, w.function(t, a, env))
			if left := failures(t, invoke, payloadOf(a, array(low, high), other)); len(left) > 0 {
				t.Errorf("the function retained %v", left)
			}
			arrived(t, a, []string{high, other})
			if len(taken(a)[idOf(low)]) > 0 {
				t.Error("a filtered event is in the SIEM")
			}
			eventually(t, "the metrics", func() bool { return strings.Contains(w.output.String()[mark:], `"_aws"`) })
			got := metricsSince(t, mark, a)
			if got["Received"] != 3 || got["Delivered"] != 2 || got["Filtered"] != 1 {
				t.Errorf("metrics %v", got)
			}
			pair := func(event string) string {
				sum := sha256.Sum256([]byte(event))
				return idOf(event) + " " + hex.EncodeToString(sum[:8])
			}
			if got, want := receiptsSince(t, mark), []string{pair(high), pair(other)}; !slices.Equal(got, want) {
				t.Errorf("receipts %q, want %q", got, want)
			}
		})
	}
}

// linesSince returns the JSON lines that functions printed since a length of the output.
func linesSince(mark int) (lines []string) {
	for line := range strings.Lines(w.output.String()[mark:]) {
		if _, text, ok := strings.Cut(line, "{"); ok {
			lines = append(lines, "{"+text)
		}
	}
	return lines
}

// metricsSince sums the metrics of a connector's batches, each of which must balance.
func metricsSince(t *testing.T, mark int, a *actor) map[string]int {
	t.Helper()
	total := map[string]int{}
	for _, line := range linesSince(mark) {
		var m struct {
			AWS       any `json:"_aws"`
			Connector string

			Received, Delivered, Retried, DeadLettered, Filtered int
		}
		if json.Unmarshal([]byte(line), &m) != nil || m.AWS == nil || m.Connector != a.Name {
			continue
		}
		if m.Received != m.Delivered+m.Retried+m.DeadLettered+m.Filtered {
			t.Errorf("the metrics do not balance: %s", line)
		}
		total["Received"] += m.Received
		total["Delivered"] += m.Delivered
		total["Filtered"] += m.Filtered
	}
	return total
}

// receiptsSince returns the pairs of all receipts, joined by a space.
func receiptsSince(t *testing.T, mark int) (pairs []string) {
	t.Helper()
	for _, line := range linesSince(mark) {
		var l struct {
			Receipt struct{ Delivered [][]string }
		}
		if json.Unmarshal([]byte(line), &l) != nil {
			continue
		}
		for _, pair := range l.Receipt.Delivered {
			pairs = append(pairs, strings.Join(pair, " "))
		}
	}
	return pairs
}
