package ministack

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/arbitex/siem-connectors/internal/testkit/products"
)

type object = map[string]any

// adjust changes what MiniStack 1.5.33 reads differently from CloudFormation, and nothing else; serve.py in
// internal/testkit/products/ministack changes what no template can. It returns the resources that it removes.
func adjust(template object) (removed []string) {
	// It compares the whole list, not its items, with AllowedValues and AllowedPattern.
	for _, p := range template["Parameters"].(object) {
		if parameter := p.(object); parameter["Type"] == "CommaDelimitedList" {
			delete(parameter, "AllowedValues")
			delete(parameter, "AllowedPattern")
		}
	}
	resources := template["Resources"].(object)
	for id, r := range resources {
		resource := r.(object)
		properties := resource["Properties"].(object)
		switch resource["Type"] {
		case "AWS::IAM::RolePolicy": // unknown; the older type has a list of roles
			resource["Type"] = "AWS::IAM::Policy"
			properties["Roles"] = []any{properties["RoleName"]}
			delete(properties, "RoleName")
		case "AWS::CloudWatch::Alarm": // metric math is not supported; test/products/alarms evaluates it
			if _, math := properties["Metrics"]; math {
				delete(resources, id)
				removed = append(removed, id)
			}
		case "AWS::Lambda::Function":
			if properties["Code"].(object)["S3Bucket"] == codeBucket { // deploy/check.py's, not sam deploy's
				properties["Code"] = object{"S3Bucket": codeBucket, "S3Key": codeKey(id)}
			}
		}
	}
	for id, r := range resources {
		resource := r.(object)
		resource["Properties"] = replaceReferences(resource["Properties"], resources, id)
	}
	return removed
}

// replaceReferences replaces references whose value differs.
func replaceReferences(node any, resources object, id string) any {
	switch n := node.(type) {
	case []any:
		for i := range n {
			n[i] = replaceReferences(n[i], resources, id)
		}
	case object:
		if name, ok := n["Ref"].(string); ok && isSecret(resources, name) {
			// It returns the secret's name instead of its ARN, which policies need. The ARN ends with six random
			// characters.
			return object{"Fn::Sub": "arn:aws:secretsmanager:" + products.MiniStackRegion + ":" + products.MiniStackAccount +
				":secret:${" + name + "}-??????"}
		}
		if attribute, ok := n["Fn::GetAtt"].([]any); ok && attribute[1] == "RoleId" {
			return products.MiniStackAccount // it sends the account's number as the SenderId of every message
		}
		// It keeps the value of a parameter as a string, and compares it with a number.
		for name, number := range map[string]int{"maxReceiveCount": maxAttempts, "MaximumConcurrency": 5} {
			if _, ok := n[name]; ok {
				n[name] = number
			}
		}
		if action, ok := n["Action"]; ok { // it names the action of a batch call after the call; IAM has one name for both
			n["Action"] = withBatches(action)
		}
		for key, value := range n {
			if key == "SIEM_SECRET_ID" { // the name is a valid id
				continue
			}
			n[key] = replaceReferences(value, resources, id)
		}
	}
	return node
}

// withBatches adds the batch calls of the actions on a queue.
func withBatches(action any) any {
	list, ok := action.([]any)
	if !ok {
		list = []any{action}
	}
	for _, a := range list {
		if slices.Contains([]any{"sqs:SendMessage", "sqs:ChangeMessageVisibility", "sqs:DeleteMessage"}, a) {
			list = append(list, a.(string)+"Batch")
		}
	}
	return list
}

func isSecret(resources object, id string) bool {
	resource, ok := resources[id].(object)
	return ok && resource["Type"] == "AWS::SecretsManager::Secret"
}

// codeKey is the key of a function's zip file: the folder of its bootstrap.
func codeKey(functionID string) string {
	return strings.ToLower(strings.TrimSuffix(functionID, "Function")) + ".zip"
}

func bootstrap(key string) string {
	return filepath.Join(root, "build", strings.TrimSuffix(key, ".zip"), "bootstrap")
}
