package demo

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// deadLetter is a line of a dead-letter object.
type deadLetter struct {
	Connector   string          `json:"connector"`
	Error       string          `json:"error"`
	Event       json.RawMessage `json:"event"`
	EventBase64 string          `json:"event_base64"`
	Attempts    int             `json:"attempts"`
	MessageID   string          `json:"message_id"`
	Replays     int             `json:"replays"`

	body string // the message's body, compact when it is JSON
}

// letters reads the pending dead letters of a bucket: what stands in pending/ and whose message the replay's ledger does not
// have as put back. An object is read once for each of its versions.
type letters struct {
	client *s3.Client
	bucket string
	known  map[string][]deadLetter
	ledger map[string][]ident
}

// ident is what the ledger knows a message by: the first half of the SHA-256 of "id", a zero byte and the message's id.
type ident [16]byte

func identOf(messageID string) ident {
	sum := sha256.Sum256([]byte("id\x00" + messageID))
	return ident(sum[:])
}

func newLetters(client *s3.Client, bucket string) *letters {
	return &letters{client: client, bucket: bucket, known: map[string][]deadLetter{}, ledger: map[string][]ident{}}
}

// pending returns those pending now, each message once, by connector.
func (l *letters) pending(ctx context.Context) (map[string][]deadLetter, error) {
	var found []deadLetter
	gone := map[ident]bool{}
	pages := s3.NewListObjectsV2Paginator(l.client, &s3.ListObjectsV2Input{Bucket: aws.String(l.bucket)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("listing the dead letters: %w", err)
		}
		for _, object := range page.Contents {
			key, etag := aws.ToString(object.Key), aws.ToString(object.ETag)
			switch {
			case strings.Contains(key, "/pending/") && path.Ext(key) == ".jsonl":
				some, err := cached(ctx, l, l.known, key, etag, parseLetters)
				if err != nil {
					return nil, err
				}
				found = append(found, some...)
			case strings.Contains(key, "/ledger/"):
				ids, err := cached(ctx, l, l.ledger, key, etag, parseIdents)
				if err != nil {
					return nil, err
				}
				for _, id := range ids {
					gone[id] = true
				}
			}
		}
	}
	return byConnector(found, gone), nil
}

// byConnector sorts letters, without those that are gone and those that came before.
func byConnector(found []deadLetter, gone map[ident]bool) map[string][]deadLetter {
	out := map[string][]deadLetter{}
	for _, letter := range found {
		if id := identOf(letter.MessageID); !gone[id] {
			gone[id] = true
			out[letter.Connector] = append(out[letter.Connector], letter)
		}
	}
	return out
}

// cached returns what an object holds, nothing when it was moved since it was listed.
func cached[T any](ctx context.Context, l *letters, known map[string][]T, key, etag string, parse func(io.Reader) ([]T, error)) ([]T, error) {
	if found, ok := known[key+etag]; ok {
		return found, nil
	}
	object, err := l.client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(l.bucket), Key: aws.String(key)})
	if isNoSuchKey(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading dead letters %q: %w", key, err)
	}
	defer object.Body.Close()
	found, err := parse(object.Body)
	if err != nil {
		return nil, fmt.Errorf("reading dead letters %q: %w", key, err)
	}
	known[key+etag] = found
	return found, nil
}

func parseIdents(r io.Reader) (out []ident, err error) {
	text, err := io.ReadAll(r)
	for chunk := range slices.Chunk(text, len(ident{})) {
		if len(chunk) == len(ident{}) {
			out = append(out, ident(chunk))
		}
	}
	return out, err
}

func parseLetters(r io.Reader) ([]deadLetter, error) {
	var out []deadLetter
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			letter, err := parseLetter(line)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", len(out)+1, err)
			}
			out = append(out, letter)
		}
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func parseLetter(line []byte) (letter deadLetter, err error) {
	if err = json.Unmarshal(line, &letter); err == nil {
		letter.body, err = letter.original()
	}
	return letter, err
}

// original is the message body: the event's bytes, or what a JSON string or base64 text holds of a body that was no object.
func (d *deadLetter) original() (string, error) {
	if d.EventBase64 != "" {
		body, err := base64.StdEncoding.DecodeString(d.EventBase64)
		return string(body), err
	}
	if len(d.Event) > 0 && d.Event[0] == '"' {
		var body string
		err := json.Unmarshal(d.Event, &body)
		return newMessage([]byte(body)).wire, err
	}
	return newMessage(d.Event).wire, nil
}
