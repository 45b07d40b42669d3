package samtemplate

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
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
		types := texts(p.values["FunctionResponseTypes"], p.path+".FunctionResponseTypes")
		m.ReportBatchItemFailures = slices.Contains(types, "ReportBatchItemFailures")
	}
	if m.BatchSize > defaultBatchSize && m.Window < time.Second {
		p.fail("BatchSize", "%d is more than 10, which requires a batching window of at least 1 s", m.BatchSize)
	}
	return m
}

// properties reads the resolved properties of a resource. It collects all problems.
type properties struct {
	values   map[string]any
	path     string
	problems *[]error
}

func (p properties) fail(name string, format string, args ...any) {
	*p.problems = append(*p.problems, fmt.Errorf("%s.%s: "+format, append([]any{p.path, name}, args...)...))
}

// only rejects every property that is not one of the names. what describes the resource in errors.
func (p properties) only(what string, names ...string) {
	known := "," + strings.Join(names, ",") + ","
	for _, name := range sortedKeys(p.values) {
		if !strings.Contains(known, ","+name+",") {
			p.fail(name, "this property of a %s is not supported", what)
		}
	}
}

func (p properties) has(name string) bool { _, ok := p.values[name]; return ok }

func (p properties) text(name, otherwise string) string {
	v, ok := p.values[name]
	if !ok {
		return otherwise
	}
	s, ok := v.(string)
	if !ok {
		p.fail(name, "expected a string, found %s", describe(v))
	}
	return s
}

func (p properties) number(name string, otherwise int) int {
	if !p.has(name) {
		return otherwise
	}
	n, err := strconv.Atoi(p.text(name, ""))
	if err != nil {
		p.fail(name, "expected an integer, found %s", describe(p.values[name]))
	}
	return n
}

func (p properties) flag(name string, otherwise bool) bool {
	switch s := p.text(name, strconv.FormatBool(otherwise)); strings.ToLower(s) {
	case "true":
		return true
	case "false":
		return false
	default:
		p.fail(name, "expected true or false, found %q", s)
		return false
	}
}

// under returns the properties of a nested mapping, empty if it is missing.
func (p properties) under(name string) properties {
	nested := properties{path: p.path + "." + name, problems: p.problems}
	v, ok := p.values[name]
	if !ok {
		return nested
	}
	if nested.values, ok = v.(map[string]any); !ok {
		p.fail(name, "expected a mapping, found %s", describe(v))
	}
	return nested
}

// json returns a property as an attribute of an SQS queue: a string unchanged, anything else as JSON.
func (p properties) json(name string) string {
	if s, ok := p.values[name].(string); ok {
		return s
	}
	data, err := json.Marshal(p.values[name])
	if err != nil {
		p.fail(name, "writing it as JSON: %w", err)
	}
	return string(data)
}

// read resolves a resource's properties and passes them to f. If names are given, it resolves only these.
func (t *Template) read(id, kind string, a Attributes, names []string, f func(properties)) error {
	actual, err := t.Type(id)
	if err != nil {
		return err
	}
	if actual != kind {
		return fmt.Errorf("%s: expected a resource of type %s, found %s", id, kind, actual)
	}
	path := id + ".Properties"
	own, ok := t.resources[id].properties.(map[string]any)
	if !ok && t.resources[id].properties != nil {
		return fmt.Errorf("%s: expected a mapping, found %s", path, describe(t.resources[id].properties))
	}
	if kind == TypeFunction {
		own = merge(t.globals, own)
	}
	if names != nil {
		own = maps.Clone(own)
		maps.DeleteFunc(own, func(name string, _ any) bool { return !slices.Contains(names, name) })
	}
	var problems []error
	err = try(func() {
		values, _ := resolver{t, a}.resolve(own, path).(map[string]any)
		f(properties{values, path, &problems})
	})
	return errors.Join(append(problems, err)...)
}

// merge combines the Globals with a resource's own properties as SAM does: mappings by key, lists by concatenation.
// https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-specification-template-anatomy-globals.html
func merge(global, own map[string]any) map[string]any {
	out := make(map[string]any, len(global)+len(own))
	maps.Copy(out, global)
	for k, v := range own {
		switch v := v.(type) {
		case map[string]any:
			if g, ok := out[k].(map[string]any); ok {
				out[k] = merge(g, v)
				continue
			}
		case []any:
			if g, ok := out[k].([]any); ok {
				out[k] = append(append([]any{}, g...), v...)
				continue
			}
		}
		out[k] = v
	}
	return out
}

// checkRules checks the parameters against the template's Rules, as CloudFormation does before it creates resources.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/rules-section-structure.html
func (t *Template) checkRules(rules map[string]any) (problems []error) {
	for _, name := range sortedKeys(rules) {
		path := "Rules." + name
		rule, _ := rules[name].(map[string]any)
		if condition, ok := rule["RuleCondition"]; ok {
			applies := false
			problems = append(problems, try(func() { applies = t.holds(condition, path+".RuleCondition", nil) }))
			if !applies {
				continue
			}
		}
		assertions, ok := rule["Assertions"].([]any)
		if !ok {
			problems = append(problems, fmt.Errorf("%s: expected a list of Assertions, found %s", path,
				describe(rule["Assertions"])))
		}
		for i, v := range assertions {
			at := fmt.Sprintf("%s.Assertions[%d]", path, i)
			problems = append(problems, try(func() {
				assertion, _ := v.(map[string]any)
				if !t.holds(assertion["Assert"], at, nil) {
					fail(at, "%v", assertion["AssertDescription"])
				}
			}))
		}
	}
	return problems
}
