package connector

import (
	"encoding/base64"
	"net/url"
	"strings"

	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// config holds the settings.
type config struct {
	url      *url.URL     // base URL of the cluster
	key      secret.Value // for the Authorization header: base64 of id:key
	index    string       // an index, an alias or a data stream
	pipeline string
	create   bool // ELASTIC_OP_TYPE
	http     httpsend.Config
}

// maxAnswerBytes is enough for the response to a full request of which every item is refused with a long reason.
const maxAnswerBytes = 4 << 20

// readConfig reads the settings. It adds problems to s.
func readConfig(s *settings.Settings) config {
	key := s.Secret("ELASTIC_API_KEY", true, "the API key, encoded or as id:key")
	cfg := config{
		url:      s.URL("ELASTIC_URL", "", "the cluster's base URL, such as https://my-cluster.es.io:9243"),
		key:      encodeKey(key),
		index:    s.String("ELASTIC_INDEX", "arbitex-audit"),
		pipeline: s.String("ELASTIC_PIPELINE", ""),
		create:   s.OneOf("ELASTIC_OP_TYPE", opIndex, opCreate) == opCreate,
		http:     httpsend.Configure(s, "gzip"),
	}
	if !validIndex(cfg.index) {
		s.Problem("ELASTIC_INDEX", cfg.index, `the name of an index, an alias or a data stream: at most 255 bytes, `+
			`not beginning with - _ +, without spaces and \ / * ? " < > | , # :`)
	}
	cfg.http.Insecure = !s.TLSVerify("ELASTIC_TLS_VERIFY")
	cfg.http.RootCAs = s.CABundle("ELASTIC_TLS_CA_BUNDLE")
	cfg.http.MaxResponse = maxAnswerBytes
	cfg.http.URLSetting, cfg.http.CASetting = "ELASTIC_URL", "ELASTIC_TLS_CA_BUNDLE"
	cfg.http.Redactor = secret.NewRedactor(key, cfg.key, secondHalf(cfg.key))
	return cfg
}

// encodeKey encodes a key of the form id:key. Base64 has no colon, so any other key is already encoded.
func encodeKey(key secret.Value) secret.Value {
	if !strings.Contains(key.Reveal(), ":") {
		return key
	}
	return secret.New(base64.StdEncoding.EncodeToString([]byte(key.Reveal())))
}

// secondHalf is the key of an encoded id:key, which is a secret by itself.
func secondHalf(encoded secret.Value) secret.Value {
	pair, err := base64.StdEncoding.DecodeString(encoded.Reveal())
	if err != nil {
		return secret.Value{}
	}
	_, key, _ := strings.Cut(string(pair), ":")
	return secret.New(key)
}

// validIndex reports whether Elasticsearch could have an index or an alias of that name. An alias may have upper case.
// https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-indices-create
func validIndex(name string) bool {
	const maxBytes = 255
	return len(name) <= maxBytes && name != "." && name != ".." && !strings.ContainsAny(name, "\\/*?\"<>| ,#:") &&
		!strings.ContainsRune("-_+", rune(name[0]))
}
