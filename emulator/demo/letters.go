package demo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/arbitex/siem-connectors/shared/deadletter"
)

// deadLetterPrefix is the default of the template's parameter DeadLetterPrefix.
const deadLetterPrefix = "dead-letters"

// deadLetter is a pending dead letter.
type deadLetter struct {
	Connector string
	Error     string
	Attempts  int
	body      string // of the message, compact if it is JSON
}

func newDeadLetter(r *deadletter.Record) deadLetter {
	return deadLetter{Connector: r.Connector, Error: r.Error, Attempts: r.Attempts, body: newMessage(r.Body).wire}
}

// letters reads the pending dead letters of a bucket.
type letters struct{ reader *deadletter.Reader }

func newLetters(client *s3.Client, bucket string) (*letters, error) {
	store := &cachedStore{Client: client, bodies: map[string][]byte{}}
	reader, err := deadletter.NewReader(store, "s3://"+bucket+"/"+deadLetterPrefix)
	return &letters{reader}, err
}

// pending returns the pending dead letters by connector. A dead letter that was written twice counts once.
func (l *letters) pending(ctx context.Context) (map[string][]deadLetter, error) {
	found := map[string][]deadLetter{}
	seen := map[deadletter.ID]bool{}
	_, err := l.reader.Each(ctx, deadletter.Filter{}, func(one *deadletter.Letter) error {
		if id := one.ID(one.Key); !seen[id] {
			seen[id] = true
			found[one.Connector] = append(found[one.Connector], newDeadLetter(&one.Record))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the dead letters: %w", err)
	}
	return found, nil
}

// cachedStore reads each version of an object once.
type cachedStore struct {
	*s3.Client
	mu     sync.Mutex
	bodies map[string][]byte // by key, range and ETag
}

// GetObject implements deadletter.Store.
func (s *cachedStore) GetObject(ctx context.Context, in *s3.GetObjectInput,
	o ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	key := fmt.Sprintf("%s %s %s", aws.ToString(in.Key), aws.ToString(in.Range), aws.ToString(in.IfMatch))
	s.mu.Lock()
	body, ok := s.bodies[key]
	s.mu.Unlock()
	if !ok || in.IfMatch == nil {
		out, err := s.Client.GetObject(ctx, in, o...)
		if err != nil {
			return nil, err
		}
		defer out.Body.Close()
		if body, err = io.ReadAll(out.Body); err != nil {
			return nil, err
		}
		s.mu.Lock()
		s.bodies[key] = body
		s.mu.Unlock()
	}
	return &s3.GetObjectOutput{Body: io.NopCloser(bytes.NewReader(body)), ETag: in.IfMatch}, nil
}
