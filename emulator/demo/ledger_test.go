package demo

import (
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/shared/deadletter"
)

func took(l *ledger, events ...string) {
	for _, event := range events {
		l.accept(siem.Accepted{ID: siem.EventID([]byte(event)), Event: []byte(event)})
	}
}

// letter reads a dead letter from the rest of a record.
func letter(t *testing.T, rest string) deadLetter {
	t.Helper()
	var r deadletter.Record
	line := `{"timestamp":"2026-03-13T00:00:00Z","connector":"splunk",` + strings.TrimPrefix(rest, "{")
	if err := deadletter.ParseLine([]byte(line), &r); err != nil {
		t.Fatal(err)
	}
	return newDeadLetter(&r)
}

const (
	one   = `{"metadata":{"uid":"1"},"n":1.50}`
	two   = `{"metadata":{"uid":"2"}}`
	three = `{"metadata":{"uid":"3"}}`
)

func books(bodies ...string) *ledger {
	l := newLedger(nil, nil)
	for _, body := range bodies {
		l.enqueue(newMessage([]byte(body)))
	}
	return l
}

func TestBalance(t *testing.T) {
	for _, test := range []struct {
		name    string
		bodies  []string
		took    []string
		letters []string
		want    balance
		adds    bool
	}{
		{"all arrived", []string{one, two}, []string{two, one}, nil, balance{enqueued: 2, delivered: 2}, true},
		{"white space goes", []string{" {\"metadata\": {\"uid\":\"2\"} }"}, []string{two}, nil,
			balance{enqueued: 1, delivered: 1}, true},
		{"one is lost", []string{one, two}, []string{one}, nil, balance{enqueued: 2, delivered: 1, lost: 1}, false},
		{"one is dead", []string{one, two}, []string{one}, []string{`{"event":` + two + `}`},
			balance{enqueued: 2, delivered: 1, pending: 1}, true},
		{"an invalid event is dead", []string{one, broken}, []string{one}, []string{`{"event":"` + broken + `"}`},
			balance{enqueued: 2, delivered: 1, pending: 1}, true},
		{"invalid UTF-8 is dead", []string{"\xff"}, nil, []string{`{"event_base64":"/w=="}`},
			balance{enqueued: 1, pending: 1}, true},
		{"one came twice", []string{one}, []string{one, one}, nil, balance{enqueued: 1, delivered: 1, duplicates: 1}, true},
		{"one was sent twice", []string{one, one}, []string{one, one}, nil, balance{enqueued: 2, delivered: 2}, true},
		{"one of two equal events is lost", []string{one, one}, []string{one}, nil,
			balance{enqueued: 2, delivered: 1, lost: 1}, false},
		{"arrived and dead", []string{one}, []string{one}, []string{`{"event":` + one + `}`},
			balance{enqueued: 1, delivered: 1, duplicates: 1}, true},
		{"a number was printed anew", []string{one}, []string{`{"metadata":{"uid":"1"},"n":1.5}`}, nil,
			balance{enqueued: 1, lost: 1, altered: 1}, false},
		{"white space was put in", []string{two}, []string{`{"metadata": {"uid":"2"}}`}, nil, balance{enqueued: 1, lost: 1,
			altered: 1}, false},
		{"a dead letter of nothing", []string{one}, []string{one}, []string{`{"event":` + three + `}`},
			balance{enqueued: 1, delivered: 1, altered: 1}, false},
	} {
		l := books(test.bodies...)
		took(l, test.took...)
		var letters []deadLetter
		for _, line := range test.letters {
			letters = append(letters, letter(t, line))
		}
		if got := l.balance(letters); got != test.want || got.adds() != test.adds {
			t.Errorf("%s: %+v adds up %v, want %+v", test.name, got, got.adds(), test.want)
		}
	}
}

func TestBalanceOfAStandIn(t *testing.T) {
	l := books(one, two)
	took(l, one)
	l.accept(siem.Accepted{ID: "2", Truncated: true, Event: []byte(`{"truncated":true}`)})
	want := balance{enqueued: 2, delivered: 2, truncated: 1}
	if got := l.balance(nil); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestBalanceByKey(t *testing.T) {
	l := newLedger(func(event []byte) string { return "key of " + siem.EventID(event) },
		func(a siem.Accepted) string { return "key of " + a.ID })
	l.enqueue(newMessage([]byte(one)))
	l.enqueue(newMessage([]byte(two)))
	l.accept(siem.Accepted{ID: "1"})
	want := balance{enqueued: 2, delivered: 1, pending: 1}
	if got := l.balance([]deadLetter{letter(t, `{"event":`+two+`}`)}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestBalanceOfOneIDForTwoEvents is Elasticsearch's way: the second event is taken, and is there instead of the first.
func TestBalanceOfOneIDForTwoEvents(t *testing.T) {
	l := books(one, two)
	took(l, one)
	l.accept(siem.Accepted{ID: "1", Event: []byte(two), Fields: map[string]string{"result": "replaced"}})
	sum := balance{enqueued: 1}
	sum.add(l.balance(nil))
	if want := (balance{enqueued: 3, delivered: 2, replaced: 1}); sum != want {
		t.Errorf("%+v, want %+v", sum, want)
	}
}
