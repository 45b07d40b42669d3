package secret

import (
	"encoding/hex"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// There are more ways to escape a text than can be listed: JSON may write every character as \u003d, some write \/ for a
// slash, an error may quote an answer that quotes. So what is left of a text is also searched with its escapes undone, one
// layer after the other, and where a secret shows then, what it was written with is cut.

// maxLayers is how many layers of escapes are undone. An error that quotes a JSON answer that quotes a form has three.
const maxLayers = 3

// layer is a text with escapes undone, and where in the original text each of its bytes stands; at is one longer.
type layer struct {
	text []byte
	at   []int
}

// cutEscaped replaces the forms where they stand escaped.
func (r *Redactor) cutEscaped(text string) string {
	if !strings.ContainsAny(text, `\%&`) {
		return text
	}
	original := layer{[]byte(text), make([]int, len(text)+1)}
	for i := range original.at {
		original.at[i] = i
	}
	var spans [][2]int
	r.search(original, maxLayers, &spans)
	if len(spans) == 0 {
		return text
	}
	slices.SortFunc(spans, func(a, b [2]int) int { return a[0] - b[0] })
	var out strings.Builder
	end := 0
	for _, s := range spans {
		if s[0] >= end {
			out.WriteString(text[end:s[0]])
			out.WriteString(redacted)
		}
		end = max(end, s[1])
	}
	out.WriteString(text[end:])
	return out.String()
}

// search notes where the forms stand in what is under one or more layers of l.
func (r *Redactor) search(l layer, layers int, spans *[][2]int) {
	for _, escape := range [...]func([]byte) ([]byte, int){backslash, percent, entity} {
		under, changed := l.undo(escape)
		if !changed {
			continue
		}
		text := string(under.text)
		for _, form := range r.forms {
			for i := 0; ; i++ {
				n := strings.Index(text[i:], form)
				if n < 0 {
					break
				}
				i += n
				*spans = append(*spans, [2]int{under.at[i], under.at[i+len(form)]})
			}
		}
		if layers > 1 {
			r.search(under, layers-1, spans)
		}
	}
}

// undo undoes one layer of one kind of escapes.
func (l layer) undo(escape func([]byte) ([]byte, int)) (under layer, changed bool) {
	under = layer{make([]byte, 0, len(l.text)), make([]int, 0, len(l.at))}
	for i := 0; i < len(l.text); {
		meant, n := escape(l.text[i:])
		if n == 0 {
			meant, n = l.text[i:i+1], 1
		} else {
			changed = true
		}
		for range meant {
			under.at = append(under.at, l.at[i])
		}
		under.text = append(under.text, meant...)
		i += n
	}
	under.at = append(under.at, l.at[len(l.text)])
	return under, changed
}

// backslash reads an escape of JSON or Go at the start of b: what it means, and its length; 0 when there is none.
func backslash(b []byte) (meant []byte, n int) {
	if len(b) < 2 || b[0] != '\\' {
		return nil, 0
	}
	switch b[1] {
	case '"', '\\', '/', '\'':
		return b[1:2], 2
	case 'b', 'f', 'n', 'r', 't':
		return []byte{map[byte]byte{'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}[b[1]]}, 2
	case 'x':
		if out := digits(b, 2, 2); out != nil {
			return out, 4
		}
	case 'U':
		if v, ok := point(b, 2, 8); ok {
			return utf8.AppendRune(nil, v), 10
		}
	case 'u':
		v, ok := point(b, 2, 4)
		if !ok {
			return nil, 0
		}
		if len(b) > 7 && b[6] == '\\' && b[7] == 'u' {
			if low, ok := point(b, 8, 4); ok && utf16.IsSurrogate(v) && utf16.DecodeRune(v, low) != utf8.RuneError {
				return utf8.AppendRune(nil, utf16.DecodeRune(v, low)), 12
			}
		}
		return utf8.AppendRune(nil, v), 6
	}
	return nil, 0
}

// percent reads an escape of a URL.
func percent(b []byte) (meant []byte, n int) {
	if len(b) > 0 && b[0] == '%' {
		if out := digits(b, 1, 2); out != nil {
			return out, 3
		}
	}
	return nil, 0
}

// entity reads an escape of HTML or XML.
func entity(b []byte) (meant []byte, n int) {
	if len(b) == 0 || b[0] != '&' {
		return nil, 0
	}
	for _, e := range [...][2]string{{"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}, {"&quot;", `"`}, {"&#34;", `"`}, {"&#39;", "'"}, {"&apos;", "'"}, {"&#x2F;", "/"}} {
		if strings.HasPrefix(string(b[:min(len(b), len(e[0]))]), e[0]) {
			return []byte(e[1]), len(e[0])
		}
	}
	return nil, 0
}

// digits reads n hex digits; nil when there are none.
func digits(b []byte, from, n int) []byte {
	if len(b) < from+n {
		return nil
	}
	out, err := hex.DecodeString(string(b[from : from+n]))
	if err != nil {
		return nil
	}
	return out
}

// point reads a code point of n hex digits.
func point(b []byte, from, n int) (r rune, ok bool) {
	out := digits(b, from, n)
	for _, c := range out {
		r = r<<8 | rune(c)
	}
	return r, out != nil
}
