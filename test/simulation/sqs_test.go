package simulation_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/arbitex/siem-connectors/emulator/moto"
	"github.com/arbitex/siem-connectors/internal/testkit/fakeaws"
	"github.com/arbitex/siem-connectors/internal/testkit/products"
	"github.com/arbitex/siem-connectors/internal/testkit/testenv"
)

// queueAPI is the part of the SQS API that the simulation uses.
type queueAPI interface {
	SendMessageBatch(context.Context, *sqs.SendMessageBatchInput, ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput,
		error)
	ReceiveMessage(context.Context, *sqs.ReceiveMessageInput, ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error)
	ChangeMessageVisibilityBatch(context.Context, *sqs.ChangeMessageVisibilityBatchInput,
		...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error)
	DeleteMessageBatch(context.Context, *sqs.DeleteMessageBatchInput,
		...func(*sqs.Options)) (*sqs.DeleteMessageBatchOutput, error)
}

// queues is a queue with a visibility timeout of 2 s, and a dead-letter queue after two receives.
type queues struct {
	queueAPI
	t         *testing.T
	url, dead string
	codes     map[string]string // that differ from those of SQS; "": no error
}

// TestQueueInMemory, TestQueueOfMoto and TestQueueOfElasticMQ run the same cases.
func TestQueueInMemory(t *testing.T) {
	for _, c := range queueCases {
		ok := true
		synctest.Test(t, func(t *testing.T) {
			s := &fakeaws.SQS{}
			s.Create(fakeaws.Queue{URL: "dead", ARN: "arn:dead"})
			s.Create(fakeaws.Queue{URL: "queue", ARN: "arn:queue", Visibility: 2 * time.Second, MaxReceives: 2,
				DeadLetter: "dead"})
			c.run(&queues{s, t, "queue", "dead", nil})
			ok = !t.Failed()
		})
		if !ok {
			t.Errorf("failed: %s", c.name)
		}
	}
}

func TestQueueOfMoto(t *testing.T) {
	const venv = "../../build/venv"
	testenv.Python(t)
	if err := moto.Install(t.Context(), venv, io.Discard); err != nil {
		t.Fatal(err)
	}
	server, err := moto.Start(t.Context(), venv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop) // after the cases, which run in parallel
	runQueueCases(t, server.Endpoint(), nil)
}

func TestQueueOfElasticMQ(t *testing.T) {
	runQueueCases(t, products.ElasticMQ(t), map[string]string{
		"NonExistentQueue": "QueueDoesNotExist", "BatchRequestTooLong": "InvalidAttributeValue", "EmptyBatchRequest": "",
	})
}

func runQueueCases(t *testing.T, endpoint string, codes map[string]string) {
	client := sqs.New(sqs.Options{
		Region: "eu-west-1", BaseEndpoint: &endpoint,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
		}),
	})
	for i, c := range queueCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dead := create(t, client, fmt.Sprintf("dead-%d", i), nil)
			got, err := client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &dead,
				AttributeNames: []types.QueueAttributeName{"QueueArn"}})
			if err != nil {
				t.Fatal(err)
			}
			url := create(t, client, fmt.Sprintf("queue-%d", i), map[string]string{
				"VisibilityTimeout": "2", "RedrivePolicy": fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":"2"}`,
					got.Attributes["QueueArn"]),
			})
			c.run(&queues{client, t, url, dead, codes})
		})
	}
}

func create(t *testing.T, client *sqs.Client, name string, attributes map[string]string) string {
	t.Helper()
	out, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
	if err != nil {
		t.Fatal(err)
	}
	return *out.QueueUrl
}

func (q *queues) send(bodies ...string) {
	q.t.Helper()
	in := &sqs.SendMessageBatchInput{QueueUrl: &q.url}
	for i, body := range bodies {
		in.Entries = append(in.Entries, types.SendMessageBatchRequestEntry{
			Id: aws.String(fmt.Sprint(i)), MessageBody: aws.String(body),
			MessageAttributes: map[string]types.MessageAttributeValue{"connector": {DataType: aws.String("String"),
				StringValue: aws.String("splunk")}},
		})
	}
	out, err := q.SendMessageBatch(q.t.Context(), in)
	if err != nil || len(out.Successful) != len(bodies) || len(out.Failed) > 0 {
		q.t.Fatalf("sending: %v %+v", err, out)
	}
}

// receive receives up to most messages, and waits some seconds for the first.
func (q *queues) receive(url string, most, seconds int32) []types.Message {
	q.t.Helper()
	out, err := q.ReceiveMessage(q.t.Context(), &sqs.ReceiveMessageInput{
		QueueUrl: &url, MaxNumberOfMessages: most, WaitTimeSeconds: seconds, MessageAttributeNames: []string{"All"},
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{"All"},
	})
	if err != nil {
		q.t.Fatalf("receiving: %v", err)
	}
	return out.Messages
}

// one receives exactly one message.
func (q *queues) one(url string, seconds int32) types.Message {
	q.t.Helper()
	got := q.receive(url, 10, seconds)
	if len(got) != 1 {
		q.t.Fatalf("%d messages, want 1", len(got))
	}
	return got[0]
}

func (q *queues) none(url string, seconds int32) {
	q.t.Helper()
	if got := q.receive(url, 10, seconds); len(got) != 0 {
		q.t.Fatalf("%d messages, want none", len(got))
	}
}

func (q *queues) hide(m types.Message, seconds int32) {
	q.t.Helper()
	out, err := q.ChangeMessageVisibilityBatch(q.t.Context(), &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &q.url,
		Entries: []types.ChangeMessageVisibilityBatchRequestEntry{
			{Id: aws.String("a"), ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: seconds},
		}})
	if err != nil || len(out.Successful) != 1 {
		q.t.Fatalf("hiding: %v %+v", err, out)
	}
}

func (q *queues) remove(m types.Message) {
	q.t.Helper()
	out, err := q.DeleteMessageBatch(q.t.Context(), &sqs.DeleteMessageBatchInput{QueueUrl: &q.url,
		Entries: []types.DeleteMessageBatchRequestEntry{{Id: aws.String("a"), ReceiptHandle: m.ReceiptHandle}}})
	if err != nil || len(out.Successful) != 1 {
		q.t.Fatalf("deleting: %v %+v", err, out)
	}
}

func (q *queues) wantCode(err error, want string) {
	q.t.Helper()
	if differs, ok := q.codes[want]; ok {
		want = differs
	}
	if want == "" && err == nil {
		return
	}
	var api smithy.APIError
	if !errors.As(err, &api) || !strings.HasSuffix(api.ErrorCode(), want) {
		q.t.Errorf("%v, want %s", err, want)
	}
}

var queueCases = []struct {
	name string
	run  func(*queues)
}{
	{"a message comes as it was sent", func(q *queues) {
		before := time.Now().UnixMilli()
		q.send(`{"a": "ü"}`)
		m := q.one(q.url, 1)
		var sent int64
		_, _ = fmt.Sscan(m.Attributes["SentTimestamp"], &sent)
		if *m.Body != `{"a": "ü"}` || *m.MessageAttributes["connector"].StringValue != "splunk" ||
			m.Attributes["ApproximateReceiveCount"] != "1" ||
			*m.MessageId == "" || sent < before || sent > time.Now().UnixMilli() {
			q.t.Errorf("%+v", m)
		}
	}},
	{"a received message is hidden, and comes again with the next number", func(q *queues) {
		q.send("a")
		first := q.one(q.url, 1)
		q.none(q.url, 1)
		again := q.one(q.url, 3)
		if *again.MessageId != *first.MessageId || *again.ReceiptHandle == *first.ReceiptHandle ||
			again.Attributes["ApproximateReceiveCount"] != "2" {
			q.t.Errorf("%+v", again)
		}
	}},
	{"visibility 0 is at once", func(q *queues) {
		q.send("a")
		q.hide(q.one(q.url, 1), 0)
		q.one(q.url, 1)
	}},
	{"a longer visibility counts from the call", func(q *queues) {
		q.send("a")
		q.hide(q.one(q.url, 1), 4)
		q.none(q.url, 3)
		q.one(q.url, 3)
	}},
	{"a shorter visibility ends the longer one, and holds for one receive", func(q *queues) {
		q.send("a")
		q.hide(q.one(q.url, 1), 1)
		q.one(q.url, 2)
		q.none(q.url, 1)
	}},
	{"a deleted message does not come again", func(q *queues) {
		q.send("a", "b")
		for _, m := range q.receive(q.url, 10, 1) {
			if *m.Body == "a" {
				q.remove(m)
			}
		}
		if m := q.one(q.url, 4); *m.Body != "b" {
			q.t.Errorf("body %s", *m.Body)
		}
	}},
	{"the receive after the last moves a message to the dead-letter queue, as it was", func(q *queues) {
		q.send("a")
		first := q.one(q.url, 1)
		q.hide(first, 0)
		q.hide(q.one(q.url, 1), 0)
		q.none(q.dead, 1)
		q.none(q.url, 0)
		m := q.one(q.dead, 1)
		if *m.MessageId != *first.MessageId || *m.Body != "a" || *m.MessageAttributes["connector"].StringValue != "splunk" ||
			m.Attributes["SentTimestamp"] != first.Attributes["SentTimestamp"] {
			q.t.Errorf("%+v", m)
		}
		q.none(q.url, 0)
	}},
	{"a receive gives ten at most", func(q *queues) {
		q.send("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
		q.send("10", "11")
		seen := map[string]bool{}
		for range 12 {
			for _, m := range q.receive(q.url, 10, 0) {
				seen[*m.Body] = true
			}
		}
		if len(seen) != 12 {
			q.t.Errorf("%d messages, want 12", len(seen))
		}
	}},
	{"a batch has one to ten entries of different ids, and at most a mebibyte", func(q *queues) {
		entries := func(ids ...string) *sqs.SendMessageBatchInput {
			in := &sqs.SendMessageBatchInput{QueueUrl: &q.url, Entries: []types.SendMessageBatchRequestEntry{}}
			for _, id := range ids {
				in.Entries = append(in.Entries, types.SendMessageBatchRequestEntry{Id: aws.String(id),
					MessageBody: aws.String("a")})
			}
			return in
		}
		_, err := q.SendMessageBatch(q.t.Context(), entries())
		q.wantCode(err, "EmptyBatchRequest")
		_, err = q.SendMessageBatch(q.t.Context(), entries(strings.Split("abcdefghijk", "")...))
		q.wantCode(err, "TooManyEntriesInBatchRequest")
		_, err = q.SendMessageBatch(q.t.Context(), entries("a", "b", "a"))
		q.wantCode(err, "BatchEntryIdsNotDistinct")
		large := entries("a", "b")
		large.Entries[0].MessageBody = aws.String(strings.Repeat("x", 600_000))
		large.Entries[1].MessageBody = aws.String(strings.Repeat("x", 600_000))
		_, err = q.SendMessageBatch(q.t.Context(), large)
		q.wantCode(err, "BatchRequestTooLong")
		q.none(q.url, 0)
	}},
	{"an entry with a bad receipt fails alone", func(q *queues) {
		q.send("a")
		m := q.one(q.url, 1)
		out, err := q.ChangeMessageVisibilityBatch(q.t.Context(), &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &q.url,
			Entries: []types.ChangeMessageVisibilityBatchRequestEntry{
				{Id: aws.String("bad"), ReceiptHandle: aws.String("nonsense"), VisibilityTimeout: 0},
				{Id: aws.String("good"), ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: 0},
			}})
		if err != nil || len(out.Successful) != 1 || len(out.Failed) != 1 || *out.Failed[0].Id != "bad" ||
			*out.Failed[0].Code != "ReceiptHandleIsInvalid" {
			q.t.Fatalf("%v %+v", err, out)
		}
		q.one(q.url, 1)
	}},
	{"a delayed message comes later", func(q *queues) {
		in := &sqs.SendMessageBatchInput{QueueUrl: &q.url, Entries: []types.SendMessageBatchRequestEntry{{Id: aws.String("a"),
			MessageBody: aws.String("a"), DelaySeconds: 2}}}
		if _, err := q.SendMessageBatch(q.t.Context(), in); err != nil {
			q.t.Fatal(err)
		}
		q.none(q.url, 1)
		q.one(q.url, 3)
	}},
	{"a waiting receive wakes up for a message", func(q *queues) {
		got := make(chan []types.Message)
		go func() { got <- q.receive(q.url, 10, 10) }()
		begun := time.Now()
		q.send("a")
		if m := <-got; len(m) != 1 || time.Since(begun) > 5*time.Second {
			q.t.Errorf("%d messages after %s", len(m), time.Since(begun))
		}
	}},
	{"an unknown queue is an error", func(q *queues) {
		_, err := q.ReceiveMessage(q.t.Context(),
			&sqs.ReceiveMessageInput{QueueUrl: aws.String(strings.Replace(q.url, "queue", "nothing", 1))})
		q.wantCode(err, "NonExistentQueue")
	}},
}

// TestOrderAndTwice: the queue in memory reorders and repeats messages on demand.
func TestOrderAndTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeaws.SQS{Order: func(m fakeaws.Message) uint64 { return uint64('z' - m.Body[0]) },
			Twice: func(m fakeaws.Message) bool { return m.Body == "b" && m.Receives == 1 }}
		s.Create(fakeaws.Queue{URL: "queue"})
		q := &queues{s, t, "queue", "", nil}
		q.send("a", "b", "c")
		var bodies []string
		for range 2 {
			for _, m := range q.receive(q.url, 10, 0) {
				bodies = append(bodies, *m.Body)
			}
		}
		if !slices.Equal(bodies, []string{"c", "b", "a", "b"}) {
			t.Errorf("received %v", bodies)
		}
	})
}
