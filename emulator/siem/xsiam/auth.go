package xsiam

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strconv"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

var nonceForm = regexp.MustCompile(`^[A-Za-z0-9]{64}$`)

// freshness is the largest accepted difference of a signed time.
const freshness = 5 * time.Minute

// authorize returns the problem with a request's credential, "" if it is valid.
func (s *Simulator) authorize(r *siem.Request) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	given := r.Header.Get("Authorization")
	id := r.Header.Get("x-xdr-auth-id")
	if s.mode.Auth != "token" && id != strconv.Itoa(s.keyID) {
		return "no such key id"
	}
	switch s.mode.Auth {
	case "hmac":
		return s.hmac(r, id)
	case "advanced":
		return s.advanced(r, given)
	}
	if given != s.key { // raw, without a scheme
		return "wrong key"
	}
	return ""
}

func (s *Simulator) hmac(r *siem.Request, id string) string {
	nonce := r.Header.Get("x-xdr-nonce")
	mac := hmac.New(sha256.New, []byte(s.key))
	mac.Write([]byte(id))
	mac.Write([]byte(nonce))
	mac.Write([]byte(s.key))
	if r.Header.Get("x-xdr-hmac-sha256") != hex.EncodeToString(mac.Sum(nil)) {
		return "wrong signature"
	}
	return s.useNonce(nonce)
}

func (s *Simulator) advanced(r *siem.Request, given string) string {
	nonce, at := r.Header.Get("x-xdr-nonce"), r.Header.Get("x-xdr-timestamp")
	milliseconds, err := strconv.ParseInt(at, 10, 64)
	if off := s.Options().Now().Sub(time.UnixMilli(milliseconds)).Abs(); err != nil || off > freshness {
		return "the time is too far from now"
	}
	if sum := sha256.Sum256([]byte(s.key + nonce + at)); given != hex.EncodeToString(sum[:]) {
		return "wrong signature"
	}
	return s.useNonce(nonce)
}

// useNonce accepts a well-formed nonce that was not used with a valid signature before.
func (s *Simulator) useNonce(nonce string) string {
	if !nonceForm.MatchString(nonce) {
		return "the nonce is not 64 letters and digits"
	}
	if s.nonces[nonce] {
		return "the nonce was used before"
	}
	s.nonces[nonce] = true
	return ""
}
