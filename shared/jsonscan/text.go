package jsonscan

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
)

// AppendUnquoted appends the text of a valid JSON string, which raw holds with its quotes, to dst. A lone surrogate
// becomes U+FFFD, as with encoding/json.
func AppendUnquoted(dst, raw []byte) []byte {
	start := len(dst)
	dst = append(dst, raw...)
	text, _, _ := unquoteInPlace(dst, start)
	return dst[:start+copy(dst[start:], text)]
}

// unquoteInPlace validates and decodes the JSON string whose opening quote is b[i], in one pass. It writes the text
// over the string itself, because an escape is never shorter than the text it encodes. It returns the text and the
// position after the closing quote. It keeps bytes that are not UTF-8. If ok is false, end is where b stops being a
// JSON string, and the bytes from i to end may be overwritten.
func unquoteInPlace(b []byte, i int) (text []byte, end int, ok bool) {
	start := i + 1
	r := special(b, start) // the text up to the first escape stays where it is
	w := r
	for r+1 < len(b) && b[r] == '\\' {
		if c := unescaped[b[r+1]]; c != 0 {
			b[w] = c
			w, r = w+1, r+2
		} else {
			if escape(b, r) == 0 {
				return nil, r, false
			}
			var char rune
			char, r = unicodeEscape(b, r)
			w += utf8.EncodeRune(b[w:], char)
		}
		w, r = slide(b, w, r)
	}
	if r < len(b) && b[r] == '"' {
		return b[start:w:w], r + 1, true
	}
	return nil, r, false
}

// slide moves bytes from r down to w until one is special, and returns both positions then. It reads and writes eight
// bytes at a time. Bytes that it writes after the last one moved are overwritten later, and were read before: the
// positions are eight bytes apart, or all eight bytes are moved.
func slide(b []byte, w, r int) (int, int) {
	for r+8 <= len(b) {
		word := binary.LittleEndian.Uint64(b[r:])
		hit := specials(word)
		if hit == 0 {
			binary.LittleEndian.PutUint64(b[w:], word)
			w, r = w+8, r+8
			continue
		}
		n := bits.TrailingZeros64(hit) / 8
		if r-w >= 8 {
			binary.LittleEndian.PutUint64(b[w:], word)
		} else {
			copy(b[w:], b[r:r+n])
		}
		return w + n, r + n
	}
	for r < len(b) && plain[b[r]] {
		b[w] = b[r]
		w, r = w+1, r+1
	}
	return w, r
}

// unescaped maps the letter of a short escape to the byte it encodes, any other letter to 0.
var unescaped = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// unicodeEscape decodes the \u and four hex digits at src[r], together with the second half of a surrogate pair.
func unicodeEscape(src []byte, r int) (char rune, end int) {
	char = hex4(src[r+2:])
	r += 6
	if !utf16.IsSurrogate(char) {
		return char, r
	}
	if r+6 <= len(src) && src[r] == '\\' && src[r+1] == 'u' && hex4(src[r+2:]) >= 0 {
		if pair := utf16.DecodeRune(char, hex4(src[r+2:])); pair != utf8.RuneError {
			return pair, r + 6
		}
	}
	return utf8.RuneError, r
}

// AppendQuoted appends text as a JSON string. It escapes only quotes, backslashes and control characters, to add as few
// bytes as possible. text must be UTF-8.
func AppendQuoted[T []byte | string](dst []byte, text T) []byte {
	dst = slices.Grow(dst, len(text)+len(text)/4+2)
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		if plain[c] {
			continue
		}
		dst = append(dst, text[start:i]...)
		dst = appendEscape(dst, c)
		start = i + 1
	}
	dst = append(dst, text[start:]...)
	return append(dst, '"')
}

// plain holds which bytes a JSON string may contain as they are.
var plain = func() (t [256]bool) { //nolint:gochecknoglobals // a table
	for c := range t {
		t[c] = c >= 0x20 && c != '"' && c != '\\'
	}
	return t
}()

func appendEscape(dst []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}

// AppendCompact appends valid JSON without the white space between its tokens.
func AppendCompact(dst, src []byte) []byte {
	dst = slices.Grow(dst, len(src))
	for i := 0; i < len(src); {
		switch src[i] {
		case ' ', '\n', '\t', '\r':
			i++
		case '"':
			end, _, _ := scanString(src, i)
			dst = append(dst, src[i:end]...)
			i = end
		default:
			dst = append(dst, src[i])
			i++
		}
	}
	return dst
}
