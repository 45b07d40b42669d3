package ocsfgen

import "fmt"

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
