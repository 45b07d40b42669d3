package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"golang.org/x/sync/errgroup"

	"github.com/arbitex/siem-connectors/emulator/lambda/eventsource"
	"github.com/arbitex/siem-connectors/shared/deadletter"
)

// lettersOfObject is the number of dead letters in one object.
const lettersOfObject = 100

// replayMany replays many dead letters of a paused connector, is interrupted twice, and finds every event on
// the queue, exactly once unless a request broke. LETTERS says how many they are.
func replayMany(t *testing.T, w *world) {
	n := 600
	if text := os.Getenv("LETTERS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatalf("LETTERS: expected a number, found %q", text)
		}
	}
	w.putLetters(t, n)
	began, all := time.Now(), ""
	for _, share := range []int{1, 2} {
		code, out := w.replay(t, n, n*share/3)
		if code != exitInterrupted || !strings.Contains(out, "dead letters replayed; run the same command again to "+
			"continue") {
			t.Fatalf("interrupted: exit code %d, %s", code, out)
		}
		all += out
	}
	code, out := w.replay(t, n, n+1)
	all += out
	if code != exitOK || !strings.Contains(out, "dead letters replayed: elastic") {
		t.Fatalf("exit code %d, %s", code, out)
	}
	t.Logf("%d dead letters, interrupted twice, replayed in %s; the last run: %s", n,
		time.Since(began).Round(time.Second), out)
	seen := w.receiveAll(t, n)
	twice := 0
	for i := range n {
		switch got := seen[fmt.Sprintf(`{"time":1773360000000,"n":%d}`, i)]; {
		case got == 0:
			t.Fatalf("event %d was not replayed", i)
		case got > 1:
			twice++
		}
	}
	// A request that broke may have been taken all the same, and its events are sent again: that is said.
	if twice > 0 && !regexp.MustCompile("could not be (sent|saved)").MatchString(all) || len(seen) != n {
		t.Errorf("%d events replayed more than once, %d different ones, want %d: %s", twice, len(seen), n, all)
	}
}

func (w *world) putLetters(t *testing.T, n int) {
	t.Helper()
	client := s3.NewFromConfig(w.cloud.AWSConfig(), func(o *s3.Options) { o.UsePathStyle = true })
	at := time.Date(2026, 3, 13, 0, 0, 0, 0, time.UTC)
	for first := 0; first < n; first += lettersOfObject {
		last := min(first+lettersOfObject, n)
		var body []byte
		for i := first; i < last; i++ {
			r := deadletter.Record{Time: at, Connector: "elastic", Error: "status 400", MessageID: fmt.Sprint("many-", i),
				Attempts: 1,
				Body:     fmt.Appendf(nil, `{"time":1773360000000,"n":%d}`, i)}
			body = r.AppendLine(body)
		}
		key := fmt.Sprintf("dead-letters/pending/connector=elastic/date=2026-03-13/%032x-n%d-t%d.jsonl", first, last-first,
			at.UnixMilli())
		_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(w.cloud.Bucket("DeadLetterBucket")),
			Key: &key, Body: bytes.NewReader(body)})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// replay runs siemctl, interrupts it as soon as it shows that so many of n are replayed by all runs, and returns its
// exit code and what it printed.
func (w *world) replay(t *testing.T, n, until int) (code int, printed string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	cmd := siemctlCommand(ctx, t, w.endpoint, "replay", "--connector", "elastic", "--yes", "--per-call",
		strconv.Itoa(max(20, n/30)))
	var out bytes.Buffer
	cmd.Stdout = &out
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	notes, code, err := interruptAt(cmd, stderr, func(line string) bool {
		before, total, ok := progress(line)
		return ok && n-total+before >= until
	})
	if err != nil {
		t.Fatal(err)
	}
	return code, notes + out.String()
}

// progress parses a line such as replayed: 1,000 of 3,000.
func progress(line string) (done, total int, ok bool) {
	line, ok = strings.CutPrefix(strings.ReplaceAll(line, ",", ""), "replayed: ")
	_, err := fmt.Sscanf(line, "%d of %d", &done, &total)
	return done, total, ok && err == nil
}

// receiveAll receives and deletes all messages of the connector's queue, and counts the bodies.
func (w *world) receiveAll(t *testing.T, n int) map[string]int {
	t.Helper()
	queue := eventsource.SQS{Client: sqs.NewFromConfig(w.cloud.AWSConfig()), URL: w.cloud.Queue("elasticQueue")}
	seen := make(map[string]int, n)
	var mu sync.Mutex
	var receivers errgroup.Group
	for range 4 {
		receivers.Go(func() error {
			for {
				got, err := queue.Receive(t.Context(), 10, 0)
				if err != nil || len(got) == 0 {
					return err
				}
				mu.Lock()
				for _, m := range got {
					seen[m.Body]++
				}
				mu.Unlock()
				if _, err := queue.Delete(t.Context(), got); err != nil {
					return err
				}
			}
		})
	}
	if err := receivers.Wait(); err != nil {
		t.Error(err)
	}
	return seen
}
