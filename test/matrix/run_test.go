package matrix

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/emulator/lambda/runtimeapi"
)

const (
	// requestSeconds is what a request may take; shortSeconds, where the fault is that it takes for ever.
	requestSeconds, shortSeconds = "10", "2"

	// timeLimit is the function's: it is killed when one of its own deadlines is missing.
	timeLimit = 30 * time.Second

	// maxMemory is what a function may take of the smallest Lambda's 128 MiB, whatever it is sent.
	maxMemory = 80 << 20

	maxAttempts = 5
)

// attempt is one invocation of a cell.
type attempt struct {
	receives int
	events   int
	filler   string
	bodies   []string // in place of events
	env      map[string]string
	way      way
	answer   func(n int) answer // HTTP
	token    answer             // Sentinel: for access tokens
	syslog   func(net.Conn)     // QRadar; nil takes everything
}

// count is how many messages there are.
func (a *attempt) count() int { return max(a.events, len(a.bodies)) }

// body is message i's.
func (a *attempt) body(i int) string {
	if a.bodies != nil {
		return a.bodies[i]
	}
	return eventBody(i, a.filler)
}

// seen is what came of it.
type seen struct {
	printed  string   // log and metrics
	bodies   [][]byte // that an HTTP SIEM got
	headers  []http.Header
	fates    []fate
	requests int
	reads    int // of the secret
}

// fate is what became of an event.
type fate struct {
	state    string // delivered, kept, dead letter
	wait     int    // seconds, when kept
	reason   string // when dead letter
	attempts string
}

// run makes the invocation, and holds it to what has to be so whatever the cell is about.
func (w *world) run(t *testing.T, c *target, a attempt) seen {
	t.Helper()
	place := w.open(t, c, a)
	defer place.close()
	account := newAccount(c.secrets(place.url))
	defer account.Close()
	pidFile := filepath.Join(t.TempDir(), "pid")
	var mu sync.Mutex
	var output strings.Builder
	fn := runtimeapi.New(runtimeapi.Config{
		Name: c.name, ARN: "arn", Bootstrap: w.wrapper, Region: "eu-west-1", Timeout: timeLimit, MemoryMB: 128,
		Environment: w.environment(c, a, place, account, pidFile),
		Output: func(line string) {
			mu.Lock()
			defer mu.Unlock()
			output.WriteString(line + "\n")
		},
	})
	defer fn.Close()
	result, err := fn.Invoke(context.Background(), payload(a))
	memory := peakMemory(t, pidFile)
	fn.Close()
	mu.Lock()
	printed := output.String()
	mu.Unlock()
	if err != nil || result.Error != nil {
		t.Fatalf("invoking: %v %v, printed %s", err, result.Error, printed)
	}
	account.mu.Lock()
	defer account.mu.Unlock()
	w.largest.Store(max(w.largest.Load(), int64(memory))) // two at once may lose one: it is only told
	if memory > maxMemory {
		t.Errorf("the function took %d MiB, want at most %d", memory>>20, maxMemory>>20)
	}
	all := printed + string(result.Payload) + fmt.Sprint(account.letters)
	for _, secret := range [...]string{canary, tokenCanary} {
		if strings.Contains(all, secret) {
			t.Errorf("a secret shows: %s", all)
		}
	}
	if len(account.wrong) > 0 {
		t.Errorf("requests to AWS that it should not make: %v", account.wrong)
	}
	s := seen{fates: fates(t, result.Payload, a, account, printed), reads: account.reads}
	s.printed = printed
	place.settle(t, &s)
	return s
}

// newWrapper makes a bootstrap that leaves its process id and becomes the real one, so that its memory can be looked at. It
// is made before any process is started: one that is, while a file is being written, keeps that from being run.
func newWrapper(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bootstrap")
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho $$ >\"$MATRIX_PID\"\nexec \"$MATRIX_BOOTSTRAP\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func (w *world) environment(c *target, a attempt, p *place, account *account, pidFile string) map[string]string {
	env := map[string]string{
		"MATRIX_PID": pidFile, "MATRIX_BOOTSTRAP": bootstrap(c.name), "AWS_ENDPOINT_URL": account.URL, "SIEM_SECRET_ID": secretID,
		"SIEM_QUEUE_URL": ownQueue, "SIEM_DEAD_LETTER_QUEUE_URL": deadQueue, "SIEM_REQUEST_TIMEOUT_SECONDS": requestSeconds,
		"SIEM_MAX_ATTEMPTS": strconv.Itoa(maxAttempts),
	}
	maps.Copy(env, c.env)
	maps.Copy(env, p.env)
	maps.Copy(env, a.env)
	if c.name != "sumo" && env[c.url] == "" {
		env[c.url] = p.url + c.path
	}
	if c.ca == "" {
		env["SSL_CERT_FILE"] = w.ca.file
	} else if env[c.ca] == "" {
		env[c.ca] = w.ca.file
	}
	return env
}

// bootstrap is the path of a function's binary.
func bootstrap(name string) string {
	path, _ := filepath.Abs(filepath.Join("..", "..", "build", name, "bootstrap")) // fails only where there is no working directory
	return path
}

// peakMemory is the most memory a process has had in RAM.
func peakMemory(t *testing.T, pidFile string) int {
	t.Helper()
	pid, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/status")
	if err != nil {
		return 0 // it has ended, which the invocation's result tells
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	fields := strings.Fields(rest)
	if len(fields) < 2 {
		t.Fatalf("no VmHWM in the status of the function's process: %s", status)
	}
	kilobytes, err := strconv.Atoi(fields[0])
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}

// payload is the SQS event of an attempt.
func payload(a attempt) []byte {
	var records []any
	for i := range a.count() {
		records = append(records, map[string]any{
			"messageId": "m-" + eventID(i), "receiptHandle": "r-" + eventID(i), "body": a.body(i),
			"attributes": map[string]string{"ApproximateReceiveCount": strconv.Itoa(a.receives)}, "messageAttributes": map[string]any{},
		})
	}
	text, _ := json.Marshal(map[string]any{"Records": records}) // strings always marshal
	return text
}

// fates reads what became of the events, each of which must have come to exactly one end.
func fates(t *testing.T, response []byte, a attempt, account *account, printed string) []fate {
	t.Helper()
	var r struct {
		BatchItemFailures []struct{ ItemIdentifier string }
	}
	if err := json.Unmarshal(response, &r); err != nil {
		t.Fatalf("response %s: %v", response, err)
	}
	all := make([]fate, a.count())
	counts := map[string]int{}
	for i := range all {
		f := &all[i]
		f.state = "delivered"
		for _, kept := range r.BatchItemFailures {
			if kept.ItemIdentifier == "m-"+eventID(i) {
				f.state, f.wait = "kept", account.waits["r-"+eventID(i)]
			}
		}
		for _, l := range account.letters {
			if l.attributes["message_id"] != "m-"+eventID(i) {
				continue
			}
			if f.state != "delivered" || l.body != a.body(i) {
				t.Errorf("event %d is kept and a dead letter, or twice one, or changed: %+v", i, l)
			}
			f.state, f.reason, f.attempts = "dead letter", l.attributes["error"], l.attributes["attempts"]
		}
		counts[f.state]++
	}
	account.letters = nil
	want := fmt.Sprintf(`"Received":%d,"Delivered":%d,"Retried":%d,"DeadLettered":%d,`, a.count(), counts["delivered"], counts["kept"], counts["dead letter"])
	if !strings.Contains(printed, want) {
		t.Errorf("the metrics are not %s: %s", want, printed)
	}
	return all
}
