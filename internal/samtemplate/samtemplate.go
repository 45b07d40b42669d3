// Package stack reads a SAM template as CloudFormation would deploy it: it takes the parameters, settles the conditions,
// and resolves the intrinsic functions into a plain model of what the local system runs. Nothing of the template is
// repeated in Go, so what runs locally is what is deployed. What it does not understand is an error naming the resource
// and the property, never skipped: a function, an event or a mapping's setting that is not run must not pass unseen.
// Resource types that have no part in moving a message (roles, policies, alarms, log groups) are left out.
//
// Intrinsics: https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html
package samtemplate

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// Options say in which place the template is deployed.
type Options struct {
	Parameters map[string]string // overrides of the parameters' defaults
	Region     string            // AWS::Region
	AccountID  string            // AWS::AccountId
	StackName  string            // AWS::StackName
}

// Attributes tells what AWS made of a resource: Ref for the attribute "", Fn::GetAtt for any other. It is asked only for
// resources that exist under the conditions, and may create them when asked.
type Attributes interface {
	Attribute(logicalID, name string) (string, error)
}

// The resource types that the model holds.
const (
	TypeQueue    = "AWS::SQS::Queue"
	TypeBucket   = "AWS::S3::Bucket"
	TypeSecret   = "AWS::SecretsManager::Secret"
	TypeFunction = "AWS::Serverless::Function"
)

// Queue is an AWS::SQS::Queue. Attributes are those of SQS's CreateQueue, the redrive policy left out.
type Queue struct {
	ID         string
	Name       string // "" when the template leaves it to AWS
	Attributes map[string]string
	Redrive    *Redrive // nil when the queue has none
}

// Redrive is a queue's redrive policy.
type Redrive struct {
	TargetARN       string
	MaxReceiveCount int
}

// Bucket is an AWS::S3::Bucket.
type Bucket struct {
	ID        string
	Name      string // "" when the template leaves it to AWS
	Versioned bool
}

// Secret is an AWS::SecretsManager::Secret.
type Secret struct {
	ID    string
	Name  string // "" when the template leaves it to AWS
	Value string
}

// Function is an AWS::Serverless::Function, the template's Globals included.
type Function struct {
	ID          string
	Name        string // "" when the template leaves it to AWS
	Environment map[string]string
	Timeout     time.Duration
	MemoryMB    int
	Reserved    int  // ReservedConcurrentExecutions; 0 when not set
	URL         bool // has a function URL
	Mappings    []Mapping
}

// Mapping is an SQS event source mapping.
type Mapping struct {
	ID                      string // as SAM names the resource: the function's id, then the event's name
	FunctionID              string
	QueueARN                string
	BatchSize               int
	Window                  time.Duration
	MaximumConcurrency      int // 0 when not set
	ReportBatchItemFailures bool
	Enabled                 bool
}

// Template is a template with its parameters set.
type Template struct {
	resources  map[string]resource
	order      []string // the ids of resources, as the file has them
	globals    map[string]any
	mappings   map[string]any
	conditions map[string]any
	parameters map[string]any // what a Ref to each gives: a string, or a list of strings
}

type resource struct {
	kind       string
	condition  string
	properties any
}

// Load reads the template at path. Its error names every parameter that is wrong.
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

// parse makes a Template of its YAML text.
func parse(data []byte, o Options) (*Template, error) {
	root, err := decode(data)
	if err != nil {
		return nil, err
	}
	t := &Template{resources: map[string]resource{}, order: root.keys("Resources")}
	sections := root.section
	t.mappings, t.conditions = sections("Mappings"), sections("Conditions")
	t.globals, _ = sections("Globals")["Function"].(map[string]any)
	t.parameters, err = parameters(sections("Parameters"), o)
	if err != nil {
		return nil, err
	}
	if len(t.order) == 0 {
		return nil, errors.New("it has no Resources")
	}
	for id, r := range sections("Resources") {
		if t.resources[id], err = newResource(r); err != nil {
			return nil, fmt.Errorf("%s: %w", id, err)
		}
	}
	return t, errors.Join(append(t.checkConditions(), t.checkRules(sections("Rules"))...)...)
}

func newResource(v any) (resource, error) {
	fields, ok := v.(map[string]any)
	if !ok {
		return resource{}, fmt.Errorf("want a resource, have %s", describe(v))
	}
	r := resource{properties: fields["Properties"]}
	if r.kind, ok = fields["Type"].(string); !ok {
		return resource{}, fmt.Errorf("its Type: want a resource type, have %s", describe(fields["Type"]))
	}
	if c, found := fields["Condition"]; found {
		if r.condition, ok = c.(string); !ok {
			return resource{}, fmt.Errorf("its Condition: want a condition's name, have %s", describe(c))
		}
	}
	return r, nil
}

// checkConditions settles every condition once, so that a broken one is found whether it is used or not, and refuses
// resources of the kinds that carry messages but that the model does not know.
func (t *Template) checkConditions() []error {
	var problems []error
	for name := range t.conditions {
		if _, err := t.condition(name, nil); err != nil {
			problems = append(problems, err)
		}
	}
	for _, id := range t.order {
		r := t.resources[id]
		if r.condition != "" {
			if _, known := t.conditions[r.condition]; !known {
				problems = append(problems, fmt.Errorf("%s.Condition: %q is no condition of the template", id, r.condition))
			}
		}
		if unsupported(r.kind) {
			problems = append(problems, fmt.Errorf("%s: resources of type %s are not run locally", id, r.kind))
		}
	}
	slices.SortFunc(problems, byText)
	return problems
}

// IDs lists the logical ids of the resources of a type that exist under the conditions, in the template's order.
func (t *Template) IDs(kind string) []string {
	var ids []string
	for _, id := range t.order {
		if t.resources[id].kind == kind && t.exists(id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// Type returns the type of a resource that exists under the conditions.
func (t *Template) Type(id string) (string, error) {
	r, ok := t.resources[id]
	switch {
	case !ok:
		return "", fmt.Errorf("%q is no resource of the template", id)
	case !t.exists(id):
		return "", fmt.Errorf("%s is not created: its condition %s does not hold", id, r.condition)
	}
	return r.kind, nil
}

// exists says whether a resource's condition holds. Conditions were all settled when the template was read.
func (t *Template) exists(id string) bool {
	r := t.resources[id]
	if r.condition == "" {
		return true
	}
	holds, err := t.condition(r.condition, nil)
	return err == nil && holds
}
