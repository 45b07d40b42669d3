package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const maxMessage = 1 << 20 // the maximum of SQS

// sized returns an event of exactly that many bytes.
func sized(id string, bytes int) string {
	start := `{"time":1773360000123,"class_uid":6003,"metadata":{"uid":"` + id + `"},"unmapped":{"excerpt":"`
	const end = `"}}`
	return start + strings.Repeat("é", (bytes-len(start)-len(end))/2) +
		strings.Repeat("x", (bytes-len(start)-len(end))%2) + end
}

// TestLargestEvents sends events of up to 1 MiB, the maximum of SQS, to every SIEM. Each of them is delivered whole or
// truncated, or becomes a dead letter. With its reason, a dead letter may be too large for the dead-letter queue; SQS's
// redrive then moves the message.
func TestLargestEvents(t *testing.T) {
	w.emptyBucket(t)
	sizes := []int{maxMessage, maxMessage - 700, 950_000}
	sent := map[string][]string{}
	ids := map[string][]string{}
	stop := w.feed(t, w.order...)
	slow := []*actor{w.siems["splunk"], w.siems["sumo"]} // which retry until the last attempt
	for _, a := range append(slow, slices.DeleteFunc(slices.Clone(w.order),
		func(a *actor) bool { return slices.Contains(slow, a) })...) {
		for _, size := range sizes {
			event := sized(fmt.Sprintf("large-%s-%d", a.Name, size), size)
			if len(event) != size {
				t.Fatalf("made %d bytes, want %d", len(event), size)
			}
			sent[a.Name] = append(sent[a.Name], event)
			ids[a.Name] = append(ids[a.Name], w.enqueue(t, w.cloud.Queue(a.Queue()), event)...)
		}
		if !slices.Contains(slow, a) {
			w.settle(t, a)
		}
	}
	w.settle(t, w.order...)
	letters := w.pending(t)
	for _, a := range w.order {
		t.Run(a.Name, func(t *testing.T) {
			for i, event := range sent[a.Name] {
				checkLarge(t, a, event, ids[a.Name][i], letters)
			}
		})
	}
	stop()
	t.Run("back", func(t *testing.T) { largeComeBack(t, letters) })
	w.emptyBucket(t)
}

func checkLarge(t *testing.T, a *actor, event, messageID string, letters []letter) {
	t.Helper()
	in := taken(a)[idOf(event)]
	var dead []letter
	for _, l := range letters {
		if l.MessageID == messageID {
			dead = append(dead, l)
		}
	}
	want := a.traits().large(len(event))
	if len(in)+len(dead) != 1 || (want == "dead") != (len(dead) == 1) {
		t.Errorf("the event of %d bytes is %d times in the SIEM and has %d dead letters, want it %s", len(event), len(in),
			len(dead), want)
		return
	}
	if want == "dead" {
		reason := "SQS stopped retrying the message after 4 receives"
		if len(event) <= maxMessage-700 {
			// Splunk's limit is a setting of the server, and so the server's word is taken.
			reason = map[string]string{"splunk": "status 413", "sumo": "the SIEM takes at most"}[a.Name]
		}
		if string(dead[0].Event) != event || !strings.Contains(dead[0].Error, reason) || dead[0].Connector != a.Name {
			t.Errorf("the dead letter of %d bytes is of %s and says %q, want %q", len(dead[0].Event), dead[0].Connector,
				dead[0].Error, reason)
		}
		return
	}
	if in[0].Truncated != (want == "truncated") {
		t.Errorf("the event of %d bytes is truncated: %v, want it %s", len(event), in[0].Truncated, want)
	}
	sum := sha256.Sum256([]byte(event))
	standIn := fmt.Sprintf(`{"truncated":true,"bytes":%d,"sha256":"%s","class_uid":6003,"time":1773360000123,`+
		`"metadata":{"uid":"%s"}}`,
		len(event), hex.EncodeToString(sum[:]), idOf(event))
	switch {
	case in[0].Event == nil:
	case want == "truncated" && string(in[0].Event) != standIn:
		t.Errorf("in its place is %s, want %s", in[0].Event, standIn)
	case want == "whole" && string(in[0].Event) != event:
		t.Errorf("the event of %d bytes arrived with %d", len(event), len(in[0].Event))
	}
}

// largeComeBack replays the largest dead letters. A message of SQS's maximum size has no room for an attribute.
func largeComeBack(t *testing.T, letters []letter) {
	got := w.replay(t, "")
	if got.Replayed != len(letters) || got.Remaining != 0 || len(letters) == 0 {
		t.Errorf("of %d dead letters: %+v", len(letters), got)
	}
	var bodies []string
	for _, name := range []string{"splunk", "sumo"} {
		for _, m := range w.receive(t, w.cloud.Queue(w.siems[name].Queue())) {
			bodies = append(bodies, *m.Body)
		}
	}
	for _, l := range letters {
		if !slices.Contains(bodies, string(l.Event)) {
			t.Errorf("the dead letter of %d bytes was not replayed", len(l.Event))
		}
	}
}
