package samtemplate

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Lambda's and SQS's defaults and limits.
const (
	// https://docs.aws.amazon.com/lambda/latest/dg/configuration-timeout.html, SAM's is the same
	defaultTimeoutSeconds = 3
	defaultMemoryMB       = 128  // https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
	defaultBatchSize      = 10   // https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
	maxEnvironmentBytes   = 4096 // https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
)

// unsupported reports whether resources of a type move messages but are not part of the model.
func unsupported(kind string) bool {
	return kind != TypeFunction &&
		(strings.HasPrefix(kind, "AWS::Serverless::") || strings.HasPrefix(kind, "AWS::Lambda::EventSource") ||
			slices.Contains([]string{"AWS::Lambda::Function", "AWS::Pipes::Pipe"}, kind))
}

// Queue returns a queue of the template.
func (t *Template) Queue(id string, a Attributes) (Queue, error) {
	q := Queue{ID: id, Attributes: map[string]string{}}
	err := t.read(id, TypeQueue, a, nil, func(p properties) {
		p.only("queue", append([]string{"QueueName", "RedrivePolicy", "Tags"}, queueAttributes()...)...)
		q.Name = p.text("QueueName", "")
		for _, name := range queueAttributes() {
			if p.has(name) {
				q.Attributes[name] = p.json(name)
			}
		}
		if p.has("RedrivePolicy") {
			r := p.under("RedrivePolicy")
			r.only("redrive policy", "deadLetterTargetArn", "maxReceiveCount")
			q.Redrive = &Redrive{r.text("deadLetterTargetArn", ""), r.number("maxReceiveCount", 0)}
		}
	})
	return q, err
}

// queueAttributes lists the properties of AWS::SQS::Queue that are attributes of the same name in SQS.
func queueAttributes() []string {
	return []string{
		"DelaySeconds", "KmsDataKeyReusePeriodSeconds", "KmsMasterKeyId", "MaximumMessageSize", "MessageRetentionPeriod",
		"ReceiveMessageWaitTimeSeconds", "RedriveAllowPolicy", "SqsManagedSseEnabled", "VisibilityTimeout",
	}
}

// Bucket returns a bucket of the template. Access, encryption and lifecycle are not part of the model.
func (t *Template) Bucket(id string, a Attributes) (Bucket, error) {
	b := Bucket{ID: id}
	err := t.read(id, TypeBucket, a, []string{"BucketName", "VersioningConfiguration"}, func(p properties) {
		b.Name = p.text("BucketName", "")
		b.Versioned = p.under("VersioningConfiguration").text("Status", "") == "Enabled"
	})
	return b, err
}

// Secret returns a secret of the template.
func (t *Template) Secret(id string, a Attributes) (Secret, error) {
	s := Secret{ID: id}
	err := t.read(id, TypeSecret, a, nil, func(p properties) {
		p.only("secret", "Name", "Description", "SecretString", "KmsKeyId", "Tags")
		s.Name = p.text("Name", "")
		s.Value = p.text("SecretString", "")
	})
	return s, err
}

// Function returns a function of the template with its event source mappings.
func (t *Template) Function(id string, a Attributes) (Function, error) {
	f := Function{ID: id}
	names := []string{
		"FunctionName", "Environment", "Timeout", "MemorySize", "ReservedConcurrentExecutions", "FunctionUrlConfig", "Events",
	}
	err := t.read(id, TypeFunction, a, names, func(p properties) {
		f.Name = p.text("FunctionName", "")
		f.Timeout = time.Duration(p.number("Timeout", defaultTimeoutSeconds)) * time.Second
		f.MemoryMB = p.number("MemorySize", defaultMemoryMB)
		f.Reserved = p.number("ReservedConcurrentExecutions", 0)
		f.URL = p.has("FunctionUrlConfig") || t.hasURL(id)
		p.under("FunctionUrlConfig").only("function URL", "AuthType", "Cors")
		f.Environment = environment(p.under("Environment").under("Variables"))
		events := p.under("Events")
		for _, name := range sortedKeys(events.values) {
			f.Mappings = append(f.Mappings, mappingOf(id, name, events.under(name)))
		}
	})
	return f, err
}

// hasURL reports whether an AWS::Lambda::Url of the template targets the function.
func (t *Template) hasURL(function string) bool {
	return slices.ContainsFunc(t.IDs("AWS::Lambda::Url"), func(id string) bool {
		properties, _ := t.resources[id].properties.(map[string]any)
		target, _ := properties["TargetFunctionArn"].(call)
		arg, _ := target.arg.([]any)
		return target.arg == any(function) || len(arg) > 0 && arg[0] == any(function)
	})
}

// environment reads a function's variables and checks their total size.
func environment(p properties) map[string]string {
	env := make(map[string]string, len(p.values))
	size := 0
	for _, name := range sortedKeys(p.values) {
		env[name] = p.text(name, "")
		size += len(name) + len(env[name])
	}
	if size > maxEnvironmentBytes {
		*p.problems = append(*p.problems, fmt.Errorf("%s: %d bytes, Lambda accepts at most %d", p.path, size,
			maxEnvironmentBytes))
	}
	return env
}

// mappingOf reads one event of a function.
func mappingOf(function, event string, p properties) Mapping {
	m := Mapping{ID: function + event, FunctionID: function}
	if kind := p.text("Type", ""); kind != "SQS" {
		p.fail("Type", "expected SQS, found %q: other events are not supported", kind)
	}
	p = p.under("Properties")
	p.only("SQS event", "Queue", "BatchSize", "MaximumBatchingWindowInSeconds", "FunctionResponseTypes", "ScalingConfig",
		"Enabled", "MetricsConfig", "ProvisionedPollerConfig", "Tags")
	if m.QueueARN = p.text("Queue", ""); m.QueueARN == "" {
		p.fail("Queue", "expected the queue's ARN, found nothing")
	}
	m.BatchSize = p.number("BatchSize", defaultBatchSize)
	m.Window = time.Duration(p.number("MaximumBatchingWindowInSeconds", 0)) * time.Second
	m.MaximumConcurrency = p.under("ScalingConfig").number("MaximumConcurrency", 0)
	m.Enabled = p.flag("Enabled", true)
	if p.has("FunctionResponseTypes") {
		types, err := texts(p.values["FunctionResponseTypes"], p.path+".FunctionResponseTypes")
		if err != nil {
			*p.problems = append(*p.problems, err)
		}
		m.ReportBatchItemFailures = slices.Contains(types, "ReportBatchItemFailures")
	}
	if m.BatchSize > defaultBatchSize && m.Window < time.Second {
		p.fail("BatchSize", "%d is more than 10, which requires a batching window of at least 1 s", m.BatchSize)
	}
	return m
}
