package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestPoison makes each HTTP SIEM refuse one event of a batch of 100. The others are delivered; the event becomes a
// dead letter with the reason, and causes at most 15 additional requests.
func TestPoison(t *testing.T) {
	const batch, mostExtra = 100, 15
	for _, a := range w.order {
		if a.own == "" {
			continue // a syslog receiver refuses no event
		}
		t.Run(a.Name, func(t *testing.T) {
			w.emptyBucket(t)
			invoke := w.deployed(t, a.Function())
			requests := func(sent []string) int {
				before := a.Stats().Requests
				messages := make([]message, len(sent))
				for i, event := range sent {
					messages[i] = message{body: event, id: "message-of-" + idOf(event)}
				}
				if left := failures(t, invoke, payload(a, messages...)); len(left) > 0 {
					t.Errorf("the answer lists %v", left)
				}
				return a.Stats().Requests - before
			}
			healthy := events(batch)
			requests(healthy) // the first batch also makes requests for a token and a connection
			usual := requests(events(batch))

			sent := events(batch)
			for _, at := range []int{0, 50, batch - 1} {
				bad := sent[at]
				t.Run(fmt.Sprint(at), func(t *testing.T) {
					a.poisoned(t, idOf(bad))
					sent := append(events(at), append([]string{bad}, events(batch-1-at)...)...)
					if extra := requests(sent) - usual; extra > mostExtra {
						t.Errorf("it took %d extra requests, want at most %d", extra, mostExtra)
					}
					arrivedOnce(t, a, slices.DeleteFunc(slices.Clone(sent), func(e string) bool { return e == bad }))
					w.settle(t)
					letters := slices.DeleteFunc(w.pending(t), func(l letter) bool { return l.MessageID != "message-of-"+idOf(bad) })
					if len(taken(a)[idOf(bad)]) > 0 || len(letters) != 1 {
						t.Fatalf("the poisonous event is %d times in the SIEM and has %d dead letters", len(taken(a)[idOf(bad)]),
							len(letters))
					}
					if l := letters[0]; string(l.Event) != compact(t, bad) || !strings.HasPrefix(l.Error, a.traits().reason) ||
						l.Attempts != 1 {
						t.Errorf("the dead letter is %.600s, want its error to begin with %q", l.line, a.traits().reason)
					}
				})
			}
			if n := len(w.pending(t)); n != 3 {
				t.Errorf("%d dead letters, want 3", n)
			}
			w.emptyBucket(t)
		})
	}
}
