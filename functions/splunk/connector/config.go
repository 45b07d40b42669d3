package connector

import (
	"net/url"

	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// config is what an operator sets.
type config struct {
	url        *url.URL // of the event endpoint
	token      secret.Value
	index      string
	source     string
	sourcetype string
	host       string
	http       httpsend.Config
}

// eventPath is where HEC takes events; a URL without a path gets it.
// https://docs.splunk.com/Documentation/Splunk/latest/Data/HECRESTendpoints
const eventPath = "/services/collector/event"

// readConfig reads the settings, and notes in s what is wrong with them.
func readConfig(s *settings.Settings) config {
	cfg := config{
		url:        s.URL("SPLUNK_HEC_URL", "", "the HEC endpoint, such as https://splunk.example.com:8088"+eventPath),
		token:      s.Secret("SPLUNK_HEC_TOKEN", true, "the HEC token"),
		index:      s.String("SPLUNK_HEC_INDEX", "arbitex"),
		source:     s.String("SPLUNK_HEC_SOURCE", "arbitex-platform"),
		sourcetype: s.String("SPLUNK_HEC_SOURCETYPE", "arbitex:audit"),
		host:       s.String("SIEM_HOST", "platform.arbitex.ai"),
		http:       httpsend.Configure(s, "gzip"),
	}
	if cfg.url != nil && cfg.url.Path == "/" {
		cfg.url = cfg.url.JoinPath(eventPath)
	}
	cfg.http.Insecure = !s.TLSVerify("SPLUNK_HEC_TLS_VERIFY")
	cfg.http.RootCAs = s.CABundle("SPLUNK_HEC_TLS_CA_BUNDLE")
	cfg.http.URLSetting, cfg.http.CASetting = "SPLUNK_HEC_URL", "SPLUNK_HEC_TLS_CA_BUNDLE"
	cfg.http.Redactor = secret.NewRedactor(cfg.token)
	return cfg
}
