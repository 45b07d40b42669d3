// Package jsonscan reads JSON in place. It validates a text (RFC 8259, nesting bounded by MaxDepth) and finds its
// tokens without decoding or copying them, because the connectors forward events as the bytes they received and read
// only a few of their fields. It does not check UTF-8; callers check a whole text once with utf8.Valid.
package jsonscan

import (
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth bounds the nesting of arrays and objects, and with it the stack. encoding/json has the same limit.
const MaxDepth = 10_000

// space returns the position of the first byte at or after i that is not JSON white space.
func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// specials sets the high bit of each byte of a word that a JSON string must escape: a quote, a backslash or a control
// character. A bit above the lowest one may be set wrongly; the lowest one is always right.
func specials(word uint64) uint64 {
	quote, slash := word^(ones*'"'), word^(ones*'\\')
	return ((quote-ones)&^quote | (slash-ones)&^slash | (word-ones*0x20)&^word) & highs
}

// special returns the position of the first byte at or after i that a JSON string must escape.
func special(b []byte, i int) int {
	for i+8 <= len(b) {
		if hit := specials(binary.LittleEndian.Uint64(b[i:])); hit != 0 {
			return i + bits.TrailingZeros64(hit)/8
		}
		i += 8
	}
	for i < len(b) && b[i] != '"' && b[i] != '\\' && b[i] >= 0x20 {
		i++
	}
	return i
}

// scanString returns the position after the string that begins with the quote at b[i]. escaped reports whether it
// contains escapes. If ok is false, end is where the text stops being a JSON string.
func scanString(b []byte, i int) (end int, escaped, ok bool) {
	i++
	for {
		i = special(b, i)
		if i >= len(b) {
			return i, escaped, false
		}
		switch b[i] {
		case '"':
			return i + 1, escaped, true
		case '\\':
			escaped = true
			n := escape(b, i)
			if n == 0 {
				return i, escaped, false
			}
			i += n
		default:
			return i, escaped, false
		}
	}
}

// escape returns the length of the escape sequence at b[i], 0 if it is not a valid one.
func escape(b []byte, i int) int {
	if i+1 >= len(b) {
		return 0
	}
	if unescaped[b[i+1]] != 0 {
		return 2
	}
	if b[i+1] == 'u' && i+6 <= len(b) && hex4(b[i+2:i+6]) >= 0 {
		return 6
	}
	return 0
}

// hex4 returns the value of four hex digits, -1 if they are not hex digits.
func hex4(b []byte) rune {
	var code [2]byte
	if _, err := hex.Decode(code[:], b[:4]); err != nil {
		return -1
	}
	return rune(binary.BigEndian.Uint16(code[:]))
}

// scanNumber returns the position after the number at b[i]. integer reports whether it has neither a fraction nor an
// exponent. If ok is false, end is where the text stops being a JSON number.
func scanNumber(b []byte, i int) (end int, integer, ok bool) {
	if i < len(b) && b[i] == '-' {
		i++
	}
	first := i
	i = digits(b, i)
	if i == first || b[first] == '0' && i > first+1 {
		return i, false, false
	}
	integer = true
	if i < len(b) && b[i] == '.' {
		integer = false
		from := i + 1
		if i = digits(b, from); i == from {
			return i, false, false
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		integer = false
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		from := i
		if i = digits(b, from); i == from {
			return i, false, false
		}
	}
	return i, integer, true
}

func digits(b []byte, i int) int {
	for i < len(b) && '0' <= b[i] && b[i] <= '9' {
		i++
	}
	return i
}

// scanLiteral returns the position after true, false or null at b[i].
func scanLiteral(b []byte, i int) (end int, ok bool) {
	for _, word := range [...]string{"true", "false", "null"} {
		if b[i] == word[0] {
			end = min(i+len(word), len(b))
			return end, string(b[i:end]) == word
		}
	}
	return i, false
}

// skim returns the position after the value at b[i], which is in depth arrays and objects. It sets spaced if there is
// white space between the tokens of the value. If ok is false, end is where the text stops being JSON.
func skim(b []byte, i, depth int, spaced *bool) (end int, ok bool) {
	if i >= len(b) {
		return i, false
	}
	switch b[i] {
	case '"':
		end, _, ok = scanString(b, i)
	case '{', '[':
		return skimContainer(b, i, depth+1, spaced)
	case 't', 'f', 'n':
		end, ok = scanLiteral(b, i)
	default:
		end, _, ok = scanNumber(b, i)
	}
	return end, ok
}

// skimContainer is skim for an array or object.
func skimContainer(b []byte, i, depth int, spaced *bool) (end int, ok bool) {
	if depth > MaxDepth {
		return i, false
	}
	object, last := b[i] == '{', b[i]+2 // in ASCII, ] and } follow two after [ and {
	if i = gap(b, i+1, spaced); i < len(b) && b[i] == last {
		return i + 1, true
	}
	for {
		if object {
			if i >= len(b) || b[i] != '"' {
				return i, false
			}
			if i, _, ok = scanString(b, i); !ok {
				return i, false
			}
			if i = gap(b, i, spaced); i >= len(b) || b[i] != ':' {
				return i, false
			}
			i = gap(b, i+1, spaced)
		}
		if i, ok = skim(b, i, depth, spaced); !ok {
			return i, false
		}
		if i = gap(b, i, spaced); i >= len(b) {
			return i, false
		}
		switch b[i] {
		case ',':
			i = gap(b, i+1, spaced)
		case last:
			return i + 1, true
		default:
			return i, false
		}
	}
}

// gap returns the position after the white space at b[i]. It sets spaced if there is some.
func gap(b []byte, i int, spaced *bool) int {
	if i >= len(b) || b[i] > ' ' {
		return i
	}
	end := space(b, i)
	*spaced = *spaced || end != i
	return end
}

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
	if r+6 <= len(src) && src[r] == '\\' && src[r+1] == 'u' {
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
