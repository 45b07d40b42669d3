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
	url      *url.URL // of the source; it is the credential
	category string
	host     string
	http     httpsend.Config
}

// sourcePath precedes the code in the path of a source's URL.
// https://www.sumologic.com/help/docs/send-data/hosted-collectors/http-source/logs-metrics/upload-logs/
const sourcePath = "/receiver/v1/http/"

// readConfig reads the settings. It adds problems to s.
func readConfig(s *settings.Settings) config {
	const expected = "the HTTP source's URL, such as https://collectors.sumologic.com" + sourcePath + "<code>"
	cfg := config{
		url:      s.SecretURL("SUMO_HTTP_SOURCE_URL", expected),
		category: s.String("SUMO_CATEGORY", "arbitex/audit"),
		host:     s.String("SUMO_HOST", "platform.arbitex.ai"),
		http:     httpsend.Configure(s, "gzip"),
	}
	cfg.http.URLSetting = "SUMO_HTTP_SOURCE_URL"
	if cfg.url == nil {
		return cfg
	}
	if strings.HasPrefix(sourcePath, strings.TrimRight(cfg.url.Path, "/")+"/") {
		s.Problem("SUMO_HTTP_SOURCE_URL", cfg.url.String(), expected+" (there is no code at its end)")
	}
	cfg.http.Redactor = secret.NewRedactor(credentials(cfg.url)...)
	return cfg
}

// credentials are the parts of the URL's path that identify the source: the code at its end, and any other part that
// may be one, as written and decoded. The rest of the URL is not secret: if it were treated so, no host of Sumo Logic
// could be named.
func credentials(u *url.URL) []secret.Value {
	const word = 16 // bytes; a shorter part, such as "receiver", is not a code
	parts := strings.Split(strings.Trim(u.EscapedPath(), "/"), "/")
	var all []secret.Value
	for i, written := range parts {
		if i < len(parts)-1 && len(written) < word {
			continue
		}
		decoded, err := url.PathUnescape(written)
		if err != nil {
			decoded = written
		}
		all = append(all, secret.New(written), secret.New(decoded))
	}
	return all
}
