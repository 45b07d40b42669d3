package settings

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"

	"github.com/arbitex/siem-connectors/shared/secret"
)

// CABundle reads an optional bundle of CA certificates: a file's path, or the PEM text itself. It is nil, meaning the
// system's, when the variable is not set.
func (s *Settings) CABundle(name string) *x509.CertPool {
	pem := s.pem(Setting{Name: name}, "PEM certificates, or the path of a file of them")
	if pem == "" {
		return nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(pem)) {
		s.Problem(name, s.raw(name), "PEM certificates, or the path of a file of them (no certificate could be read)")
		return nil
	}
	return pool
}

// ClientCertificate reads an optional client certificate and its key, each a path or PEM text. Both or none must be
// set. The key's PEM is given back for redaction.
func (s *Settings) ClientCertificate(certName, keyName string) (cert *tls.Certificate, key secret.Value) {
	certPEM := s.pem(Setting{Name: certName}, "a PEM certificate, or the path of a file of it")
	keyPEM := s.pem(Setting{Name: keyName, Secret: true}, "a PEM private key, or the path of a file of it")
	if s.Set(certName) && !s.Set(keyName) {
		s.Problem(keyName, "", "the key of "+certName+" (both or none)")
	}
	if s.Set(keyName) && !s.Set(certName) {
		s.Problem(certName, "", "the certificate of "+keyName+" (both or none)")
	}
	if certPEM == "" || keyPEM == "" {
		return nil, secret.Value{}
	}
	pair, err := tls.X509KeyPair([]byte(certPEM), []byte(keyPEM))
	if err != nil { // its text says what does not fit, and quotes nothing
		s.Problem(certName, s.raw(certName), "a PEM certificate that fits the key "+keyName+" ("+err.Error()+")")
		return nil, secret.Value{}
	}
	return &pair, secret.New(keyPEM)
}

// pem reads a value that is PEM text or names a file of it. Environments that cannot hold line breaks hold "\n".
func (s *Settings) pem(a Setting, expected string) string {
	v := s.ask(a)
	switch {
	case v == "":
		return ""
	case strings.Contains(v, "-----BEGIN"):
		return strings.ReplaceAll(v, `\n`, "\n")
	}
	text, err := os.ReadFile(v)
	if err != nil {
		s.Problem(a.Name, v, expected+" (no such file can be read)")
		return ""
	}
	return string(text)
}
