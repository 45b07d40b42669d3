package deadletter

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

// Store is the part of S3 in use. *s3.Client implements it. The drain calls PutObject only.
type Store interface {
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
	DeleteObject(context.Context, *s3.DeleteObjectInput, ...func(*s3.Options)) (*s3.DeleteObjectOutput, error)
	ListObjectsV2(context.Context, *s3.ListObjectsV2Input, ...func(*s3.Options)) (*s3.ListObjectsV2Output, error)
}

// The errors of S3 that decide something. The SDK retries what may recover.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-requests.html
var (
	ErrChanged = errors.New("the object exists or has changed") // 412
	ErrMissing = errors.New("the object does not exist")        // 404
)

// ErrorCode returns the code of an AWS error, "" for another error.
func ErrorCode(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

func known(err error) error {
	switch ErrorCode(err) {
	case "PreconditionFailed":
		return ErrChanged
	case "NoSuchKey", "NotFound":
		return ErrMissing
	}
	return err
}

// Sleep waits. It returns early with the context's error.
func Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// Bucket is the location of dead letters in S3 with the client to reach it.
type Bucket struct {
	Name   string
	Prefix string // of all keys: empty, or with a slash at its end
	Store  Store
	Sleep  func(context.Context, time.Duration) error
	Piece  int64 // bytes of an object that are read at a time
	DryRun bool  // writes and deletions succeed and have no effect
}

// Tries is how often a request is made.
const Tries = 4

// Again waits after try n, counted from 1, of a request that a concurrent writer, a broken stream or a busy queue
// interrupted. It reports false after the last try, and if ctx ends.
func (b *Bucket) Again(ctx context.Context, n int) bool {
	return n < Tries && b.Sleep(ctx, 50*time.Millisecond<<n) == nil
}

// Conditions of a write. Any other condition is the ETag that the object must still have.
const (
	IfAbsent = "*"
	Always   = ""
)

// Put writes an object and returns its ETag. The error is ErrChanged if the condition is not met.
func (b *Bucket) Put(ctx context.Context, key, condition string, body []byte) (etag string, err error) {
	if b.DryRun {
		return "", nil
	}
	contentType := map[string]string{
		".jsonl": "application/x-ndjson", ".ids": "application/octet-stream", ".lock": "application/json",
	}[path.Ext(key)]
	in := &s3.PutObjectInput{
		Bucket: &b.Name, Key: aws.String(b.Prefix + key), ContentType: &contentType,
		ContentLength: aws.Int64(int64(len(body))),
	}
	switch condition {
	case Always:
	case IfAbsent:
		in.IfNoneMatch = aws.String(condition)
	default:
		in.IfMatch = &condition
	}
	for n := 1; ; n++ {
		in.Body = bytes.NewReader(body)
		out, err := b.Store.PutObject(ctx, in)
		if err == nil {
			return aws.ToString(out.ETag), nil
		}
		// A concurrent conditional write of the key: S3 asks to retry.
		if ErrorCode(err) != "ConditionalRequestConflict" || !b.Again(ctx, n) {
			return "", known(err)
		}
	}
}

// Replace is Put for a caller that may read the key. It succeeds if the object has the content already: the response to
// the write was lost, and the SDK has repeated the request.
func (b *Bucket) Replace(ctx context.Context, key, condition string, body []byte) (etag string, err error) {
	etag, err = b.Put(ctx, key, condition, body)
	if !errors.Is(err, ErrChanged) {
		return etag, err
	}
	found, out, getErr := b.Get(ctx, key, int64(len(body))+1)
	if getErr != nil || !bytes.Equal(found, body) {
		return "", err
	}
	return aws.ToString(out.ETag), nil
}

// Get reads an object, at most so many bytes of it.
func (b *Bucket) Get(ctx context.Context, key string, most int64) ([]byte, *s3.GetObjectOutput, error) {
	return b.get(ctx, &s3.GetObjectInput{Key: aws.String(b.Prefix + key)}, most)
}

// get makes a request, again if the stream breaks.
func (b *Bucket) get(ctx context.Context, in *s3.GetObjectInput, most int64) ([]byte, *s3.GetObjectOutput, error) {
	in.Bucket = &b.Name
	for n := 1; ; n++ {
		out, err := b.Store.GetObject(ctx, in)
		if err != nil {
			return nil, nil, known(err)
		}
		body, err := io.ReadAll(io.LimitReader(out.Body, most))
		out.Body.Close()
		if err == nil || !b.Again(ctx, n) {
			return body, out, err
		}
	}
}

// pieceBytes is how much of an object is read at a time. The drain's objects are smaller: Lambda passes it at most 6
// MB.
const pieceBytes = 16 << 20

// ErrLongLine is the error of a line that is longer than 16 MiB.
var ErrLongLine = errors.New("line: expected at most 16 MiB")

// Pieces calls take for each piece of an object: the whole object, or whole lines of at most b.Piece bytes together.
// The memory in use does not depend on the object's size.
func (b *Bucket) Pieces(ctx context.Context, o *Object, take func(piece []byte) error) error {
	for offset := int64(0); offset < o.Size; {
		end := min(offset+b.Piece, o.Size)
		piece, _, err := b.get(ctx, &s3.GetObjectInput{
			Key: aws.String(b.Prefix + o.folder + o.RelKey), IfMatch: &o.ETag,
			Range: aws.String(fmt.Sprintf("bytes=%d-%d", offset, end-1)),
		}, end-offset)
		if err != nil {
			return err
		}
		if end < o.Size {
			piece = piece[:bytes.LastIndexByte(piece, '\n')+1]
		}
		if len(piece) == 0 {
			return ErrLongLine
		}
		if err := take(piece); err != nil {
			return err
		}
		offset += int64(len(piece))
	}
	return nil
}

// Delete deletes an object that still has its ETag; otherwise the error is ErrChanged. That it is gone is success.
func (b *Bucket) Delete(ctx context.Context, key, etag string) error {
	if b.DryRun {
		return nil
	}
	_, err := b.Store.DeleteObject(ctx, &s3.DeleteObjectInput{
		Bucket: &b.Name, Key: aws.String(b.Prefix + key), IfMatch: &etag,
	})
	if err = known(err); errors.Is(err, ErrMissing) {
		return nil
	}
	return err
}

// PartName is the relative key of an object for some lines of a pending object.
func PartName(relKey string, lines []byte) string {
	id := NewID(lines)
	return fmt.Sprintf("%s-%x.jsonl", strings.TrimSuffix(relKey, ".jsonl"), id[:8])
}

// PutPending writes a new pending object. An object of that name is left as it is: it holds the same batch.
func (b *Bucket) PutPending(ctx context.Context, relKey string, lines []byte) error {
	_, err := b.Put(ctx, PendingFolder+relKey, IfAbsent, lines)
	if errors.Is(err, ErrChanged) {
		return nil
	}
	return err
}

// list calls take for every object below a folder, with the key that follows the prefix. If after is not "", it leaves
// out the keys up to folder+after in S3's order.
func (b *Bucket) list(ctx context.Context, folder, after string, take func(key string, o *types.Object)) error {
	in := &s3.ListObjectsV2Input{
		Bucket: &b.Name, Prefix: aws.String(b.Prefix + folder),
		EncodingType: types.EncodingTypeUrl, // XML cannot represent every character of a key
	}
	if after != "" {
		in.StartAfter = aws.String(b.Prefix + folder + after)
	}
	pages := s3.NewListObjectsV2Paginator(b.Store, in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("listing %s: %w", folder, err)
		}
		for i := range page.Contents {
			key := aws.ToString(page.Contents[i].Key)
			if page.EncodingType == types.EncodingTypeUrl {
				if key, err = url.QueryUnescape(key); err != nil {
					return fmt.Errorf("listing %s: %w", folder, err)
				}
			}
			take(strings.TrimPrefix(key, b.Prefix), &page.Contents[i])
		}
	}
	return nil
}

// Exists reports whether an object exists. It lists, because a GET of a missing key needs permission to list the
// bucket.
func (b *Bucket) Exists(ctx context.Context, key string) (found bool, err error) {
	err = b.list(ctx, key, "", func(k string, _ *types.Object) { found = found || k == key })
	return found, err
}

// Pending lists the pending objects of a connector, or of all for "", sorted by Compare; and the keys, without the
// prefix, of objects below pending/ that are not dead-letter objects.
func (b *Bucket) Pending(ctx context.Context, connector string) (objects []Object, others []string, err error) {
	return b.objects(ctx, PendingFolder, connector, "")
}

// objects is Pending for any folder. If date is not "", it leaves out the objects of earlier dates; a connector must
// then be given.
func (b *Bucket) objects(
	ctx context.Context, folder, connector, date string,
) (objects []Object, others []string, err error) {
	below, after := folder, ""
	if connector != "" {
		below += "connector=" + connector + "/"
	}
	if date != "" {
		after = "date=" + date
	}
	err = b.list(ctx, below, after, func(key string, listed *types.Object) {
		size := aws.ToInt64(listed.Size)
		o, ok := parseObject(strings.TrimPrefix(key, folder), size)
		switch {
		case ok:
			o.folder, o.ETag, o.Modified = folder, aws.ToString(listed.ETag), aws.ToTime(listed.LastModified)
			objects = append(objects, o)
		case size > 0 || !strings.HasSuffix(key, "/"): // the S3 console makes empty objects for folders
			others = append(others, key)
		}
	})
	slices.SortFunc(objects, func(x, y Object) int { return Compare(&x, &y) })
	return objects, others, err
}

// Compare orders objects by their oldest record, so that no connector waits for another.
func Compare(x, y *Object) int {
	return cmp.Or(cmp.Compare(x.Oldest, y.Oldest), cmp.Compare(x.RelKey, y.RelKey))
}

// maxIDs is the number of ids with which an object of the progress is complete. The last object is rewritten when ids
// are added.
const maxIDs = 1 << 16

// Progress is the set of the records of one connector that have been replayed. Only the holder of the lease writes it.
type Progress struct {
	bucket *Bucket
	folder string
	ids    map[ID]struct{}
	number int    // of the object that is being written
	etag   string // its ETag, "" when it does not exist
	body   []byte // its content, with what Add has added
	dirty  bool
}

// LoadProgress reads the progress of a connector.
func LoadProgress(ctx context.Context, b *Bucket, connector string) (*Progress, error) {
	p := &Progress{
		bucket: b, folder: ProgressFolder + "connector=" + connector + "/", ids: make(map[ID]struct{}), number: 1,
	}
	var keys []string // sorted by number, as S3 lists them
	err := b.list(ctx, p.folder, "", func(key string, _ *types.Object) { keys = append(keys, key) })
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(key, p.folder), ".ids"))
		if key != p.key(n) {
			continue
		}
		body, out, err := b.Get(ctx, key, math.MaxInt64)
		if err == nil && len(body)%len(ID{}) != 0 {
			err = fmt.Errorf("%s: expected ids of %d bytes, has %d bytes", key, len(ID{}), len(body))
		}
		if err != nil {
			return nil, err
		}
		p.number, p.body, p.etag = n, body, aws.ToString(out.ETag)
		for id := range slices.Chunk(body, len(ID{})) {
			p.ids[ID(id)] = struct{}{}
		}
	}
	return p, nil
}

func (p *Progress) key(n int) string { return fmt.Sprintf("%s%08d.ids", p.folder, n) }

// Has reports whether a record has been replayed. A nil Progress has none.
func (p *Progress) Has(id ID) bool {
	if p == nil {
		return false
	}
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
	etag, err := p.bucket.Replace(ctx, p.key(p.number), cmp.Or(p.etag, IfAbsent), p.body)
	if err != nil {
		return err
	}
	p.etag, p.dirty = etag, false
	if len(p.body) >= maxIDs*len(ID{}) {
		p.number, p.etag, p.body = p.number+1, "", nil
	}
	return nil
}
