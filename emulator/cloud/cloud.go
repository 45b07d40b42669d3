// Package cloud deploys the project's template.yaml on one machine. Queues, the bucket and the secrets are in moto's
// server. The functions are the real bootstrap binaries with an implementation of the Runtime API; event source
// mappings invoke them. A function URL is an HTTP port. The functions use AWS through AWS_ENDPOINT_URL.
//
// Differences from AWS: access is not checked (roles and policies are ignored; a function URL accepts any caller), the
// only alarms are those that the guard acts on, changes of a mapping other than Enabled do not affect its poller, and
// Stop deletes everything.
package cloud

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/arbitex/siem-connectors/emulator/lambda/eventsource"
	"github.com/arbitex/siem-connectors/emulator/lambda/runtimeapi"
	"github.com/arbitex/siem-connectors/emulator/moto"
	"github.com/arbitex/siem-connectors/internal/downalarm"
	"github.com/arbitex/siem-connectors/internal/samtemplate"
)

// The region and the account of the stack. moto determines the account.
const (
	Region    = "us-east-1"
	AccountID = "123456789012"
	StackName = "siem"
)

// Options describe a deployment. Only Template is required.
type Options struct {
	Template   string            // path of template.yaml
	Parameters map[string]string // overrides, as `sam deploy --parameter-overrides`
	// Environment is added to the template's variables, by logical id of the function.
	Environment map[string]map[string]string
	// Endpoints are base URLs to use instead of moto, by service: SQS, S3. A bucket there has no versions.
	Endpoints map[string]string
	// QueueAttributes replace the template's, by logical id of the queue: a test cannot wait for a visibility timeout.
	QueueAttributes map[string]map[string]string
	Builds          string    // folder with <function>/bootstrap; "": build, beside the template
	Venv            string    // Python environment of moto, created if missing; "": build/venv, beside the template
	Logs            io.Writer // every line of the functions' output, with the function as prefix
	// Printed is called with every such line, without the prefix, for one line at a time. nil: not called.
	Printed  func(line []byte)
	Progress io.Writer // progress of the deployment
	// AlarmPeriod is the period of the alarms that the guard acts on, if the template deploys it; 0: the template's.
	AlarmPeriod time.Duration
	// Observe is called with the payload and the result of every batch, and the logical id of the function. It may be
	// called concurrently, and must not retain them. nil: not called.
	Observe func(functionLogicalID string, payload []byte, r runtimeapi.Result)
}

// Cloud is a running deployment. Its methods may be called concurrently.
type Cloud struct {
	o        Options
	template *samtemplate.Template
	moto     *moto.Server
	config   aws.Config
	sqs      *sqs.Client
	s3       *s3.Client
	secrets  *secretsmanager.Client
	made     *resources
	logs     *lines
	history  history
	sources  *sources

	functions map[string]*runtimeapi.Function
	urls      map[string]*url
	pollers   map[string]*eventsource.Poller
	alarms    *downalarm.Alarms // nil without the guard
	settings  *settings

	cancel  context.CancelFunc
	stop    sync.Once
	stopped chan struct{}
}

// Start deploys the template. The deployment runs until Stop or until ctx ends.
func Start(ctx context.Context, o Options) (*Cloud, error) {
	beside := filepath.Dir(o.Template)
	o.Builds = cmp.Or(o.Builds, filepath.Join(beside, "build"))
	o.Venv = cmp.Or(o.Venv, filepath.Join(beside, "build", "venv"))
	if o.Logs == nil {
		o.Logs = io.Discard
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	t, err := samtemplate.Load(o.Template, samtemplate.Options{
		Parameters: o.Parameters, Region: Region, AccountID: AccountID, StackName: StackName,
	})
	if err != nil {
		return nil, err
	}
	c := &Cloud{
		o: o, template: t, logs: &lines{to: o.Logs, printed: o.Printed}, sources: &sources{arn: map[string]string{}},
		stopped:   make(chan struct{}),
		functions: map[string]*runtimeapi.Function{}, urls: map[string]*url{}, pollers: map[string]*eventsource.Poller{},
		settings: newSettings(),
	}
	if err := errors.Join(c.checkIDs(), c.checkBuilds()); err != nil {
		return nil, err
	}
	run, cancel := context.WithCancel(ctx)
	c.cancel = cancel
	if err := c.deploy(run); err != nil {
		c.Stop()
		return nil, err
	}
	context.AfterFunc(run, c.Stop)
	return c, nil
}

// deploy creates everything in the order of the dependencies.
func (c *Cloud) deploy(ctx context.Context) error {
	if err := moto.Install(ctx, c.o.Venv, c.o.Progress); err != nil {
		return err
	}
	c.progress("starting moto (SQS, S3, Secrets Manager)")
	server, err := moto.Start(ctx, c.o.Venv)
	if err != nil {
		return err
	}
	c.moto = server
	c.config = aws.Config{
		Region:       Region,
		BaseEndpoint: aws.String(server.Endpoint()),
		Credentials:  credentials.NewStaticCredentialsProvider("local", "local", ""),
	}
	c.sqs, c.s3, c.secrets = sqs.NewFromConfig(c.configFor("SQS")), s3.NewFromConfig(c.configFor("S3")),
		secretsmanager.NewFromConfig(c.config)
	c.made = newResources(ctx, c)
	if err := c.made.makeAll(); err != nil {
		return err
	}
	if err := c.startAlarms(ctx); err != nil {
		return err
	}
	for _, id := range c.template.IDs(samtemplate.TypeFunction) {
		if err := c.startFunction(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// configFor returns the configuration for the clients of a service.
func (c *Cloud) configFor(service string) aws.Config {
	cfg := c.config.Copy()
	if endpoint := c.o.Endpoints[service]; endpoint != "" {
		cfg.BaseEndpoint = &endpoint
	}
	return cfg
}

func (c *Cloud) progress(format string, args ...any) {
	_, _ = fmt.Fprintf(c.o.Progress, format+"\n", args...)
}

// Queue returns the URL of the queue with that logical id, "" if there is none.
func (c *Cloud) Queue(logicalID string) string { return c.made.queues[logicalID].url }

// Bucket returns the name of the bucket with that logical id, "" if there is none.
func (c *Cloud) Bucket(logicalID string) string { return c.made.buckets[logicalID] }

// URL returns the URL of a function without a trailing slash, "" if it has none.
func (c *Cloud) URL(functionLogicalID string) string {
	u, ok := c.urls[functionLogicalID]
	if !ok {
		return ""
	}
	return u.base
}

// Queues returns the logical ids of the queues, in the template's order.
func (c *Cloud) Queues() []string { return c.template.IDs(samtemplate.TypeQueue) }

// Invoke invokes a function, as `aws lambda invoke` does.
func (c *Cloud) Invoke(ctx context.Context, functionLogicalID string, payload []byte) (runtimeapi.Result, error) {
	f, ok := c.functions[functionLogicalID]
	if !ok {
		return runtimeapi.Result{}, fmt.Errorf("invoking %q: there is no function of that logical id", functionLogicalID)
	}
	return f.Invoke(ctx, payload)
}

// PutSecret stores values, as a JSON object, as the current version of a secret.
func (c *Cloud) PutSecret(ctx context.Context, logicalID string, values map[string]string) error {
	arn, ok := c.made.secrets[logicalID]
	if !ok {
		return fmt.Errorf("putting the secret %q: there is none of that logical id", logicalID)
	}
	data, err := json.Marshal(values)
	if err != nil {
		return fmt.Errorf("putting the secret %s: %w", logicalID, err)
	}
	_, err = c.secrets.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
		SecretId: aws.String(arn), SecretString: aws.String(string(data)),
	})
	if err != nil {
		return fmt.Errorf("putting the secret %s: %w", logicalID, err)
	}
	return nil
}

// Kill ends every process of a function with SIGKILL, waits for their end, and returns their number.
func (c *Cloud) Kill(functionLogicalID string) int {
	f, ok := c.functions[functionLogicalID]
	if !ok {
		return 0
	}
	return f.Kill()
}

// SetEnabled enables or disables an event source mapping. Its logical id is the function's followed by the event's
// name, as in SAM: SplunkFunctionQueue. A disabled mapping receives no messages, and completes those that it has
// received.
func (c *Cloud) SetEnabled(mappingLogicalID string, on bool) error {
	p, ok := c.pollers[mappingLogicalID]
	if !ok {
		return fmt.Errorf("enabling %q: there is no mapping of that logical id", mappingLogicalID)
	}
	p.SetEnabled(on)
	return nil
}

// AWSConfig returns the configuration for a caller's own clients.
func (c *Cloud) AWSConfig() aws.Config { return c.config.Copy() }

// Endpoint returns the base URL for AWS_ENDPOINT_URL.
func (c *Cloud) Endpoint() string { return c.moto.Endpoint() }

// Stats returns the counts of each function, by logical id.
func (c *Cloud) Stats() map[string]runtimeapi.Stats {
	stats := make(map[string]runtimeapi.Stats, len(c.functions))
	for id, f := range c.functions {
		stats[id] = f.Stats()
	}
	return stats
}

// Stop ends everything at once, including running invocations. It may be called again.
func (c *Cloud) Stop() {
	c.stop.Do(func() {
		defer close(c.stopped)
		c.cancel()
		for _, u := range c.urls {
			u.close()
		}
		for _, f := range c.functions {
			f.Close()
		}
		for _, p := range c.pollers {
			<-p.Done()
		}
		if c.moto != nil {
			c.moto.Stop()
		}
	})
	<-c.stopped
}

// sources adds DeadLetterQueueSourceArn, which moto does not have, to messages that SQS has moved to a dead-letter
// queue. A moved message keeps its id, so its source is the queue from which it was received before. A message that a
// function has sent to the dead-letter queue has a new id, and gets no source, as in AWS.
type sources struct {
	mu  sync.Mutex
	arn map[string]string // by message id, the queue it was received from
}

// watch records the messages that are received from a queue with a redrive policy.
func (s *sources) watch(q eventsource.Queue, arn string) eventsource.Queue { return watched{q, s, arn} }

// attributes returns the additional system attributes of a message on a dead-letter queue.
func (s *sources) attributes(m eventsource.Message) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	arn, ok := s.arn[m.ID]
	if !ok {
		return nil
	}
	return map[string]string{"DeadLetterQueueSourceArn": arn}
}

type watched struct {
	eventsource.Queue
	seen *sources
	arn  string
}

func (w watched) Receive(ctx context.Context, limit int, wait time.Duration) ([]eventsource.Message, error) {
	messages, err := w.Queue.Receive(ctx, limit, wait)
	w.seen.mu.Lock()
	defer w.seen.mu.Unlock()
	for _, m := range messages {
		w.seen.arn[m.ID] = w.arn
	}
	return messages, err
}
