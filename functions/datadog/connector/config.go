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
	intake    *url.URL // of the log intake
	validate  *url.URL // of the validation of keys; nil with DATADOG_INTAKE_URL, which is then the only host
	key       secret.Value
	service   string
	source    string
	tags      string // as ddtags: service included
	host      string
	eventTime bool
	http      httpsend.Config
}

const (
	// intakePath is the path of the intake.
	// https://docs.datadoghq.com/api/latest/logs/#send-logs
	intakePath = "/api/v2/logs"

	// validatePath is the path of the validation of keys.
	// https://docs.datadoghq.com/api/latest/authentication/#validate-api-key
	validatePath = "/api/v1/validate"
)

// sites are Datadog's, the default first. A key is valid at one of them.
// https://docs.datadoghq.com/getting_started/site/
var sites = [...]string{
	"datadoghq.com", "us3.datadoghq.com", "us5.datadoghq.com", "datadoghq.eu", "ap1.datadoghq.com", "ap2.datadoghq.com",
	"uk1.datadoghq.com", "ddog-gov.com", "us2.ddog-gov.com",
}

// readConfig reads the settings. It adds problems to s.
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

// readAddress reads the hosts: the two of the site, or that of DATADOG_INTAKE_URL, with which the site is not used.
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
	other := s.URL("DATADOG_INTAKE_URL", "https://http-intake.logs."+sites[0],
		"the log intake's address, such as https://http-intake.logs."+sites[0])
	if cfg.intake == nil {
		cfg.intake = other
	}
	if cfg.intake == nil || strings.HasSuffix(cfg.intake.Path, intakePath) {
		return
	}
	if cfg.intake.Path == "" { // JoinPath would make a relative path
		cfg.intake.Path = "/"
	}
	cfg.intake = cfg.intake.JoinPath(intakePath)
}

// joinTags makes ddtags: the configured tags, then the service.
func joinTags(tags, service string) string {
	var all []string
	for tag := range strings.SplitSeq(tags, ",") {
		if tag = strings.TrimSpace(tag); tag != "" {
			all = append(all, tag)
		}
	}
	return strings.Join(append(all, "service:"+service), ",")
}
