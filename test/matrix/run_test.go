package matrix

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/emulator/lambda/runtimeapi"
)

const (
	// requestSeconds is the timeout of a request; shortSeconds, if the fault is a timeout.
	requestSeconds, shortSeconds = "10", "2"

	// timeLimit is the function's. A function without a deadline of its own is killed.
	timeLimit = 30 * time.Second

	// maxMemory is the limit of a function's memory. The smallest Lambda has 128 MiB.
	maxMemory = 80 << 20

	maxAttempts = 5
)

// attempt is one invocation of a cell.
type attempt struct {
	receives int
	events   int
	filler   string
	bodies   []string // instead of events
	env      map[string]string
	fault    fault
	proxy    *proxyCase
	hang     bool                  // see row
	respond  func(n int) responder // HTTP
	token    responder             // Sentinel: for access tokens
	stream   func(net.Conn)        // syslog; nil reads everything
}

// count is the number of messages.
func (a *attempt) count() int { return max(a.events, len(a.bodies)) }

// body is message i's.
func (a *attempt) body(i int) string {
	if a.bodies != nil {
		return a.bodies[i]
	}
	return eventBody(i, a.filler)
}

// result is the result of an attempt.
type result struct {
	printed  string   // log and metrics
	bodies   [][]byte // that an HTTP SIEM received
	headers  []http.Header
	outcomes []outcome
	requests int
	reads    int // of the secret
}

// outcome is the outcome of an event.
type outcome struct {
	state    string // delivered, kept, dead letter
	wait     int    // seconds, for a retry
	reason   string // when dead letter
	attempts string
}

// run makes the invocation, and checks what holds for every cell.
func (f *fixture) run(t *testing.T, c *target, a attempt) result {
	t.Helper()
	endpoint := f.open(t, c, a)
	defer endpoint.close()
	account := newAccount(c.secretText(endpoint.url, endpoint.proxySetting), a.hang)
	defer account.Close()
	var mu sync.Mutex
	var output strings.Builder
	fn := runtimeapi.New(runtimeapi.Config{
		Name: c.name, ARN: "arn", Bootstrap: bootstrap(c.name), Region: "eu-west-1", Timeout: timeLimit, MemoryMB: 128,
		Environment: f.environment(c, a, endpoint, account),
		Output: func(line string) {
			mu.Lock()
			defer mu.Unlock()
			output.WriteString(line + "\n")
		},
	})
	defer fn.Close()
	response, err := fn.Invoke(context.Background(), payload(a))
	memory := int64(0) // of a process that has ended, which the result shows
	for _, pid := range fn.Stats().Processes {
		memory = max(memory, runtimeapi.Status(pid, "VmHWM"))
	}
	fn.Close()
	mu.Lock()
	printed := output.String()
	mu.Unlock()
	if err != nil || response.Error != nil && (a.proxy == nil || a.proxy.setting == "") {
		t.Fatalf("invoking: %v %v, printed %s", err, response.Error, printed)
	}
	account.mu.Lock()
	defer account.mu.Unlock()
	f.largest.Store(max(f.largest.Load(), memory)) // concurrent cells may lose a value, which is only logged
	if memory > maxMemory {
		t.Errorf("the function took %d MiB, want at most %d", memory>>20, maxMemory>>20)
	}
	all := printed + string(response.Payload) + fmt.Sprint(account.deadLetters)
	for _, secret := range [...]string{canary, tokenCanary, proxyCanary} {
		if strings.Contains(all, secret) {
			t.Errorf("the output contains a secret: %s", all)
		}
	}
	if len(account.wrong) > 0 {
		t.Errorf("unexpected requests to AWS: %v", account.wrong)
	}
	s := result{printed: printed, reads: account.reads}
	if response.Error != nil {
		s.outcomes = allFailed(t, response.Error.Message, a, account)
	} else {
		s.outcomes = outcomes(t, response.Payload, a, account, printed)
	}
	endpoint.check(t, &s)
	return s
}

func (f *fixture) environment(c *target, a attempt, p *endpoint, account *account) map[string]string {
	env := map[string]string{
		"AWS_ENDPOINT_URL": account.URL, "SIEM_SECRET_ID": secretID,
		"SIEM_QUEUE_URL": ownQueue, "SIEM_DEAD_LETTER_QUEUE_URL": deadQueue, "SIEM_REQUEST_TIMEOUT_SECONDS": requestSeconds,
		"SIEM_MAX_ATTEMPTS": strconv.Itoa(maxAttempts),
	}
	maps.Copy(env, c.env)
	maps.Copy(env, p.env)
	maps.Copy(env, a.env)
	if (c.secret != "" || c.syslog) && env[c.url] == "" {
		env[c.url] = p.url + c.path
	}
	if c.ca == "" {
		env["SSL_CERT_FILE"] = f.caFile
	} else if env[c.ca] == "" {
		env[c.ca] = f.caFile
	}
	return env
}

// bootstrap is the path of a function's binary.
func bootstrap(name string) string {
	// fails only without a working directory
	path, _ := filepath.Abs(filepath.Join("..", "..", "build", name, "bootstrap"))
	return path
}

// payload is the SQS event of an attempt.
func payload(a attempt) []byte {
	var records []any
	for i := range a.count() {
		records = append(records, map[string]any{
			"messageId": "m-" + eventID(i), "receiptHandle": "r-" + eventID(i), "body": a.body(i),
			"attributes":        map[string]string{"ApproximateReceiveCount": strconv.Itoa(a.receives)},
			"messageAttributes": map[string]any{},
		})
	}
	text, _ := json.Marshal(map[string]any{"Records": records}) // strings always marshal
	return text
}

// outcomes reads the outcomes of the events. Each event must have exactly one.
func outcomes(t *testing.T, response []byte, a attempt, account *account, printed string) []outcome {
	t.Helper()
	var r struct {
		BatchItemFailures []struct{ ItemIdentifier string }
	}
	if err := json.Unmarshal(response, &r); err != nil {
		t.Fatalf("response %s: %v", response, err)
	}
	all := make([]outcome, a.count())
	counts := map[string]int{}
	for i := range all {
		o := &all[i]
		o.state = "delivered"
		for _, failure := range r.BatchItemFailures {
			if failure.ItemIdentifier == "m-"+eventID(i) {
				o.state, o.wait = "retry", account.waits["r-"+eventID(i)]
			}
		}
		for _, l := range account.deadLetters {
			if l.attributes["message_id"] != "m-"+eventID(i) {
				continue
			}
			if o.state != "delivered" || l.body != a.body(i) {
				t.Errorf("event %d is kept and a dead letter, or twice one, or changed: %+v", i, l)
			}
			o.state, o.reason, o.attempts = "dead letter", l.attributes["error"], l.attributes["attempts"]
		}
		counts[o.state]++
	}
	account.deadLetters = nil
	checkMetrics(t, printed, map[string]int{
		"Received": a.count(), "Delivered": counts["delivered"], "Retried": counts["retry"],
		"DeadLettered": counts["dead letter"],
	})
	return all
}

// allFailed are the outcomes of an invocation that returned an error: SQS redelivers every message.
func allFailed(t *testing.T, message string, a attempt, account *account) []outcome {
	t.Helper()
	if len(account.deadLetters) > 0 || len(account.waits) > 0 {
		t.Errorf("the function consumed messages, and returned an error: %v %v", account.deadLetters, account.waits)
	}
	all := make([]outcome, a.count())
	for i := range all {
		all[i] = outcome{state: failed, reason: message}
	}
	return all
}

// checkMetrics checks the metrics that count events. A metric that is zero may be missing.
func checkMetrics(t *testing.T, printed string, want map[string]int) {
	t.Helper()
	for line := range strings.Lines(printed) {
		var metrics map[string]any
		if json.Unmarshal([]byte(line), &metrics) != nil || metrics["_aws"] == nil {
			continue
		}
		for name, n := range want {
			if got, _ := metrics[name].(float64); int(got) != n {
				t.Errorf("metric %s is %v, want %d", name, metrics[name], n)
			}
		}
		return
	}
	t.Errorf("no metrics: %s", printed)
}

// What a syslog receiver does on a connection.

func takeAll(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// resetAtOnce resets a connection as soon as it is open.
func resetAtOnce(c net.Conn) { reset(c) }

func closeAtOnce(c net.Conn) { _ = c.Close() }

// resetWithin resets after part of the batch.
func resetWithin(c net.Conn) {
	_, _ = io.ReadFull(c, make([]byte, 100))
	reset(c)
}

// closeWithin closes after part of the batch. The kernel then sends a reset, because it has unread data.
func closeWithin(c net.Conn) {
	_, _ = io.ReadFull(c, make([]byte, 100))
	_ = c.Close()
}

// readNothing never reads; the kernel accepts data up to its buffer.
func readNothing(net.Conn) {}

// readLate reads the batch after a while.
func readLate(c net.Conn) {
	timer := time.NewTimer(300 * time.Millisecond)
	defer timer.Stop()
	<-timer.C
	takeAll(c)
}

// greet sends a line, then reads everything.
func greet(c net.Conn) {
	_, _ = io.WriteString(c, "220 syslog ready\r\n")
	takeAll(c)
}
