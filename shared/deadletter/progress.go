package deadletter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

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
	err := b.list(ctx, folder, func(key string, _ *types.Object) {
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
		p.body, p.etag, _, err = b.Get(ctx, p.key(p.number), maxIDs*int64(len(ID{}))+1)
		if err == nil && len(p.body)%len(ID{}) != 0 {
			err = fmt.Errorf("%s: expected ids of %d bytes, has %d bytes", p.key(p.number), len(ID{}), len(p.body))
		}
		if err != nil {
			return nil, err
		}
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
	condition := p.etag
	if condition == "" {
		condition = IfAbsent
	}
	etag, err := p.bucket.Put(ctx, p.key(p.number), condition, "application/octet-stream", p.body)
	if err != nil {
		return err
	}
	p.etag, p.dirty = etag, false
	if len(p.body) >= maxIDs*len(ID{}) {
		p.number, p.etag, p.body = p.number+1, "", nil
	}
	return nil
}

// Cursor is the place where the next call with the same request continues: behind the pending objects that earlier
// calls have examined and left.
type Cursor struct {
	At     time.Time `json:"at"` // objects that were written later have not been examined
	Oldest int64     `json:"oldest"`
	RelKey string    `json:"key"`
}

func cursorKey(request string) string {
	return fmt.Sprintf("%scursor-%x.json", ProgressFolder, NewID([]byte(request)))
}

// LoadCursor returns the cursor of a request, nil when there is none.
func LoadCursor(ctx context.Context, b *Bucket, request string) (*Cursor, error) {
	key := cursorKey(request)
	if found, err := b.Exists(ctx, key); err != nil || !found {
		return nil, err
	}
	body, _, _, err := b.Get(ctx, key, 1<<16)
	if errors.Is(err, ErrMissing) {
		return nil, nil
	}
	c := new(Cursor)
	if err != nil || json.Unmarshal(body, c) != nil { // without a cursor, the call starts from the beginning
		return nil, err
	}
	return c, nil
}

// Save stores the cursor of a request. A nil cursor is deleted.
func (c *Cursor) Save(ctx context.Context, b *Bucket, request string) error {
	if c == nil {
		return b.Delete(ctx, cursorKey(request))
	}
	body, err := json.Marshal(c)
	if err == nil {
		_, err = b.Put(ctx, cursorKey(request), Always, "application/json", body)
	}
	return err
}

// Passed reports whether the earlier calls have examined an object.
func (c *Cursor) Passed(o *Object) bool {
	return c != nil && !o.Modified.After(c.At) && Compare(o, &Object{Oldest: c.Oldest, RelKey: c.RelKey}) <= 0
}
