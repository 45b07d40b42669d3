package deadletter

import (
	"fmt"
	"testing"
)

func TestLedgerRemembersAndMerges(t *testing.T) {
	w := newWorld(t)
	b := &w.replayer().bucket
	day := dayOf(day0.UnixMilli())
	for n := range maxSegments + 1 {
		l := newLedger(b, "splunk", fmt.Sprintf("call%02d", n), false)
		for i := range 20 {
			l.add(day, identOf(fmt.Sprintf("%d-%d", n, i), "", 0))
		}
		if err := l.save(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.wantKeys("ledger/", maxSegments+1)
	for _, readOnly := range []bool{true, false, false} {
		l := newLedger(b, "splunk", "later", readOnly)
		for n := range maxSegments + 1 {
			for i := range 20 {
				if done, err := l.has(t.Context(), day+windowDays, identOf(fmt.Sprintf("%d-%d", n, i), "", 0)); !done || err != nil {
					t.Fatal(n, i, done, err)
				}
			}
		}
		if done, err := l.has(t.Context(), day, identOf("another", "", 0)); done || err != nil {
			t.Fatal(done, err)
		}
	}
	w.wantKeys("ledger/", 1)
	if other := newLedger(b, "elastic", "c", false); func() bool { done, _ := other.has(t.Context(), day, identOf("1-1", "", 0)); return done }() {
		t.Error("connectors share a ledger")
	}
}

func TestLedgerBeginsNewObjects(t *testing.T) {
	w := newWorld(t)
	l := newLedger(&w.replayer().bucket, "splunk", "c", false)
	day := dayOf(day0.UnixMilli())
	for i := range maxSegment + 10 {
		l.add(day, identOf(fmt.Sprint(i), "", 0))
		if i%500 == 0 || i > maxSegment {
			if err := l.save(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	sum := 0
	for _, key := range w.wantKeys("ledger/", 2) {
		sum += len(w.s3.Body(key))
	}
	if want := (maxSegment + 10) * len(ident{}); sum != want {
		t.Errorf("%d bytes, want %d", sum, want)
	}
}

func TestBrokenLedgerPutsNothingBack(t *testing.T) {
	w := newWorld(t)
	w.drain(letters("splunk", "a", 3, day0)...)
	w.drain(letters("elastic", "b", 2, day0)...)
	w.s3.Put(testPrefix+"ledger/connector=splunk/date=2026-03-13/x.ids", []byte("short"))
	a := w.replay("")
	if a.Replayed != 2 || a.Remaining != 3 || len(a.Errors) != 1 {
		t.Errorf("answer %+v", a)
	}
}

func TestLinesWithoutIDAreTakenByTheirPlace(t *testing.T) {
	if identOf("", "t", 1) == identOf("", "t", 2) || identOf("", "t", 1) == identOf("", "u", 1) || identOf("a", "t", 1) != identOf("a", "u", 2) {
		t.Error("idents")
	}
}
