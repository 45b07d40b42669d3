package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"github.com/arbitex/siem-connectors/internal/pki"
)

func TestCertificatesVerify(t *testing.T) {
	authority := pki.New("test CA")
	server := authority.Server("127.0.0.1", "localhost")
	client := authority.Client("gateway")
	verify(t, authority, server, "localhost", x509.ExtKeyUsageServerAuth)
	verify(t, authority, server, "127.0.0.1", x509.ExtKeyUsageServerAuth)
	verify(t, authority, client, "", x509.ExtKeyUsageClientAuth)
	if server.Serial.Cmp(client.Serial) == 0 {
		t.Error("two certificates have one serial number")
	}
}

func verify(t *testing.T, a *pki.Authority, c pki.Certificate, name string, usage x509.ExtKeyUsage) {
	t.Helper()
	leaf, err := x509.ParseCertificate(c.TLS.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	options := x509.VerifyOptions{DNSName: name, Roots: a.Pool(), KeyUsages: []x509.ExtKeyUsage{usage}}
	if _, err := leaf.Verify(options); err != nil {
		t.Errorf("verifying for %q: %v", name, err)
	}
	if _, err := tls.X509KeyPair([]byte(c.CertPEM), []byte(c.KeyPEM)); err != nil {
		t.Errorf("the PEM texts do not go together: %v", err)
	}
}

func TestWriteFile(t *testing.T) {
	authority := pki.New("test CA")
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := authority.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || string(text) != authority.PEM() {
		t.Errorf("%q, %v", text, err)
	}
	if err := authority.WriteFile(t.TempDir()); err == nil {
		t.Error("writing to a folder succeeded")
	}
}
