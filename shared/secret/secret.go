// Package secret holds values that must not be printed: tokens, keys, and URLs that are credentials.
package secret

import (
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/url"
	"sort"
	"strings"
)

// redacted is what stands in the place of a value, whoever prints it.
const redacted = "[redacted]"

// Value is a string that no formatting verb, encoder or logger can print. The pointer makes reflection print an
// address even when the Value stands in an unexported field, where no method is consulted.
// The zero Value is empty.
type Value struct{ p *string }

// New makes a Value of s.
func New(s string) Value {
	if s == "" {
		return Value{}
	}
	return Value{&s}
}

// Reveal is the one way out. Call it where the value goes on the wire, and nowhere else.
func (v Value) Reveal() string {
	if v.p == nil {
		return ""
	}
	return *v.p
}

// Empty tells whether there is no value.
func (v Value) Empty() bool { return v.p == nil }

// String implements fmt.Stringer.
func (Value) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (Value) GoString() string { return redacted }

// MarshalText implements encoding.TextMarshaler.
func (Value) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements slog.LogValuer.
func (Value) LogValue() slog.Value { return slog.StringValue(redacted) }

// minCut is the shortest text worth cutting out of foreign text: anything shorter would cut common words to pieces.
const minCut = 4

// Redactor cuts known secrets out of foreign text. Its zero value cuts nothing.
type Redactor struct {
	replace *strings.Replacer
	forms   []string
}

// NewRedactor makes a Redactor that knows values in the forms in which a SIEM or a library may echo them: plain and
// base64, and each of these escaped for a URL, for JSON or for HTML, quoted, and quoted again.
func NewRedactor(values ...Value) *Redactor {
	seen := map[string]bool{}
	for _, v := range values {
		for _, form := range forms(v.Reveal()) {
			if len(form) >= minCut {
				seen[form] = true
			}
		}
	}
	if len(seen) == 0 {
		return &Redactor{}
	}
	all := make([]string, 0, len(seen))
	for form := range seen {
		all = append(all, form)
	}
	// The longest first: a short form may be part of a longer one, and must not leave its rest standing.
	sort.Slice(all, func(i, j int) bool {
		return len(all[i]) > len(all[j]) || len(all[i]) == len(all[j]) && all[i] < all[j]
	})
	pairs := make([]string, 0, 2*len(all))
	for _, form := range all {
		pairs = append(pairs, form, redacted)
	}
	return &Redactor{strings.NewReplacer(pairs...), all}
}

// Cut returns text with every known secret replaced.
func (r *Redactor) Cut(text string) string {
	if r == nil || r.replace == nil {
		return text
	}
	return r.cutEscaped(r.replace.Replace(text))
}

func forms(s string) []string {
	if s == "" {
		return nil
	}
	quoted, _ := json.Marshal(s) // a string always marshals
	return []string{
		s,
		url.QueryEscape(s),
		url.PathEscape(s),
		string(quoted[1 : len(quoted)-1]),
		strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(s)), "="),
		strings.TrimRight(base64.URLEncoding.EncodeToString([]byte(s)), "="),
	}
}
