package secret

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// unescape undoes one layer of all kinds of escapes: of JSON and programming languages (\u003d), URLs (%3D) and HTML
// (&#61;). It reports whether there were any.
func unescape(text []byte) (plain []byte, changed bool) {
	plain = make([]byte, 0, len(text))
	for len(text) > 0 {
		n := 0
		switch text[0] {
		case '\\':
			plain, n = backslash(plain, text)
		case '%':
			plain, n = percent(plain, text)
		case '&':
			plain, n = entity(plain, text)
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

// backslash decodes the escape at the start of text onto dst and returns the escape's length, 0 if there is no escape.
func backslash(dst, text []byte) (_ []byte, n int) {
	if len(text) < 2 {
		return dst, 0
	}
	switch c := text[1]; c {
	case 'b', 'f', 'n', 'r', 't', 'v':
		return append(dst, ' '), 2
	case 'x':
		return code(dst, text, 2, 2, 2, 16)
	case 'u':
		if len(text) > 2 && text[2] == '{' {
			return code(dst, text, 3, 1, 6, 16)
		}
		return code(dst, text, 2, 4, 4, 16)
	case 'U':
		return code(dst, text, 2, 8, 8, 16)
	case '0', '1', '2', '3':
		return code(dst, text, 1, 3, 3, 8)
	default:
		return append(dst, c), 2
	}
}

func percent(dst, text []byte) (_ []byte, n int) {
	if len(text) > 1 && (text[1] == 'u' || text[1] == 'U') {
		return code(dst, text, 2, 4, 4, 16)
	}
	return code(dst, text, 1, 2, 2, 16)
}

// maxEntity is longer than the name of any entity for a character of ASCII.
const maxEntity = 24

// entity also drops the entities that it does not know: all those for characters of ASCII are punctuation.
func entity(dst, text []byte) (_ []byte, n int) {
	if len(text) < 3 {
		return dst, 0
	}
	if text[1] == '#' {
		if text[2] == 'x' || text[2] == 'X' {
			return code(dst, text, 3, 1, 8, 16)
		}
		return code(dst, text, 2, 1, 8, 10)
	}
	for n = 1; n < len(text) && n <= maxEntity && len(normalize(string(text[n:n+1]))) == 1; n++ {
	}
	if n == 1 || n == len(text) || text[n] != ';' {
		return dst, 0
	}
	switch string(text[1:n]) {
	case "amp", "AMP":
		dst = append(dst, '&')
	case "bsol":
		dst = append(dst, '\\')
	case "percnt":
		dst = append(dst, '%')
	case "num":
		dst = append(dst, '#')
	case "semi":
		dst = append(dst, ';')
	}
	return dst, n + 1
}

// code appends the character whose number begins at text[from] and has from shortest to longest digits. A semicolon or
// brace that ends the number belongs to the escape. n is 0 if there is no such number.
func code(dst, text []byte, from, shortest, longest, base int) (_ []byte, n int) {
	const digits = "0123456789abcdef"
	end := from
	for end < len(text) && end-from < longest && strings.IndexByte(digits[:base], lower(text[end])) >= 0 {
		end++
	}
	if end-from < shortest {
		return dst, 0
	}
	v, err := strconv.ParseUint(string(text[from:end]), base, 31)
	if err != nil {
		return dst, 0
	}
	if end < len(text) && shortest != longest && (text[end] == ';' || text[end] == '}') {
		end++
	}
	if longest == 2 || base == 8 {
		return append(dst, byte(v&0xFF)), end // a byte, maybe one of several of a character
	}
	return utf8.AppendRune(dst, rune(v)), end
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
