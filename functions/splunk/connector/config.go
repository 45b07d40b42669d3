package connector

import (
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// config holds the settings.
type config struct {
	url        *url.URL // of the event endpoint
	ackURL     *url.URL // of the acknowledgement endpoint; nil if SPLUNK_HEC_ACK is false
	ackTimeout time.Duration
	token      secret.Value
	index      string
	source     string
	sourcetype string
	host       string
	http       httpsend.Config
}

// HEC's endpoints. https://docs.splunk.com/Documentation/Splunk/latest/Data/HECRESTendpoints
const (
	basePath  = "/services/collector"
	eventPath = basePath + "/event" // also of a URL without a path
	rawPath   = basePath + "/raw"
	ackPath   = basePath + "/ack"
)

// readConfig reads the settings. It adds problems to s.
func readConfig(s *settings.Settings) config {
	cfg := config{
		url: s.URLWithQuery("SPLUNK_HEC_URL", "", "the HEC endpoint, such as https://splunk.example.com:8088"+
			eventPath),
		token:      s.Secret("SPLUNK_HEC_TOKEN", true, "the HEC token"),
		index:      s.String("SPLUNK_HEC_INDEX", "arbitex"),
		source:     s.String("SPLUNK_HEC_SOURCE", "arbitex-platform"),
		sourcetype: s.String("SPLUNK_HEC_SOURCETYPE", "arbitex:audit"),
		host:       s.String("SIEM_HOST", "platform.arbitex.ai"),
		http:       httpsend.Configure(s, "gzip"),
	}
	ack := s.Bool("SPLUNK_HEC_ACK", false)
	cfg.ackTimeout = time.Duration(s.Int("SPLUNK_HEC_ACK_TIMEOUT_SECONDS", 20, 1, 300)) * time.Second
	if cfg.url != nil {
		cfg.readURL(s, ack)
	}
	cfg.http.Insecure = !s.TLSVerify("SPLUNK_HEC_TLS_VERIFY")
	cfg.http.RootCAs = s.CABundle("SPLUNK_HEC_TLS_CA_BUNDLE")
	cfg.http.URLSetting, cfg.http.CASetting = "SPLUNK_HEC_URL", "SPLUNK_HEC_TLS_CA_BUNDLE"
	cfg.http.Redactor = secret.NewRedactor(cfg.token)
	return cfg
}

// readURL completes the URL of the event endpoint, and derives that of the acknowledgement endpoint. Both keep the
// query.
func (cfg *config) readURL(s *settings.Settings, ack bool) {
	switch {
	case cfg.url.Path == "/":
		cfg.url = cfg.url.JoinPath(eventPath)
	case strings.Contains(cfg.url.Path, rawPath):
		s.Problem("SPLUNK_HEC_URL", cfg.url.Path, "the event endpoint "+eventPath+", not the raw endpoint")
	}
	if cfg.url.Query().Has("token") {
		s.Problem("SPLUNK_HEC_URL", "something else (hidden)", "a URL without a token, which belongs in SPLUNK_HEC_TOKEN")
	}
	if !ack {
		return
	}
	u := *cfg.url
	if before, _, found := strings.Cut(u.Path, basePath); found {
		u.Path = before + ackPath
	} else {
		u.Path = path.Join(path.Dir(u.Path), "ack")
	}
	u.RawPath = ""
	cfg.ackURL = &u
}
