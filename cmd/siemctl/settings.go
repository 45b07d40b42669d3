package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// maxFileBytes bounds a file of settings or parameters.
const maxFileBytes = 1 << 20

// readFile reads a small file; "-" is standard input.
func (a *app) readFile(flag, name string) ([]byte, error) {
	from := a.in.Reader()
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, usage("%s: %w", flag, err)
		}
		defer file.Close()
		from = file
	}
	data, err := io.ReadAll(io.LimitReader(from, maxFileBytes+1))
	if err != nil {
		return nil, usage("%s: %w", flag, err)
	}
	if len(data) > maxFileBytes {
		return nil, usage("%s: expected at most %d bytes, %s has more", flag, maxFileBytes, name)
	}
	return data, nil
}

// settingsFrom returns the environment with the settings of a file before it, of the environment alone without a file.
func (a *app) settingsFrom(file string) (func(string) string, error) {
	if file == "" {
		return a.env, nil
	}
	data, err := a.readFile("--settings", file)
	if err != nil {
		return nil, err
	}
	values, err := parseSettings(data)
	if err != nil {
		return nil, usage("--settings %s: %w", file, err)
	}
	return func(name string) string {
		if value, ok := values[name]; ok {
			return value
		}
		return a.env(name)
	}, nil
}

// parseSettings reads settings as a JSON object, or as lines NAME=value. In lines, # begins a comment line, "export " is
// skipped, and quotes around a value are taken off. Errors quote no value: it may be a secret.
func parseSettings(data []byte) (map[string]string, error) {
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

// unquote takes the quotes off a value; what is not quoted well stays as it is.
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

// parseObject reads settings of a JSON object, as the connectors read their secret.
func parseObject(data []byte) (map[string]string, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(data, &object); err != nil { // its text may quote a value
		return nil, fmt.Errorf("expected a JSON object, it is not valid JSON")
	}
	values := make(map[string]string, len(object))
	var wrong []string
	for name, raw := range object {
		switch raw[0] {
		case '"':
			var text string
			_ = json.Unmarshal(raw, &text) // it is valid
			values[name] = text
		case '{', '[':
			wrong = append(wrong, name)
		case 'n': // null is no value
		default:
			values[name] = string(raw)
		}
	}
	if wrong != nil {
		slices.Sort(wrong)
		return nil, fmt.Errorf("%s: expected strings, found objects or arrays", strings.Join(wrong, ", "))
	}
	return values, nil
}
