package event

import "strings"

// field is one of the fields that the connectors read.
type field uint8

const (
	none field = iota
	fieldTime
	fieldClass
	fieldSeverity
	fieldUserID
	fieldUserEmail
	fieldGroup // an element of the user's groups, identified by one of the next two
	fieldGroupUID
	fieldGroupName
	fieldGroupID
	fieldRequestID
	fieldOperation
	fieldActivity
	fieldEventID
	fieldModelID
	fieldModelName
	fieldPolicyAction
	fieldDLPLabel
	fieldTokensInput
	fieldPromptTokens
	fieldTokensOutput
	fieldCompletionTokens
	fieldSourceAddress
	fieldTimestamp
)

// paths holds the paths of the fields in an OCSF event. No other place knows them. "[]" means each element.
var paths = [...]struct {
	field field
	path  string
}{
	{fieldTime, "time"},
	{fieldClass, "class_uid"},
	{fieldSeverity, "severity_id"},
	{fieldUserID, "actor.user.uid"},
	{fieldUserEmail, "actor.user.email_addr"},
	{fieldGroup, "actor.user.groups[]"},
	{fieldGroupUID, "actor.user.groups[].uid"},
	{fieldGroupName, "actor.user.groups[].name"}, // if the group has no uid
	{fieldGroupID, "unmapped.group_ids[]"},       // if no group has a uid or a name
	{fieldRequestID, "api.request.uid"},
	{fieldOperation, "api.operation"},
	{fieldActivity, "activity_name"}, // if there is no operation
	{fieldEventID, "metadata.uid"},
	{fieldModelID, "unmapped.model_id"},
	{fieldModelName, "ai_model.name"}, // if there is no model id; OCSF 1.8
	{fieldPolicyAction, "unmapped.policy_action"},
	{fieldDLPLabel, "unmapped.dlp_labels[]"},
	{fieldTokensInput, "unmapped.tokens_input"},
	{fieldPromptTokens, "message_context.prompt_tokens"}, // if there are no input tokens; OCSF 1.8
	{fieldTokensOutput, "unmapped.tokens_output"},
	{fieldCompletionTokens, "message_context.completion_tokens"}, // if there are no output tokens; OCSF 1.8
	{fieldSourceAddress, "src_endpoint.ip"},
	{fieldTimestamp, "@timestamp"}, // not an OCSF field: the time field of Elasticsearch, if the event has it
}

// node is a place in an event that is a field or leads to one.
type node struct {
	key   string
	field field
	kids  []*node // members, if the value is an object
	items *node   // elements, if the value is an array
}

// root is the tree of paths.
var root = compile() //nolint:gochecknoglobals // a compiled table

func compile() *node {
	top := &node{}
	for _, p := range paths {
		n := top
		for step := range strings.SplitSeq(p.path, ".") {
			key, each := strings.CutSuffix(step, "[]")
			if n = n.grow(key); each {
				if n.items == nil {
					n.items = &node{}
				}
				n = n.items
			}
		}
		n.field = p.field
	}
	return top
}

// grow returns the member of that name, and adds it if it is absent.
func (n *node) grow(key string) *node {
	if kid := n.find([]byte(key)); kid != nil {
		return kid
	}
	kid := &node{key: key}
	n.kids = append(n.kids, kid)
	return kid
}

// find returns the member of that name, nil if no path leads through it.
func (n *node) find(key []byte) *node {
	for _, kid := range n.kids {
		if kid.key == string(key) {
			return kid
		}
	}
	return nil
}
