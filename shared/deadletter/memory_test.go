package deadletter

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestReplayOfALargeObjectInBoundedMemory: an object of 100,000 lines and 40 MB is put back with less live memory than it
// takes itself: three pieces at most.
func TestReplayOfALargeObjectInBoundedMemory(t *testing.T) {
	const lines = 100_000
	w := newWorld(t)
	w.sqs.Discard = true
	w.out, w.metrics = safeBuffer{}, safeBuffer{}
	body := make([]byte, 0, 48<<20)
	padding := strings.Repeat("x", 220)
	for i := range lines {
		r := Record{Time: day0, Connector: "splunk", Error: "busy", Body: fmt.Appendf(nil, `{"time":1,"n":%d,"x":%q}`, i, padding), Attempts: 5, MessageID: fmt.Sprint("m", i)}
		body = r.AppendLine(body)
	}
	w.s3.Put(testPrefix+"pending/connector=splunk/date="+day0.Format(time.DateOnly)+"/large.jsonl", body)
	size := len(body)
	base := live()
	var mu sync.Mutex
	highest, calls := uint64(0), 0
	w.sqs.Hook = func(string, string, bool) error {
		mu.Lock()
		defer mu.Unlock()
		if calls++; calls%1000 == 0 {
			highest = max(highest, live())
		}
		return nil
	}
	a := w.replay(`{"limit":100000}`)
	if a.Replayed != lines || a.Remaining != 0 || w.sqs.Count() != lines {
		t.Errorf("answer %+v", a)
	}
	w.wantKeys("replayed/", 1)
	runtime.KeepAlive(body)
	grown := int64(highest) - int64(base)
	t.Logf("an object of %d MB took %d MB at most", size>>20, grown>>20)
	if most := int64(3 * rangeBytes); grown > most {
		t.Errorf("live memory grew by %d bytes, want at most %d", grown, most)
	}
}

// live is the memory that is in use after a collection.
func live() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
