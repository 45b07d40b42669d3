package search

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/receipts"
	"github.com/arbitex/siem-connectors/shared/event"
)

// maxReceiptID is the longest event id that a receipt has; a longer one is replaced by the event's hash.
const maxReceiptID = 64

// reader reads events as SIEMs hold them.
type reader struct {
	parser event.Parser
	event  event.Event
}

// read describes the text of an event: a whole event, the object that replaces an event that is too large, or an event
// that the SIEM has cut. The second result is false for a text without an event id.
func (r *reader) read(text []byte) (receipts.Found, bool) {
	if bytes.HasPrefix(text, []byte(`{"truncated":true,"bytes":`)) {
		if found, ok := replaced(text); ok {
			return found, true
		}
	}
	r.parser.Reset()
	if r.parser.Parse(text, &r.event) == nil {
		hash, err := receipts.Hash(string(r.event.AppendContentHash(nil)))
		return receipts.Found{ID: r.id(), Hash: hash, Whole: true, Copies: 1}, err == nil
	}
	id := ownID(text)
	if id == "" {
		return receipts.Found{}, false
	}
	sum := sha256.Sum256(text)
	return receipts.Found{ID: id, Hash: binary.BigEndian.Uint64(sum[:8]), Whole: true, Copies: 1}, true
}

// id is the event's id in a receipt.
func (r *reader) id() string {
	if id := r.event.AppendID(nil); len(id) <= maxReceiptID {
		return string(id)
	}
	return string(r.event.AppendHashID(nil))
}

// replaced reads the object that replaces an event. Its hash is that of the event as received, which is the content
// hash unless the producer puts white space between tokens. Another hash therefore proves nothing.
func replaced(text []byte) (receipts.Found, bool) {
	var o struct {
		SHA256   string `json:"sha256"`
		Metadata struct {
			UID string `json:"uid"`
		} `json:"metadata"`
	}
	if json.Unmarshal(text, &o) != nil || len(o.SHA256) != 64 {
		return receipts.Found{}, false
	}
	id := o.Metadata.UID
	if len(id) > maxReceiptID {
		id = o.SHA256[:32]
	}
	hash, err := receipts.Hash(o.SHA256[:16])
	return receipts.Found{ID: id, Hash: hash, Copies: 1}, err == nil && id != ""
}

// ownID returns metadata.uid of a JSON object that may be cut, "" if it has none before the cut.
func ownID(text []byte) string {
	var id string
	_ = walk(bytes.NewReader(text), func(path string, d *json.Decoder) (bool, error) { // the cut is an error
		if path == "metadata.uid" {
			return true, d.Decode(&id)
		}
		return false, nil
	})
	if len(id) > maxReceiptID {
		return ""
	}
	return id
}

// uidOf returns metadata.uid of an event that a SIEM holds as attributes, "" if it has none.
func uidOf(attributes map[string]json.RawMessage) string {
	var metadata struct{ UID string }
	_ = json.Unmarshal(attributes["metadata"], &metadata) // another type has no uid
	return metadata.UID
}

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

// fields are variables by the path of the value that is decoded into them.
type fields map[string]any

// visit is a visitor.
func (f fields) visit(path string, d *json.Decoder) (bool, error) {
	target, ok := f[path]
	if !ok {
		return false, nil
	}
	return true, d.Decode(target)
}

// items returns a visitor that calls take for each value at a path, and decodes others into fields.
func items[T any](at string, take func(*T), others fields) visitor {
	return func(path string, d *json.Decoder) (bool, error) {
		if path != at {
			return others.visit(path, d)
		}
		var item T
		if err := d.Decode(&item); err != nil {
			return true, err
		}
		take(&item)
		return true, nil
	}
}
