// Package pki creates the certificates of tests and of the emulator: an authority that exists as long as the process,
// and server and client certificates signed by it. It panics on an error, which only a name that is not ASCII causes.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

// lifetime is longer than any run of the demo.
const lifetime = 7 * 24 * time.Hour

// Authority is a certificate authority.
type Authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         string
}

// Certificate is a certificate with its key, for crypto/tls and as PEM.
type Certificate struct {
	TLS     tls.Certificate
	CertPEM string
	KeyPEM  string
	// Serial identifies the certificate for revocation.
	Serial *big.Int
}

// New creates an authority with that common name.
func New(name string) *Authority {
	key, template := newKey(), newTemplate(name, time.Now().Add(lifetime))
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der := must(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))
	return &Authority{certificate: must(x509.ParseCertificate(der)), key: key, pem: encode("CERTIFICATE", der)}
}

// PEM returns the authority's certificate.
func (a *Authority) PEM() string { return a.pem }

// Pool returns a pool that contains only the authority's certificate.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// WriteFile writes the authority's certificate to a file, for SSL_CERT_FILE.
func (a *Authority) WriteFile(path string) error {
	if err := os.WriteFile(path, []byte(a.pem), 0o644); err != nil { //nolint:gosec // a CA's certificate is public
		return fmt.Errorf("writing the ca certificate: %w", err)
	}
	return nil
}

// Server creates a certificate for a server with those names and addresses. The first one is also its common name.
func (a *Authority) Server(names ...string) Certificate {
	return a.ServerUntil(time.Now().Add(lifetime), names...)
}

// ServerUntil is Server with the time at which the certificate expires.
func (a *Authority) ServerUntil(end time.Time, names ...string) Certificate {
	return a.issue(x509.ExtKeyUsageServerAuth, newTemplate(names[0], end), names)
}

// Client creates a certificate for a client with that name.
func (a *Authority) Client(name string) Certificate {
	return a.issue(x509.ExtKeyUsageClientAuth, newTemplate(name, time.Now().Add(lifetime)), []string{name})
}

// Nameless creates a certificate for a server that has a common name and no subject alternative name.
func (a *Authority) Nameless(name string) Certificate {
	return a.issue(x509.ExtKeyUsageServerAuth, newTemplate(name, time.Now().Add(lifetime)), nil)
}

func (a *Authority) issue(usage x509.ExtKeyUsage, template *x509.Certificate, names []string) Certificate {
	key := newKey()
	template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{usage}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der := must(x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key))
	return Certificate{
		TLS:     tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		CertPEM: encode("CERTIFICATE", der), KeyPEM: encode("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key))),
		Serial: template.SerialNumber,
	}
}

func newKey() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

// newTemplate makes a certificate that has been valid for two days.
func newTemplate(name string, end time.Time) *x509.Certificate {
	serial := must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)))
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-48 * time.Hour),
		NotAfter: end,
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
