package settings_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBundleIsReadWholeOrNotAtAll: for a bundle with an unreadable block, the problem names the variable and the number
// of the block.
func TestBundleIsReadWholeOrNotAtAll(t *testing.T) {
	const end = "-----END CERTIFICATE-----"
	corrupt := strings.Replace(testCert, "MIIBhTCC", "MIIBhTCD", 1)
	for name, test := range map[string]struct{ text, problem string }{
		"two": {testCert + "\n" + testCert, ""},
		"comments": {"# root\nsubject=CN = x\n" + testCert + "\n\n# issuing, valid until 2030\r\n" +
			strings.ReplaceAll(testCert, "\n", "\r\n") + "\nend\n", ""},
		"byte order mark":     {"\uFEFF" + testCert, ""},
		"indented":            {"  " + strings.ReplaceAll(testCert, "\n", "\n  "), ""},
		"second corrupt":      {testCert + "\n" + corrupt, "block 2 is not a valid certificate"},
		"second not base64":   {testCert + "\n" + strings.Replace(testCert, "MIIB", "M!!B", 1), "block 2 cannot be read"},
		"joined":              {testCert + testCert, "block 1 does not begin and end"},
		"text glued in front": {testCert + "\n# next: " + testCert, "block 2 does not begin and end"},
		"text glued behind":   {testCert + " and\n" + testCert, "block 1 does not begin and end"},
		"no end":              {testCert + "\n" + strings.Replace(testCert, end, "", 1), "block 2 has no end"},
		"end missing between": {strings.Replace(testCert, end, "", 1) + testCert, "block 1 does not begin and end"},
		"stray end":           {testCert + "\n" + end, "block 2 does not begin and end"},
		"other type": {testCert + "\n-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
			"block 2 is a PRIVATE KEY"},
	} {
		t.Run(name, func(t *testing.T) {
			s := with(map[string]string{"CA": test.text}, nil)
			pool, err := s.CABundle("CA"), s.Err()
			if (pool != nil) != (test.problem == "") || (err == nil) != (test.problem == "") {
				t.Fatalf("pool %t, %v", pool != nil, err)
			}
			if err != nil && (!strings.Contains(err.Error(), "CA: expected") || !strings.Contains(err.Error(), test.problem)) {
				t.Errorf("%v, want %q", err, test.problem)
			}
		})
	}
}

// TestClientCertificateNamesTheWrongVariable: a problem of the key is reported for the key's variable.
func TestClientCertificateNamesTheWrongVariable(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)},
		&x509.Certificate{SerialNumber: big.NewInt(1)}, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	good, goodKey := block("CERTIFICATE", der), block("PRIVATE KEY", keyDER)
	combined := filepath.Join(t.TempDir(), "both.pem")
	if err := os.WriteFile(combined, []byte(goodKey+good), 0o600); err != nil {
		t.Fatal(err)
	}
	legacy := "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END EC " +
		"PRIVATE KEY-----\n"
	for name, test := range map[string]struct{ cert, key, names, text string }{
		"both":           {good, goodKey, "", ""},
		"one file":       {combined, combined, "", ""},
		"encrypted":      {good, block("ENCRYPTED PRIVATE KEY", keyDER), "KEY: expected", "encrypted with a passphrase"},
		"encrypted, old": {good, legacy, "KEY: expected", "encrypted with a passphrase"},
		"no key":         {good, good, "KEY: expected", "no private key"},
		"no certificate": {goodKey, goodKey, "CERT: expected", "no certificate"},
		"corrupt chain":  {good + strings.Replace(good, "MI", "MM", 1), goodKey, "CERT: expected", "block 2"},
		"do not fit":     {testCert, goodKey, "CERT: expected", "fits the key KEY"},
	} {
		t.Run(name, func(t *testing.T) {
			s := with(map[string]string{"CERT": test.cert, "KEY": test.key}, nil)
			cert, _ := s.ClientCertificate("CERT", "KEY")
			err := s.Err()
			if (cert != nil) != (test.names == "") || (err == nil) != (test.names == "") {
				t.Fatalf("certificate %t, %v", cert != nil, err)
			}
			if err != nil && (!strings.Contains(err.Error(), test.names) || !strings.Contains(err.Error(), test.text) ||
				strings.Count(err.Error(), "expected") != 1) {
				t.Errorf("%v, want only %q with %q", err, test.names, test.text)
			}
		})
	}
}
