package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/deployed"
	"github.com/arbitex/siem-connectors/functions/all"
	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// connector is a connector with what the tool does with it.
type connector struct{ all.Connector }

// allConnectors returns the connectors. Their Open reads all settings of their functions, except the queues.
func allConnectors() []connector {
	var list []connector
	for _, c := range all.Connectors() {
		open := c.Open
		c.Open = func(s *settings.Settings) deliver.Connector {
			lambdahost.ReadOptional(s)
			return open(s)
		}
		list = append(list, connector{c})
	}
	return list
}

// find returns the connectors with these names in the list's order; without names, all of them.
func find(wanted []string) ([]connector, error) {
	known := connectors.Names()
	var unknown []string
	for _, name := range wanted {
		if !slices.Contains(known, name) {
			unknown = append(unknown, fmt.Sprintf("%q%s", name, suggest(name, known)))
		}
	}
	if unknown != nil {
		return nil, usage("connector: expected one of %s, found %s", strings.Join(known, ", "), strings.Join(unknown, ", "))
	}
	return slices.DeleteFunc(allConnectors(), func(c connector) bool {
		return len(wanted) > 0 && !slices.Contains(wanted, c.Name)
	}), nil
}

// connect returns the stack and the named connectors; without names, all that the stack has deployed. A named connector
// that is not deployed is an error.
func (a *app) connect(ctx context.Context, wanted []string) (*deployed.Stack, []connector, error) {
	list, err := find(wanted)
	if err != nil {
		return nil, nil, err
	}
	s, err := deployed.Connect(ctx, a.options)
	if err != nil {
		return nil, nil, err
	}
	var here []connector
	for _, c := range list {
		if s.Has(c.Name) {
			here = append(here, c)
		} else if len(wanted) > 0 {
			return nil, nil, usage("connector: %s is not deployed in the stack %q (parameter Connectors)", c.Name, s.Name)
		}
	}
	if len(here) == 0 {
		return nil, nil, usage("the stack %q has no connector deployed: set the parameter Connectors", s.Name)
	}
	return s, here, nil
}

// completeConnectors offers the connectors' names to the shell.
func completeConnectors(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return connectors.Names(), cobra.ShellCompDirectiveNoFileComp
}

// settings lists the settings that the connector reads, optional ones included.
func (c connector) settings() []settings.Setting {
	s := settings.New(func(string) string { return "" }, nil)
	c.Open(s)
	return s.Declared()
}

// reads reports whether the connector reads a setting.
func (c connector) reads(name string) bool {
	return slices.ContainsFunc(c.settings(), func(s settings.Setting) bool { return s.Name == name }) ||
		slices.Contains(c.RotatesWithSecret, name)
}

// problems opens the connector and returns its configuration problems. Each begins with the setting's name.
func (c connector) problems(env settings.Lookup, secret map[string]string) []string {
	s := settings.New(env, secret)
	c.Open(s)
	if wrong, ok := errors.AsType[*settings.Error](s.Err()); ok {
		return wrong.Problems
	}
	return nil
}

// maxFileBytes limits a file of settings or parameters.
const maxFileBytes = 1 << 20

// open opens a file; "-" is standard input.
func (a *app) open(flag, name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(a.in.Reader()), nil
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, usage("%s: %w", flag, err)
	}
	return file, nil
}

// readFile reads a small file; "-" is standard input.
func (a *app) readFile(flag, name string) ([]byte, error) {
	from, err := a.open(flag, name)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	data, err := io.ReadAll(io.LimitReader(from, maxFileBytes+1))
	if err != nil {
		return nil, usage("%s: %w", flag, err)
	}
	if len(data) > maxFileBytes {
		return nil, usage("%s: expected at most %d bytes, %s has more", flag, maxFileBytes, name)
	}
	return data, nil
}

// settingsSource is the environment with the settings of a file before it.
type settingsSource struct {
	file map[string]string // nil without a file
	env  settings.Lookup
}

func (s settingsSource) lookup(name string) string {
	if value, ok := s.file[name]; ok {
		return value
	}
	return s.env(name)
}

// settingsFrom reads the settings of a file; without a file, only the environment counts.
func (a *app) settingsFrom(file string) (settingsSource, error) {
	if file == "" {
		return settingsSource{env: a.env}, nil
	}
	data, err := a.readFile("--settings", file)
	if err != nil {
		return settingsSource{}, err
	}
	values, err := parseSettings(data)
	if err != nil {
		return settingsSource{}, usage("--settings %s: %w", file, err)
	}
	return settingsSource{values, a.env}, nil
}

// hostSettings returns the settings that every connector's function reads and Open does not.
func hostSettings() []string {
	return []string{"SIEM_SECRET_ID", "SIEM_QUEUE_URL", "SIEM_DEAD_LETTER_QUEUE_URL", "SSL_CERT_FILE", "SSL_CERT_DIR"}
}

// unknownSetting is a name that no connector reads.
type unknownSetting struct {
	name, closest string
	misspelled    bool // it resembles a setting, so it is an error; otherwise it may be meant for another program
}

func (u unknownSetting) String() string {
	text := u.name + ": no connector reads a setting with this name"
	if u.closest != "" {
		text += fmt.Sprintf("; did you mean %s?", u.closest)
	}
	return text
}

// unknownSettings returns the names in a file of settings that no connector reads. Variables of the AWS SDK are known.
func (s settingsSource) unknownSettings() []unknownSetting {
	known, prefixes := hostSettings(), []string{"SIEM_"}
	for _, c := range allConnectors() {
		prefixes = append(prefixes, c.Variable(""))
		known = append(known, c.RotatesWithSecret...)
		for _, setting := range c.settings() {
			known = append(known, setting.Name)
		}
	}
	var list []unknownSetting
	for _, name := range slices.Sorted(maps.Keys(s.file)) {
		if slices.Contains(known, name) || strings.HasPrefix(name, "AWS_") {
			continue
		}
		u := unknownSetting{name: name, closest: closest(name, known)}
		u.misspelled = u.closest != "" ||
			slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(strings.ToUpper(name), p) })
		list = append(list, u)
	}
	return list
}

// parseSettings reads settings as a JSON object, or as lines NAME=value. In lines, # begins a comment line, and "export
// " and quotes around a value are removed. Errors quote no value, because it may be a secret.
func parseSettings(data []byte) (map[string]string, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // some editors write a byte order mark
	if trimmed := bytes.TrimSpace(data); len(trimmed) > 0 && trimmed[0] == '{' {
		return parseObject(trimmed)
	}
	values := map[string]string{}
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		if name = strings.TrimSpace(name); !ok || !isName(name) {
			return nil, fmt.Errorf("line %d: expected NAME=value", i+1)
		}
		values[name] = unquote(strings.TrimSpace(value))
	}
	return values, nil
}

func isName(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return r != '_' && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
}

// unquote removes the quotes around a value. A value with unbalanced quotes stays as it is.
func unquote(value string) string {
	if len(value) < 2 || value[0] != value[len(value)-1] {
		return value
	}
	switch value[0] {
	case '\'':
		return value[1 : len(value)-1]
	case '"':
		if text, err := strconv.Unquote(value); err == nil {
			return text
		}
	}
	return value
}

// parseObject reads settings from a JSON object, in the way in which the connectors read their secret.
func parseObject(data []byte) (map[string]string, error) {
	values, err := lambdahost.ParseSecret(string(data))
	if wrong, ok := errors.AsType[lambdahost.KeysError](err); ok {
		return nil, fmt.Errorf("%s: expected strings, found objects or arrays", strings.Join(wrong, ", "))
	}
	if err != nil {
		return nil, errors.New("expected a JSON object, it is not valid JSON")
	}
	return values, nil
}
