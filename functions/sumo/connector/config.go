package connector

import (
	"net/url"
	"path"
	"strings"

	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// config is what an operator sets.
type config struct {
	url      *url.URL // of the source, and the credential: nothing of it but the host may be shown
	category string
	host     string
	http     httpsend.Config
}

// sourcePath is what stands before the code in the path of a source's URL.
// https://www.sumologic.com/help/docs/send-data/hosted-collectors/http-source/logs-metrics/upload-logs/
const sourcePath = "/receiver/v1/http/"

// readConfig reads the settings, and notes in s what is wrong with them.
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

// credentials are the parts of the URL by which it can be told: whole, the path, the code at its end, each as it was
// written and decoded. Whoever echoes the request shows one of them. A code that ends in "=" is known without, since that
// sign has many ways to be written.
func credentials(u *url.URL) []secret.Value {
	whole, full := u.String(), strings.Trim(u.EscapedPath(), "/")
	var all []secret.Value
	for _, written := range [...]string{whole, full, path.Base(full)} {
		decoded, err := url.PathUnescape(written)
		if err != nil {
			decoded = written
		}
		for _, form := range [...]string{written, decoded} {
			all = append(all, secret.New(form), secret.New(strings.TrimRight(form, "=")))
		}
	}
	return all
}
