// Package settings reads typed settings from the environment and from the secret, and reports all problems at once: the
// variable, the value found, and the value expected. It never prints a value that came from the secret.
package settings

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/shared/secret"
)

// Lookup returns a variable's value, "" when it is not set. os.Getenv is one.
type Lookup func(name string) string

// Dial opens a connection, as a net.Dialer's DialContext does.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Identity gets a signed token that proves the function's own identity to audience.
type Identity func(ctx context.Context, audience string) (secret.Value, error)

// Setting is one variable that has been read, as a page's table lists it.
type Setting struct {
	Name     string
	Required bool
	Secret   bool
	Default  string // "" if there is none
}

// Settings reads variables. A non-empty one of the environment takes precedence over the secret's key of the same name.
// White space around values is trimmed. Every method returns a usable value (the default, or the zero value) even if it
// notes a problem, so that a caller reads everything and then calls Err once.
type Settings struct {
	Now        func() time.Time // the clock of connectors; nil, as it is outside of tests, means time.Now
	Dial       Dial             // opens connections; nil, as it is outside of tests, means the network
	Identity   Identity         // nil if the function has no identity
	Incomplete bool             // the secret could not be read, and problems say so

	env      Lookup
	secret   map[string]string
	problems []string
	warnings []string
	declared []Setting
	secrets  []secret.Value
	allowed  bool // plain http URLs
}

// New makes Settings over an environment and the values of a secret, which may be nil.
func New(env Lookup, values map[string]string) *Settings {
	s := &Settings{env: env, secret: values}
	s.allowed = s.Bool("SIEM_ALLOW_HTTP", false)
	return s
}

// Err returns all problems found so far as one error, nil if there are none.
func (s *Settings) Err() error {
	if len(s.problems) == 0 {
		return nil
	}
	return &Error{Problems: slices.Clone(s.problems)}
}

// Warn notes the risk of a setting. It is logged at every start.
func (s *Settings) Warn(text string) { s.warnings = append(s.warnings, text) }

// Warnings lists what Warn has noted.
func (s *Settings) Warnings() []string { return slices.Clone(s.warnings) }

// TLSVerify reports whether the peer's certificate is verified. The default is true; false is a warning.
func (s *Settings) TLSVerify(name string) bool {
	verify := s.Bool(name, true)
	if !verify {
		s.Warn(name + "=false: anyone between the function and the SIEM can read and change all events")
	}
	return verify
}

// Error lists everything that is wrong with a configuration.
type Error struct{ Problems []string }

// Error returns all problems on one line.
func (e *Error) Error() string {
	return "configuration: " + strings.Join(e.Problems, "; ")
}

// Declared lists the variables read so far, in the order of the first read.
func (s *Settings) Declared() []Setting { return slices.Clone(s.declared) }

// Problem notes what is wrong with a variable. seen is quoted unless it came from the secret, is PEM text, which may be
// a key, or is empty.
func (s *Settings) Problem(name, seen, expected string) {
	text := name + ": expected " + expected
	switch {
	case seen == "":
		text += ", is not set"
		if s.Incomplete {
			text += " in the environment, and the secret could not be read"
		}
	case s.hidden(name) || strings.Contains(seen, pemMark):
		text += ", found something else (hidden)"
	default:
		text += ", found " + strconv.Quote(bound(seen))
	}
	s.note(text)
}

// note adds a problem once, however often its variable is read.
func (s *Settings) note(problem string) {
	if !slices.Contains(s.problems, problem) {
		s.problems = append(s.problems, problem)
	}
}

func bound(s string) string {
	const most = 100
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// hidden reports whether a variable's value must not be shown: it is a secret, or came from one.
func (s *Settings) hidden(name string) bool {
	if trim(s.env(name)) == "" && trim(s.secret[name]) != "" {
		return true
	}
	return slices.ContainsFunc(s.declared, func(a Setting) bool { return a.Name == name && a.Secret })
}

func (s *Settings) raw(name string) string {
	if v := trim(s.env(name)); v != "" {
		return v
	}
	return trim(s.secret[name])
}

// bom is the byte order mark that some editors and shells put before a text.
const bom = "\uFEFF"

func trim(v string) string { return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(v), bom)) }

func (s *Settings) ask(a Setting) string {
	if !slices.ContainsFunc(s.declared, func(b Setting) bool { return a.Name == b.Name }) {
		s.declared = append(s.declared, a)
	}
	return s.raw(a.Name)
}

// line reads a value without control characters, which would end a header or a message early.
func (s *Settings) line(a Setting) string {
	v := s.ask(a)
	if strings.ContainsFunc(v, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		s.note(a.Name + ": expected one line without control characters, found some (hidden)")
		return ""
	}
	return v
}

// Set reports whether a variable has a value.
func (s *Settings) Set(name string) bool { return s.raw(name) != "" }

// String reads an optional text.
func (s *Settings) String(name, def string) string {
	return cmp.Or(s.line(Setting{Name: name, Default: def}), def)
}

// missing notes that a required variable is not set.
func (s *Settings) missing(a Setting, expected string) {
	if !a.Required || s.Set(a.Name) {
		return
	}
	if a.Secret {
		expected += " (a key of the secret SIEM_SECRET_ID)"
	}
	s.Problem(a.Name, "", expected)
}

// Required reads a text that must be set; expected describes it for an operator.
func (s *Settings) Required(name, expected string) string {
	a := Setting{Name: name, Required: true}
	v := s.line(a)
	s.missing(a, expected)
	return v
}

// Secret reads a credential, which must be set if required is true.
func (s *Settings) Secret(name string, required bool, expected string) secret.Value {
	a := Setting{Name: name, Required: required, Secret: true}
	value := secret.New(s.line(a))
	s.missing(a, expected)
	s.secrets = append(s.secrets, value)
	return value
}

// Conceal notes values that are credentials by themselves, although they are only part of a setting.
func (s *Settings) Conceal(values ...secret.Value) { s.secrets = append(s.secrets, values...) }

// Redactor knows the credentials read so far: those of Secret and Conceal, and the proxy's password.
func (s *Settings) Redactor() *secret.Redactor { return secret.NewRedactor(s.secrets...) }

// Bool reads true or false.
func (s *Settings) Bool(name string, def bool) bool {
	v := s.line(Setting{Name: name, Default: strconv.FormatBool(def)})
	switch strings.ToLower(v) {
	case "":
		return def
	case "true", "1", "yes":
		return true
	case "false", "0", "no":
		return false
	}
	s.Problem(name, v, "true or false")
	return def
}

// Int reads an integer between lowest and highest, inclusive.
func (s *Settings) Int(name string, def, lowest, highest int) int {
	v := s.line(Setting{Name: name, Default: strconv.Itoa(def)})
	if v == "" {
		return def
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < lowest || n > highest {
		s.Problem(name, v, fmt.Sprintf("an integer from %d to %d", lowest, highest))
		return def
	}
	return n
}

// OneOf reads one of the options, the first of which is the default; case does not matter.
func (s *Settings) OneOf(name string, options ...string) string {
	v := cmp.Or(s.line(Setting{Name: name, Default: options[0]}), options[0])
	for _, o := range options {
		if strings.EqualFold(v, o) {
			return o
		}
	}
	s.Problem(name, v, "one of "+strings.Join(options, ", "))
	return options[0]
}

// URL reads an absolute https URL without user, query and fragment; http passes where SIEM_ALLOW_HTTP is true. Its
// path is at least "/". It is empty if it is not set or invalid. If def is "", the URL is required.
func (s *Settings) URL(name, def, expected string) *url.URL {
	return s.url(Setting{Name: name, Required: def == "", Default: def}, expected, false)
}

// URLWithQuery reads a URL as URL does, and keeps its query.
func (s *Settings) URLWithQuery(name, def, expected string) *url.URL {
	return s.url(Setting{Name: name, Required: def == "", Default: def}, expected, true)
}

// SecretURL reads a required URL that is itself the credential: as URL, and never shown.
func (s *Settings) SecretURL(name, expected string) *url.URL {
	return s.url(Setting{Name: name, Required: true, Secret: true}, expected, false)
}

func (s *Settings) url(a Setting, expected string, query bool) *url.URL {
	v := cmp.Or(s.line(a), a.Default)
	if v == "" {
		s.missing(a, expected)
		return &url.URL{}
	}
	u, err := s.checkURL(v)
	if err == nil && u.RawQuery != "" && !query {
		err = errors.New("no query and no fragment")
	}
	if err != nil {
		if strings.ContainsAny(v, "@?#") { // may hold a password or a key
			v = "something else (hidden)"
		}
		s.Problem(a.Name, v, expected+": "+err.Error())
		return &url.URL{}
	}
	return u
}

func (s *Settings) checkURL(v string) (*url.URL, error) {
	u, err := url.Parse(v) // its error quotes the URL, and is not passed on
	switch {
	case err != nil || u.Hostname() == "" || u.Port() != "" && !validPort(u.Port()):
		return nil, errors.New("an absolute URL, https://host[:port][/path]")
	case u.Scheme == "http" && !s.allowed:
		return nil, errors.New("https (SIEM_ALLOW_HTTP=true would let http pass)")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("the scheme https")
	case u.User != nil:
		return nil, errors.New("no user or password in the URL")
	case u.Fragment != "":
		return nil, errors.New("no query and no fragment")
	}
	if u.Path == "" { // JoinPath would make a relative path of none
		u.Path = "/"
	}
	return u, nil
}
