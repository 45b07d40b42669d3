// Package samtemplate reads a SAM template as CloudFormation deploys it: it applies the parameters, expands the
// Fn::ForEach loops, evaluates the conditions and resolves the intrinsic functions. The result is a plain model of
// queues, buckets, secrets, functions and event source mappings. A property that the model does not support is an error
// that names the resource and the property. Resource types that do not move messages (roles, policies, alarms, log
// groups) are left out.
//
// Intrinsics: https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html
package samtemplate

import (
	"errors"
	"fmt"
	"maps"
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
	order      []string // logical ids in the order of the file
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
	root, err := decode(data)
	if err != nil {
		return nil, err
	}
	t := &Template{resources: map[string]resource{}}
	sections := root.section
	t.mappings = sections("Mappings")
	t.globals, _ = sections("Globals")["Function"].(map[string]any)
	t.parameters, err = parameters(sections("Parameters"), o)
	if err != nil {
		return nil, err
	}
	loops := map[string]bool{}
	for _, name := range []string{"Conditions", "Resources", "Outputs"} {
		if err := checkLoopNames(sections(name), loops); err != nil {
			return nil, err
		}
	}
	if t.conditions, err = t.expanded("Conditions", sections("Conditions")); err != nil {
		return nil, err
	}
	resources, err := t.expanded("Resources", sections("Resources"))
	if err != nil {
		return nil, err
	}
	if len(resources) == 0 {
		return nil, errors.New("no Resources")
	}
	for id, r := range resources {
		if t.resources[id], err = newResource(r); err != nil {
			return nil, fmt.Errorf("%s: %w", id, err)
		}
	}
	t.order = order(root.keys("Resources"), t.resources)
	return t, errors.Join(append(t.checkConditions(), t.checkRules(sections("Rules"))...)...)
}

// expanded returns a section with its loops expanded.
func (t *Template) expanded(name string, section map[string]any) (map[string]any, error) {
	v, err := t.expandMapping(section, name)
	if err != nil {
		return nil, err
	}
	m, _ := v.(map[string]any)
	return m, nil
}

// order returns the ids of the resources: first those that the file names, in its order, then those that loops create.
func order(keys []string, resources map[string]resource) []string {
	ids := slices.DeleteFunc(keys, func(key string) bool { _, ok := resources[key]; return !ok })
	for _, id := range slices.Sorted(maps.Keys(resources)) {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

func newResource(v any) (resource, error) {
	fields, ok := v.(map[string]any)
	if !ok {
		return resource{}, fmt.Errorf("expected a resource, found %s", describe(v))
	}
	r := resource{properties: fields["Properties"]}
	if r.kind, ok = fields["Type"].(string); !ok {
		return resource{}, fmt.Errorf("type: expected a resource type, found %s", describe(fields["Type"]))
	}
	if c, found := fields["Condition"]; found {
		if r.condition, ok = c.(string); !ok {
			return resource{}, fmt.Errorf("condition: expected the name of a condition, found %s", describe(c))
		}
	}
	if d, found := fields["DependsOn"]; found {
		if _, one := d.(string); !one {
			if _, err := texts(d, "DependsOn"); err != nil { // it takes no functions, also in loops
				return resource{}, err
			}
		}
	}
	return r, nil
}

// checkConditions evaluates every condition once, so that an invalid one is found even if it is not used. It rejects
// resources that move messages but are not part of the model.
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
				problems = append(problems, fmt.Errorf("%s.Condition: %q is not a condition of the template", id, r.condition))
			}
		}
		if unsupported(r.kind) {
			problems = append(problems, fmt.Errorf("%s: resources of type %s are not supported", id, r.kind))
		}
	}
	slices.SortFunc(problems, byText)
	return problems
}

// IDs lists the logical ids of the resources of a type that exist under the conditions, in the order of the file.
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
	r := t.resources[id]
	if r.condition == "" {
		return true
	}
	holds, err := t.condition(r.condition, nil)
	return err == nil && holds
}

// parameters returns the value of a Ref to each parameter and pseudo parameter.
func parameters(declared map[string]any, o Options) (map[string]any, error) {
	values := map[string]any{
		"AWS::Region":    o.Region,
		"AWS::AccountId": o.AccountID,
		"AWS::StackName": o.StackName,
		"AWS::StackId":   fmt.Sprintf("arn:aws:cloudformation:%s:%s:stack/%s/local", o.Region, o.AccountID, o.StackName),
		"AWS::Partition": "aws",
		"AWS::URLSuffix": "amazonaws.com",
	}
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(o.Parameters)) {
		if _, ok := declared[name]; !ok {
			problems = append(problems, fmt.Errorf("parameter %s: not a parameter of the template", name))
		}
	}
	for _, name := range sortedKeys(declared) {
		v, err := parameter(declared[name], name, o.Parameters)
		if err != nil {
			problems = append(problems, fmt.Errorf("parameter %s: %w", name, err))
			continue
		}
		values[name] = v
	}
	return values, errors.Join(problems...)
}

// parameter returns the value of one parameter: a string, or a list of strings.
func parameter(declaration any, name string, overrides map[string]string) (any, error) {
	d, ok := declaration.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("expected a declaration, found %s", describe(declaration))
	}
	value, given := overrides[name]
	if !given {
		if value, given = d["Default"].(string); !given {
			return nil, errors.New("it has no default value and is not set")
		}
	}
	kind, _ := d["Type"].(string)
	var items []string
	switch {
	case kind == "String" || kind == "Number":
		return value, check(d, kind, value)
	case kind == "CommaDelimitedList" || strings.HasPrefix(kind, "List<"):
		if value != "" {
			items = strings.Split(value, ",")
		}
	default:
		return nil, fmt.Errorf("type %q is not supported", kind)
	}
	list := make([]any, len(items))
	for i, item := range items {
		item = strings.TrimSpace(item)
		if err := check(d, "String", item); err != nil {
			return nil, err
		}
		list[i] = item
	}
	return list, nil
}

// check checks a value against the constraints of its declaration.
func check(d map[string]any, kind, value string) error {
	if allowed, ok := d["AllowedValues"].([]any); ok && !slices.Contains(allowed, any(value)) {
		return fmt.Errorf("%q is not one of the allowed values %v", value, allowed)
	}
	if pattern, ok := d["AllowedPattern"].(string); ok {
		whole, err := regexp.Compile(`^(?:` + pattern + `)$`)
		if err != nil {
			return fmt.Errorf("AllowedPattern: %w", err)
		}
		if !whole.MatchString(value) {
			return fmt.Errorf("%q does not match the pattern %s", value, pattern)
		}
	}
	if kind == "Number" {
		number, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return fmt.Errorf("%q is not a number", value)
		}
		return within(d, "MinValue", "MaxValue", number, "")
	}
	return within(d, "MinLength", "MaxLength", float64(len(value)), "length ")
}

// within checks a number against the limits of a declaration. Each limit is optional.
func within(d map[string]any, low, high string, n float64, what string) error {
	for _, bound := range []string{low, high} {
		text, ok := d[bound].(string)
		if !ok {
			continue
		}
		limit, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("%s: %q is not a number", bound, text)
		}
		if bound == low && n < limit || bound == high && n > limit {
			return fmt.Errorf("%s%v is outside %s %v", what, n, bound, limit)
		}
	}
	return nil
}
