package e2e

import "github.com/arbitex/siem-connectors/shared/connectors"

// traits are what the tests know about a connector.
type traits struct {
	required   []string // settings without which it does not start; the last one is in the secret
	address    string   // setting of the SIEM's address
	credential string   // setting of the credential
	// start of the reason of an event that is refused for its content; "" if the SIEM refuses none
	reason string
	large  func(size int) string // outcome of an event near the maximum size of a message: whole, truncated or dead

	canary map[string]string // the secret of TestCanary, besides the address
	sent   string            // form in which the SIEM receives the canary
}

func whole(int) string { return "whole" }

// above returns the outcome of events that are larger than limit; smaller ones are whole.
func above(limit int, outcome string) func(int) string {
	return func(size int) string {
		if size > limit {
			return outcome
		}
		return "whole"
	}
}

// known has one entry per connector.
var known = map[string]traits{
	"splunk": {
		required: []string{"SPLUNK_HEC_URL", "SPLUNK_HEC_TOKEN"}, credential: "SPLUNK_HEC_TOKEN",
		address: "SPLUNK_HEC_URL",
		reason:  "status 400, code 6: ", large: above(990_000, "dead"),
		canary: map[string]string{"SPLUNK_HEC_TOKEN": canaryToken}, sent: canaryToken,
	},
	"sentinel": {
		required: []string{
			"SENTINEL_TENANT_ID", "SENTINEL_CLIENT_ID", "SENTINEL_DCR_ENDPOINT", "SENTINEL_DCR_RULE_ID",
			"SENTINEL_DCR_STREAM_NAME", "SENTINEL_CLIENT_SECRET",
		},
		credential: "SENTINEL_CLIENT_SECRET", address: "SENTINEL_DCR_ENDPOINT",
		reason: "status 400, code InvalidPayload", large: above(0, "truncated"), // a column takes 64 KB
		canary: map[string]string{"SENTINEL_CLIENT_SECRET": canaryToken},
		sent:   "client_secret=canary+%227f%5C3%2F%2B+%2541%3D%26%3C%3E%27+feather9041~",
	},
	"elastic": {
		required: []string{"ELASTIC_URL", "ELASTIC_API_KEY"}, credential: "ELASTIC_API_KEY",
		address: "ELASTIC_URL",
		reason:  "status 400, code document_parsing_exception", large: whole,
		canary: map[string]string{"ELASTIC_API_KEY": canaryKey}, sent: "ApiKey Y2FuYXJ5L2lkK29mPWtleTpjYW5hcnkva2V5K29mPWlk",
	},
	"datadog": {
		required: []string{"DATADOG_API_KEY"}, credential: "DATADOG_API_KEY", address: "DATADOG_INTAKE_URL",
		reason: "status 400", large: above(950_000, "truncated"),
		canary: map[string]string{"DATADOG_API_KEY": canaryToken}, sent: canaryToken,
	},
	"sumo": {
		required: []string{"SUMO_HTTP_SOURCE_URL"}, credential: "SUMO_HTTP_SOURCE_URL",
		address: "SUMO_HTTP_SOURCE_URL",
		reason:  "status 400, code parameter.invalid", large: above(990_000, "dead"),
		sent: "/receiver/v1/http/" + canaryCode,
	},
	"qradar": {
		required: []string{"QRADAR_SYSLOG_HOST"}, credential: "QRADAR_SYSLOG_HOST",
		address: "QRADAR_SYSLOG_HOST", large: whole, // its fields are small
	},
	"xsiam": {
		required: []string{"XSIAM_URL", "XSIAM_API_KEY", "XSIAM_API_KEY_ID"}, credential: "XSIAM_API_KEY",
		address: "XSIAM_URL", reason: "status 400", large: whole,
		canary: map[string]string{"XSIAM_API_KEY": canaryToken, "XSIAM_AUTH": "token"}, sent: canaryToken,
	},
}

// traits returns what the tests know about the actor's connector.
func (a *actor) traits() traits { return known[a.Name] }

// unknownConnector returns a connector without traits, "" if there is none.
func unknownConnector() string {
	for _, name := range connectors.Names() {
		if k := known[name]; len(k.required) == 0 || k.address == "" || k.credential == "" || k.large == nil {
			return name
		}
	}
	return ""
}
