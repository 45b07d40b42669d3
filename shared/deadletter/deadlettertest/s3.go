// Package deadlettertest has an S3 and an SQS in memory, for tests of what stores dead letters and puts them back. They
// keep the rules that matter there: conditional requests, ETags, ranges, pages of a thousand keys; batches of ten and of
// a mebibyte, entries that fail alone. A hook at every request lets a test fail it, before or after its effect.
package deadlettertest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

// Hook is called at every request, before and after its effect, with the operation and the key or queue it is about. An
// error before means that the request has no effect; after, that the answer is lost.
type Hook func(op, name string, after bool) error

// Error makes an error of AWS.
func Error(code string) error { return &smithy.GenericAPIError{Code: code, Message: "made up"} }

// S3 is one bucket. Its zero value is empty and ready.
type S3 struct {
	Hook Hook
	Now  func() time.Time // for LastModified; nil is time.Now

	mu      sync.Mutex
	objects map[string]stored
}

type stored struct {
	body     []byte
	etag     string
	modified time.Time
}

// maxKeys is how many keys a page of a listing has.
const maxKeys = 1000

func (s *S3) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

func (s *S3) hook(op, key string, after bool) error {
	if s.Hook == nil {
		return nil
	}
	return s.Hook(op, key, after)
}

// Put stores an object as another writer would, without the hook.
func (s *S3) Put(key string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store(key, bytes.Clone(body))
}

func (s *S3) store(key string, body []byte) string {
	if s.objects == nil {
		s.objects = make(map[string]stored)
	}
	sum := sha256.Sum256(body)
	etag := `"` + hex.EncodeToString(sum[:16]) + `"`
	s.objects[key] = stored{body: body, etag: etag, modified: s.now()}
	return etag
}

// Body returns an object, nil when there is none.
func (s *S3) Body(key string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[key].body
}

// Keys returns the keys that begin with prefix, sorted.
func (s *S3) Keys(prefix string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys(prefix)
}

func (s *S3) keys(prefix string) []string {
	var keys []string
	for key := range s.objects {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// do brackets a request's effect with the hook.
func do[T any](s *S3, ctx context.Context, op, key string, effect func() (*T, error)) (*T, error) { //nolint:revive // the receiver comes first; a method has no type parameters
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.hook(op, key, false); err != nil {
		return nil, err
	}
	s.mu.Lock()
	out, err := effect()
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if err := s.hook(op, key, true); err != nil {
		return nil, err
	}
	return out, nil
}

// PutObject implements the request of that name with If-Match and If-None-Match.
func (s *S3) PutObject(ctx context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	body, err := io.ReadAll(in.Body)
	if err != nil {
		return nil, err
	}
	return do(s, ctx, "PutObject", *in.Key, func() (*s3.PutObjectOutput, error) {
		old, ok := s.objects[*in.Key]
		switch {
		case in.IfNoneMatch != nil && ok:
			return nil, Error("PreconditionFailed")
		case in.IfMatch != nil && !ok:
			return nil, &types.NoSuchKey{}
		case in.IfMatch != nil && *in.IfMatch != old.etag:
			return nil, Error("PreconditionFailed")
		}
		return &s3.PutObjectOutput{ETag: aws.String(s.store(*in.Key, body))}, nil
	})
}

// GetObject implements the request of that name with If-Match and Range.
func (s *S3) GetObject(ctx context.Context, in *s3.GetObjectInput, _ ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	return do(s, ctx, "GetObject", *in.Key, func() (*s3.GetObjectOutput, error) {
		o, ok := s.objects[*in.Key]
		if !ok {
			return nil, &types.NoSuchKey{}
		}
		if in.IfMatch != nil && *in.IfMatch != o.etag {
			return nil, Error("PreconditionFailed")
		}
		body := o.body
		if in.Range != nil {
			var from, to int
			if n, err := fmt.Sscanf(*in.Range, "bytes=%d-%d", &from, &to); n != 2 || err != nil || from >= len(body) || to < from {
				return nil, Error("InvalidRange")
			}
			body = body[from:min(to+1, len(body))]
		}
		return &s3.GetObjectOutput{Body: io.NopCloser(bytes.NewReader(body)), ETag: aws.String(o.etag),
			ContentLength: aws.Int64(int64(len(body))), LastModified: aws.Time(o.modified)}, nil
	})
}

// CopyObject implements the request of that name with x-amz-copy-source-if-match.
func (s *S3) CopyObject(ctx context.Context, in *s3.CopyObjectInput, _ ...func(*s3.Options)) (*s3.CopyObjectOutput, error) {
	return do(s, ctx, "CopyObject", *in.Key, func() (*s3.CopyObjectOutput, error) {
		source, err := url.PathUnescape(*in.CopySource)
		if err != nil {
			return nil, Error("InvalidArgument")
		}
		_, key, _ := strings.Cut(source, "/")
		o, ok := s.objects[key]
		if !ok {
			return nil, &types.NoSuchKey{}
		}
		if in.CopySourceIfMatch != nil && *in.CopySourceIfMatch != o.etag {
			return nil, Error("PreconditionFailed")
		}
		return &s3.CopyObjectOutput{CopyObjectResult: &types.CopyObjectResult{ETag: aws.String(s.store(*in.Key, o.body))}}, nil
	})
}

// DeleteObject implements the request of that name: what is not there is deleted, too.
func (s *S3) DeleteObject(ctx context.Context, in *s3.DeleteObjectInput, _ ...func(*s3.Options)) (*s3.DeleteObjectOutput, error) {
	return do(s, ctx, "DeleteObject", *in.Key, func() (*s3.DeleteObjectOutput, error) {
		delete(s.objects, *in.Key)
		return &s3.DeleteObjectOutput{}, nil
	})
}

// ListObjectsV2 implements the request of that name with Prefix, StartAfter and ContinuationToken, which is a key.
func (s *S3) ListObjectsV2(ctx context.Context, in *s3.ListObjectsV2Input, _ ...func(*s3.Options)) (*s3.ListObjectsV2Output, error) {
	return do(s, ctx, "ListObjectsV2", aws.ToString(in.Prefix), func() (*s3.ListObjectsV2Output, error) {
		after := max(aws.ToString(in.StartAfter), aws.ToString(in.ContinuationToken))
		out := &s3.ListObjectsV2Output{IsTruncated: aws.Bool(false)}
		for _, key := range s.keys(aws.ToString(in.Prefix)) {
			if key <= after {
				continue
			}
			if len(out.Contents) == maxKeys {
				out.IsTruncated = aws.Bool(true)
				out.NextContinuationToken = out.Contents[maxKeys-1].Key
				break
			}
			o := s.objects[key]
			out.Contents = append(out.Contents, types.Object{Key: aws.String(key), ETag: aws.String(o.etag),
				Size: aws.Int64(int64(len(o.body))), LastModified: aws.Time(o.modified)})
		}
		out.KeyCount = aws.Int32(int32(len(out.Contents))) //nolint:gosec // at most maxKeys
		return out, nil
	})
}
