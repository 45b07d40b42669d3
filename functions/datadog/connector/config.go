package connector

import (
	"net/url"
	"strings"

	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// config is what an operator sets.
type config struct {
	intake    *url.URL // takes logs
	validate  *url.URL // tells whether a key is good; nil where DATADOG_INTAKE_URL names the only host to talk to
	key       secret.Value
	service   string
	source    string
	tags      string // as ddtags: service included
	host      string
	eventTime bool
	http      httpsend.Config
}

const (
	// intakePath is where the intake takes logs.
	// https://docs.datadoghq.com/api/latest/logs/#send-logs
	intakePath = "/api/v2/logs"

	// validatePath is where the API tells whether a key is good.
	// https://docs.datadoghq.com/api/latest/authentication/#validate-api-key
	validatePath = "/api/v1/validate"
)

// sites are Datadog's, the default first. Each is a world of its own: a key is good at one of them.
// https://docs.datadoghq.com/getting_started/site/
var sites = [...]string{
	"datadoghq.com", "us3.datadoghq.com", "us5.datadoghq.com", "datadoghq.eu", "ap1.datadoghq.com", "ap2.datadoghq.com",
	"uk1.datadoghq.com", "ddog-gov.com", "us2.ddog-gov.com",
}

// readConfig reads the settings, and notes in s what is wrong with them.
func readConfig(s *settings.Settings) config {
	cfg := config{
		key:       s.Secret("DATADOG_API_KEY", true, "the API key"),
		service:   s.String("DATADOG_SERVICE", "arbitex"),
		source:    s.String("DATADOG_SOURCE", "arbitex-audit"),
		tags:      s.String("DATADOG_TAGS", ""),
		host:      s.String("SIEM_HOST", "platform.arbitex.ai"),
		eventTime: s.Bool("DATADOG_EVENT_TIME", false),
		http:      httpsend.Configure(s, "gzip"),
	}
	if strings.Contains(cfg.service, ",") {
		s.Problem("DATADOG_SERVICE", cfg.service, "a name without commas, since it becomes a tag")
	}
	cfg.tags = joinTags(cfg.tags, cfg.service)
	cfg.readAddress(s)
	cfg.http.Redactor = secret.NewRedactor(cfg.key)
	return cfg
}

// readAddress settles which hosts to talk to: the site's two, or the one of DATADOG_INTAKE_URL, for which the site means
// nothing and may be anything.
func (cfg *config) readAddress(s *settings.Settings) {
	if s.Set("DATADOG_INTAKE_URL") {
		_ = s.String("DATADOG_SITE", sites[0])
		cfg.http.URLSetting = "DATADOG_INTAKE_URL"
	} else {
		site := s.OneOf("DATADOG_SITE", sites[:]...)
		cfg.intake = &url.URL{Scheme: "https", Host: "http-intake.logs." + site}
		cfg.validate = &url.URL{Scheme: "https", Host: "api." + site, Path: validatePath}
		cfg.http.URLSetting = "DATADOG_SITE"
	}
	other := s.URL("DATADOG_INTAKE_URL", "https://http-intake.logs."+sites[0], "the log intake's address, such as https://http-intake.logs."+sites[0])
	if cfg.intake == nil {
		cfg.intake = other
	}
	if cfg.intake == nil || strings.HasSuffix(cfg.intake.Path, intakePath) {
		return
	}
	if cfg.intake.Path == "" { // to which JoinPath would join a path without its first slash
		cfg.intake.Path = "/"
	}
	cfg.intake = cfg.intake.JoinPath(intakePath)
}

// joinTags makes ddtags: the operator's tags, and the service's behind them.
func joinTags(tags, service string) string {
	var all []string
	for tag := range strings.SplitSeq(tags, ",") {
		if tag = strings.TrimSpace(tag); tag != "" {
			all = append(all, tag)
		}
	}
	return strings.Join(append(all, "service:"+service), ",")
}
