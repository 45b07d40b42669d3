package event

import "strings"

// field is a field that the connectors read. At most one of these is set.
type field struct {
	text      func(*Parser) *Text    // where a string goes
	integer   func(*Parser) *Integer // where an integer goes
	list      func(*Parser) *[]Text  // of the elements of an array: where their list goes
	time      bool
	timestamp bool // any value counts
	groups    bool // of the elements of a list: each is an object with a uid or a name
}

// paths holds the paths of the fields in an OCSF event. No other place knows them. "[]" means each element.
var paths = [...]struct {
	path string
	field
}{
	{"time", field{time: true}},
	{"class_uid", field{integer: func(p *Parser) *Integer { return &p.class }}},
	{"severity_id", field{integer: func(p *Parser) *Integer { return &p.severity }}},
	{"actor.user.uid", field{text: func(p *Parser) *Text { return &p.e.UserID }}},
	{"actor.user.email_addr", field{text: func(p *Parser) *Text { return &p.e.UserEmail }}},
	{"actor.user.groups[]", field{groups: true, list: func(p *Parser) *[]Text { return &p.e.Groups }}},
	{"actor.user.groups[].uid", field{text: func(p *Parser) *Text { return &p.group.uid }}},
	{"actor.user.groups[].name", field{text: func(p *Parser) *Text { return &p.group.name }}}, // if the group has no uid
	{"api.request.uid", field{text: func(p *Parser) *Text { return &p.e.RequestID }}},
	{"api.operation", field{text: func(p *Parser) *Text { return &p.e.Operation }}},
	{"metadata.uid", field{text: func(p *Parser) *Text { return &p.e.uid }}},
	{"unmapped.model_id", field{text: func(p *Parser) *Text { return &p.e.ModelID }}},
	{"unmapped.policy_action", field{text: func(p *Parser) *Text { return &p.e.PolicyAction }}},
	{"unmapped.dlp_labels[]", field{list: func(p *Parser) *[]Text { return &p.e.DLPLabels }}},
	{"unmapped.tokens_input", field{integer: func(p *Parser) *Integer { return &p.e.TokensInput }}},
	{"unmapped.tokens_output", field{integer: func(p *Parser) *Integer { return &p.e.TokensOutput }}},
	{"src_endpoint.ip", field{text: func(p *Parser) *Text { return &p.e.SourceAddress }}},
	{"@timestamp", field{timestamp: true}}, // not an OCSF field: the time field of Elasticsearch, if the event has it

	// The second paths: they count if the first one has no value. ai_model and message_context are of OCSF 1.8.
	{"unmapped.group_ids[]", field{list: func(p *Parser) *[]Text { return &p.second.groupIDs }}},
	{"activity_name", field{text: func(p *Parser) *Text { return &p.second.activity }}},
	{"ai_model.name", field{text: func(p *Parser) *Text { return &p.second.modelName }}},
	{"message_context.prompt_tokens", field{integer: func(p *Parser) *Integer { return &p.second.prompt }}},
	{"message_context.completion_tokens", field{integer: func(p *Parser) *Integer { return &p.second.completion }}},
}

// node is a place in an event that is a field or leads to one.
type node struct {
	key string
	field
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
