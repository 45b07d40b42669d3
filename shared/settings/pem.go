package settings

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/arbitex/siem-connectors/shared/secret"
)

// CABundle reads an optional bundle of CA certificates: a file's path, or the PEM text itself. It returns nil,
// meaning the system's certificates, if the variable is not set.
func (s *Settings) CABundle(name string) *x509.CertPool {
	const expected = "PEM certificates, or the path of a file of them"
	text := s.pem(Setting{Name: name}, expected)
	if text == "" {
		return nil
	}
	pool, err := ParseCABundle(text)
	if err != nil {
		s.Problem(name, s.raw(name), expected+" ("+err.Error()+")")
	}
	return pool
}

// ParseCABundle returns the certificates of a PEM text. It accepts the text as a whole or not at all: the error names
// the block that is not a certificate. Lines between blocks are comments.
func ParseCABundle(text string) (*x509.CertPool, error) {
	blocks, err := pemBlocks(text)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for i, b := range blocks {
		if b.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("block %d is a %s, not a certificate", i+1, b.Type)
		}
		cert, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("block %d is not a valid certificate", i+1)
		}
		pool.AddCert(cert)
	}
	return pool, nil
}

// ClientCertificate reads an optional client certificate and its key, each a path or PEM text. Both or none must be
// set. It returns the key's PEM for redaction.
func (s *Settings) ClientCertificate(certName, keyName string) (cert *tls.Certificate, key secret.Value) {
	const expectedCert = "a PEM certificate, or the path of a file of it"
	certPEM := s.pem(Setting{Name: certName}, expectedCert)
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
	certErr, keyErr := checkCertificate(certPEM), checkKey(keyPEM)
	if certErr != nil {
		s.Problem(certName, s.raw(certName), expectedCert+" ("+certErr.Error()+")")
	}
	if keyErr != nil {
		s.Problem(keyName, s.raw(keyName), "a PEM private key without a passphrase ("+keyErr.Error()+")")
	}
	if certErr != nil || keyErr != nil {
		return nil, secret.Value{}
	}
	pair, err := tls.X509KeyPair([]byte(certPEM), []byte(keyPEM))
	if err != nil { // its text quotes neither of them
		s.Problem(certName, s.raw(certName), "a PEM certificate that fits the key "+keyName+" ("+err.Error()+")")
		return nil, secret.Value{}
	}
	return &pair, secret.New(keyPEM)
}

// checkCertificate returns what is wrong with a client certificate and its chain. A file may also hold the key.
func checkCertificate(text string) error {
	blocks, err := pemBlocks(text)
	if err != nil {
		return err
	}
	found := false
	for i, b := range blocks {
		if b.Type != "CERTIFICATE" {
			continue
		}
		found = true
		if _, err := x509.ParseCertificate(b.Bytes); err != nil {
			return fmt.Errorf("block %d is not a valid certificate", i+1)
		}
	}
	if !found {
		return errors.New("there is no certificate in it")
	}
	return nil
}

// checkKey returns what is wrong with a private key. A file may also hold the certificate.
func checkKey(text string) error {
	blocks, err := pemBlocks(text)
	if err != nil {
		return err
	}
	for i, b := range blocks {
		switch {
		case !strings.HasSuffix(b.Type, "PRIVATE KEY"):
		case b.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(b.Headers["Proc-Type"], "ENCRYPTED"):
			return fmt.Errorf("block %d is encrypted with a passphrase: decrypt it, such as with openssl pkey", i+1)
		default:
			return nil
		}
	}
	return errors.New("there is no private key in it")
}

// pemBlocks returns all blocks of a PEM text. encoding/pem skips what it cannot read; here it is an error that names
// the block's number, from 1.
func pemBlocks(text string) (blocks []*pem.Block, err error) {
	var lines []string // of the block that has begun
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		begins := strings.HasPrefix(line, "-----BEGIN ")
		if len(lines) == 0 && !begins && !strings.Contains(line, "-----") {
			continue // a comment
		}
		marks := strings.Count(line, "-----")
		if begins == (len(lines) > 0) || marks != 0 && (marks != 2 || !strings.HasSuffix(line, "-----")) {
			return nil, fmt.Errorf("block %d does not begin and end with lines of their own", len(blocks)+1)
		}
		lines = append(lines, line)
		if !strings.HasPrefix(line, "-----END ") {
			continue
		}
		b, _ := pem.Decode([]byte(strings.Join(lines, "\n") + "\n"))
		if b == nil {
			return nil, fmt.Errorf("block %d cannot be read", len(blocks)+1)
		}
		blocks, lines = append(blocks, b), nil
	}
	switch {
	case len(lines) > 0:
		return nil, fmt.Errorf("block %d has no end", len(blocks)+1)
	case len(blocks) == 0:
		return nil, errors.New("there is no PEM block in it")
	}
	return blocks, nil
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
	return strings.TrimPrefix(string(text), bom)
}
