package simulation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	splunk "github.com/arbitex/siem-connectors/functions/splunk/connector"
	"github.com/arbitex/siem-connectors/internal/testkit/fakeaws"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
)

// shared is an execution environment with several invocations at a time, as in Lambda Managed Instances.
type shared struct {
	*lambdahost.Connector
	listener *listener

	mu        sync.Mutex
	refuses   bool          // the SIEM refuses the credential
	hangs     bool          // Secrets Manager does not respond
	takes     time.Duration // by Secrets Manager
	reads     int
	reading   int
	atOnce    int // most reads at a time
	delivered int
}

// GetSecretValue implements lambdahost.Secrets.
func (s *shared) GetSecretValue(ctx context.Context, _ *secretsmanager.GetSecretValueInput,
	_ ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error) {
	s.mu.Lock()
	s.reads++
	s.reading++
	s.atOnce = max(s.atOnce, s.reading)
	hangs, takes := s.hangs, s.takes
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reading--
	}()
	if hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if !wait(ctx, takes) {
		return nil, ctx.Err()
	}
	return &secretsmanager.GetSecretValueOutput{SecretString: aws.String(`{"SPLUNK_HEC_TOKEN":"a-token"}`)}, nil
}

// ServeHTTP is the SIEM.
func (s *shared) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuses {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"text":"Invalid token","code":4}`)
		return
	}
	s.delivered++
	_, _ = io.WriteString(w, `{"text":"Success","code":0}`)
}

func (s *shared) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	return ours, s.listener.hand(ctx, theirs)
}

// set changes the state, and forgets the reads so far.
func (s *shared) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	s.reads, s.atOnce, s.delivered = 0, 0, 0
}

// invoke makes n invocations at the same time, and returns how long each takes and how many messages are retained.
func (s *shared) invoke(t *testing.T, n int) (took []time.Duration, retained int) {
	t.Helper()
	type outcome struct {
		took     time.Duration
		retained int
		err      error
	}
	outcomes := make(chan outcome, n)
	for i := range n {
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), timeLimit)
			defer cancel()
			begun := time.Now()
			response, err := s.Invoke(ctx,
				fmt.Appendf(nil, `{"Records":[{"messageId":"m%d","receiptHandle":"m%[1]d/1","body":"{\"time\":%d}",`+
					`"attributes":{"ApproximateReceiveCount":"1"},"eventSource":"aws:sqs","eventSourceARN":"arn:aws:sqs:eu-west-1:1:splunk"}]}`, i, time.Now().UnixMilli()))
			var r struct{ BatchItemFailures []any }
			err = errors.Join(err, json.Unmarshal(response, &r))
			outcomes <- outcome{time.Since(begun), len(r.BatchItemFailures), err}
		}()
	}
	for range n {
		o := <-outcomes
		if o.err != nil {
			t.Errorf("an invocation with a working credential fails: %v", o.err)
		}
		took = append(took, o.took)
		retained += o.retained
	}
	return took, retained
}

// TestHungSecretsManager: one invocation at a time reads the secret, and the others do not wait for it.
func TestHungSecretsManager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, readTimeout, age = 16, 6 * time.Second, 6 * time.Minute
		s := &shared{listener: newListener("splunk.sim:80")}
		server := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
		go func() { _ = server.Serve(s.listener) }()
		defer server.Close()
		queues := &fakeaws.SQS{}
		queues.Create(fakeaws.Queue{URL: "queue"})
		env := map[string]string{
			"SIEM_QUEUE_URL": "queue", "SIEM_DEAD_LETTER_QUEUE_URL": "dead", "SIEM_SECRET_ID": "splunk",
			"SIEM_ALLOW_HTTP": "true", "SPLUNK_HEC_URL": "http://splunk.sim",
		}
		s.Connector = lambdahost.NewConnector("splunk", splunk.Open, lambdahost.Deps{
			Env: func(name string) string { return env[name] }, Out: io.Discard, Now: time.Now, SQS: queues, Secrets: s,
			Dial: s.dial,
		})
		s.invoke(t, 1)

		s.set(func() { s.hangs = true })
		<-time.After(age) // the value is old, and usable
		took, retained := s.invoke(t, n)
		slow := 0
		for _, d := range took {
			if d > time.Second {
				slow++
			}
			if d > readTimeout {
				t.Errorf("an invocation takes %s while Secrets Manager hangs", d)
			}
		}
		if slow > 1 || s.atOnce > 1 || retained > 0 || s.delivered != n {
			t.Errorf("an old value: %d of %d invocations wait, %d reads at once, %d messages retained", slow, n, s.atOnce,
				retained)
		}

		s.set(func() { s.refuses = true })
		took, retained = s.invoke(t, n)
		for _, d := range took {
			if d > 2*readTimeout {
				t.Errorf("a refused invocation takes %s while Secrets Manager hangs", d)
			}
		}
		if s.atOnce > 1 || retained != n {
			t.Errorf("a refused value: %d reads at once, %d of %d messages retained", s.atOnce, retained, n)
		}

		s.set(func() { s.hangs, s.takes = false, 100*time.Millisecond })
		s.invoke(t, n)
		if s.reads > 2 || s.atOnce > 1 {
			t.Errorf("%d concurrent refusals cause %d reads, %d at once", n, s.reads, s.atOnce)
		}
	})
}
