package elastic

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"strings"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

func header() map[string]string {
	return map[string]string{"Content-Type": "application/json", "X-Elastic-Product": "Elasticsearch"}
}

// success returns a 200 with the keys that the request's filter_path selects.
func success(body map[string]any, r *siem.Request) siem.Answer {
	query := r.URL.Query()
	var out any = body
	if patterns := query.Get("filter_path"); patterns != "" {
		var paths [][]string
		for p := range strings.SplitSeq(patterns, ",") {
			paths = append(paths, strings.Split(p, "."))
		}
		if filtered, some := filter(body, paths); some {
			out = filtered
		} else {
			out = map[string]any{}
		}
	}
	text, _ := json.Marshal(out) // maps, texts and numbers always marshal
	if query.Has("pretty") && query.Get("pretty") != "false" {
		text = pretty(text)
	}
	return siem.Answer{Status: http.StatusOK, Header: header(), Body: string(text)}
}

func pretty(text []byte) []byte {
	var out bytes.Buffer
	_ = json.Indent(&out, text, "", "  ")
	return append(bytes.ReplaceAll(out.Bytes(), []byte(`": `), []byte(`" : `)), '\n')
}

// filter returns the values that the paths select. A path skips arrays: it applies to each of their elements.
func filter(v any, paths [][]string) (kept any, some bool) {
	for _, p := range paths {
		if len(p) == 0 {
			return v, true
		}
	}
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, value := range v {
			var below [][]string
			for _, p := range paths {
				if ok, _ := path.Match(p[0], key); ok {
					below = append(below, p[1:])
				}
			}
			if kept, some := filter(value, below); some && len(below) > 0 {
				out[key] = kept
			}
		}
		return out, len(out) > 0
	case []any:
		var out []any
		for _, element := range v {
			if kept, some := filter(element, paths); some {
				out = append(out, kept)
			}
		}
		return out, len(out) > 0
	}
	return nil, false
}

// failure returns the refusal of a whole request.
func failure(status int, kind, reason string) siem.Answer {
	cause := map[string]any{"type": kind, "reason": reason}
	body, _ := json.Marshal(map[string]any{
		"error": map[string]any{"root_cause": []any{cause}, "type": kind, "reason": reason}, "status": status,
	})
	return siem.Answer{
		Status: status, Header: header(), Body: string(body), Reason: fmt.Sprintf("%d %s", status, kind), Detail: reason,
	}
}

// text returns a refusal of the REST layer.
func text(status int, reason string) siem.Answer {
	body, _ := json.Marshal(map[string]any{"error": reason, "status": status})
	return siem.Answer{Status: status, Header: header(), Body: string(body), Detail: reason}
}

// refusal is the error of an item; the zero value is none.
type refusal struct {
	status       int
	kind, reason string
	cause        string // error.caused_by.reason
}

func refuse(status int, kind, format string, args ...any) refusal {
	return refusal{status: status, kind: kind, reason: fmt.Sprintf(format, args...)}
}

// item returns an element of the response's items.
func item(a action, status int, result, failureStore string, why refusal) map[string]any {
	body := map[string]any{"_index": a.index, "_id": a.id, "status": status}
	if why.status != 0 {
		cause := map[string]any{"type": why.kind, "reason": why.reason}
		if why.cause != "" {
			cause["caused_by"] = map[string]any{"type": "illegal_argument_exception", "reason": why.cause}
		}
		body["error"] = cause
	} else {
		body["_version"], body["result"], body["_seq_no"], body["_primary_term"] = 1, result, 0, 1
		body["_shards"] = map[string]any{"total": 2, "successful": 1, "failed": 0}
	}
	if failureStore != "" {
		body["failure_store"] = failureStore
	}
	return map[string]any{a.op: body}
}
