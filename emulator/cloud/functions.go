package cloud

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/emulator/lambda/eventsource"
	"github.com/arbitex/siem-connectors/emulator/lambda/runtimeapi"
	"github.com/arbitex/siem-connectors/internal/samtemplate"
)

const (
	// defaultConcurrency is the concurrency of a mapping without a maximum.
	defaultConcurrency = 5
	// directInvocations is the number of additional instances for Invoke and for the function URL.
	directInvocations = 4
)

// binary returns the path of a function's bootstrap, for example splunk/bootstrap for SplunkFunction.
func (c *Cloud) binary(id string) string {
	return filepath.Join(c.o.Builds, shortName(id), "bootstrap")
}

// shortName returns the name of a function in the logs, for example splunk.
func shortName(id string) string { return strings.ToLower(strings.TrimSuffix(id, "Function")) }

func functionName(id string) string { return StackName + "-" + id }

func functionARN(id string) string {
	return fmt.Sprintf("arn:aws:lambda:%s:%s:function:%s", Region, AccountID, functionName(id))
}

// checkBuilds returns an error that names every missing binary.
func (c *Cloud) checkBuilds() error {
	var problems []error
	for _, id := range c.template.IDs(samtemplate.TypeFunction) {
		if _, err := os.Stat(c.binary(id)); err != nil {
			problems = append(problems, fmt.Errorf("looking for the binary of %s (`make build` makes it): %w", id, err))
		}
	}
	return errors.Join(problems...)
}

// startFunction prepares a function, and starts its URL and its mappings.
func (c *Cloud) startFunction(ctx context.Context, id string) error {
	f, err := c.template.Function(id, c.made)
	if err != nil {
		return err
	}
	env := map[string]string{"AWS_ENDPOINT_URL": c.moto.Endpoint()}
	maps.Copy(env, f.Environment)
	maps.Copy(env, c.o.Environment[id])
	fn := runtimeapi.New(runtimeapi.Config{
		Name: cmp.Or(f.Name, functionName(id)), ARN: functionARN(id), Bootstrap: c.binary(id), Region: Region,
		Environment: env, Timeout: f.Timeout, MemoryMB: f.MemoryMB, MaxInstances: maxInstances(f),
		Output: func(line string) {
			c.history.add(id, line, time.Now())
			if c.alarms != nil {
				c.alarms.Line([]byte(line))
			}
			c.logs.print(shortName(id), line)
		},
	})
	c.functions[id] = fn
	if f.URL {
		if c.urls[id], err = serveURL(ctx, id, fn); err != nil {
			return err
		}
		c.progress("%s is at %s", id, c.urls[id].base)
	}
	for _, m := range f.Mappings {
		if err := c.startMapping(ctx, id, m, fn); err != nil {
			return err
		}
	}
	return nil
}

// maxInstances returns the number of concurrent invocations of a function. Further ones wait; AWS would throttle them.
func maxInstances(f samtemplate.Function) int {
	if f.Reserved > 0 {
		return f.Reserved
	}
	n := directInvocations
	for _, m := range f.Mappings {
		n += cmp.Or(m.MaximumConcurrency, defaultConcurrency)
	}
	return n
}

func (c *Cloud) startMapping(ctx context.Context, id string, m samtemplate.Mapping, fn *runtimeapi.Function) error {
	q, err := c.made.byARN(m.QueueARN)
	if err != nil {
		return fmt.Errorf("starting the mapping %s: %w", m.ID, err)
	}
	cfg := eventsource.Config{
		QueueARN: m.QueueARN, Region: Region, BatchSize: m.BatchSize, Window: m.Window,
		MaximumConcurrency:      cmp.Or(m.MaximumConcurrency, defaultConcurrency),
		ReportBatchItemFailures: m.ReportBatchItemFailures, Enabled: m.Enabled,
		Queue: eventsource.SQS{Client: c.sqs, URL: q.url},
		Invoke: func(ctx context.Context, payload []byte) ([]byte, error) {
			r, err := fn.Invoke(ctx, payload)
			if err == nil && c.o.Observe != nil {
				c.o.Observe(id, payload, r)
			}
			return answer(r, err)
		},
		Problem: func(err error) { c.logs.print("mapping "+m.ID, err.Error()) },
	}
	if q.redrive != nil {
		cfg.Queue = c.sources.watch(cfg.Queue, q.arn)
	}
	if c.made.isDeadLetterQueue(q.arn) {
		cfg.Attributes = c.sources.attributes
	}
	c.settings.add(m, id)
	c.pollers[m.ID] = eventsource.Start(ctx, cfg)
	return nil
}

// answer returns the result of an invocation for its mapping. A function error is an error.
func answer(r runtimeapi.Result, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	if r.Error != nil {
		return nil, r.Error
	}
	return r.Payload, nil
}

// lines writes the lines of several writers to one writer.
type lines struct {
	mu      sync.Mutex
	to      io.Writer
	metrics series
}

func (l *lines) print(source, line string) {
	l.metrics.take(line)
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = fmt.Fprintf(l.to, "%s | %s\n", source, line)
}
