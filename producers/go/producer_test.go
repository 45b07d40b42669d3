package producer_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	producer "github.com/arbitex/siem-connectors/producers/go"
)

func event(n, size int) []byte {
	return fmt.Appendf(nil, `{"time":1773360000000,"class_uid":6003,"metadata":{"uid":"%d"},"x":"%s"}`, n,
		strings.Repeat("x", size))
}

// uids returns the ids of the events in message bodies.
func uids(t *testing.T, bodies []string) []int {
	t.Helper()
	var all []int
	for _, body := range bodies {
		if !strings.HasPrefix(body, "[") {
			body = "[" + body + "]"
		}
		var events []struct{ Metadata struct{ UID string } }
		if err := json.Unmarshal([]byte(body), &events); err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			n, _ := strconv.Atoi(e.Metadata.UID)
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all
}

// fake is an SQS that fails as told, request by request: an error, or the numbers of failing entries. If hold is set,
// each request receives from it before it returns.
type fake struct {
	hold        chan struct{}
	plan        []any
	senderFault bool
	requests    [][]string
}

func (f *fake) SendMessageBatch(
	_ context.Context, in *sqs.SendMessageBatchInput, _ ...func(*sqs.Options),
) (*sqs.SendMessageBatchOutput, error) {
	var bodies []string
	for _, e := range in.Entries {
		bodies = append(bodies, *e.MessageBody)
	}
	f.requests = append(f.requests, bodies)
	var step any
	if len(f.plan) > 0 {
		step, f.plan = f.plan[0], f.plan[1:]
	}
	if f.hold != nil {
		<-f.hold
	}
	if err, ok := step.(error); ok {
		return nil, err
	}
	failing, _ := step.([]int)
	out := &sqs.SendMessageBatchOutput{}
	for i, e := range in.Entries {
		if slices.Contains(failing, i) {
			out.Failed = append(out.Failed, types.BatchResultErrorEntry{Id: e.Id, Code: aws.String("Broken"),
				SenderFault: f.senderFault})
			continue
		}
		out.Successful = append(out.Successful, types.SendMessageBatchResultEntry{Id: e.Id})
	}
	return out, nil
}

func open(f *fake, o producer.Options) *producer.Producer {
	o.MaxDelay = -1
	o.Wait = func(context.Context, time.Duration) error { return nil }
	return producer.New(producer.SQS(f, "q"), o)
}

func add(t *testing.T, p *producer.Producer, from, to, size int) {
	t.Helper()
	for n := from; n < to; n++ {
		if err := p.Add(t.Context(), event(n, size)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMessagesAndRequests(t *testing.T) {
	for name, tt := range map[string]struct{ events, size, messages, requests int }{
		"one event":            {1, 0, 1, 1},
		"a hundred":            {100, 0, 1, 1},
		"two requests":         {1050, 0, 11, 2},
		"256 KB in a message":  {4, 100_000, 2, 1},
		"one MiB in a request": {10, 200_000, 10, 2},
	} {
		f := &fake{}
		p := open(f, producer.Options{})
		add(t, p, 0, tt.events, tt.size)
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		bodies := slices.Concat(f.requests...)
		if len(bodies) != tt.messages || len(f.requests) != tt.requests || len(uids(t, bodies)) != tt.events {
			t.Errorf("%s: %d messages in %d requests, want %d in %d", name, len(bodies), len(f.requests), tt.messages,
				tt.requests)
		}
		if tt.events == 1 && bodies[0][0] != '{' {
			t.Errorf("%s: %s, want an object", name, bodies[0])
		}
	}
}

func TestEventTooLarge(t *testing.T) {
	if err := open(&fake{}, producer.Options{}).Add(t.Context(), event(1, 1<<20)); err == nil ||
		!strings.Contains(err.Error(), "at most 1048574 bytes") {
		t.Error(err)
	}
}

func TestFailedEntriesAreSentAgain(t *testing.T) {
	f := &fake{plan: []any{[]int{1}, errors.New("reset"), []int{0}}}
	p := open(f, producer.Options{MaxEvents: 1})
	add(t, p, 0, 3, 0)
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	var sent []string
	for _, r := range f.requests {
		sent = append(sent, fmt.Sprint(uids(t, r)))
	}
	if got := strings.Join(sent, " "); got != "[0 1 2] [1] [1] [1]" {
		t.Errorf("requests with %s", got)
	}
}

func TestUnsentEventsAreReturned(t *testing.T) {
	broken := errors.New("no route")
	f := &fake{plan: []any{broken, broken, broken, broken, broken}}
	p := open(f, producer.Options{})
	add(t, p, 0, 2, 0)
	failed, ok := errors.AsType[*producer.SendError](p.Flush(t.Context()))
	if !ok || len(failed.Events) != 2 || !errors.Is(failed, broken) || len(f.requests) != 5 {
		t.Errorf("%v after %d requests", failed, len(f.requests))
	}
	f = &fake{plan: []any{[]int{0}}, senderFault: true}
	p = open(f, producer.Options{MaxEvents: 1})
	add(t, p, 0, 2, 0)
	failed, ok = errors.AsType[*producer.SendError](p.Flush(t.Context()))
	if !ok || len(failed.Events) != 1 || string(failed.Events[0]) != string(event(0, 0)) || len(f.requests) != 1 {
		t.Errorf("%v after %d requests, want one refused event", failed, len(f.requests))
	}
}

// background starts a producer whose first request fails in the background, and is under way if f.hold is set.
func background(t *testing.T, f *fake, o producer.Options) *producer.Producer {
	t.Helper()
	f.plan = []any{errReset}
	o.Attempts = 1
	p := producer.New(producer.SQS(f, "q"), o)
	add(t, p, 0, 1, 0)
	<-time.After(time.Second)
	synctest.Wait()
	if len(f.requests) != 1 {
		t.Fatalf("%d requests after a second", len(f.requests))
	}
	return p
}

var errReset = errors.New("reset")

// wantUnsent checks that err is one SendError with the events from 0 to n.
func wantUnsent(t *testing.T, err error, n int, cause error) {
	t.Helper()
	failed, ok := err.(*producer.SendError) //nolint:errorlint // The test is that nothing wraps it.
	if !ok || !errors.Is(err, cause) {
		t.Fatalf("%v, want a SendError because of %q", err, cause)
	}
	var bodies []string
	for _, e := range failed.Events {
		bodies = append(bodies, string(e))
	}
	if got := uids(t, bodies); len(got) != n || len(slices.Compact(got)) != n {
		t.Errorf("unsent events %v, want %d", got, n)
	}
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		p := background(t, f, producer.Options{})
		wantUnsent(t, p.Add(t.Context(), event(1, 0)), 1, errReset)
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if len(f.requests) != 2 || !slices.Equal(uids(t, f.requests[1]), []int{1}) {
			t.Errorf("requests %v, want the event whose Add returned the earlier failure", f.requests)
		}
	})
}

func TestFailuresAreOneError(t *testing.T) {
	for name, events := range map[string]int{"Flush": 3, "Add": 11} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{hold: make(chan struct{})}
				p := background(t, f, producer.Options{MaxEvents: 1})
				f.plan = []any{errReset}
				add(t, p, 1, events-1, 0)
				if name == "Flush" {
					add(t, p, events-1, events, 0)
					close(f.hold)
					wantUnsent(t, p.Flush(t.Context()), events, errReset)
					return
				}
				close(f.hold)
				synctest.Wait()
				wantUnsent(t, p.Add(t.Context(), event(events-1, 0)), events, errReset)
			})
		})
	}
}

func TestFlushWaitsForOtherRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reported error
		for name, tt := range map[string]struct {
			o    producer.Options
			stop func(*producer.Producer, context.Context) error
		}{
			"Flush": {stop: (*producer.Producer).Flush},
			"Close": {stop: (*producer.Producer).Close},
			"OnError": {
				producer.Options{OnError: func(e *producer.SendError) { reported = e }},
				(*producer.Producer).Close,
			},
		} {
			f := &fake{hold: make(chan struct{})}
			p := background(t, f, tt.o)
			canceled, cancel := context.WithCancel(t.Context())
			cancel()
			wantUnsent(t, tt.stop(p, canceled), 1, context.Canceled)
			result := make(chan error, 1)
			go func() { result <- tt.stop(p, t.Context()) }()
			synctest.Wait()
			if len(result) != 0 {
				t.Errorf("%s returned while a request was under way", name)
			}
			close(f.hold)
			err := <-result
			if tt.o.OnError != nil {
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				err = reported
			}
			wantUnsent(t, err, 1, errReset)
		}
	})
}

func TestFlushWaitsForAdd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{hold: make(chan struct{})}
		p := open(f, producer.Options{MaxEvents: 1})
		added, flushed := make(chan struct{}), make(chan error, 1)
		go func() {
			defer close(added)
			add(t, p, 0, 10, 0)
		}()
		synctest.Wait()
		go func() { flushed <- p.Flush(t.Context()) }()
		synctest.Wait()
		if len(f.requests) != 1 || len(flushed) != 0 {
			t.Errorf("%d requests; Flush returned: %v", len(f.requests), len(flushed) != 0)
		}
		close(f.hold)
		if err := <-flushed; err != nil {
			t.Error(err)
		}
		<-added
	})
}

func TestInvalidEvents(t *testing.T) {
	f := &fake{}
	p := open(f, producer.Options{})
	for body, found := range map[string]string{
		"":                       "no text",
		" \n":                    "no text",
		"\ufeff":                 "no text",
		`{"x":"` + "\xff" + `"}`: "invalid UTF-8",
		`{"x":`:                  "invalid JSON: unexpected end",
		`{"x":1}{"x":2}`:         "invalid JSON: invalid character '{'",
		`[{"x":1}]`:              "a value that begins with '['",
		"null":                   "a value that begins with 'n'",
	} {
		err := p.Add(t.Context(), []byte(body))
		if want := "event: expected a JSON object in UTF-8, found " + found; err == nil ||
			!strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", body, err, want)
		}
	}
	add(t, p, 0, 2, 0)
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(f.requests) != 1 || !slices.Equal(uids(t, f.requests[0]), []int{0, 1}) {
		t.Errorf("requests %q, want one with the valid events", f.requests)
	}
}

func TestEventsAreNormalized(t *testing.T) {
	for body, want := range map[string]string{
		"\ufeff \r\n{\"x\": 1}\t\n":          `{"x": 1}`,
		"{\"\uFFFE\":\"a\uFFFF\\\\\uFFFE\"}": `{"\ufffe":"a\uffff\\\ufffe"}`,
		`{"x":"` + "\uFFFD\U0001FFFE" + `"}`: `{"x":"` + "\uFFFD\U0001FFFE" + `"}`,
	} {
		f := &fake{}
		p := open(f, producer.Options{})
		if err := errors.Join(p.Add(t.Context(), []byte(body)), p.Close(t.Context())); err != nil {
			t.Fatal(err)
		}
		if f.requests[0][0] != want {
			t.Errorf("%q was sent as %q, want %q", body, f.requests[0][0], want)
		}
	}
}

// TestMoto sends to moto's SQS, directly and through SNS. PRODUCER_MOTO names the Python interpreter that has moto.
func TestMoto(t *testing.T) {
	python := os.Getenv("PRODUCER_MOTO")
	if python == "" {
		t.Skip("NOT TESTED: PRODUCER_MOTO is not set (make producers sets it)")
	}
	cfg := aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(moto(t, python)),
		Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
	}
	queues, topics := sqs.NewFromConfig(cfg), sns.NewFromConfig(cfg)
	q, err := queues.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("q")})
	if err != nil {
		t.Fatal(err)
	}
	topic, err := topics.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String("t")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = topics.Subscribe(t.Context(), &sns.SubscribeInput{
		TopicArn: topic.TopicArn, Protocol: aws.String("sqs"), Endpoint: aws.String("arn:aws:sqs:us-east-1:123456789012:q"),
		Attributes: map[string]string{"RawMessageDelivery": "true"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []producer.Destination{producer.SQS(queues, *q.QueueUrl), producer.SNS(topics, *topic.TopicArn)} {
		p := producer.New(to, producer.Options{})
		add(t, p, 0, 1050, 0)
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		var bodies []string
		for {
			out, err := queues.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: q.QueueUrl,
				MaxNumberOfMessages: 10})
			if err != nil {
				t.Fatal(err)
			}
			if len(out.Messages) == 0 {
				break
			}
			for _, m := range out.Messages {
				bodies = append(bodies, *m.Body)
			}
		}
		if got := uids(t, bodies); len(got) != 1050 || got[0] != 0 || got[1049] != 1049 || len(slices.Compact(got)) != 1050 {
			t.Errorf("%T: %d events in %d messages", to, len(got), len(bodies))
		}
	}
}

// moto starts moto's server and returns its URL.
func moto(t *testing.T, python string) string {
	t.Helper()
	const script = "from moto.server import ThreadedMotoServer as S\nimport sys\ns = S(ip_address=\"127.0.0.1\", " +
		"port=0, verbose=False)\ns.start()\n" +
		"print(s.get_host_and_port()[1], flush=True)\nsys.stdin.read()"
	cmd := exec.CommandContext(t.Context(), python, "-W", "ignore", "-c", script)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return "http://127.0.0.1:" + strings.TrimSpace(port)
}
