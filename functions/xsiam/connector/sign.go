package connector

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
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
	fixed *signed // what is the same for all requests, nil where nothing is
}

// signed is the header of a request, and what in it must not be shown.
type signed struct {
	header    http.Header
	signature secret.Value // none where it is the key itself, which the client knows
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

// advanced hashes key, nonce and time, as the public API of Cortex wants it from keys of that level.
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

// nonceLength is what Palo Alto's own examples use.
const nonceLength = 64

// nonce makes 64 random letters and digits, all equally likely.
func nonce() string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	var random [2 * nonceLength]byte
	text := make([]byte, 0, nonceLength)
	for {
		_, _ = rand.Read(random[:]) // never fails
		for _, b := range random {
			if i := int(b & 63); i < len(alphabet) {
				if text = append(text, alphabet[i]); len(text) == nonceLength {
					return string(text)
				}
			}
		}
	}
}
