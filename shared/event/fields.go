package event

import "strings"

// field is one of the fields the connectors read.
type field uint8

const (
	none field = iota
	fieldTime
	fieldClass
	fieldSeverity
	fieldUserID
	fieldUserEmail
	fieldGroup // an element of the user's groups; its identity is one of the next two
	fieldGroupUID
	fieldGroupName
	fieldGroupID
	fieldRequestID
	fieldOperation
	fieldActivity
	fieldEventID
	fieldModelID
	fieldPolicyAction
	fieldDLPLabel
	fieldTokensInput
	fieldTokensOutput
	fieldTimestamp
)

// paths is where the fields stand in an OCSF event, and the only place that knows. "[]" means each element.
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
	{fieldGroupName, "actor.user.groups[].name"},
	{fieldGroupID, "unmapped.group_ids[]"}, // where no group has a uid or a name
	{fieldRequestID, "api.request.uid"},
	{fieldOperation, "api.operation"},
	{fieldActivity, "activity_name"}, // where there is no operation
	{fieldEventID, "metadata.uid"},
	{fieldModelID, "unmapped.model_id"},
	{fieldPolicyAction, "unmapped.policy_action"},
	{fieldDLPLabel, "unmapped.dlp_labels[]"},
	{fieldTokensInput, "unmapped.tokens_input"},
	{fieldTokensOutput, "unmapped.tokens_output"},
	{fieldTimestamp, "@timestamp"}, // not OCSF: Elasticsearch's own, which an event may bring along
}

// node is a place in an event that is, or leads to, a field.
type node struct {
	key   string
	field field
	kids  []*node // members of the object that stands here
	items *node   // elements of the array that stands here
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

func (n *node) grow(key string) *node {
	if kid := n.find([]byte(key)); kid != nil {
		return kid
	}
	kid := &node{key: key}
	n.kids = append(n.kids, kid)
	return kid
}

// find returns the member of that name, nil when no field is there.
func (n *node) find(key []byte) *node {
	for _, kid := range n.kids {
		if kid.key == string(key) {
			return kid
		}
	}
	return nil
}
