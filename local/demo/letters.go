package demo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"path"
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

// letters reads the pending dead letters of a bucket. An object is read once; the functions never change one.
type letters struct {
	client *s3.Client
	bucket string
	known  map[string][]deadLetter
}

// pending returns those pending now, each message once, by connector.
func (l *letters) pending(ctx context.Context) (map[string][]deadLetter, error) {
	out := map[string][]deadLetter{}
	seen := map[string]bool{}
	pages := s3.NewListObjectsV2Paginator(l.client, &s3.ListObjectsV2Input{Bucket: aws.String(l.bucket)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("listing the dead letters: %w", err)
		}
		for _, object := range page.Contents {
			key := aws.ToString(object.Key)
			if !strings.Contains(key, "/pending/") || path.Ext(key) != ".jsonl" {
				continue
			}
			found, err := l.read(ctx, key, aws.ToString(object.ETag))
			if err != nil {
				return nil, err
			}
			for _, letter := range found {
				if !seen[letter.MessageID] {
					seen[letter.MessageID] = true
					out[letter.Connector] = append(out[letter.Connector], letter)
				}
			}
		}
	}
	return out, nil
}

// read returns an object's letters, none when it was moved since it was listed.
func (l *letters) read(ctx context.Context, key, etag string) ([]deadLetter, error) {
	if found, ok := l.known[key+etag]; ok {
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
	found, err := parseLetters(object.Body)
	if err != nil {
		return nil, fmt.Errorf("reading dead letters %q: %w", key, err)
	}
	l.known[key+etag] = found
	return found, nil
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
