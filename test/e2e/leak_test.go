package e2e

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// vault holds every secret of the run.
type vault struct {
	mu      sync.Mutex
	secrets map[string]string // by secret, what it is
}

// keep adds the values of a secret, except public ones: certificates and key ids.
func (v *vault) keep(values map[string]string) {
	for name, value := range values {
		switch {
		case strings.HasSuffix(name, "_CERT") || strings.HasSuffix(name, "_ID"):
		case strings.HasSuffix(name, "_CLIENT_KEY"):
			v.add(name, pemBody(value))
		case strings.HasPrefix(value, "https://"):
			v.add(name, value)
			v.add(name, value[strings.LastIndexByte(value, '/')+1:])
		default:
			v.add(name, value)
		}
	}
}

// pemBody is a line of a PEM text's inside: what all of it would show by.
func pemBody(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)/2]
}

func (v *vault) add(what, secret string) {
	if len(secret) < 8 {
		panic(what + " is too short to be looked for")
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.secrets == nil {
		v.secrets = map[string]string{}
	}
	v.secrets[secret] = what
}

func (v *vault) all() map[string]string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return maps.Clone(v.secrets)
}

// forms returns the forms in which a secret may appear: plain, escaped for URLs, JSON and Go, in base64 at any offset,
// and in hex.
func forms(secret string) []string {
	out := []string{secret, url.QueryEscape(secret), url.PathEscape(secret), hex.EncodeToString([]byte(secret))}
	for _, text := range []any{secret, url.QueryEscape(secret)} {
		quoted, _ := json.Marshal(text) // with <, > and & escaped
		out = append(out, strings.Trim(string(quoted), `"`), strings.Trim(encode(text), `"`))
	}
	goQuoted := fmt.Sprintf("%q", secret)
	out = append(out, goQuoted[1:len(goQuoted)-1])
	again, _ := json.Marshal(goQuoted) // in a log line, which is JSON, of an error that quotes
	for _, text := range []string{string(again), encode(goQuoted)} {
		out = append(out, strings.TrimSuffix(strings.TrimPrefix(text, `"\"`), `\""`))
	}
	for offset := range 3 {
		whole := []byte(strings.Repeat("\x00", offset) + secret)
		whole = whole[:len(whole)/3*3]
		first := 0
		if offset > 0 {
			first = 4 // what other bytes are in
		}
		for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			if text := encoding.EncodeToString(whole)[first:]; len(text) >= 8 {
				out = append(out, text)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// said returns everything that the functions produced, except their requests to SIEMs.
func (w *world) said() map[string]string {
	said := map[string]string{"standard output": w.output.String()}
	for i, e := range w.gate.since(time.Time{}, "") {
		if strings.HasPrefix(e.door, "siem:") {
			continue
		}
		said[fmt.Sprintf("request %d: %s", i, e.step)] = e.path + "\n" + fmt.Sprint(e.header) + "\n" + string(e.request)
		if e.name != "GetSecretValue" && e.name != "next" {
			said[fmt.Sprintf("answer %d: %s", i, e.step)] = string(e.answer)
		}
	}
	return said
}

// leaks returns the places where a secret appears.
func (w *world) leaks() []string {
	var found []string
	said := w.said()
	for secret, what := range w.vault.all() {
		for _, form := range forms(secret) {
			for where, text := range said {
				if i := strings.Index(text, form); i >= 0 {
					found = append(found, fmt.Sprintf("%s in %s: …%.200q", what, where, text[max(0, i-80):]))
				}
			}
		}
	}
	return found
}
