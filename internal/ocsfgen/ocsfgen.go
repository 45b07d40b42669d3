// Package ocsfgen makes audit events as an AI-governance platform sends them: OCSF 1.1.0, one compact JSON object each,
// valid by the schema, in the four classes 6003 API Activity, 2001 Security Finding, 3002 Authentication and 3004
// Entity Management. One seed makes the same events every time; no two events of one seed have the same metadata.uid.
//
// The events are awkward on purpose, as the world is: quotes, backslashes, pipes, equals signs, line breaks,
// bidirectional text, emoji, unnecessary escapes, numbers that change when they are parsed and printed again. Most
// are 700 to 1,500 bytes, one in forty is a few kilobytes more, one in four hundred about 80 KB.
//
// Schema: https://schema.ocsf.io/1.1.0/
package ocsfgen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// start is the time before the first event when no clock is given: 2026-03-13T00:00:00Z in Unix milliseconds.
const start = 1_773_360_000_000

// Generator makes events. It is not safe for concurrent use.
type Generator struct {
	// Now gives the events their time. When nil, time begins at 2026-03-13T00:00:00Z and passes by a random step of up to
	// two seconds with each event, so that the bytes depend on the seed alone.
	Now func() time.Time

	random *rand.Rand
	clock  time.Time
	count  uint64
}

// New returns a generator; equal seeds make equal events.
func New(seed uint64) *Generator {
	return &Generator{random: rand.New(rand.NewPCG(seed, 0x0c5f)), clock: time.UnixMilli(start)}
}

// Next returns the next event, without a line break at its end. The caller owns the bytes.
func (g *Generator) Next() []byte {
	g.count++
	var e attributes
	switch n := g.random.IntN(100); {
	case n < 64:
		e = g.apiActivity()
	case n < 78:
		e = g.securityFinding()
	case n < 91:
		e = g.authentication()
	default:
		e = g.entityManagement()
	}
	g.enlarge(e)
	return appendJSON(nil, e)
}

// object is a JSON object whose members keep their order. A member that is nil is left out.
type object []struct {
	key   string
	value any
}

// attributes are an event, or its unmapped attributes, by their names.
type attributes map[string]any

// order is the order in which attributes are written.
//
//nolint:gochecknoglobals // a table
var order = strings.Fields(`class_uid class_name category_uid category_name activity_id activity_name type_uid time
	timezone_offset severity_id severity status_id status message metadata cloud actor user api src_endpoint
	dst_endpoint http_request duration finding state_id state confidence_id confidence analytic service
	auth_protocol_id auth_protocol logon_type_id logon_type is_mfa is_remote entity comment resources unmapped
	model_id policy_action dlp_labels tokens_input tokens_output cost_usd span_id policy_ref group_ids excerpt`)

// appendJSON appends a value as JSON.
func appendJSON(dst []byte, value any) []byte {
	switch v := value.(type) {
	case attributes:
		members := make(object, len(order))
		for i, key := range order {
			members[i].key, members[i].value = key, v[key]
		}
		return appendJSON(dst, members)
	case object:
		dst = append(dst, '{')
		for _, member := range v {
			if member.value != nil {
				dst = append(strconv.AppendQuote(dst, member.key), ':')
				dst = append(appendJSON(dst, member.value), ',')
			}
		}
		return append(bytes.TrimSuffix(dst, []byte{','}), '}')
	case []object:
		dst = append(dst, '[')
		for _, element := range v {
			dst = append(appendJSON(dst, element), ',')
		}
		return append(bytes.TrimSuffix(dst, []byte{','}), ']')
	}
	out := bytes.NewBuffer(dst)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil { // only a slip in the tables of this package can cause it
		panic(fmt.Sprintf("encoding a generated event: %v", err))
	}
	return bytes.TrimSuffix(out.Bytes(), []byte{'\n'})
}

// common makes what every class has. activity is the activity's id, profiles those the class needs for its attributes.
func (g *Generator) common(class, category, activity int, activityName string, profiles ...string) attributes {
	severity := pick(g, severities)
	now := g.time().UnixMilli()
	e := attributes{
		"class_uid": class, "category_uid": category, "activity_id": activity, "activity_name": activityName,
		"type_uid": class*100 + activity, "time": now, "severity_id": severity.id, "severity": severity.caption,
	}
	e["timezone_offset"] = pick(g, []int{0, 0, 60, 120, -300, 330})
	e["message"] = pick(g, messages)
	uid, logged := g.uid(), now+g.random.Int64N(400)
	e["metadata"] = object{
		{"uid", uid}, {"version", "1.1.0"}, {"profiles", unlessEmpty(profiles)},
		{"product", object{{"name", "AI Gateway"}, {"vendor_name", "Arbitex"}, {"version", "3.18.2"}}},
		{"tenant_uid", pick(g, tenants)}, {"logged_time", logged},
	}
	e["unmapped"] = g.unmapped()
	return e
}

// unlessEmpty returns nil for an empty list.
func unlessEmpty[T any](list []T) any {
	if len(list) == 0 {
		return nil
	}
	return list
}

func (g *Generator) time() time.Time {
	if g.Now != nil {
		return g.Now()
	}
	g.clock = g.clock.Add(time.Duration(g.random.Int64N(2000)) * time.Millisecond)
	return g.clock
}

// uid is a UUID whose last group counts, so that two of one generator can never be the same.
func (g *Generator) uid() string {
	a, b := g.random.Uint64(), g.random.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", uint32(a>>32), uint16(a>>16), a&0xfff, 0x8000|b&0x3fff, g.count)
}

// id is a short identifier as the platform makes them.
func (g *Generator) id(prefix string) string {
	return fmt.Sprintf("%s_%010x", prefix, g.random.Uint64()>>24)
}

// enlarge gives some events an excerpt of the conversation.
func (g *Generator) enlarge(e attributes) {
	var size int
	switch n := g.random.IntN(400); {
	case n == 0:
		size = 80_000
	case n <= 10:
		size = 3_000 + g.random.IntN(20_000)
	default:
		return
	}
	var excerpt strings.Builder
	for excerpt.Len() < size {
		excerpt.WriteString(pick(g, excerpts))
	}
	e["unmapped"].(attributes)["excerpt"] = excerpt.String()
}

func pick[T any](g *Generator, from []T) T { return from[g.random.IntN(len(from))] }

// The attributes each class must have, and those it may have under a profile only:
// https://schema.ocsf.io/1.1.0/classes. api belongs to the profile "cloud" in all classes but API Activity, actor of
// Entity Management to the profile "host".

func (g *Generator) apiActivity() attributes {
	operation := pick(g, operations)
	e := g.common(6003, 6, operation.activity, operation.activityName)
	g.captions(e, "API Activity", "Application Activity")
	e["actor"] = g.actor(g.user())
	e["api"] = g.api(operation.name)
	e["src_endpoint"] = g.endpoint()
	if g.random.IntN(3) == 0 {
		const host = "gateway.platform.arbitex.ai"
		e["dst_endpoint"] = object{{"hostname", host}, {"svc_name", "ai-gateway"}, {"port", 443}}
		e["http_request"] = object{
			{"http_method", "POST"}, {"user_agent", pick(g, userAgents)},
			{"url", object{{"scheme", "https"}, {"hostname", host}, {"path", operation.path}}},
		}
	}
	e["duration"] = g.random.IntN(30_000)
	e["status_id"], e["status"] = g.status()
	e["resources"] = []object{{
		{"uid", g.id("conv")}, {"type", "conversation"}, {"labels", []string{"team=" + pick(g, groups)}},
	}}
	return e
}

func (g *Generator) securityFinding() attributes {
	f := pick(g, findings)
	e := g.common(2001, 2, 1, "Create", "cloud")
	g.captions(e, "Security Finding", "Findings")
	e["cloud"] = g.cloud()
	e["api"] = g.api("evaluate_policy")
	e["finding"] = object{
		{"uid", g.id("find")}, {"title", f.title}, {"desc", pick(g, messages)}, {"types", f.types},
		{"created_time", e["time"]},
	}
	e["state_id"], e["state"] = 1, "New"
	e["confidence_id"], e["confidence"] = 3, "High"
	e["analytic"] = object{{"name", f.title}, {"uid", "rule-" + f.types[0]}, {"type", "Rule"}, {"type_id", 1}}
	e["resources"] = []object{{{"uid", g.id("conv")}, {"type", "conversation"}, {"owner", g.user()}}}
	unmapped := e["unmapped"].(attributes)
	unmapped["policy_action"] = pick(g, []string{"block", "redact", "flag"})
	unmapped["dlp_labels"] = f.types
	return e
}

func (g *Generator) authentication() attributes {
	logon := g.random.IntN(4) > 0
	activity, name, operation := 1, "Logon", "session_create"
	if !logon {
		activity, name, operation = 2, "Logoff", "session_delete"
	}
	e := g.common(3002, 3, activity, name, "cloud")
	g.captions(e, "Authentication", "Identity & Access Management")
	e["cloud"] = g.cloud()
	e["user"] = g.user()
	e["actor"] = g.actor(e["user"].(object))
	e["api"] = g.api(operation)
	e["service"] = object{{"name", "console.platform.arbitex.ai"}, {"version", "2026.3"}}
	e["src_endpoint"] = g.endpoint()
	e["auth_protocol_id"], e["auth_protocol"] = 5, "SAML"
	e["logon_type_id"], e["logon_type"] = 3, "Network"
	e["is_mfa"], e["is_remote"] = g.random.IntN(3) > 0, true
	e["status_id"], e["status"] = g.status()
	return e
}

func (g *Generator) entityManagement() attributes {
	activity := g.random.IntN(4) + 1
	e := g.common(3004, 3, activity, [...]string{"Create", "Read", "Update", "Delete"}[activity-1], "cloud", "host")
	g.captions(e, "Entity Management", "Identity & Access Management")
	e["cloud"] = g.cloud()
	e["actor"] = g.actor(g.user())
	e["api"] = g.api(pick(g, []string{"policy_update", "api_key_rotate", "group_member_add", "user_deactivate"}))
	e["entity"] = object{
		{"uid", g.id("pol")}, {"name", pick(g, entityNames)}, {"type", "policy"},
		{"version", fmt.Sprint(g.random.IntN(40) + 1)},
	}
	e["comment"] = pick(g, messages)
	e["status_id"], e["status"] = g.status()
	return e
}

// captions spells out what the numbers say, as the schema's "sibling" attributes do; two platforms in three do not.
func (g *Generator) captions(e attributes, class, category string) {
	if g.random.IntN(3) == 0 {
		e["class_name"], e["category_name"] = class, category
	}
}

func (g *Generator) actor(user object) object {
	var session any
	invokedBy := pick(g, []any{nil, "api-key", "console"})
	if g.random.IntN(3) == 0 {
		session = object{
			{"uid", g.uid()}, {"issuer", "https://sso.example.com/realms/corp"}, {"is_mfa", g.random.IntN(2) == 0},
		}
	}
	return object{{"user", user}, {"session", session}, {"invoked_by", invokedBy}}
}

// user is somebody; one in ten has no e-mail address.
func (g *Generator) user() object {
	p := pick(g, people)
	u := object{{"uid", fmt.Sprintf("user_%05d", g.random.IntN(4000))}, {"name", p.name}}
	if g.random.IntN(10) > 0 {
		u = append(u, object{{"full_name", p.full}, {"email_addr", p.email}}...)
	}
	var list []object
	for range g.random.IntN(3) {
		name := pick(g, groups)
		list = append(list, object{{"uid", "grp_" + name}, {"name", name}})
	}
	return append(u, object{{"groups", unlessEmpty(list)}}...)
}

func (g *Generator) api(operation string) object {
	return object{
		{"operation", operation}, {"version", "v1"}, {"request", object{{"uid", g.id("req")}}},
		{"response", object{{"code", pick(g, []int{200, 200, 200, 403, 429})}}},
	}
}

func (g *Generator) cloud() object {
	return object{{"provider", "AWS"}, {"region", pick(g, []string{"eu-central-1", "us-east-1", "ap-southeast-2"})}}
}

func (g *Generator) endpoint() object {
	var hostname any
	ip := fmt.Sprintf("10.%d.%d.%d", g.random.IntN(256), g.random.IntN(256), g.random.IntN(254)+1)
	port := 1024 + g.random.IntN(60000)
	if g.random.IntN(4) == 0 {
		ip = fmt.Sprintf("2001:db8::%x:%x", g.random.IntN(65536), g.random.IntN(65536))
		hostname = fmt.Sprintf("ws-%04d.corp.example.com", g.random.IntN(10_000))
	}
	return object{{"ip", ip}, {"hostname", hostname}, {"port", port}}
}

func (g *Generator) status() (int, string) {
	if g.random.IntN(12) == 0 {
		return 2, "Failure"
	}
	return 1, "Success"
}

// unmapped has the groups too where a platform could not place them, and one time in ten no model.
func (g *Generator) unmapped() attributes {
	u := attributes{"model_id": pick(g, models)}
	u["policy_action"] = pick(g, []string{"allow", "allow", "allow", "redact", "block"})
	u["dlp_labels"] = pick(g, labels)
	u["tokens_input"], u["tokens_output"] = g.random.IntN(8000), g.random.IntN(3000)
	u["cost_usd"], u["span_id"], u["policy_ref"] = pick(g, costs), pick(g, spans), pick(g, references)
	switch g.random.IntN(10) {
	case 0:
		delete(u, "model_id")
	case 1, 2:
		u["group_ids"] = []string{"grp_" + pick(g, groups)}
	}
	return u
}
