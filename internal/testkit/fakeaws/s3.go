package fakeaws

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
)

// S3 is one bucket with conditional requests, ETags, ranges and pages of a thousand keys. Its zero value is empty.
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

// maxKeys is the number of keys in a page of a listing.
const maxKeys = 1000

func (s *S3) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
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

// do calls the hook before and after the effect of a request. It is a function because methods have no type parameters.
//
//nolint:revive // the receiver comes first
func do[T any](s *S3, ctx context.Context, op, key string, effect func() (*T, error)) (*T, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.Hook.call(op, key, false); err != nil {
		return nil, err
	}
	s.mu.Lock()
	out, err := effect()
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if err := s.Hook.call(op, key, true); err != nil {
		return nil, err
	}
	return out, nil
}

// PutObject implements the request of that name with If-Match and If-None-Match.
func (s *S3) PutObject(ctx context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput,
	error) {
	body, err := io.ReadAll(in.Body)
	if err != nil {
		return nil, err
	}
	return do(s, ctx, "PutObject", *in.Key, func() (*s3.PutObjectOutput, error) {
		if _, ok := s.objects[*in.Key]; ok && in.IfNoneMatch != nil {
			return nil, Error("PreconditionFailed")
		}
		if err := s.match(*in.Key, in.IfMatch); err != nil {
			return nil, err
		}
		return &s3.PutObjectOutput{ETag: aws.String(s.store(*in.Key, body))}, nil
	})
}

// GetObject implements the request of that name with If-Match and Range.
func (s *S3) GetObject(ctx context.Context, in *s3.GetObjectInput, _ ...func(*s3.Options)) (*s3.GetObjectOutput,
	error) {
	return do(s, ctx, "GetObject", *in.Key, func() (*s3.GetObjectOutput, error) {
		o, ok := s.objects[*in.Key]
		if !ok {
			return nil, &types.NoSuchKey{}
		}
		if err := s.match(*in.Key, in.IfMatch); err != nil {
			return nil, err
		}
		body := o.body
		if in.Range != nil {
			var from, to int
			if n, err := fmt.Sscanf(*in.Range, "bytes=%d-%d", &from, &to); n != 2 || err != nil || from >= len(body) ||
				to < from {
				return nil, Error("InvalidRange")
			}
			body = body[from:min(to+1, len(body))]
		}
		return &s3.GetObjectOutput{Body: io.NopCloser(bytes.NewReader(body)), ETag: aws.String(o.etag),
			ContentLength: aws.Int64(int64(len(body))), LastModified: aws.Time(o.modified)}, nil
	})
}

// DeleteObject implements the request of that name with If-Match. A missing key is success without it, as in S3.
func (s *S3) DeleteObject(ctx context.Context, in *s3.DeleteObjectInput,
	_ ...func(*s3.Options)) (*s3.DeleteObjectOutput, error) {
	return do(s, ctx, "DeleteObject", *in.Key, func() (*s3.DeleteObjectOutput, error) {
		if err := s.match(*in.Key, in.IfMatch); err != nil {
			return nil, err
		}
		delete(s.objects, *in.Key)
		return &s3.DeleteObjectOutput{}, nil
	})
}

// match checks the ETag of an object, if one is required.
func (s *S3) match(key string, etag *string) error {
	o, ok := s.objects[key]
	switch {
	case etag == nil:
		return nil
	case !ok:
		return &types.NoSuchKey{}
	case *etag != o.etag:
		return Error("PreconditionFailed")
	}
	return nil
}

// ListObjectsV2 implements the request of that name with Prefix, StartAfter, MaxKeys, EncodingType and
// ContinuationToken, which is a key.
func (s *S3) ListObjectsV2(ctx context.Context, in *s3.ListObjectsV2Input,
	_ ...func(*s3.Options)) (*s3.ListObjectsV2Output, error) {
	return do(s, ctx, "ListObjectsV2", aws.ToString(in.Prefix), func() (*s3.ListObjectsV2Output, error) {
		after := max(aws.ToString(in.StartAfter), aws.ToString(in.ContinuationToken))
		most := maxKeys
		if in.MaxKeys != nil {
			most = min(maxKeys, int(*in.MaxKeys))
		}
		out := &s3.ListObjectsV2Output{IsTruncated: aws.Bool(false), EncodingType: in.EncodingType}
		last := ""
		for _, key := range s.keys(aws.ToString(in.Prefix)) {
			if key <= after {
				continue
			}
			if len(out.Contents) == most {
				out.IsTruncated = aws.Bool(true)
				out.NextContinuationToken = aws.String(last)
				break
			}
			o := s.objects[key]
			shown := key
			if in.EncodingType == types.EncodingTypeUrl {
				shown = strings.ReplaceAll(url.QueryEscape(key), "%2F", "/")
			}
			last = key
			out.Contents = append(out.Contents, types.Object{Key: aws.String(shown), ETag: aws.String(o.etag),
				Size: aws.Int64(int64(len(o.body))), LastModified: aws.Time(o.modified)})
		}
		out.KeyCount = aws.Int32(int32(len(out.Contents))) //nolint:gosec // at most maxKeys
		return out, nil
	})
}

// Delete deletes an object as another client would, without the hook.
func (s *S3) Delete(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, key)
}
