package e2e

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/arbitex/siem-connectors/emulator/lambda/eventsource"
	"github.com/arbitex/siem-connectors/internal/pki"
)

// TestBadBodies checks that an invalid body becomes a dead letter that states the reason, and that the rest of its
// batch is delivered.
func TestBadBodies(t *testing.T) {
	bad := []struct{ name, body, reason string }{
		{"not JSON", `no JSON`, "body: expected a JSON object, byte 4 of 7 is invalid"},
		{"cut off", `{"time":1773360000000,"metadata":{"uid":"cut`, "body: expected a JSON object, byte "},
		{"an empty array", `[]`, "found an empty array"},
		{"an array cut off", `[{"time":1773360000000,"metadata":{"uid":"cut-1"}},`, "body: expected a JSON array, byte "},
		{"empty", ` `, "body: expected a JSON object, is empty"},
		{"no UTF-8", "{\xff}", "body: expected UTF-8, byte 1 is invalid"},
		{"no time", `{"class_uid":6003}`, "time: expected an integer (Unix milliseconds), absent"},
		{"time as a text", `{"time":"1773360000000"}`, "time: expected an integer (Unix milliseconds), found a string"},
		{"time with a fraction", `{"time":1773360000000.5}`, "time: expected an integer"},
	}
	for _, a := range w.order {
		t.Run(a.Name, func(t *testing.T) {
			w.emptyBucket(t)
			healthy := events(4)
			messages := []message{{body: healthy[0]}, {body: healthy[1]}}
			for i, b := range bad {
				messages = append(messages, message{body: b.body, id: "bad-" + strconv.Itoa(i)})
			}
			messages = append(messages, message{body: healthy[2]}, message{body: healthy[3]})
			if left := failures(t, w.deployed(t, a.Function()), payload(a, messages...)); len(left) > 0 {
				t.Errorf("the function retained %v", left)
			}
			arrived(t, a, healthy)
			w.settle(t)
			letters := w.pending(t)
			if len(letters) != len(bad) {
				t.Errorf("%d dead letters, want %d", len(letters), len(bad))
			}
			for i, b := range bad {
				hasReason(t, a, letters, "bad-"+strconv.Itoa(i), b.body, b.reason)
			}
		})
	}
}

// arrived checks that each event is in the SIEM once, by its fields if the SIEM does not receive the whole event.
func arrived(t *testing.T, a *actor, events []string) {
	t.Helper()
	if a.Key == nil {
		arrivedOnce(t, a, events)
		return
	}
	times := map[string]int{}
	for _, one := range a.Accepted() {
		times[a.Took(one)]++
	}
	for _, event := range events {
		if n := times[a.Key([]byte(event))]; n != 1 {
			t.Errorf("event %s is %d times in %s", idOf(event), n, a.Name)
		}
	}
}

func hasReason(t *testing.T, a *actor, letters []letter, id, body, reason string) {
	t.Helper()
	i := slices.IndexFunc(letters, func(l letter) bool { return l.MessageID == id })
	if i < 0 {
		t.Errorf("%s (%.40q) has no dead letter", id, body)
		return
	}
	l := letters[i]
	if l.Connector != a.Name || !strings.Contains(l.Error, reason) {
		t.Errorf("the dead letter of %.40q is of %s and says %q, want %q", body, l.Connector, l.Error, reason)
	}
	if utf8.ValidString(body) && string(l.Body) != body { // SQS replaces invalid UTF-8
		t.Errorf("the event is %s, want %s", l.Body, body)
	}
}

// TestBadConfiguration checks that a wrong configuration rejects no event, and is an invocation error that names the
// variable. The rows of test/matrix are about problems that only a request shows.
func TestBadConfiguration(t *testing.T) {
	splunk := w.siems["splunk"]
	full := w.full(t, splunk)
	with := func(changes map[string]string) map[string]string { return both(full, changes) }
	for _, c := range []struct {
		name string
		env  map[string]string
		want []string // in the error
	}{
		{"an invalid URL", with(map[string]string{"SPLUNK_HEC_URL": "splunk.example.com:8088"}),
			[]string{"SPLUNK_HEC_URL"}},
		{"an http URL", with(map[string]string{"SPLUNK_HEC_URL": "http://splunk.example.com:8088"}),
			[]string{"SPLUNK_HEC_URL", "https"}},
		{"an invalid bundle", with(map[string]string{"SPLUNK_HEC_TLS_CA_BUNDLE": "no PEM"}),
			[]string{"SPLUNK_HEC_TLS_CA_BUNDLE"}},
		{"an empty secret", with(map[string]string{"SIEM_SECRET_ID": w.secret(t, "")}),
			[]string{"SIEM_SECRET_ID", "is empty"}},
		{"a secret without the key", with(map[string]string{"SIEM_SECRET_ID": w.secret(t, "{}")}),
			[]string{"SPLUNK_HEC_TOKEN"}},
		{"a secret with an empty key", with(map[string]string{"SIEM_SECRET_ID": w.secret(t, `{"SPLUNK_HEC_TOKEN":" "}`)}),
			[]string{"SPLUNK_HEC_TOKEN"}},
		{"a secret that is not JSON", with(map[string]string{"SIEM_SECRET_ID": w.secret(t, "canary-of-a-bare-token")}),
			[]string{"SIEM_SECRET_ID", "is not JSON"}},
		{"a secret that is not an object", with(map[string]string{"SIEM_SECRET_ID": w.secret(t, `"canary-of-a-bare-token"`)}),
			[]string{"SIEM_SECRET_ID", "not an object"}},
		{"a secret that is not there", with(map[string]string{"SIEM_SECRET_ID": "nobody-made-it"}),
			[]string{"SIEM_SECRET_ID", "nobody-made-it"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := w.function(t, splunk, c.env)
			for range 2 { // not only at the first invocation
				r := must(f.Invoke(t.Context(), payloadOf(splunk, events(1)...)))(t)
				if r.Error == nil {
					t.Fatalf("the function answered %s", r.Payload)
				}
				for _, want := range c.want {
					if !strings.Contains(r.Error.Message, want) {
						t.Errorf("the error is %q, want %q in it", r.Error.Message, want)
					}
				}
			}
		})
	}
	w.vault.add("a secret of a wrong form", "canary-of-a-bare-token")
	if n := w.depth(t, w.deadLetterQueue()); n != 0 {
		t.Errorf("%d events were rejected because of the configuration", n)
	}
}

// TestMisconfiguredConsumesNothing checks that a function with missing variables names all of them in one error, leaves
// its messages in the queue, and continues once its secret holds the last of them.
func TestMisconfiguredConsumesNothing(t *testing.T) {
	for _, a := range w.order {
		t.Run(a.Name, func(t *testing.T) {
			id := w.secret(t, "{}")
			env := map[string]string{
				"AWS_ENDPOINT_URL": w.gate.function(a.Name), "SIEM_SECRET_ID": id, "SIEM_QUEUE_URL": w.cloud.Queue(a.Queue()),
				"SIEM_MAX_ATTEMPTS": "none", "SIEM_BACKOFF_INITIAL_SECONDS": "-1",
			}
			for _, name := range []string{"SSL_CERT_FILE", "QRADAR_SYSLOG_PROTOCOL"} {
				if value := a.Settings()[name]; value != "" {
					env[name] = value
				}
			}
			f := w.function(t, a, env)
			r := must(f.Invoke(t.Context(), payloadOf(a, events(1)...)))(t)
			if r.Error == nil {
				t.Fatalf("the function answered %s", r.Payload)
			}
			for _, name := range append(a.traits().required, "SIEM_DEAD_LETTER_QUEUE_URL", "SIEM_MAX_ATTEMPTS",
				"SIEM_BACKOFF_INITIAL_SECONDS") {
				if !strings.Contains(r.Error.Message, name) {
					t.Errorf("the error does not name %s: %s", name, r.Error.Message)
				}
			}
		})
	}
	t.Run("queue", misconfiguredQueue)
}

// misconfiguredQueue connects a misconfigured function to a queue.
func misconfiguredQueue(t *testing.T) {
	splunk := w.siems["splunk"]
	env := w.variables(splunk)
	env["SIEM_SECRET_ID"] = w.secret(t, "{}")
	f := w.function(t, splunk, env)
	queue := w.cloud.Queue(splunk.Queue())
	refused := make(chan error, 100)
	ctx, cancel := context.WithCancel(t.Context())
	poller := eventsource.Start(ctx, eventsource.Config{
		QueueARN: "arn:aws:sqs:us-east-1:123456789012:siem-splunk", Region: "us-east-1", BatchSize: 10, MaximumConcurrency: 2,
		ReportBatchItemFailures: true, Enabled: true, Queue: eventsource.SQS{Client: w.sqs, URL: queue},
		Invoke: func(ctx context.Context, payload []byte) ([]byte, error) {
			r, err := f.Invoke(ctx, payload)
			if err == nil && r.Error != nil {
				err = r.Error
			}
			refused <- err
			return r.Payload, err
		},
	})
	defer func() { cancel(); <-poller.Done() }()
	sent := events(3)
	w.enqueue(t, queue, sent...)
	if err := <-refused; err == nil || !strings.Contains(err.Error(), "SPLUNK_HEC_TOKEN") {
		t.Errorf("the batch ended with %v, want an error that names SPLUNK_HEC_TOKEN", err)
	}
	if n := w.depth(t, queue); n != len(sent) {
		t.Errorf("%d messages are in the queue, want all %d", n, len(sent))
	}
	if n := w.depth(t, w.deadLetterQueue()); n != 0 {
		t.Errorf("%d messages are on the dead-letter queue", n)
	}
	w.put(t, env["SIEM_SECRET_ID"], encode(splunk.Secret()))
	w.bringBack("splunk", queue)
	w.settle(t, splunk)
	arrivedOnce(t, splunk, sent)
}

// put stores a text as the current version of a secret.
func (w *world) put(t *testing.T, id, text string) {
	t.Helper()
	must(w.secrets.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: &id, SecretString: &text}))(t)
}

// TestCheck checks that each connector's connection check succeeds, and that it names the step at which it fails. A
// check writes no event. The suite of connectors has the failures of each connector.
func TestCheck(t *testing.T) {
	for _, a := range w.order {
		t.Run(a.Name, func(t *testing.T) {
			before := len(a.Accepted())
			got := check(t, w.deployed(t, a.Function()))
			if !got.OK || got.Step != "" || got.Detail != "" || got.Connector != a.Name {
				t.Errorf("the way is good, and the check says %+v", got)
			}
			if a.Name == "splunk" {
				failingChecks(t, a)
			}
			if n := len(a.Accepted()) - before; n > 0 {
				t.Errorf("the checks have written %d events", n)
			}
		})
	}
}

// failingChecks makes a check of Splunk for each step at which one can fail.
func failingChecks(t *testing.T, splunk *actor) {
	t.Helper()
	const unknown = "11111111-2222-3333-4444-555555555555"
	w.vault.add("an unknown token", unknown)
	full := w.full(t, splunk)
	for step, c := range map[string]struct{ variable, value, names string }{
		"config":  {"SIEM_SECRET_ID", w.secret(t, "{}"), "SPLUNK_HEC_TOKEN"},
		"secret":  {"SIEM_SECRET_ID", "nobody-made-it", "nobody-made-it"},
		"dns":     {"SPLUNK_HEC_URL", "https://nobody.invalid", "nobody.invalid"},
		"connect": {"SPLUNK_HEC_URL", "https://127.0.0.1:1", "127.0.0.1"},
		"tls":     {"SPLUNK_HEC_TLS_CA_BUNDLE", pki.New("another CA").PEM(), "CA"},
		"auth":    {"SIEM_SECRET_ID", w.secret(t, `{"SPLUNK_HEC_TOKEN":"`+unknown+`"}`), "SPLUNK_HEC_TOKEN"},
		"request": {"SPLUNK_HEC_URL", splunk.door + "/services/nothing", "404"},
	} {
		t.Run(step, func(t *testing.T) {
			got := check(t, beside(t, w.function(t, splunk, both(full, map[string]string{c.variable: c.value}))))
			if got.OK || got.Step != step || got.Detail == "" || got.Connector != "splunk" {
				t.Errorf("the check says %+v, want step %s", got, step)
			}
			if !strings.Contains(got.Detail+got.Hint, c.names) {
				t.Errorf("the check says %+v, want %q named", got, c.names)
			}
		})
	}
}
