package moto

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/arbitex/siem-connectors/internal/testkit/testenv"
)

// traffic is a queue with several clients at once.
type traffic struct {
	client *sqs.Client
	url    string

	mu   sync.Mutex
	seen map[string]int // by body, how often it was received
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
	tr := &traffic{seen: map[string]int{}, client: sqs.NewFromConfig(aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(s.Endpoint()),
		Credentials: credentials.NewStaticCredentialsProvider("local", "local", "local"),
	})}
	q, err := tr.client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("q")})
	if err != nil {
		t.Fatal(err)
	}
	tr.url = *q.QueueUrl
	const senders, batches = 3, 12
	var all sync.WaitGroup
	for i := range senders {
		all.Go(func() { check(t, tr.send(t.Context(), i, batches)) })
		all.Go(func() { check(t, tr.drain(t.Context(), senders*batches*10)) })
		all.Go(func() { check(t, tr.drain(t.Context(), senders*batches*10)) })
	}
	all.Wait()
	for body, n := range tr.seen {
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

func (tr *traffic) send(ctx context.Context, sender, batches int) error {
	for b := range batches {
		var entries []types.SendMessageBatchRequestEntry
		for i := range 10 {
			entries = append(entries, types.SendMessageBatchRequestEntry{
				Id: aws.String(strconv.Itoa(i)), MessageBody: aws.String(fmt.Sprintf("%d-%d-%d", sender, b, i)),
			})
		}
		if _, err := tr.client.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: &tr.url,
			Entries: entries}); err != nil {
			return err
		}
	}
	return nil
}

// drain receives and deletes until as many different messages as there are were seen. A lost one makes it give up.
func (tr *traffic) drain(ctx context.Context, total int) error {
	for empty := 0; tr.count(nil) < total; {
		out, err := tr.client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
			QueueUrl: &tr.url, MaxNumberOfMessages: 10, WaitTimeSeconds: 1,
		})
		if err != nil {
			return err
		}
		if len(out.Messages) == 0 {
			if empty++; empty == 10 {
				return fmt.Errorf("%d messages of %d were seen", tr.count(nil), total)
			}
			continue
		}
		tr.count(out.Messages)
		if err := tr.remove(ctx, out.Messages); err != nil {
			return err
		}
	}
	return nil
}

// count adds to what was seen, and returns how many different messages that are.
func (tr *traffic) count(messages []types.Message) int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, m := range messages {
		tr.seen[*m.Body]++
	}
	return len(tr.seen)
}

func (tr *traffic) remove(ctx context.Context, messages []types.Message) error {
	var entries []types.DeleteMessageBatchRequestEntry
	for i, m := range messages {
		entries = append(entries, types.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)),
			ReceiptHandle: m.ReceiptHandle})
	}
	_, err := tr.client.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &tr.url, Entries: entries})
	return err
}
