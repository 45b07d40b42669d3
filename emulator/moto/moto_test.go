package moto

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/arbitex/siem-connectors/emulator/lambda/eventsource"
	"github.com/arbitex/siem-connectors/internal/testkit/testenv"
)

// venv is the project's own, which the other packages' tests and the demo use too.
const venv = "../../build/venv"

func TestInstallThenStartThenStop(t *testing.T) {
	testenv.Python(t)
	var progress strings.Builder
	if err := Install(t.Context(), venv, &progress); err != nil {
		t.Fatal(err)
	}
	progress.Reset()
	if err := Install(t.Context(), venv, &progress); err != nil {
		t.Fatal(err)
	}
	if progress.Len() > 0 {
		t.Errorf("a venv that is up to date was made again: %s", progress.String())
	}
	s, err := Start(t.Context(), venv)
	if err != nil {
		t.Fatal(err)
	}
	if status := get(t, s.Endpoint()+"/moto-api/"); status != http.StatusOK {
		t.Errorf("status = %d, want 200", status)
	}
	s.Stop()
	s.Stop()
	select {
	case <-s.exited:
	default:
		t.Error("the process outlived Stop")
	}
}

func TestServerDiesWhenItsStandardInputCloses(t *testing.T) {
	testenv.Python(t)
	if err := Install(t.Context(), venv, io.Discard); err != nil {
		t.Fatal(err)
	}
	s, err := Start(t.Context(), venv)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	_ = s.stdin.Close() // what the kernel does to us when we are killed
	<-s.exited
}

func TestStartSaysWhatPythonSaid(t *testing.T) {
	testenv.Python(t)
	dir := t.TempDir()
	if err := exec.CommandContext(t.Context(), "python3", "-m", "venv", "--without-pip", dir).Run(); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), dir)
	if err == nil || !strings.Contains(err.Error(), "No module named 'moto'") {
		t.Errorf("error = %v, want Python's own words", err)
	}
}

func TestStartGivesUpWithItsContext(t *testing.T) {
	testenv.Python(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Install(t.Context(), venv, io.Discard); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(ctx, venv); err == nil {
		t.Error("started on a cancelled context")
	}
}

func TestReadyNeedsStampAndPython(t *testing.T) {
	dir := t.TempDir()
	if ready(dir, requirements) {
		t.Error("an empty folder was accepted as a venv")
	}
	write(t, filepath.Join(dir, stampFile), hash(requirements))
	if ready(dir, requirements) {
		t.Error("a venv without its Python is none")
	}
	write(t, filepath.Join(dir, "bin", "python"), "")
	if !ready(dir, requirements) {
		t.Error("a complete venv is not recognised")
	}
	write(t, filepath.Join(dir, stampFile), "of other requirements")
	if ready(dir, requirements) {
		t.Error("a venv of other requirements is not up to date")
	}
}

func TestRequirementsArePinned(t *testing.T) {
	for line := range strings.Lines(string(requirements)) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") && !strings.Contains(line, "==") {
			t.Errorf("%q is not pinned", line)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, url string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	return resp.StatusCode
}

// TestQueueKeepsEveryMessageOnce is why server.py makes requests take turns: without that moto hands messages out twice
// and, rarely, loses one. Python's threads are made to change a thousand times as often as usual here, so that it
// shows.
func TestQueueKeepsEveryMessageOnce(t *testing.T) {
	testenv.Python(t)
	if err := Install(t.Context(), venv, io.Discard); err != nil {
		t.Fatal(err)
	}
	s, err := start(t.Context(), venv, "import sys; sys.setswitchinterval(1e-6)\n"+script)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	client := sqs.NewFromConfig(aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(s.Endpoint()),
		Credentials: credentials.NewStaticCredentialsProvider("local", "local", "local"),
	})
	q, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("q")})
	if err != nil {
		t.Fatal(err)
	}
	const senders, batches = 3, 12
	r := &receiver{queue: eventsource.SQS{Client: client, URL: *q.QueueUrl}, total: senders * batches * 10,
		seen: map[string]int{}}
	var all sync.WaitGroup
	for i := range senders {
		all.Go(func() { check(t, send(t.Context(), client, *q.QueueUrl, i, batches)) })
		all.Go(func() { check(t, r.drain(t.Context())) })
		all.Go(func() { check(t, r.drain(t.Context())) })
	}
	all.Wait()
	for body, n := range r.seen {
		if n != 1 {
			t.Errorf("%s was received %d times", body, n)
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func send(ctx context.Context, client *sqs.Client, url string, sender, batches int) error {
	for b := range batches {
		var entries []types.SendMessageBatchRequestEntry
		for i := range 10 {
			entries = append(entries, types.SendMessageBatchRequestEntry{
				Id: aws.String(strconv.Itoa(i)), MessageBody: aws.String(fmt.Sprintf("%d-%d-%d", sender, b, i)),
			})
		}
		_, err := client.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: entries})
		if err != nil {
			return err
		}
	}
	return nil
}

// receiver receives from a queue, in several goroutines.
type receiver struct {
	queue eventsource.SQS
	total int // of different messages

	mu   sync.Mutex
	seen map[string]int // by body, how often it was received
}

// drain receives and deletes until all messages were seen. A lost one makes it give up.
func (r *receiver) drain(ctx context.Context) error {
	for empty := 0; r.count(nil) < r.total; {
		messages, err := r.queue.Receive(ctx, 10, time.Second)
		if err != nil {
			return err
		}
		if len(messages) == 0 {
			if empty++; empty == 10 {
				return fmt.Errorf("%d messages of %d were seen", r.count(nil), r.total)
			}
			continue
		}
		r.count(messages)
		if _, err := r.queue.Delete(ctx, messages); err != nil {
			return err
		}
	}
	return nil
}

// count adds to what was seen, and returns how many different messages that are.
func (r *receiver) count(messages []eventsource.Message) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range messages {
		r.seen[m.Body]++
	}
	return len(r.seen)
}
