package replay

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/arbitex/siem-connectors/shared/deadletter"
)

// counting is an SQS that accepts everything and keeps nothing.
type counting struct {
	*world
	mu            sync.Mutex
	sent, highest uint64
}

func (c *counting) ChangeMessageVisibilityBatch(context.Context, *sqs.ChangeMessageVisibilityBatchInput,
	...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error) {
	panic("not called")
}

func (c *counting) SendMessageBatch(_ context.Context, in *sqs.SendMessageBatchInput,
	_ ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := &sqs.SendMessageBatchOutput{}
	for _, e := range in.Entries {
		out.Successful = append(out.Successful, types.SendMessageBatchResultEntry{Id: e.Id, MessageId: aws.String("m")})
	}
	if c.sent += uint64(len(in.Entries)); c.sent%10_000 == 0 {
		c.highest = max(c.highest, live())
	}
	return out, nil
}

// TestReplayOfALargeObjectInBoundedMemory: an object of 50,000 lines and 38 MB is replayed with less live memory than
// three pieces, the pieces in the fake S3 not counted.
func TestReplayOfALargeObjectInBoundedMemory(t *testing.T) {
	const lines = 50_000
	w := newWorld(t)
	body := make([]byte, 0, 48<<20)
	padding := strings.Repeat("x", 600)
	for i := range lines {
		r := deadletter.Record{Time: day0, Connector: "splunk", Error: "busy",
			Body: fmt.Appendf(nil, `{"time":1,"n":%d,"x":%q}`, i, padding), Attempts: 5, MessageID: fmt.Sprint("m", i)}
		body = r.AppendLine(body)
	}
	w.s3.Put(pendingKey(day0.Format(time.DateOnly), "large.jsonl"), body)
	size := len(body)
	if a := w.replay(`{"dry_run":true,"limit":50000}`); a.Replayed != lines || a.Remaining != 0 || len(a.Errors) != 0 {
		t.Errorf("dry run: %+v", a)
	}
	w.wantKeys("pending/", 1)
	base := live()
	c := &counting{world: w}
	deps := w.deps()
	deps.SQS = c
	r, err := New(w.settings(), deps, w.s3)
	if err != nil {
		t.Fatal(err)
	}
	out, err := r.Handle(t.Context(),
		[]byte(`{"rawPath":"`+Path+`","requestContext":{"http":{"method":"POST"}},"body":"{\"limit\":50000}"}`))
	if err != nil || !strings.Contains(string(out), `{\"replayed\":50000,\"skipped\":0,`) || c.sent != lines {
		t.Errorf("%d sent: %s, %v", c.sent, out, err)
	}
	w.wantKeys("pending/", 0)
	if got := len(w.below("replayed/")); got != size {
		t.Errorf("%d bytes in replayed/, want %d", got, size)
	}
	runtime.KeepAlive(body)
	grown := int64(c.highest) - int64(base) - int64(size) // the fake S3 has the pieces, too
	t.Logf("an object of %d MB took %d MB at most", size>>20, grown>>20)
	if most := int64(3 * deadletter.PieceBytes); grown > most {
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
