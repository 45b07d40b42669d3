package letters

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// ident is what the replay's ledger knows a message by: the first half of a SHA-256.
type ident [16]byte

func identOf(messageID string) ident {
	sum := sha256.Sum256([]byte("id\x00" + messageID))
	return ident(sum[:16])
}

// ledger knows which lines of pending objects have been put back. An object stays pending with such lines in it when a
// replay was cut short, or when it holds what cannot be put back; partial/ names those objects, and only for them the
// connector's ledger is read.
type ledger struct {
	box     *Box
	partial map[string]bool // keys of pending objects

	mu  sync.Mutex
	ids map[string]map[ident]bool // by the prefix of the connector's ledger
}

// ledger lists the objects of which a part has been put back.
func (b *Box) ledger(ctx context.Context, connector string) (*ledger, error) {
	l := &ledger{box: b, partial: map[string]bool{}, ids: map[string]map[ident]bool{}}
	folder := ofConnector("partial/", connector)
	err := b.objects(ctx, b.root+folder, func(key string) error {
		tail, _, ok := cutLast(strings.TrimPrefix(key, b.root+"partial/"))
		if ok {
			l.partial[b.root+"pending/"+tail] = true
		}
		return nil
	})
	return l, err
}

// cutLast cuts a path before its last slash.
func cutLast(path string) (before, after string, ok bool) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path, false
	}
	return path[:i], path[i+1:], true
}

func ofConnector(folder, connector string) string {
	if connector == "" {
		return folder
	}
	return folder + "connector=" + connector + "/"
}

// of returns the ids that have been put back of an object's connector, nil where nothing of the object has been.
func (l *ledger) of(ctx context.Context, key string) (map[ident]bool, error) {
	if !l.partial[key] {
		return nil, nil
	}
	folder, _, _ := strings.Cut(strings.TrimPrefix(key, l.box.root+"pending/"), "/")
	prefix := l.box.root + "ledger/" + folder + "/"
	l.mu.Lock()
	defer l.mu.Unlock()
	if ids, ok := l.ids[prefix]; ok {
		return ids, nil
	}
	ids := map[ident]bool{}
	err := l.box.objects(ctx, prefix, func(key string) error { return l.box.readIDs(ctx, key, ids) })
	l.ids[prefix] = ids
	return ids, err
}

// readIDs adds the ids of an object of the ledger.
func (b *Box) readIDs(ctx context.Context, key string, ids map[ident]bool) error {
	out, err := b.store.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.bucket, Key: &key})
	if err != nil {
		return fmt.Errorf("reading s3://%s/%s: %w", b.bucket, key, err)
	}
	defer out.Body.Close()
	for {
		var id ident
		_, err := io.ReadFull(out.Body, id[:])
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return fmt.Errorf("reading s3://%s/%s: %w", b.bucket, key, err)
		}
		ids[id] = true
	}
}

// objects calls each for the key of every object with a prefix.
func (b *Box) objects(ctx context.Context, prefix string, each func(key string) error) error {
	pages := s3.NewListObjectsV2Paginator(b.store, &s3.ListObjectsV2Input{Bucket: &b.bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("listing s3://%s/%s: %w", b.bucket, prefix, err)
		}
		for _, o := range page.Contents {
			if err := each(aws.ToString(o.Key)); err != nil {
				return err
			}
		}
	}
	return nil
}
