package deadletter

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// maxIDs is the number of ids in one object of the progress. The last object is rewritten when ids are added.
const maxIDs = 1 << 16

// Progress is the set of the records of one connector that have been replayed. Only the holder of the lease writes it.
type Progress struct {
	bucket    *Bucket
	connector string
	ids       map[ID]struct{}
	number    int    // of the object that is being written
	etag      string // its ETag, "" when it does not exist
	body      []byte // its content, with what Add has added
	dirty     bool
}

// LoadProgress reads the progress of a connector.
func LoadProgress(ctx context.Context, b *Bucket, connector string) (*Progress, error) {
	p := &Progress{bucket: b, connector: connector, ids: make(map[ID]struct{}), number: 1}
	folder := ProgressFolder + "connector=" + connector + "/"
	var numbers []int
	err := b.list(ctx, folder, "", func(key string, _ *types.Object) {
		n := 0
		if _, err := fmt.Sscanf(strings.TrimPrefix(key, folder), "%d.ids", &n); err == nil && key == p.key(n) {
			numbers = append(numbers, n)
		}
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(numbers)
	for _, p.number = range numbers {
		body, out, err := b.Get(ctx, p.key(p.number), maxIDs*int64(len(ID{}))+1)
		if err == nil && len(body)%len(ID{}) != 0 {
			err = fmt.Errorf("%s: expected ids of %d bytes, has %d bytes", p.key(p.number), len(ID{}), len(body))
		}
		if err != nil {
			return nil, err
		}
		p.body, p.etag = body, aws.ToString(out.ETag)
		for id := range slices.Chunk(p.body, len(ID{})) {
			p.ids[ID(id)] = struct{}{}
		}
	}
	return p, nil
}

func (p *Progress) key(n int) string {
	return fmt.Sprintf("%sconnector=%s/%08d.ids", ProgressFolder, p.connector, n)
}

// Has reports whether a record has been replayed.
func (p *Progress) Has(id ID) bool {
	_, ok := p.ids[id]
	return ok
}

// Add adds a record. It is stored when Save has returned.
func (p *Progress) Add(id ID) {
	if p.Has(id) {
		return
	}
	p.ids[id] = struct{}{}
	p.body, p.dirty = append(p.body, id[:]...), true
}

// Save stores the added records. The error is ErrChanged if another replay has written the object meanwhile.
func (p *Progress) Save(ctx context.Context) error {
	if !p.dirty {
		return nil
	}
	etag, err := p.bucket.Put(ctx, p.key(p.number), cmp.Or(p.etag, IfAbsent), p.body)
	if err != nil {
		return err
	}
	p.etag, p.dirty = etag, false
	if len(p.body) >= maxIDs*len(ID{}) {
		p.number, p.etag, p.body = p.number+1, "", nil
	}
	return nil
}
