// Package connector delivers events to Elasticsearch's bulk API: for each event an action line and the event itself,
// with "@timestamp" added, in one POST. A document's _id is the event id and a hash of the event, so that an event that
// is sent twice is stored once. The connector detects a data stream, which accepts only the action create, by its
// response.
// https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk
package connector

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/jsonscan"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/settings"
)

var (
	_ deliver.Checker = (*connector)(nil)
	_ deliver.Noter   = (*connector)(nil)
)

const (
	// maxRequestBytes and maxRequestEvents are the platform's. Elasticsearch accepts 100 MB by default
	// (http.max_content_length, decompressed), and recommends far smaller requests.
	// https://www.elastic.co/docs/deploy-manage/production-guidance/optimize-performance/indexing-speed
	maxRequestBytes  = 5_000_000
	maxRequestEvents = 100

	// maxIDBytes is the maximum of an _id. Elasticsearch refuses the whole request for a longer one.
	// https://www.elastic.co/docs/reference/elasticsearch/mapping-reference/mapping-id-field
	maxIDBytes = 512

	// maxAnswerBytes is enough for the response to a full request of which every item is refused with a long reason.
	maxAnswerBytes = 4 << 20
)

// The actions.
const (
	opIndex  = "index"
	opCreate = "create"
)

type connector struct {
	url    *url.URL // base URL of the cluster
	client *httpsend.Client
	header http.Header
	ndjson http.Header // the same for the bulk API

	// URLs of the bulk API: with parameters that every version knows; with one of Elasticsearch 8.18 and later, which
	// keeps text of events out of reasons; and for an index that a response called a data stream, with one more, so that
	// Elasticsearch does not create an index in place of a data stream that was deleted.
	plain, modern, strict *url.URL
	bulk                  atomic.Pointer[url.URL] // the one of the next request

	target string      // an index, an alias or a data stream
	index  []byte      // the action line up to the _id
	create []byte      // the same for the other action
	stream atomic.Bool // the action is create: configured, or learned from a response
}

// Open makes the connector from settings, without a connection. If s.Err() is not nil afterwards, it must not be used.
func Open(s *settings.Settings) deliver.Connector {
	c := &connector{url: s.URL("ELASTIC_URL", "", "the cluster's base URL, such as https://my-cluster.es.io:9243")}
	key := "ApiKey " + readKey(s).Reveal()
	c.header = http.Header{"Authorization": {key}, "Content-Type": {"application/json"}}
	c.ndjson = http.Header{"Authorization": {key}, "Content-Type": {"application/x-ndjson"}}
	c.target = s.String("ELASTIC_INDEX", "arbitex-audit")
	if !validIndex(c.target) {
		s.Problem("ELASTIC_INDEX", c.target, `the name of an index, an alias or a data stream: at most 255 bytes, `+
			`not beginning with - _ +, without spaces and \ / * ? " < > | , # :`)
	}
	query := answerFilter
	if pipeline := s.String("ELASTIC_PIPELINE", ""); pipeline != "" {
		query += "&pipeline=" + url.QueryEscape(pipeline)
	}
	c.plain = c.endpoint("_bulk", query)
	c.modern = c.endpoint("_bulk", query+"&include_source_on_error=false")
	c.strict = c.endpoint("_bulk", query+"&include_source_on_error=false&require_data_stream=true")
	c.bulk.Store(c.modern)
	c.index, c.create = actionLine(opIndex, c.target), actionLine(opCreate, c.target)
	c.stream.Store(s.OneOf("ELASTIC_OP_TYPE", opIndex, opCreate) == opCreate)
	cfg := httpsend.Configure(s, "gzip", "ELASTIC_URL")
	cfg.ReadTLS(s, "ELASTIC")
	cfg.MaxResponse = maxAnswerBytes
	c.client = httpsend.New(cfg)
	return c
}

// readKey reads the API key, and returns it encoded. The part of id:key behind the colon is a secret by itself.
func readKey(s *settings.Settings) (encoded secret.Value) {
	encoded = s.Secret("ELASTIC_API_KEY", true, "the API key, encoded or as id:key")
	pair := encoded.Reveal()
	if strings.Contains(pair, ":") { // base64 has no colon
		encoded = secret.New(base64.StdEncoding.EncodeToString([]byte(pair)))
	} else if text, err := base64.StdEncoding.DecodeString(pair); err == nil {
		pair = string(text)
	}
	_, key, _ := strings.Cut(pair, ":")
	s.Conceal(encoded, secret.New(key))
	return encoded
}

// validIndex reports whether Elasticsearch could have an index or an alias of that name. An alias may have upper case.
// https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-indices-create
func validIndex(name string) bool {
	const maxBytes = 255
	return len(name) <= maxBytes && name != "." && name != ".." && !strings.ContainsAny(name, "\\/*?\"<>| ,#:") &&
		!strings.ContainsRune("-_+", rune(name[0]))
}

// answerFilter reduces a response to what classify reads. Every item keeps its status, so that the items can be
// counted.
// https://www.elastic.co/docs/reference/elasticsearch/rest-apis/common-options
const answerFilter = "filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason," +
	"items.*.error.caused_by,items.*.result,items.*.failure_store"

// endpoint is the URL of one of Elasticsearch's APIs.
func (c *connector) endpoint(path, query string) *url.URL {
	u := c.url.JoinPath(path)
	u.RawQuery = query
	return u
}

func actionLine(op, index string) []byte {
	line := jsonscan.AppendQuoted([]byte(`{"`+op+`":{"_index":`), index)
	return append(line, `,"_id":`...)
}

// Format implements deliver.Connector. The last line needs a line break as well.
func (c *connector) Format() deliver.Format {
	return deliver.Format{Separator: "\n", Close: "\n", MaxRecords: maxRequestEvents, MaxBytes: maxRequestBytes}
}

// Append implements deliver.Connector: the action line, and "@timestamp" with the event's own bytes.
func (c *connector) Append(dst []byte, e *event.Event) (record []byte, truncated bool, err error) {
	if c.stream.Load() {
		dst = append(dst, c.create...)
	} else {
		dst = append(dst, c.index...)
	}
	dst = appendID(dst, e)
	dst = append(dst, "}}\n"...)
	if e.HasTimestamp {
		return e.AppendCompact(dst), false, nil
	}
	dst = append(dst, `{"@timestamp":"`...)
	dst = e.AppendTime(dst)
	dst = append(dst, '"')
	brace := len(dst)
	dst = e.AppendCompact(dst)
	dst[brace] = ',' // an event has at least its time, so a member follows
	return dst, false, nil
}

// appendID appends the _id as a JSON string: metadata.uid and a hash of the content, so that two events with one uid
// are two documents; or the event id alone, which is a hash, if there is no uid or it is too long. An escape may encode
// half a surrogate pair, which Elasticsearch rejects in an _id, so an id with escapes is encoded again.
func appendID(dst []byte, e *event.Event) []byte {
	start := len(dst)
	if e.HasUID() {
		dst = e.AppendIDJSON(dst)
		if bytes.IndexByte(dst[start:], '\\') >= 0 {
			dst = jsonscan.AppendQuoted(dst[:start], e.AppendID(nil))
		}
		dst = e.AppendContentHash(append(dst[:len(dst)-1], '-'))
		if len(dst)-start-1 <= maxIDBytes {
			return append(dst, '"')
		}
	}
	return append(e.AppendHashID(append(dst[:start], '"')), '"')
}

// Send implements deliver.Connector. A server that does not know a parameter gets the request again without it, once.
func (c *connector) Send(ctx context.Context, b *deliver.Batch) error {
	request := httpsend.Request{URL: c.bulk.Load(), Header: c.ndjson, Body: b.Body, Meter: b.Meter}
	a, err := c.client.Do(ctx, request)
	if err == nil && request.URL != c.plain && unknownParameter(a) {
		c.bulk.Store(c.plain)
		request.URL = c.plain
		a, err = c.client.Do(ctx, request)
	}
	if err != nil {
		return err
	}
	r := classify(a, b.Len())
	if r.wantsCreate {
		c.stream.Store(true)
		c.bulk.CompareAndSwap(c.modern, c.strict)
		b.Warn("ELASTIC_INDEX is a data stream, which accepts only the action create: ELASTIC_OP_TYPE=create saves a " +
			"request at every start")
	}
	if r.failureStored {
		b.Warn("Elasticsearch put events into the failure store of its data stream, because they do not fit its mapping or " +
			"pipeline")
	}
	if slices.ContainsFunc(r.replaced, b.First) {
		b.Warn("events replaced a document on their first attempt: they were enqueued twice")
	}
	return r.err
}

// Check implements deliver.Checker. Two requests that write nothing show whether the key is known, and whether it may
// write to the index. OpenSearch, and Elasticsearch without security, do not have these requests.
// https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-security-has-privileges
func (c *connector) Check(ctx context.Context) error {
	var who struct{} // any object: how it describes the key differs from version to version
	a, err := c.ask(ctx, httpsend.Request{Method: http.MethodGet, URL: c.endpoint("_security/_authenticate", "")}, &who)
	switch {
	case a != nil && lacksSecurity(a):
		return c.checkBulk(ctx)
	case err != nil:
		return err
	}
	return c.checkPrivileges(ctx)
}

// lacksSecurity reports whether OpenSearch, or Elasticsearch without security, responds that it has no such path.
func lacksSecurity(a *httpsend.Response) bool {
	text, _ := httpsend.Text(a.Object()["error"])
	return a.Status == http.StatusBadRequest && strings.HasPrefix(text, "no handler found for uri [") ||
		a.Status == http.StatusMethodNotAllowed && strings.HasPrefix(text, "Incorrect HTTP method for uri [")
}

// checkBulk sends an empty bulk request. Only a server that accepts the credential refuses it for its missing body.
func (c *connector) checkBulk(ctx context.Context) error {
	a, err := c.client.Do(ctx, httpsend.Request{URL: c.endpoint("_bulk", ""), Header: c.header})
	if err != nil {
		return err
	}
	if a.OK() {
		return unexpected(a)
	}
	refusal := requestCodes.Classify(a)
	if a.Status == http.StatusBadRequest && failure.Of(refusal).Code == "parse_exception" {
		return nil
	}
	return refusal
}

// Note implements deliver.Noter. With synthetic _source, Elasticsearch rebuilds a document from its fields, so what it
// returns differs from the event's bytes. Without the privilege view_index_metadata, nothing is known.
// https://www.elastic.co/docs/reference/elasticsearch/mapping-reference/mapping-source-field#synthetic-source
func (c *connector) Note(ctx context.Context) deliver.Note {
	var indices map[string]struct {
		Settings struct {
			Index struct {
				Mode    string
				Mapping struct{ Source struct{ Mode string } }
			}
		}
	}
	const filter = "filter_path=*.settings.index.mode,*.settings.index.mapping.source.mode"
	r := httpsend.Request{Method: http.MethodGet, URL: c.endpoint(c.target+"/_settings", filter)}
	if _, err := c.ask(ctx, r, &indices); err != nil {
		return deliver.Note{}
	}
	for name, i := range indices {
		mode, index := i.Settings.Index.Mapping.Source.Mode, i.Settings.Index.Mode
		if mode == "synthetic" || mode == "" && (index == "logsdb" || index == "time_series") {
			return deliver.Note{Text: strconv.Quote(name) + " has synthetic _source (with a subscription): Elasticsearch " +
				"stores fields, not the bytes of an event"}
		}
	}
	return deliver.Note{}
}

// checkPrivileges asks for the privileges that let a key write: create_doc allows the action create, create and index
// allow both actions.
// https://www.elastic.co/docs/reference/elasticsearch/security-privileges
func (c *connector) checkPrivileges(ctx context.Context) error {
	question := jsonscan.AppendQuoted([]byte(`{"index":[{"names":[`), c.target)
	question = append(question, `],"privileges":["create_doc","create","index"]}]}`...)
	var answer struct {
		All   bool                       `json:"has_all_requested"`
		Index map[string]map[string]bool `json:"index"`
	}
	r := httpsend.Request{URL: c.endpoint("_security/user/_has_privileges", ""), Body: question, Plain: true}
	if _, err := c.ask(ctx, r, &answer); err != nil {
		return err
	}
	may := answer.Index[c.target]
	switch {
	case answer.All || may["create"] || may["index"] || may["create_doc"] && c.stream.Load():
		return nil
	case may["create_doc"]:
		return forbidden("the API key may only create documents, which is enough for a data stream; for an index set " +
			"ELASTIC_OP_TYPE=create, or give the key the privilege index")
	}
	return forbidden("give the API key the privileges create_doc and auto_configure (or index and auto_configure) on " +
		"the index")
}

// forbidden is a key that is known and must not do what is needed.
func forbidden(hint string) error {
	return &failure.Error{Kind: failure.Unauthorized, Step: failure.Auth,
		Detail: "the API key may not write to ELASTIC_INDEX", Hint: hint}
}

// ask makes a request of the check, and decodes the object of its response into v. The response is nil if none arrived.
func (c *connector) ask(ctx context.Context, r httpsend.Request, v any) (*httpsend.Response, error) {
	r.Header = c.header
	a, err := c.client.Do(ctx, r)
	switch {
	case err != nil:
		return nil, err
	case !a.OK():
		return a, requestCodes.Classify(a)
	case json.Unmarshal(a.Body, v) != nil:
		return a, unexpected(a)
	}
	return a, nil
}

// unexpected is the failure of a success that is not Elasticsearch's.
func unexpected(a *httpsend.Response) error {
	return &failure.Error{Kind: failure.Misconfigured, Step: failure.Request, Status: a.Status, Hint: notElasticsearch}
}
