package e2e

import (
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// TestReplayOfEveryName checks that an object is replayed and moved, whatever characters its name contains.
func TestReplayOfEveryName(t *testing.T) {
	w.emptyBucket(t)
	splunk := w.siems["splunk"]
	names := []string{"mended+1", "a b", "a%2Bb", "ü", "a&b=c"}
	sent := events(len(names))
	folder := "dead-letters/pending/connector=splunk/date=2026-03-13/"
	for i, name := range names {
		line := `{"timestamp":"2026-03-13T00:00:00Z","connector":"splunk","error":null,"attempts":5.0,"message_id":` +
			encode(name) + `,"event":` + compact(t, sent[i]) + `}`
		key := folder + name + ".jsonl"
		must(w.s3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(w.bucket()), Key: &key,
			Body: strings.NewReader(line)}))(t)
	}
	if a := w.replay(t, ""); a.Replayed != len(names) || a.Skipped != 0 || a.Remaining != 0 || len(a.Errors) != 0 {
		t.Errorf("the replay responds %+v", a)
	}
	times := map[string]int{}
	for _, m := range w.receive(t, w.cloud.Queue(splunk.Queue())) {
		times[*m.Body]++
	}
	for _, event := range sent {
		if times[compact(t, event)] != 1 {
			t.Errorf("%s was replayed %d times", event, times[compact(t, event)])
		}
	}
	if left := w.objects(t, "/pending/"); len(left) > 0 {
		t.Errorf("still pending: %q", left)
	}
	moved := strings.Join(w.objects(t, "/replayed/"), "\n")
	for _, name := range names {
		if !strings.Contains(moved, "/"+name+".jsonl") && !strings.Contains(moved, "/"+url.PathEscape(name)+".jsonl") {
			t.Errorf("%q was not moved: %s", name, moved)
		}
	}
	w.emptyBucket(t)
}
