// Package pki creates the certificates of the emulator: an authority that exists as long as the process, and server and
// client certificates signed by it. They are only for tests and demonstrations.
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
func New(name string) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the authority's key: %w", err)
	}
	template, err := newTemplate(name)
	if err != nil {
		return nil, err
	}
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("signing the authority's certificate: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parsing the authority's certificate: %w", err)
	}
	return &Authority{certificate: certificate, key: key, pem: encode("CERTIFICATE", der)}, nil
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
	if err := os.WriteFile(path, []byte(a.pem), 0o644); err != nil {
		return fmt.Errorf("writing the ca certificate: %w", err)
	}
	return nil
}

// Server creates a certificate for a server with those names and addresses.
func (a *Authority) Server(names ...string) (Certificate, error) {
	return a.issue(x509.ExtKeyUsageServerAuth, names)
}

// Client creates a certificate for a client with that name.
func (a *Authority) Client(name string) (Certificate, error) {
	return a.issue(x509.ExtKeyUsageClientAuth, []string{name})
}

func (a *Authority) issue(usage x509.ExtKeyUsage, names []string) (Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Certificate{}, fmt.Errorf("making a key for %q: %w", names, err)
	}
	template, err := newTemplate(names[0])
	if err != nil {
		return Certificate{}, err
	}
	template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{usage}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		return Certificate{}, fmt.Errorf("signing a certificate for %q: %w", names, err)
	}
	return pack(der, key, template.SerialNumber)
}

func pack(der []byte, key *ecdsa.PrivateKey, serial *big.Int) (Certificate, error) {
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Certificate{}, fmt.Errorf("encoding a key: %w", err)
	}
	return Certificate{
		TLS:     tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		CertPEM: encode("CERTIFICATE", der), KeyPEM: encode("PRIVATE KEY", keyDER), Serial: serial,
	}, nil
}

func newTemplate(name string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("making a serial number: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour),
		NotAfter: now.Add(lifetime),
	}, nil
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
