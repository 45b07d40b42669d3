// Package secret holds values that must not be printed: tokens, keys, and URLs that are credentials.
package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// redacted replaces a value wherever it would be printed.
const redacted = "[redacted]"

// Value is a string that no formatting verb, encoder or logger can print. The pointer makes reflection print an
// address even if the Value is in an unexported field, where fmt calls no method.
// The zero Value is empty.
type Value struct{ p *string }

// New makes a Value of s.
func New(s string) Value {
	if s == "" {
		return Value{}
	}
	return Value{&s}
}

// Reveal returns the string. Call it only where the value is sent.
func (v Value) Reveal() string {
	if v.p == nil {
		return ""
	}
	return *v.p
}

// Empty reports whether there is no value.
func (v Value) Empty() bool { return v.p == nil }

// String implements fmt.Stringer.
func (Value) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (Value) GoString() string { return redacted }

// MarshalText implements encoding.TextMarshaler.
func (Value) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements slog.LogValuer.
func (Value) LogValue() slog.Value { return slog.StringValue(redacted) }

// Redactor removes known secrets from foreign text. Its zero value removes none.
//
// There are more ways to write a secret than can be listed: JSON may write each character as \u003d, HTML as &#61;,
// and a response may quote another one. The Redactor replaces the usual encodings of a secret. If it still finds a
// part of one after it has undone all escapes and dropped all punctuation, it drops the whole text.
type Redactor struct {
	values  []string
	replace *strings.Replacer
	parts   map[part]struct{} // of secrets, as they are and as normalize returns them
	short   []string          // normalized secrets that are shorter than a part
	margin  int               // most bytes that the end of a text needs to show a secret
}

// part is as much of a secret as may not remain in a text.
type part [8]byte

// minSecret is the shortest text that is a secret: to replace a shorter one would remove parts of common words.
const minSecret = 4

// NewRedactor makes a Redactor that knows values.
func NewRedactor(values ...Value) *Redactor { return new(Redactor).With(values...) }

// With returns a Redactor that also knows more values.
func (r *Redactor) With(more ...Value) *Redactor {
	if r == nil {
		r = &Redactor{}
	}
	all := slices.Clone(r.values)
	for _, v := range more {
		if s := v.Reveal(); len(s) >= minSecret && !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	if len(all) == len(r.values) {
		return r
	}
	n := &Redactor{values: all, parts: map[part]struct{}{}}
	for _, s := range all {
		n.learn(s)
	}
	n.replace = replacer(all)
	return n
}

// learn notes the parts of a secret, of its base64 at each alignment, and of its hex digits.
func (r *Redactor) learn(s string) {
	const escaped = len(`\u0000`) // of one byte, at most
	r.margin = max(r.margin, escaped*len(s))
	plain := normalize(s)
	if minSecret <= len(plain) && len(plain) < len(part{}) {
		r.short = append(r.short, string(plain))
	}
	r.addParts(plain)
	r.addParts([]byte(s)) // signs count as well: a part of a password may have few letters
	r.addParts([]byte(hex.EncodeToString([]byte(s))))
	for before := range 3 { // bytes of the same group of three
		encoded := base64.RawStdEncoding.EncodeToString(append(make([]byte, before), s...))
		from := (before*8 + 5) / 6
		to := (before + len(s)) * 8 / 6
		r.addParts(normalize(encoded[from:to])) // without + and /, the URL alphabet is the same
	}
}

func (r *Redactor) addParts(text []byte) {
	for i := 0; i+len(part{}) <= len(text); i++ {
		r.parts[part(text[i:])] = struct{}{}
	}
}

// replacer replaces the usual encodings of values, the longest first: a short one may be part of a longer one.
func replacer(values []string) *strings.Replacer {
	var all []string
	for _, v := range values {
		all = append(all, encodings(v)...)
	}
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, form := range slices.DeleteFunc(all, func(s string) bool { return len(s) < minSecret }) {
		pairs = append(pairs, form, redacted)
	}
	return strings.NewReplacer(pairs...)
}

// encodings are the forms in which a SIEM or a library usually echoes a secret.
func encodings(s string) []string {
	quoted, _ := json.Marshal(s) // a string always marshals
	return []string{
		s,
		url.QueryEscape(s),
		url.PathEscape(s),
		string(quoted[1 : len(quoted)-1]),
		base64.RawStdEncoding.EncodeToString([]byte(s)),
		base64.RawURLEncoding.EncodeToString([]byte(s)),
		hex.EncodeToString([]byte(s)),
	}
}

// Redact returns the first limit bytes of text without any known secret. It reads only as much of a longer text as a
// secret at the cut needs.
func (r *Redactor) Redact(text string, limit int) string {
	if r == nil || r.replace == nil {
		return cut(text, limit)
	}
	text = r.replace.Replace(cut(text, limit+r.margin))
	if r.shows([]byte(text)) {
		text = redacted
	}
	return cut(text, limit)
}

func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "")
}

// maxLayers bounds how often escapes are undone. An error that quotes a JSON response that quotes a form has three
// layers.
const maxLayers = 8

// shows reports whether a part of a secret is in text, or appears when escapes are undone.
func (r *Redactor) shows(text []byte) bool {
	for range maxLayers {
		plain := normalize(string(text))
		if r.showsPart(plain) || r.showsPart(text) {
			return true
		}
		for _, s := range r.short {
			if strings.Contains(string(plain), s) {
				return true
			}
		}
		var changed bool
		if text, changed = unescape(text); !changed {
			return false
		}
	}
	return true // it is not text for a reader
}

func (r *Redactor) showsPart(text []byte) bool {
	for i := 0; i+len(part{}) <= len(text); i++ {
		if _, found := r.parts[part(text[i:])]; found {
			return true
		}
	}
	return false
}

// normalize drops everything except letters and digits, and makes the letters lower case: hosts, and keys that are
// GUIDs or hex digits, are the same in any case.
func normalize(text string) []byte {
	out := make([]byte, 0, len(text))
	for i := range len(text) {
		switch c := text[i]; {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', c >= utf8.RuneSelf:
			out = append(out, c)
		case 'A' <= c && c <= 'Z':
			out = append(out, c-'A'+'a')
		}
	}
	return out
}

// unescape undoes one layer of all kinds of escapes: of JSON and programming languages (\u003d), URLs (%3D) and HTML
// (&#61;). It reports whether there were any.
func unescape(text []byte) (plain []byte, changed bool) {
	plain = make([]byte, 0, len(text))
	for len(text) > 0 {
		n := 0
		switch text[0] {
		case '\\', '%', '&':
			plain, n = decode(plain, text)
		}
		if n == 0 {
			plain, n = append(plain, text[0]), 1
		} else {
			changed = true
		}
		text = text[n:]
	}
	return plain, changed
}

// numbers are the escapes that state a character's number: what precedes it, and how many digits of which base it has.
// The number of a form with two or with octal digits is a byte, maybe one of several of a character.
var numbers = [...]struct {
	prefix                  string
	shortest, longest, base int
}{
	{`\x`, 2, 2, 16}, {`\u{`, 1, 6, 16}, {`\u`, 4, 4, 16}, {`\U`, 8, 8, 16}, {`\`, 3, 3, 8},
	{`%u`, 4, 4, 16}, {`%U`, 4, 4, 16}, {`%`, 2, 2, 16},
	{`&#x`, 1, 8, 16}, {`&#X`, 1, 8, 16}, {`&#`, 1, 8, 10},
}

// maxEntity is longer than the name of any entity for a character of ASCII.
const maxEntity = 24

// decode appends the character of the escape at the start of text to dst. n is the escape's length, 0 if there is none.
// It drops the entities that it does not know: all those for characters of ASCII are punctuation.
func decode(dst, text []byte) (_ []byte, n int) {
	const digits = "00112233445566778899aAbBcCdDeEfF"
	for _, form := range numbers {
		if !bytes.HasPrefix(text, []byte(form.prefix)) {
			continue
		}
		start := len(form.prefix)
		end := start
		for end < len(text) && end-start < form.longest && strings.IndexByte(digits[:2*form.base], text[end]) >= 0 {
			end++
		}
		v, err := strconv.ParseUint(string(text[start:end]), form.base, 31)
		switch isByte := form.longest == 2 || form.base == 8; {
		case end-start < form.shortest || err != nil || isByte && v > math.MaxUint8:
			continue
		case isByte:
			return append(dst, byte(v&math.MaxUint8)), end
		}
		if form.shortest != form.longest && end < len(text) && (text[end] == ';' || text[end] == '}') {
			end++
		}
		return utf8.AppendRune(dst, rune(v)), end
	}
	name, _, ended := bytes.Cut(text[1:min(len(text), maxEntity+len("&;"))], []byte{';'})
	switch {
	case text[0] == '&' && ended && len(name) > 0 && len(normalize(string(name))) == len(name):
		signs := map[string]string{"amp": "&", "AMP": "&", "bsol": `\`, "percnt": "%", "num": "#", "semi": ";",
			"lt": "<", "gt": ">", "quot": `"`, "apos": "'"}
		return append(dst, signs[string(name)]...), len(name) + len("&;")
	case text[0] != '\\' || len(text) == 1 || strings.IndexByte("xuU0123", text[1]) >= 0:
		return dst, 0
	case strings.IndexByte("bfnrtv", text[1]) >= 0:
		return append(dst, ' '), 2
	}
	return append(dst, text[1]), 2
}
