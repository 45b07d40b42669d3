package connector

import (
	"net/url"
	"strings"

	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// config holds the settings.
type config struct {
	url      *url.URL // of the event endpoint
	auth     string   // one of the next four
	key      secret.Value
	keyID    string
	logType  string
	dataset  string
	envelope bool
	http     httpsend.Config
}

// The ways to prove the key.
const (
	authHMAC     = "hmac"     // signed headers
	authToken    = "token"    // an HTTP log collector's own token
	authStandard = "standard" // a Cortex API key of security level standard
	authAdvanced = "advanced" // a Cortex API key of security level advanced
)

// eventPath is the path of the event endpoint; a URL without a path gets it.
const eventPath = "/logs/v1/event"

// readConfig reads the settings. It adds problems to s.
func readConfig(s *settings.Settings) config {
	cfg := config{
		url:     s.URL("XSIAM_URL", "", "the tenant's API URL, such as https://api-tenant.xsiam.paloaltonetworks.com"),
		key:     s.Secret("XSIAM_API_KEY", true, "the API key, or the token of the HTTP log collector"),
		auth:    s.OneOf("XSIAM_AUTH", authHMAC, authToken, authStandard, authAdvanced),
		logType: s.String("XSIAM_LOG_TYPE", "arbitex_audit"),
		dataset: s.String("XSIAM_DATASET", "arbitex_audit_raw"),
	}
	cfg.keyID = readKeyID(s, cfg.auth != authToken)
	if bodies := [2]string{"envelope", "ndjson"}; cfg.auth != authToken {
		cfg.envelope = s.OneOf("XSIAM_BODY", bodies[0], bodies[1]) == bodies[0]
	} else {
		cfg.envelope = s.OneOf("XSIAM_BODY", bodies[1], bodies[0]) == bodies[0]
	}
	cfg.http = httpsend.Configure(s, "none")
	cfg.http.URLSetting = "XSIAM_URL"
	cfg.http.Redactor = secret.NewRedactor(cfg.key)
	if cfg.url != nil && strings.Trim(cfg.url.Path, "/") == "" {
		u := *cfg.url
		u.Path = eventPath
		cfg.url = &u
	}
	return cfg
}

// readKeyID reads the number of the API key.
func readKeyID(s *settings.Settings, required bool) string {
	const name = "XSIAM_API_KEY_ID"
	if !required {
		return s.String(name, "")
	}
	id := s.Required(name, "the ID of the API key, a number; only XSIAM_AUTH=token needs none")
	if strings.Trim(id, "0123456789") != "" {
		s.Problem(name, id, "a number")
		return ""
	}
	return id
}
