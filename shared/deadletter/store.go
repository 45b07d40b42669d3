package deadletter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

// Putter is what the drain needs of S3. *s3.Client is one.
type Putter interface {
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
}

// Store is what the replay needs of S3. *s3.Client is one.
type Store interface {
	Putter
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
	CopyObject(context.Context, *s3.CopyObjectInput, ...func(*s3.Options)) (*s3.CopyObjectOutput, error)
	DeleteObject(context.Context, *s3.DeleteObjectInput, ...func(*s3.Options)) (*s3.DeleteObjectOutput, error)
	ListObjectsV2(context.Context, *s3.ListObjectsV2Input, ...func(*s3.Options)) (*s3.ListObjectsV2Output, error)
}

// The errors of S3 that mean something to us. The SDK tries again what may recover; these are answers.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-requests.html
var (
	errExists  = errors.New("the object exists, or has changed") // 412
	errMissing = errors.New("the object does not exist")         // 404
)

// errorCode returns the code of an AWS error, "" when it is none.
func errorCode(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

// known turns an answer of S3 that means something to us into its error.
func known(err error) error {
	switch errorCode(err) {
	case "PreconditionFailed":
		return errExists
	case "NoSuchKey", "NotFound":
		return errMissing
	}
	return err
}

// pauseFunc waits, and returns early with the context's error.
type pauseFunc func(context.Context, time.Duration) error

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// tries is how often something is tried that another writer, a broken stream or a busy queue got in the way of.
const tries = 4

// wait is the pause before try n, counted from 1.
func wait(n int) time.Duration { return 50 * time.Millisecond << n }

// Conditions of a write.
const (
	whenAbsent = "*"
	always     = ""
)

// put writes an object. condition is always, whenAbsent, or the ETag the object must still have; errExists says that it
// was not met. It returns the new ETag.
func put(ctx context.Context, s Putter, p pauseFunc, bucket, key, condition, contentType string, body []byte) (etag string, err error) {
	in := &s3.PutObjectInput{Bucket: &bucket, Key: &key, ContentType: &contentType, ContentLength: aws.Int64(int64(len(body)))}
	switch condition {
	case always:
	case whenAbsent:
		in.IfNoneMatch = aws.String(condition)
	default:
		in.IfMatch = &condition
	}
	for n := 1; ; n++ {
		in.Body = bytes.NewReader(body)
		out, err := s.PutObject(ctx, in)
		if err == nil {
			return aws.ToString(out.ETag), nil
		}
		// Another conditional write of the key was under way, and S3 asks to try again.
		if errorCode(err) != "ConditionalRequestConflict" || n == tries || p(ctx, wait(n)) != nil {
			return "", known(err)
		}
	}
}

// bucket is a place in S3 with its prefix.
type bucket struct {
	store Store
	location
	pause pauseFunc
}

func (b *bucket) put(ctx context.Context, key, condition, contentType string, body []byte) (etag string, err error) {
	return put(ctx, b.store, b.pause, b.bucket, b.prefix+key, condition, contentType, body)
}

// get reads n bytes from offset into dst, which has room for them. etag, when not empty, must still be the object's. A
// stream that breaks is begun again.
func (b *bucket) get(ctx context.Context, key, etag string, offset int64, dst []byte) error {
	in := &s3.GetObjectInput{Bucket: &b.bucket, Key: aws.String(b.prefix + key), IfMatch: &etag}
	in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", offset, offset+int64(len(dst))-1))
	for n := 1; ; n++ {
		out, err := b.store.GetObject(ctx, in)
		if err != nil {
			return known(err)
		}
		_, err = io.ReadFull(out.Body, dst)
		out.Body.Close()
		if err == nil {
			return nil
		}
		if n == tries || b.pause(ctx, wait(n)) != nil {
			return fmt.Errorf("reading %d bytes from byte %d on: %w", len(dst), offset, err)
		}
	}
}

// small reads a whole object that ought to be small.
func (b *bucket) small(ctx context.Context, key string, most int64) (body []byte, etag string, modified time.Time, err error) {
	out, err := b.store.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.bucket, Key: aws.String(b.prefix + key)})
	if err != nil {
		return nil, "", time.Time{}, known(err)
	}
	defer out.Body.Close()
	body, err = io.ReadAll(io.LimitReader(out.Body, most))
	return body, aws.ToString(out.ETag), aws.ToTime(out.LastModified), err
}

func (b *bucket) delete(ctx context.Context, key string) error {
	_, err := b.store.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.bucket, Key: aws.String(b.prefix + key)})
	return known(err)
}

// copy copies an object within the bucket, if it still has the ETag. Without tags: reading those takes another right.
func (b *bucket) copy(ctx context.Context, from, to, etag string) error {
	source := strings.Split(b.bucket+"/"+b.prefix+from, "/")
	for i := range source {
		source[i] = url.PathEscape(source[i])
	}
	_, err := b.store.CopyObject(ctx, &s3.CopyObjectInput{
		Bucket: &b.bucket, Key: aws.String(b.prefix + to),
		CopySource: aws.String(strings.Join(source, "/")), CopySourceIfMatch: &etag,
		TaggingDirective: types.TaggingDirectiveReplace,
	})
	return known(err)
}

// list calls each for every object below a folder, with the key behind it. S3 gives a thousand at a time.
func (b *bucket) list(ctx context.Context, folder string, each func(tail string, o *types.Object)) error {
	in := &s3.ListObjectsV2Input{Bucket: &b.bucket, Prefix: aws.String(b.prefix + folder)}
	for {
		out, err := b.store.ListObjectsV2(ctx, in)
		if err != nil {
			return fmt.Errorf("listing %s: %w", folder, err)
		}
		for i := range out.Contents {
			each(strings.TrimPrefix(aws.ToString(out.Contents[i].Key), *in.Prefix), &out.Contents[i])
		}
		if !aws.ToBool(out.IsTruncated) || aws.ToString(out.NextContinuationToken) == "" {
			return nil
		}
		in.ContinuationToken = out.NextContinuationToken
	}
}
