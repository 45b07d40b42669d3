package receipts

import (
	"fmt"
	"reflect"
	"runtime"
	"testing"
)

// TestMemory: a set of 100,000 events takes at most 100 bytes for each. TestReconcile compares as many.
func TestMemory(t *testing.T) {
	const n = 100_000
	before := heap()
	var s Set
	for i := range n {
		if err := s.Add(fmt.Sprintf("0190a3b4-0000-7000-8000-%012d", i), uint64(i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := n - 1; i >= 0; i-- { // not in the order of the receipts
		s.Take(Found{ID: fmt.Sprintf("0190a3b4-0000-7000-8000-%012d", i), Hash: uint64(i), Whole: true, Copies: 1})
	}
	if r := s.Result(); r.Present != n {
		t.Errorf("%+v", r)
	}
	if used := heap() - before; used > 100*n {
		t.Errorf("%d bytes of heap for %d events", used, n)
	}
	runtime.KeepAlive(&s)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestCompare lists the results for the events of one id, by the SIEM's events with that id. The receipts have the
// hashes.
func TestCompare(t *testing.T) {
	whole := func(hash uint64) Found { return Found{ID: "a", Hash: hash, Whole: true, Copies: 1} }
	part := Found{ID: "a", Copies: 1}
	for _, c := range []struct {
		name     string
		receipts []uint64
		found    []Found
		want     Result // counts
	}{
		{"present", []uint64{1}, []Found{whole(1)}, Result{Receipts: 1, Delivered: 1, Present: 1}},
		{"delivered twice, present once", []uint64{1, 1}, []Found{whole(1)}, Result{Receipts: 2, Delivered: 1, Present: 1}},
		{"twice", []uint64{1}, []Found{whole(1), whole(1)}, Result{Receipts: 1, Delivered: 1, Present: 1, Repeated: 1}},
		{"twice in one answer", []uint64{1}, []Found{{ID: "a", Hash: 1, Whole: true, Copies: 2}},
			Result{Receipts: 1, Delivered: 1, Present: 1, Repeated: 1}},
		{"altered", []uint64{1}, []Found{whole(2)}, Result{Receipts: 1, Delivered: 1, Altered: 1}},
		{"altered twice", []uint64{1}, []Found{whole(2), whole(3)}, Result{Receipts: 1, Delivered: 1, Altered: 1}},
		{"and another content", []uint64{1}, []Found{whole(2), whole(1)}, Result{Receipts: 1, Delivered: 1, Present: 1,
			Repeated: 1}},
		{"two events with one id", []uint64{1, 2}, []Found{whole(2), whole(1)}, Result{Receipts: 2, Delivered: 2,
			Present: 2}},
		{"one of two missing", []uint64{1, 2}, []Found{whole(2)}, Result{Receipts: 2, Delivered: 2, Present: 1, Missing: 1}},
		{"one of two altered", []uint64{1, 2}, []Found{whole(2), whole(9)}, Result{Receipts: 2, Delivered: 2, Present: 1,
			Altered: 1}},
		{"a part", []uint64{1}, []Found{part}, Result{Receipts: 1, Delivered: 1, Present: 1, NotCompared: 1}},
		{"parts of two", []uint64{1, 2}, []Found{part, part}, Result{Receipts: 2, Delivered: 2, Present: 2, NotCompared: 2}},
		{"a part twice", []uint64{1}, []Found{part, part}, Result{Receipts: 1, Delivered: 1, Present: 1, NotCompared: 1,
			Repeated: 1}},
		{"a part with its hash", []uint64{1, 2}, []Found{{ID: "a", Hash: 2, Copies: 1}},
			Result{Receipts: 2, Delivered: 2, Present: 1, Missing: 1, NotCompared: 1}},
		{"nothing", []uint64{1}, nil, Result{Receipts: 1, Delivered: 1, Missing: 1}},
		{"another id", []uint64{1}, []Found{{ID: "b", Hash: 1, Whole: true, Copies: 1}}, Result{Receipts: 1, Delivered: 1,
			Missing: 1, Others: 1}},
	} {
		var s Set
		for _, hash := range c.receipts {
			if err := s.Add("a", hash); err != nil {
				t.Fatal(err)
			}
		}
		for round := range 2 { // the second time after a reset
			s.Reset()
			for _, f := range c.found {
				s.Take(f)
			}
			got := s.Result()
			got.Lists = Lists{}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("%s, round %d: %+v, want %+v", c.name, round, got, c.want)
			}
		}
	}
}

func TestParse(t *testing.T) {
	l, ok := Parse(`{"receipt":{"stack":"s","connector":"splunk","at":"2026-03-13T10:00:00.123Z","request":"r",` +
		`"delivered":[["id","0123456789abcdef"]]}}`)
	if !ok || l.Stack != "s" || l.Connector != "splunk" || l.At.UnixMilli() != 1773396000123 || l.Request != "r" ||
		l.Delivered[0] != [2]string{"id", "0123456789abcdef"} {
		t.Errorf("%+v %v", l, ok)
	}
	for _, line := range []string{"", `{"msg":"receipt"}`, `{"receipt":`, `{"receipt":null}`, "START"} {
		if l, ok := Parse(line); ok {
			t.Errorf("%s: %+v", line, l)
		}
	}
	if h, err := Hash("00000000000000ff"); h != 255 || err != nil || Digits(255) != "00000000000000ff" {
		t.Errorf("%d %v %s", h, err, Digits(255))
	}
	for _, digits := range []string{"", "0", "000000000000000g"} {
		if _, err := Hash(digits); err == nil {
			t.Errorf("%q is a hash", digits)
		}
	}
}
