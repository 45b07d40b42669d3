// Package samtemplate reads a SAM template as CloudFormation deploys it: it applies the parameters, expands the
// Fn::ForEach loops, evaluates the conditions and resolves the intrinsic functions. The result is a plain model of
// queues, buckets, secrets, functions and event source mappings. A property that the model does not support is an error
// that names the resource and the property. Resource types that do not move messages (roles, policies, alarms, log
// groups) are left out.
//
// An evaluation ends at the first invalid value: it panics with a [failure], whose error the exported functions return.
//
// Intrinsics: https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html
package samtemplate

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Options are the parameters and the place of the deployment.
type Options struct {
	Parameters map[string]string // overrides of the parameters' defaults
	Region     string            // AWS::Region
	AccountID  string            // AWS::AccountId
	StackName  string            // AWS::StackName
}

// Attributes returns the attributes that AWS assigns to a resource: the result of Ref for the attribute "", of
// Fn::GetAtt for any other. It is called only for resources that exist under the conditions, and may create them.
type Attributes interface {
	Attribute(logicalID, name string) (string, error)
}

// The resource types of the model.
const (
	TypeQueue    = "AWS::SQS::Queue"
	TypeBucket   = "AWS::S3::Bucket"
	TypeSecret   = "AWS::SecretsManager::Secret"
	TypeFunction = "AWS::Serverless::Function"
	TypeRole     = "AWS::IAM::Role"                  // only its attributes
	TypeMapping  = "AWS::Lambda::EventSourceMapping" // of a function's event; only its attributes
)

// Queue is an AWS::SQS::Queue. Attributes are those of SQS's CreateQueue without the redrive policy.
type Queue struct {
	ID         string
	Name       string // empty if AWS chooses it
	Attributes map[string]string
	Redrive    *Redrive // nil if the queue has none
}

// Redrive is a queue's redrive policy.
type Redrive struct {
	TargetARN       string
	MaxReceiveCount int
}

// Bucket is an AWS::S3::Bucket.
type Bucket struct {
	ID        string
	Name      string // empty if AWS chooses it
	Versioned bool
}

// Secret is an AWS::SecretsManager::Secret.
type Secret struct {
	ID    string
	Name  string // empty if AWS chooses it
	Value string
}

// Function is an AWS::Serverless::Function, with the template's Globals.
type Function struct {
	ID          string
	Name        string // empty if AWS chooses it
	Environment map[string]string
	Timeout     time.Duration
	MemoryMB    int
	Reserved    int  // ReservedConcurrentExecutions; 0 if not set
	URL         bool // has a function URL
	Mappings    []Mapping
}

// Mapping is an SQS event source mapping.
type Mapping struct {
	ID                      string // SAM's name of the resource: the function's id, then the event's name
	FunctionID              string
	QueueARN                string
	BatchSize               int
	Window                  time.Duration
	MaximumConcurrency      int // 0 if not set
	ReportBatchItemFailures bool
	Enabled                 bool
}

// Template is a template with its parameters applied.
type Template struct {
	resources  map[string]resource
	globals    map[string]any
	mappings   map[string]any
	conditions map[string]any
	parameters map[string]any // the value of a Ref to each: a string, or a list of strings
}

type resource struct {
	kind       string
	condition  string
	properties any
}

// failure is the value of a panic that ends an evaluation.
type failure struct{ error }

// fail ends an evaluation with an error about the value at path.
func fail(path, format string, args ...any) {
	stop(fmt.Errorf("%s: "+format, append([]any{path}, args...)...))
}

// stop ends an evaluation with an error, if there is one.
func stop(err error) {
	if err != nil {
		panic(failure{err})
	}
}

// try returns the error with which an evaluation ended.
func try(evaluate func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			failed, ok := r.(failure)
			if !ok {
				panic(r)
			}
			err = failed.error
		}
	}()
	evaluate()
	return nil
}

// Load reads the template at path. Its error names every invalid parameter.
func Load(path string, o Options) (*Template, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the template: %w", err)
	}
	t, err := parse(data, o)
	if err != nil {
		return nil, fmt.Errorf("reading the template %s: %w", path, err)
	}
	return t, nil
}

// parse makes a Template from YAML.
func parse(data []byte, o Options) (*Template, error) {
	t := &Template{resources: map[string]resource{}}
	var problems []error
	if err := try(func() {
		root := decode(data)
		section := func(name string) map[string]any {
			m, _ := root[name].(map[string]any)
			return m
		}
		t.mappings = section("Mappings")
		t.globals, _ = section("Globals")["Function"].(map[string]any)
		t.parameters = parameters(section("Parameters"), o)
		loops := map[string]bool{}
		for _, name := range []string{"Conditions", "Resources", "Outputs"} {
			checkLoopNames(section(name), loops)
		}
		t.conditions = t.expandMapping(section("Conditions"), "Conditions")
		resources := t.expandMapping(section("Resources"), "Resources")
		if len(resources) == 0 {
			stop(errors.New("no Resources"))
		}
		for _, id := range sortedKeys(resources) {
			t.resources[id] = newResource(resources[id], id)
		}
		problems = append(t.checkConditions(), t.checkRules(section("Rules"))...)
	}); err != nil {
		return nil, err
	}
	return t, errors.Join(problems...)
}

func newResource(v any, id string) resource {
	fields, ok := v.(map[string]any)
	if !ok {
		fail(id, "expected a resource, found %s", describe(v))
	}
	r := resource{properties: fields["Properties"]}
	if r.kind, ok = fields["Type"].(string); !ok {
		fail(id, "type: expected a resource type, found %s", describe(fields["Type"]))
	}
	if c, found := fields["Condition"]; found {
		if r.condition, ok = c.(string); !ok {
			fail(id, "condition: expected the name of a condition, found %s", describe(c))
		}
	}
	if d, found := fields["DependsOn"]; found {
		if _, one := d.(string); !one {
			texts(d, id+": DependsOn") // it takes no functions, also in loops
		}
	}
	return r
}

// checkConditions evaluates every condition once, so that an invalid one is found even if it is not used. It rejects
// resources that move messages but are not part of the model.
func (t *Template) checkConditions() (problems []error) {
	for _, name := range sortedKeys(t.conditions) {
		problems = append(problems, try(func() { t.condition(name, "", nil) }))
	}
	for _, id := range sortedKeys(t.resources) {
		r := t.resources[id]
		if r.condition != "" && t.conditions[r.condition] == nil {
			problems = append(problems, fmt.Errorf("%s.Condition: %q is not a condition of the template", id,
				r.condition))
		}
		if unsupported(r.kind) {
			problems = append(problems, fmt.Errorf("%s: resources of type %s are not supported", id, r.kind))
		}
	}
	return problems
}

// IDs lists the logical ids of the resources of a type that exist under the conditions, in alphabetical order.
func (t *Template) IDs(kind string) []string {
	return slices.DeleteFunc(sortedKeys(t.resources), func(id string) bool {
		return t.resources[id].kind != kind || !t.exists(id)
	})
}

// Type returns the type of a resource that exists under the conditions.
func (t *Template) Type(id string) (string, error) {
	r, ok := t.resources[id]
	switch {
	case !ok && t.isMapping(id):
		return TypeMapping, nil
	case !ok:
		return "", fmt.Errorf("%q is not a resource of the template", id)
	case !t.exists(id):
		return "", fmt.Errorf("%s is not created: its condition %s is false", id, r.condition)
	}
	return r.kind, nil
}

// isMapping reports whether SAM creates an event source mapping with that id: the function's id, then the event's name.
func (t *Template) isMapping(id string) bool {
	return slices.ContainsFunc(t.IDs(TypeFunction), func(function string) bool {
		properties, _ := t.resources[function].properties.(map[string]any)
		events, _ := properties["Events"].(map[string]any)
		event, ok := strings.CutPrefix(id, function)
		return ok && events[event] != nil
	})
}

// exists reports whether a resource exists under the conditions, which were all evaluated when the template was read.
func (t *Template) exists(id string) bool {
	name := t.resources[id].condition
	return name == "" || t.condition(name, "", nil)
}

// parameters returns the value of a Ref to each parameter and pseudo parameter.
func parameters(declared map[string]any, o Options) map[string]any {
	values := map[string]any{
		"AWS::Region":    o.Region,
		"AWS::AccountId": o.AccountID,
		"AWS::StackName": o.StackName,
		"AWS::StackId":   fmt.Sprintf("arn:aws:cloudformation:%s:%s:stack/%s/local", o.Region, o.AccountID, o.StackName),
		"AWS::Partition": "aws",
		"AWS::URLSuffix": "amazonaws.com",
	}
	var problems []error
	for _, name := range sortedKeys(o.Parameters) {
		if _, ok := declared[name]; !ok {
			problems = append(problems, fmt.Errorf("parameter %s: not a parameter of the template", name))
		}
	}
	for _, name := range sortedKeys(declared) {
		problems = append(problems, try(func() { values[name] = parameter(declared[name], name, o.Parameters) }))
	}
	stop(errors.Join(problems...))
	return values
}

// parameter returns the value of one parameter: a string, or a list of strings.
func parameter(declaration any, name string, overrides map[string]string) any {
	path := "parameter " + name
	d, ok := declaration.(map[string]any)
	if !ok {
		fail(path, "expected a declaration, found %s", describe(declaration))
	}
	value, given := overrides[name]
	if !given {
		if value, given = d["Default"].(string); !given {
			fail(path, "it has no default value and is not set")
		}
	}
	kind, _ := d["Type"].(string)
	if kind == "String" || kind == "Number" {
		check(d, kind, value, path)
		return value
	}
	if kind != "CommaDelimitedList" && !strings.HasPrefix(kind, "List<") {
		fail(path, "type %q is not supported", kind)
	}
	list := []any{}
	if value == "" {
		return list
	}
	for item := range strings.SplitSeq(value, ",") {
		item = strings.TrimSpace(item)
		check(d, "String", item, path)
		list = append(list, item)
	}
	return list
}

// check checks a value against the constraints of its declaration.
func check(d map[string]any, kind, value, path string) {
	if allowed, ok := d["AllowedValues"].([]any); ok && !slices.Contains(allowed, any(value)) {
		fail(path, "%q is not one of the allowed values %v", value, allowed)
	}
	if pattern, ok := d["AllowedPattern"].(string); ok {
		whole, err := regexp.Compile(`^(?:` + pattern + `)$`)
		if err != nil {
			fail(path, "AllowedPattern: %w", err)
		}
		if !whole.MatchString(value) {
			fail(path, "%q does not match the pattern %s", value, pattern)
		}
	}
	if kind == "Number" {
		within(d, "MinValue", "MaxValue", float(value, path), path, "")
	} else {
		within(d, "MinLength", "MaxLength", float64(len(value)), path, "length ")
	}
}

// within checks a number against the limits of a declaration. Each limit is optional.
func within(d map[string]any, low, high string, n float64, path, what string) {
	for _, bound := range []string{low, high} {
		text, ok := d[bound].(string)
		if !ok {
			continue
		}
		if limit := float(text, path+": "+bound); bound == low && n < limit || bound == high && n > limit {
			fail(path, "%s%v is outside %s %v", what, n, bound, limit)
		}
	}
}

func float(text, path string) float64 {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		fail(path, "%q is not a number", text)
	}
	return n
}
