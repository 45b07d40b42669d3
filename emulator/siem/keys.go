package siem

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Keys returns the keys of an object in their order, including duplicates.
func Keys(object json.RawMessage) []string {
	decoder := json.NewDecoder(bytes.NewReader(object))
	_, _ = decoder.Token()
	var out []string
	for decoder.More() {
		key, _ := decoder.Token()
		out = append(out, fmt.Sprint(key))
		var skip json.RawMessage
		if decoder.Decode(&skip) != nil {
			break
		}
	}
	return out
}
