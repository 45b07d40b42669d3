package fakeaws_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/arbitex/siem-connectors/internal/testkit/fakeaws"
)

const url, dead = "queue", "dead"

// place is an order that changes with every receive.
func place(m fakeaws.Message) uint64 {
	var n uint64
	_, _ = fmt.Sscan(m.ID[:8], &n)
	return n * uint64(7+m.Receives) % 11
}

func newQueues(order func(fakeaws.Message) uint64) *fakeaws.SQS {
	s := &fakeaws.SQS{Order: order}
	s.Create(fakeaws.Queue{URL: dead})
	s.Create(fakeaws.Queue{URL: url, Visibility: 10 * time.Second, MaxReceives: 3, DeadLetter: dead})
	return s
}

// TestReceiveGivesTheFirst: after any sequence of sends, visibility changes and deletions, a receive returns the first
// visible messages in order, and messages that were received three times are moved.
func TestReceiveGivesTheFirst(t *testing.T) {
	for name, order := range map[string]func(fakeaws.Message) uint64{"as sent": nil, "in another order": place} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(rand.NewPCG(1, 2))
				s := newQueues(order)
				for range 3000 {
					for range r.IntN(4) {
						s.Put(url, "a", nil)
					}
					want := first(s.Messages(url), 3, order)
					got := receive(t, s, 3)
					if ids(got) != fmt.Sprint(want) {
						t.Fatalf("received %s, want %s", ids(got), want)
					}
					for _, m := range got {
						treat(t, s, m, r.IntN(8))
					}
					<-time.After(time.Duration(r.IntN(2000)) * time.Millisecond)
				}
				if s.Len(dead) == 0 || s.Len(url) == 0 {
					t.Errorf("%d messages are moved, %d are left; expected some of both", s.Len(dead), s.Len(url))
				}
			})
		})
	}
}

// first are the ids of the messages that a receive has to give.
func first(all []fakeaws.Message, most int, order func(fakeaws.Message) uint64) []string {
	visible := slices.DeleteFunc(all, func(m fakeaws.Message) bool {
		return m.Visible.After(time.Now()) || m.Receives == 3
	})
	if order != nil {
		slices.SortStableFunc(visible, func(a, b fakeaws.Message) int { return int(order(a)) - int(order(b)) })
	}
	given := make([]string, 0, most)
	for _, m := range visible[:min(most, len(visible))] {
		given = append(given, m.ID)
	}
	return given
}

func receive(t *testing.T, s *fakeaws.SQS, most int32) []types.Message {
	t.Helper()
	out, err := s.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String(url),
		MaxNumberOfMessages: most})
	if err != nil {
		t.Fatal(err)
	}
	return out.Messages
}

func ids(messages []types.Message) string {
	all := make([]string, len(messages))
	for i := range messages {
		all[i] = *messages[i].MessageId
	}
	return fmt.Sprint(all)
}

// treat deletes a message, or hides it for some seconds, or leaves it.
func treat(t *testing.T, s *fakeaws.SQS, m types.Message, how int) {
	t.Helper()
	var err error
	switch {
	case how < 3:
		_, err = s.DeleteMessageBatch(t.Context(), &sqs.DeleteMessageBatchInput{
			QueueUrl: aws.String(url), Entries: []types.DeleteMessageBatchRequestEntry{{Id: aws.String("a"),
				ReceiptHandle: m.ReceiptHandle}},
		})
	case how < 6:
		_, err = s.ChangeMessageVisibilityBatch(t.Context(), &sqs.ChangeMessageVisibilityBatchInput{
			QueueUrl: aws.String(url), Entries: []types.ChangeMessageVisibilityBatchRequestEntry{{Id: aws.String("a"),
				ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: int32(how * 5)}},
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestNumbersApart: a queue's messages can be numbered apart, and then leave the others' numbers as they are.
func TestNumbersApart(t *testing.T) {
	s := newQueues(nil)
	s.Create(fakeaws.Queue{URL: "apart", FirstID: 7000})
	for i, want := range []struct{ url, id string }{{url, "00000001"}, {"apart", "00007000"}, {"apart", "00007001"},
		{dead, "00000002"}} {
		if id := s.Put(want.url, "a", nil); id[:8] != want.id {
			t.Errorf("message %d is %s, want %s", i, id, want.id)
		}
	}
}

// TestBatchRefuses: a batch request with no entries, too many or two of one id is refused as a whole.
func TestBatchRefuses(t *testing.T) {
	entry := func(id int) types.DeleteMessageBatchRequestEntry {
		return types.DeleteMessageBatchRequestEntry{Id: aws.String(fmt.Sprint(id)), ReceiptHandle: aws.String("x")}
	}
	var eleven []types.DeleteMessageBatchRequestEntry
	for i := range 11 {
		eleven = append(eleven, entry(i))
	}
	s := newQueues(nil)
	for want, entries := range map[string][]types.DeleteMessageBatchRequestEntry{
		"EmptyBatchRequest": nil, "TooManyEntriesInBatchRequest": eleven,
		"BatchEntryIdsNotDistinct": {entry(1), entry(2), entry(1)},
	} {
		_, err := s.DeleteMessageBatch(t.Context(), &sqs.DeleteMessageBatchInput{QueueUrl: aws.String(url), Entries: entries})
		if err == nil || !strings.Contains(err.Error(), "AWS.SimpleQueueService."+want+":") {
			t.Errorf("%d entries: %v, want %s", len(entries), err, want)
		}
	}
	if _, err := s.DeleteMessageBatch(t.Context(), &sqs.DeleteMessageBatchInput{QueueUrl: aws.String(url),
		Entries: eleven[:10]}); err != nil {
		t.Errorf("10 entries: %v", err)
	}
}
