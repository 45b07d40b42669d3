package cost

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/deployed"
	"github.com/arbitex/siem-connectors/emulator/lambda/eventsource"
	splunk "github.com/arbitex/siem-connectors/functions/splunk/connector"
	"github.com/arbitex/siem-connectors/internal/ocsfgen"
	"github.com/arbitex/siem-connectors/internal/testkit/fakeaws"
	"github.com/arbitex/siem-connectors/shared/drain"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
	"github.com/arbitex/siem-connectors/shared/replay"
)

const (
	queueURL, lettersURL = "https://sqs.test/1/splunk", "https://sqs.test/1/letters"
	queueARN, lettersARN = "arn:aws:sqs:eu-central-1:1:splunk", "arn:aws:sqs:eu-central-1:1:letters"

	// latency is the response time of the SIEM.
	latency = 300 * time.Millisecond
	// bad marks the events that the SIEM refuses.
	bad = `"marked":"refuse me"`
)

// counts is the number of billed operations of a run.
type counts struct {
	events, eventBytes float64

	// the events' queue, in requests of the bill; empty are receives that found nothing
	send, receive, empty, remove float64
	letters                      float64 // the dead-letter queue's requests, and the replay's
	again                        float64 // requests that make messages wait
	invocations                  float64 // of the connector
	busy                         time.Duration
	wire                         float64 // bytes that left for the SIEM, as HTTP has them
	logs                         float64 // bytes that the connector wrote
	secrets                      float64
	drains                       float64 // invocations of the drain
	s3Writes, s3Reads            float64
	took                         time.Duration
}

// account is a fake AWS that counts.
type account struct {
	sqs fakeaws.SQS
	s3  fakeaws.S3

	mu sync.Mutex
	counts
}

// add increases a count.
func (a *account) add(to *float64, n float64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	*to += n
}

// billed is how many requests AWS bills for one request with a payload of this size.
func billed(bytes int) float64 { return max(1, float64((bytes+sqsChunk-1)/sqsChunk)) }

// SendMessageBatch counts requests of the platform, the connector and the replay.
func (a *account) SendMessageBatch(ctx context.Context, in *sqs.SendMessageBatchInput,
	_ ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	bytes, to := 0, &a.send
	for _, e := range in.Entries {
		bytes += len(*e.MessageBody)
		if e.MessageAttributes != nil || *in.QueueUrl == lettersURL { // only the platform's events have no attributes
			to = &a.letters
		}
	}
	a.add(to, billed(bytes))
	return a.sqs.SendMessageBatch(ctx, in)
}

// ChangeMessageVisibilityBatch counts changes of visibility, which the runs do not need.
func (a *account) ChangeMessageVisibilityBatch(ctx context.Context, in *sqs.ChangeMessageVisibilityBatchInput,
	_ ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error) {
	a.add(&a.again, 1)
	return a.sqs.ChangeMessageVisibilityBatch(ctx, in)
}

// GetSecretValue counts reads of the connector's secret.
func (a *account) GetSecretValue(context.Context, *secretsmanager.GetSecretValueInput,
	...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error) {
	a.add(&a.secrets, 1)
	return &secretsmanager.GetSecretValueOutput{SecretString: aws.String(`{"SPLUNK_HEC_TOKEN":"a-token"}`)}, nil
}

// queue is the SQS of a poller.
type queue struct {
	*account
	url string
}

// Receive implements eventsource.Queue.
func (q queue) Receive(ctx context.Context, limit int, wait time.Duration) ([]eventsource.Message, error) {
	all, err := eventsource.SQS{Client: &q.sqs, URL: q.url}.Receive(ctx, limit, wait)
	bytes := 0
	for _, m := range all {
		bytes += len(m.Body)
	}
	switch {
	case err != nil:
	case len(all) == 0:
		q.add(&q.empty, 1)
	case q.url == queueURL:
		q.add(&q.receive, billed(bytes))
	default:
		q.add(&q.letters, billed(bytes))
	}
	return all, err
}

// Delete implements eventsource.Queue.
func (q queue) Delete(ctx context.Context, messages []eventsource.Message) ([]eventsource.Message, error) {
	to := &q.remove
	if q.url == lettersURL {
		to = &q.letters
	}
	q.add(to, 1)
	failed, err := eventsource.SQS{Client: &q.sqs, URL: q.url}.Delete(ctx, messages)
	if err == nil && len(failed) > 0 {
		err = fmt.Errorf("%d messages are not deleted", len(failed))
	}
	return nil, err
}

// collector is Splunk's HTTP Event Collector in memory. It responds with a delay, and refuses marked events until a
// test lets it accept all.
type collector struct {
	*account
	conns   chan net.Conn
	mu      sync.Mutex
	lenient bool
	taken   int // events
}

func (c *collector) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	c.conns <- theirs
	return counted{ours, c.account}, nil
}

// counted is the connector's end of a connection; it counts bytes.
type counted struct {
	net.Conn
	*account
}

func (c counted) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.add(&c.wire, float64(n))
	return n, err
}

// Accept implements net.Listener.
func (c *collector) Accept() (net.Conn, error) {
	if conn, ok := <-c.conns; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

// Close implements net.Listener.
func (c *collector) Close() error { return nil }

// Addr implements net.Listener.
func (c *collector) Addr() net.Addr { return &net.TCPAddr{} }

// ServeHTTP answers as the collector does: the first event that is refused ends the request, and is named.
func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	z, err := gzip.NewReader(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	pass(latency)
	c.mu.Lock()
	defer c.mu.Unlock()
	for n, events := 0, json.NewDecoder(z); ; n++ {
		var e json.RawMessage
		if err := events.Decode(&e); err != nil {
			break
		}
		if !c.lenient && bytes.Contains(e, []byte(bad)) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"text":"Invalid data format","code":6,"invalid-event-number":%d}`, n)
			return
		}
		c.taken++
	}
	_, _ = io.WriteString(w, `{"text":"Success","code":0}`)
}

// Write counts a line of the connector's log.
func (a *account) Write(p []byte) (int, error) {
	a.add(&a.logs, float64(len(p)))
	return len(p), nil
}

// scenario describes a run.
type scenario struct {
	events int
	fill   int  // events of a batch
	send   int  // messages in one request of the platform
	pack   int  // events in a message; 0 is one
	usual  bool // without the generated events that are large on purpose
	refuse int  // one of this many events is refused; 0 means none
}

// run delivers events with the template's settings: the platform, the event source mapping, the connector, and for
// refused events the drain, the replay and a second delivery. The functions run the deployed code; AWS and the network
// are simulated.
func run(t *testing.T, sc scenario) (c counts) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		a := &account{}
		a.sqs.Create(fakeaws.Queue{URL: queueURL, ARN: queueARN, Visibility: 185 * time.Second})
		a.sqs.Create(fakeaws.Queue{URL: lettersURL, ARN: lettersARN})
		a.s3.Hook = a.countS3
		siem := &collector{account: a, conns: make(chan net.Conn, 8)}
		server := &http.Server{Handler: siem}
		go server.Serve(siem) //nolint:errcheck // it ends when it is closed
		defer server.Close()
		defer close(siem.conns)

		w := a.world(siem)
		connector := lambdahost.NewConnector("splunk", splunk.Open, w)
		w.Out = io.Discard // only the connector's log is counted
		pollers := []*eventsource.Poller{
			a.poll(ctx, t, queue{a, queueURL}, queueARN, maximumConcurrency, a.timed(connector.Invoke)),
			a.poll(ctx, t, queue{a, lettersURL}, lettersARN, 2, a.drained(drain.NewFunction(w, &a.s3).Invoke)),
		}
		start := time.Now()
		a.platform(ctx, t, sc)
		a.settle(t)
		if sc.refuse > 0 {
			siem.mu.Lock()
			siem.lenient = true
			siem.mu.Unlock()
			a.replay(ctx, t, w)
			a.settle(t)
		}
		a.took = time.Since(start)
		stop()
		for _, p := range pollers {
			<-p.Done()
		}
		if siem.taken != sc.events {
			t.Errorf("the SIEM has %d of %d events", siem.taken, sc.events)
		}
		c = a.counts
	})
	return c
}

// pass advances the clock of the synctest bubble.
func pass(d time.Duration) { <-time.After(d) }

// world is the environment of the functions.
func (a *account) world(siem *collector) lambdahost.Deps {
	env := map[string]string{
		"SIEM_QUEUE_URL": queueURL, "SIEM_DEAD_LETTER_QUEUE_URL": lettersURL, "SIEM_SECRET_ID": "splunk",
		"SIEM_ALLOW_HTTP": "true",
		"SPLUNK_HEC_URL":  "http://siem.test", "SIEM_DEAD_LETTER_PATH": "s3://letters/dead", "SPLUNK_QUEUE_URL": queueURL,
	}
	return lambdahost.Deps{Env: func(name string) string { return env[name] }, Out: a, Now: time.Now, SQS: a, Secrets: a,
		Dial: siem.dial}
}

type invoke func(context.Context, []byte) ([]byte, error)

// timed counts the connector's invocations and their duration.
func (a *account) timed(f invoke) invoke {
	return func(ctx context.Context, payload []byte) ([]byte, error) {
		start := time.Now()
		answer, err := f(ctx, payload)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.invocations++
		a.busy += time.Since(start)
		return answer, err
	}
}

// drained counts the drain's invocations.
func (a *account) drained(f invoke) invoke {
	return func(ctx context.Context, payload []byte) ([]byte, error) {
		a.add(&a.drains, 1)
		return f(ctx, payload)
	}
}

// poll starts an event source mapping as the template has it.
func (a *account) poll(ctx context.Context, t *testing.T, q queue, arn string, concurrency int,
	f invoke) *eventsource.Poller {
	return eventsource.Start(ctx, eventsource.Config{
		QueueARN: arn, Region: "eu-central-1", BatchSize: batchMessages, Window: window, MaximumConcurrency: concurrency,
		ReportBatchItemFailures: true, Enabled: true, Queue: q, Invoke: f,
		Problem: func(err error) { t.Error(err) },
	})
}

// platform enqueues one batch of events at a time and waits until it is processed. The events have unusual texts, and
// some are large.
func (a *account) platform(ctx context.Context, t *testing.T, sc scenario) {
	t.Helper()
	made := ocsfgen.New(1)
	for n := 0; n < sc.events; {
		var events []string
		for ; len(events) < sc.fill && n < sc.events; n++ {
			body := string(made.Next())
			for sc.usual && len(body) > 4000 {
				body = string(made.Next())
			}
			if sc.refuse > 0 && n%sc.refuse == sc.refuse/2 {
				body = strings.TrimSuffix(body, "}") + "," + bad + "}"
			}
			a.events, a.eventBytes = a.events+1, a.eventBytes+float64(len(body))
			events = append(events, body)
		}
		for chunk := range slices.Chunk(deployed.Pack(events, max(1, sc.pack)), sc.send) {
			in := &sqs.SendMessageBatchInput{QueueUrl: aws.String(queueURL)}
			for i := range chunk {
				in.Entries = append(in.Entries, types.SendMessageBatchRequestEntry{Id: aws.String(fmt.Sprint(i)),
					MessageBody: &chunk[i].Body})
			}
			if _, err := a.SendMessageBatch(ctx, in); err != nil {
				t.Error(err)
			}
			pass(50 * time.Millisecond)
		}
		pass(7 * time.Second)
	}
}

// settle waits until the queues are empty.
func (a *account) settle(t *testing.T) {
	for n := 0; a.sqs.Len(queueURL)+a.sqs.Len(lettersURL) > 0; n++ {
		if n == 1000 {
			t.Fatal("the queues do not become empty")
		}
		pass(time.Second)
	}
}

// replay replays everything in one call.
func (a *account) replay(ctx context.Context, t *testing.T, w lambdahost.Deps) {
	const path = "/api/admin/siem/replay-dead-letter"
	payload := `{"rawPath":"` + path + `","requestContext":{"http":{"method":"POST","path":"` + path + `"}}}`
	answer, err := replay.NewFunction(w, &a.s3).Invoke(ctx, []byte(payload))
	if err != nil || !strings.Contains(string(answer), `\"remaining\":0`) {
		t.Errorf("%s, %v, want everything replayed", answer, err)
	}
	if left := a.s3.Keys("dead/pending/"); len(left) > 0 {
		t.Errorf("still pending: %q", left)
	}
}

// countS3 counts requests by their price.
func (a *account) countS3(op, _ string, after bool) error {
	switch {
	case after || op == "DeleteObject": // which is free
	case op == "GetObject":
		a.add(&a.s3Reads, 1)
	default:
		a.add(&a.s3Writes, 1)
	}
	return nil
}
