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
	var e *event
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
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(e); err != nil { // only a slip in the tables of this package can cause it
		panic(fmt.Sprintf("encoding a generated event: %v", err))
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

// common fills what every class has. activity is the activity's id, profiles those the class needs for its attributes.
func (g *Generator) common(class, category, activity int, activityName string, profiles ...string) *event {
	severity := pick(g, severities)
	now := g.time().UnixMilli()
	return &event{
		ClassUID: class, CategoryUID: category, ActivityID: activity, ActivityName: activityName, TypeUID: class*100 +
			activity,
		Time: now, TimezoneOffset: pick(g, []int{0, 0, 60, 120, -300, 330}),
		SeverityID: severity.id, Severity: severity.caption,
		Message: pick(g, messages),
		Metadata: metadata{
			UID: g.uid(), Version: "1.1.0", Profiles: profiles, LoggedTime: now + g.random.Int64N(400),
			Product:   product{Name: "AI Gateway", VendorName: "Arbitex", Version: "3.18.2"},
			TenantUID: pick(g, tenants),
		},
		Unmapped: g.unmapped(),
	}
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
func (g *Generator) enlarge(e *event) {
	var size int
	switch n := g.random.IntN(400); {
	case n == 0:
		size = 80_000
	case n <= 10:
		size = 3_000 + g.random.IntN(20_000)
	default:
		return
	}
	var excerpt bytes.Buffer
	for excerpt.Len() < size {
		excerpt.WriteString(pick(g, excerpts))
	}
	e.Unmapped.Excerpt = excerpt.String()
}

func pick[T any](g *Generator, from []T) T { return from[g.random.IntN(len(from))] }

// The attributes each class must have, and those it may have under a profile only:
// https://schema.ocsf.io/1.1.0/classes. api belongs to the profile "cloud" in all classes but API Activity, actor of
// Entity Management to the profile "host".

func (g *Generator) apiActivity() *event {
	operation := pick(g, operations)
	e := g.common(6003, 6, operation.activity, operation.activityName)
	g.captions(e, "API Activity", "Application Activity")
	e.Actor = g.actor()
	e.API = g.api(operation.name)
	e.SrcEndpoint = g.endpoint()
	if g.random.IntN(3) == 0 {
		e.DstEndpoint = &endpoint{Hostname: "gateway.platform.arbitex.ai", SvcName: "ai-gateway", Port: 443}
		e.HTTPRequest = &httpRequest{
			Method: "POST", UserAgent: pick(g, userAgents),
			URL: &url{Scheme: "https", Hostname: "gateway.platform.arbitex.ai", Path: operation.path},
		}
	}
	e.Duration = g.random.IntN(30_000)
	e.StatusID, e.Status = g.status()
	e.Resources = []resource{{UID: g.id("conv"), Type: "conversation", Labels: []string{"team=" + pick(g, groups)}}}
	return e
}

func (g *Generator) securityFinding() *event {
	f := pick(g, findings)
	e := g.common(2001, 2, 1, "Create", "cloud")
	g.captions(e, "Security Finding", "Findings")
	e.Cloud = g.cloud()
	e.API = g.api("evaluate_policy")
	e.Finding = &finding{UID: g.id("find"), Title: f.title, Desc: pick(g, messages), Types: f.types, CreatedTime: e.Time}
	e.StateID, e.State = 1, "New"
	e.ConfidenceID, e.Confidence = 3, "High"
	e.Analytic = &analytic{Name: f.title, UID: "rule-" + f.types[0], TypeID: 1, Type: "Rule"}
	e.Resources = []resource{{UID: g.id("conv"), Type: "conversation", Owner: g.user()}}
	e.Unmapped.PolicyAction = pick(g, []string{"block", "redact", "flag"})
	e.Unmapped.DLPLabels = f.types
	return e
}

func (g *Generator) authentication() *event {
	logon := g.random.IntN(4) > 0
	activity, name := 1, "Logon"
	if !logon {
		activity, name = 2, "Logoff"
	}
	e := g.common(3002, 3, activity, name, "cloud")
	g.captions(e, "Authentication", "Identity & Access Management")
	e.Cloud = g.cloud()
	e.Actor = g.actor()
	e.User = e.Actor.User
	e.API = g.api("session_" + map[bool]string{true: "create", false: "delete"}[logon])
	e.Service = &service{Name: "console.platform.arbitex.ai", Version: "2026.3"}
	e.SrcEndpoint = g.endpoint()
	e.AuthProtocolID, e.AuthProtocol = 5, "SAML"
	e.LogonTypeID, e.LogonType = 3, "Network"
	e.IsMFA, e.IsRemote = new(g.random.IntN(3) > 0), new(true)
	e.StatusID, e.Status = g.status()
	return e
}

func (g *Generator) entityManagement() *event {
	activity := g.random.IntN(4) + 1
	e := g.common(3004, 3, activity, [...]string{"Create", "Read", "Update", "Delete"}[activity-1], "cloud", "host")
	g.captions(e, "Entity Management", "Identity & Access Management")
	e.Cloud = g.cloud()
	e.Actor = g.actor()
	e.API = g.api(pick(g, []string{"policy_update", "api_key_rotate", "group_member_add", "user_deactivate"}))
	e.Entity = &entity{UID: g.id("pol"), Name: pick(g, entityNames), Type: "policy",
		Version: fmt.Sprint(g.random.IntN(40) + 1)}
	e.Comment = pick(g, messages)
	e.StatusID, e.Status = g.status()
	return e
}

// captions spells out what the numbers say, as the schema's "sibling" attributes do; two platforms in three do not.
func (g *Generator) captions(e *event, class, category string) {
	if g.random.IntN(3) == 0 {
		e.ClassName, e.CategoryName = class, category
	}
}

func (g *Generator) actor() *actor {
	a := &actor{User: g.user(), InvokedBy: pick(g, []string{"", "api-key", "console"})}
	if g.random.IntN(3) == 0 {
		a.Session = &session{UID: g.uid(), Issuer: "https://sso.example.com/realms/corp", IsMFA: g.random.IntN(2) == 0}
	}
	return a
}

// user is somebody; one in ten has no e-mail address.
func (g *Generator) user() *user {
	p := pick(g, people)
	u := &user{UID: fmt.Sprintf("user_%05d", g.random.IntN(4000)), Name: p.name, FullName: p.full, EmailAddr: p.email}
	if g.random.IntN(10) == 0 {
		u.FullName, u.EmailAddr = "", ""
	}
	for range g.random.IntN(3) {
		name := pick(g, groups)
		u.Groups = append(u.Groups, group{UID: "grp_" + name, Name: name})
	}
	return u
}

func (g *Generator) api(operation string) *api {
	return &api{
		Operation: operation, Version: "v1", Request: &request{UID: g.id("req")},
		Response: &response{Code: pick(g, []int{200, 200, 200, 403, 429})},
	}
}

func (g *Generator) cloud() *cloud {
	return &cloud{Provider: "AWS", Region: pick(g, []string{"eu-central-1", "us-east-1", "ap-southeast-2"})}
}

func (g *Generator) endpoint() *endpoint {
	e := &endpoint{IP: fmt.Sprintf("10.%d.%d.%d", g.random.IntN(256), g.random.IntN(256), g.random.IntN(254)+1),
		Port: 1024 + g.random.IntN(60000)}
	if g.random.IntN(4) == 0 {
		e.IP = fmt.Sprintf("2001:db8::%x:%x", g.random.IntN(65536), g.random.IntN(65536))
		e.Hostname = fmt.Sprintf("ws-%04d.corp.example.com", g.random.IntN(10_000))
	}
	return e
}

func (g *Generator) status() (int, string) {
	if g.random.IntN(12) == 0 {
		return 2, "Failure"
	}
	return 1, "Success"
}

// unmapped has the groups too where a platform could not place them, and one time in ten no model.
func (g *Generator) unmapped() *unmapped {
	u := &unmapped{
		ModelID: pick(g, models), PolicyAction: pick(g, []string{"allow", "allow", "allow", "redact", "block"}),
		DLPLabels: pick(g, labels), TokensInput: g.random.IntN(8000), TokensOutput: g.random.IntN(3000),
		CostUSD: pick(g, costs), SpanID: pick(g, spans), PolicyRef: pick(g, references),
	}
	switch g.random.IntN(10) {
	case 0:
		u.ModelID = ""
	case 1, 2:
		u.GroupIDs = []string{"grp_" + pick(g, groups)}
	}
	return u
}

var severities = []struct {
	id      int
	caption string
}{
	{1, "Informational"}, {1, "Informational"}, {1, "Informational"}, {1, "Informational"}, {2, "Low"}, {3, "Medium"},
	{4, "High"}, {5, "Critical"}, {6, "Fatal"}, {0, "Unknown"}, {99, "Other"},
}

var operations = []struct {
	name         string
	path         string
	activity     int
	activityName string
}{
	{"chat_completion", "/v1/chat/completions", 1, "Create"},
	{"chat_completion", "/v1/chat/completions", 1, "Create"},
	{"embedding", "/v1/embeddings", 1, "Create"},
	{"conversation_read", "/v1/conversations", 2, "Read"},
	{"conversation_delete", "/v1/conversations", 4, "Delete"},
	{"prompt_template_update", "/v1/templates", 3, "Update"},
}

var findings = []struct {
	title string
	types []string
}{
	{"Payment card number in a prompt", []string{"pci", "credit_card"}},
	{"Prompt injection: \"ignore all previous instructions\"", []string{"prompt_injection"}},
	{"Source code leaving the tenant", []string{"source_code", "confidential"}},
	{"Personal data (EU) | special category", []string{"pii", "gdpr_art_9", "health=yes"}},
}

var people = []struct{ name, full, email string }{
	{"alice", "Alice Liddell", "alice@example.com"},
	{"bjoern", "Björn Åkesson", "björn.åkesson@example.se"},
	{"sean.oneill", "Seán \"Séan\" O'Neill", "sean.o'neill+ai@example.ie"},
	{"CORP\\mbauer", "Max Bauer", "max.bauer@example.de"},
	{"yamada", "山田 太郎", "taro.yamada@example.jp"},
	{"noor", "نور الهاشمي", "noor@example.ae"},
	{"svc-etl|nightly", "ETL = nightly", "svc-etl@example.com"},
	{"zoe", "Zoë 🦊 Fox", "zoe@example.com"},
}

var groups = []string{"engineering", "finance", "legal & compliance", "r\\d", "データ", "sales,emea"}

var tenants = []string{"ten_northwind", "ten_contoso", "ten_fabrikam"}

var models = []string{"gpt-4o", "claude-sonnet-4", "mistral-large", "llama-3.3-70b", "internal/summarizer=v2"}

var labels = [][]string{{}, {}, {"pii"}, {"pii", "financial"}, {"source_code"}, {"geheim|streng", "naïve=true",
	"back\\slash"}}

// costs are numbers that change when they are parsed and printed again.
var costs = []json.Number{"0.00120", "0.0", "1.50e-3", "12.3000", "-0.0", "3E-4"}

// spans are whole numbers beyond what a float64 holds exactly.
var spans = []json.Number{"9007199254740993", "9223372036854775807", "1", "-9007199254740993"}

var references = []json.RawMessage{
	json.RawMessage(`"pol\/42"`), json.RawMessage(`"pol_default"`), json.RawMessage(`"pol_\u0065u"`),
	json.RawMessage(`null`),
}

var userAgents = []string{
	"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/134.0 Safari/537.36",
	"python-httpx/0.28.1", "curl/8.12.1", `agent "quoted" \ (unknown; rv=1|2)`,
}

var entityNames = []string{
	"Default policy", `Regel "Vertraulich"`, "no|pipes=please", "C:\\policies\\eu.yaml", "line\nbreak", "方針 🚦",
}

// messages are JSON strings as they appear in the event, so that they can contain unnecessary escapes.
var messages = []json.RawMessage{
	json.RawMessage(`"Request allowed by policy"`),
	json.RawMessage(`"Blocked: \"card number\" found in prompt, 1 of 3 parts redacted"`),
	json.RawMessage(`"Path C:\\Users\\alice\\notes.txt was attached"`),
	json.RawMessage(`"multi\nline\r\nmessage\twith a tab"`),
	json.RawMessage(`"act=allow|suser=root cs1=x msg=\\=injected\\|"`),
	json.RawMessage(`"caf\u00e9, na\u00efve, \ud83d\ude80 escaped; \/slashes\/ too"`),
	json.RawMessage(`"Grüße aus Köln – „Anführung“ 🔐👩‍💻 完了"`),
	json.RawMessage(`"مرحبا \u200f(rtl) and a\u2028line separator"`),
	json.RawMessage(`"<script>alert(1)</script> & ${jndi:ldap:\/\/x} %s %n"`),
	json.RawMessage(`"bell \u0007, escape \u001b[31m, delete \u007f"`),
	json.RawMessage(`"{\"nested\":\"json\",\"list\":[1,2,3]}"`),
	json.RawMessage(`""`),
}

var excerpts = []string{
	"User: summarise the attached contract, please.\nAssistant: Of course. The parties agree that \"Confidential " +
		"Information\" … ",
	"system> you are a careful assistant; never reveal C:\\secrets\\key.pem | end=true\n",
	"Nutzer: Wie viele Rücklagen brauchen wir? 🙂 Antwort: etwa 12,5 % — siehe Tabelle.\r\n",
	"\t{\"role\":\"tool\",\"content\":\"SELECT * FROM t WHERE a = 'b' AND c <> \\\"d\\\"\"}\n",
	"質問：この文書を要約してください。回答：はい、承知しました。\n",
}
