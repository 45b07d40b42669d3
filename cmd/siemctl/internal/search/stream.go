package search

import (
	"encoding/json"
	"fmt"
	"io"
)

// visitor is called before each value of a JSON document with the value's path, such as hits.hits[]. It reports whether
// it has decoded the value.
type visitor func(path string, d *json.Decoder) (bool, error)

// walk reads a JSON document without holding it. It is an error if the document ends early.
func walk(r io.Reader, visit visitor) error {
	d := json.NewDecoder(r)
	if err := walkValue(d, "", visit); err != nil {
		return fmt.Errorf("reading the response: %w", unexpected(err))
	}
	return nil
}

// unexpected makes io.EOF an error that says that more was expected.
func unexpected(err error) error {
	if err == io.EOF { //nolint:errorlint // the decoder returns it as it is
		return io.ErrUnexpectedEOF
	}
	return err
}

func walkValue(d *json.Decoder, path string, visit visitor) error {
	if done, err := visit(path, d); done || err != nil {
		return err
	}
	token, err := d.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('['):
		for d.More() {
			if err := walkValue(d, path+"[]", visit); err != nil {
				return err
			}
		}
	case json.Delim('{'):
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return err
			}
			below := fmt.Sprint(key)
			if path != "" {
				below = path + "." + below
			}
			if err := walkValue(d, below, visit); err != nil {
				return err
			}
		}
	default:
		return nil
	}
	_, err = d.Token() // the end
	return err
}

// decodeInto returns a visitor's step that decodes values at some paths into variables.
func decodeInto(targets map[string]any) visitor {
	return func(path string, d *json.Decoder) (bool, error) {
		target, ok := targets[path]
		if !ok {
			return false, nil
		}
		return true, d.Decode(target)
	}
}
