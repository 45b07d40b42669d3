package connector

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"net/http"
	"strconv"
	"time"

	"github.com/arbitex/siem-connectors/shared/secret"
)

// signer makes the headers that prove the key.
type signer struct {
	auth  string
	key   secret.Value
	keyID string
	fixed *signed // the headers, if they are the same for all requests
}

// signed is the header of a request, and the secret in it.
type signed struct {
	header    http.Header
	signature secret.Value // empty if it is the key, which the client knows
}

func newSigner(cfg config) *signer {
	s := &signer{auth: cfg.auth, key: cfg.key, keyID: cfg.keyID}
	switch cfg.auth {
	case authToken:
		s.fixed = &signed{header: header("Authorization", s.key.Reveal())}
	case authStandard:
		s.fixed = &signed{header: header("Authorization", s.key.Reveal(), "X-Xdr-Auth-Id", s.keyID)}
	}
	return s
}

// sign makes the headers of one request.
func (s *signer) sign(now time.Time) *signed {
	switch {
	case s.fixed != nil:
		return s.fixed
	case s.auth == authAdvanced:
		return s.advanced(nonce(), now)
	}
	return s.hmac(nonce())
}

// hmac signs ID, nonce and key with the key.
func (s *signer) hmac(nonce string) *signed {
	mac := hmac.New(sha256.New, []byte(s.key.Reveal()))
	_, _ = mac.Write([]byte(s.keyID + nonce + s.key.Reveal())) // a hash takes everything
	signature := hex.EncodeToString(mac.Sum(nil))
	return &signed{
		header:    header("X-Xdr-Auth-Id", s.keyID, "X-Xdr-Nonce", nonce, "X-Xdr-Hmac-Sha256", signature),
		signature: secret.New(signature),
	}
}

// advanced hashes key, nonce and time, as the public API of Cortex requires for keys of that level.
// https://docs-cortex.paloaltonetworks.com/r/Cortex-XSIAM-Platform-APIs/Make-your-first-API-call
func (s *signer) advanced(nonce string, now time.Time) *signed {
	at := strconv.FormatInt(now.UnixMilli(), 10)
	sum := sha256.Sum256([]byte(s.key.Reveal() + nonce + at))
	signature := hex.EncodeToString(sum[:])
	return &signed{
		header: header("X-Xdr-Auth-Id", s.keyID, "X-Xdr-Nonce", nonce, "X-Xdr-Timestamp", at,
			"Authorization", signature),
		signature: secret.New(signature),
	}
}

func header(pairs ...string) http.Header {
	h := http.Header{"Content-Type": {"application/json"}}
	for i := 0; i < len(pairs); i += 2 {
		h[pairs[i]] = pairs[i+1 : i+2 : i+2]
	}
	return h
}

// nonce makes 64 random letters and digits, new for each request.
func nonce() string {
	var random [40]byte
	_, _ = rand.Read(random[:]) // never fails
	var text [64]byte
	base32.StdEncoding.Encode(text[:], random[:])
	return string(text[:])
}
