// Package aws runs the functions against an SQS, an S3 and a Lambda runtime that are not the emulator's: ElasticMQ,
// versitygw and AWS's runtime interface emulator.
package aws

import (
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/arbitex/siem-connectors/internal/testkit/fakeaws"
	"github.com/arbitex/siem-connectors/internal/testkit/products"
	"github.com/arbitex/siem-connectors/shared/deadletter"
)

const bucket = "store"

// config is for clients of a server at this URL.
func config(endpoint string) aws.Config {
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: &endpoint,
		Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
	}
}

// TestStore makes the requests of the dead letters' store to versitygw and to the S3 in memory: the results are the
// same. Conditional writes are part of them. Not the same is a "+" in a listed key, which versitygw does not encode, so
// a prefix with "+" works on S3 only.
func TestStore(t *testing.T) {
	client := s3.NewFromConfig(config(products.VersityGW(t)))
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(bucket)}); err != nil {
		t.Fatal(err)
	}
	want, got := requests(t, &fakeaws.S3{}), requests(t, client)
	for i, line := range want {
		if got[i] != line {
			t.Errorf("%s, want %s", got[i], line)
		}
	}
	t.Logf("%d requests", len(want))
	t.Run("concurrent", func(t *testing.T) { oneWriter(t, client) })
	t.Run("versions", func(t *testing.T) { notAfterDeletion(t, client) })
}

// notAfterDeletion: in a bucket with versions, versitygw 1.8.0 takes a delete marker for the object, so that
// If-None-Match fails after a deletion. The replay then finds its lock taken for ever. S3 does not, and TestLoop's
// bucket has no versions. https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
func notAfterDeletion(t *testing.T, client *s3.Client) {
	_, err := client.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{
		Bucket:                  aws.String(bucket),
		VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
	})
	if err != nil {
		t.Fatal(err)
	}
	results := strings.Join(requests(t, client), "\n")
	if !strings.Contains(results, "put if absent, deleted: PreconditionFailed") {
		t.Errorf("versitygw does as S3 does now: run TestLoop with versions\n%s", results)
	}
}

// requests makes the requests and returns what each results in.
func requests(t *testing.T, store deadletter.Store) (results []string) {
	t.Helper()
	ctx, name := t.Context(), aws.String(bucket)
	note := func(what string, result any, err error) {
		code := deadletter.ErrorCode(err)
		if err == nil {
			code = fmt.Sprint(result)
		} else if code == "" {
			code = err.Error()
		}
		results = append(results, what+": "+code)
	}
	put := func(what, key, body string, in s3.PutObjectInput) (etag string) {
		in.Bucket, in.Key, in.Body = name, &key, strings.NewReader(body)
		out, err := store.PutObject(ctx, &in)
		if err == nil {
			etag = aws.ToString(out.ETag)
		}
		note("put "+what, "stored", err)
		return etag
	}
	get := func(what, key string, in s3.GetObjectInput) {
		in.Bucket, in.Key = name, &key
		out, err := store.GetObject(ctx, &in)
		var body []byte
		if err == nil {
			body, err = io.ReadAll(out.Body)
		}
		note("get "+what, string(body), err)
	}
	remove := func(what, key string, etag *string) {
		_, err := store.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: name, Key: &key, IfMatch: etag})
		note("delete "+what, "deleted", err)
	}
	const odd, other = "p/pending/connector=a/d&e f+g%20é'()/x.jsonl", `"00000000000000000000000000000000"`
	absent := s3.PutObjectInput{IfNoneMatch: aws.String("*")}
	first := put("if absent", odd, "0123456789", absent)
	put("if absent, present", odd, "x", absent)
	put("if match, missing", "p/none", "x", s3.PutObjectInput{IfMatch: &first})
	put("if match, another", odd, "x", s3.PutObjectInput{IfMatch: aws.String(other)})
	second := put("if match", odd, "abcdefghij", s3.PutObjectInput{IfMatch: &first})
	put("if match, the one before", odd, "x", s3.PutObjectInput{IfMatch: &first})
	get("all", odd, s3.GetObjectInput{})
	get("range", odd, s3.GetObjectInput{IfMatch: &second, Range: aws.String("bytes=2-4")})
	get("range to the end", odd, s3.GetObjectInput{IfMatch: &second, Range: aws.String("bytes=7-9")})
	get("range, another", odd, s3.GetObjectInput{IfMatch: &first, Range: aws.String("bytes=2-4")})
	get("missing", "p/none", s3.GetObjectInput{})
	remove("if match, another", odd, &first)
	for i := range 5 {
		put("of five", fmt.Sprintf("list/a=%d/x y%d.jsonl", i, i), strings.Repeat("x", i), s3.PutObjectInput{})
	}
	for _, in := range []s3.ListObjectsV2Input{
		{Prefix: aws.String("list/")},
		{Prefix: aws.String("list/a=3")},
		{Prefix: aws.String("list/"), StartAfter: aws.String("list/a=1/x y1.jsonl")},
		{Prefix: aws.String("list/"), StartAfter: aws.String("list/a=3"), MaxKeys: aws.Int32(1)},
		{Prefix: aws.String("list/none/")},
	} {
		in.Bucket, in.EncodingType = name, types.EncodingTypeUrl
		in.MaxKeys = aws.Int32(max(2, aws.ToInt32(in.MaxKeys)))
		var keys []string
		pages, err := 0, error(nil)
		for more := true; more && err == nil; pages++ {
			var out *s3.ListObjectsV2Output
			if out, err = store.ListObjectsV2(ctx, &in); err != nil {
				break
			}
			for _, o := range out.Contents {
				key, _ := url.QueryUnescape(*o.Key)
				keys = append(keys, fmt.Sprintf("%s (%d)", key, aws.ToInt64(o.Size)))
			}
			more, in.ContinuationToken = aws.ToBool(out.IsTruncated), out.NextContinuationToken
		}
		note(fmt.Sprintf("list %s after %q", *in.Prefix, aws.ToString(in.StartAfter)), fmt.Sprint(pages, keys), err)
	}
	remove("if match", odd, &second)
	remove("missing", odd, nil)
	get("deleted", odd, s3.GetObjectInput{})
	third := put("if absent, deleted", odd, "again", absent)
	put("if match, after the deletion", odd, "and again", s3.PutObjectInput{IfMatch: &third})
	get("after the deletion", odd, s3.GetObjectInput{})
	return results
}

// oneWriter writes an object twenty times at once, if it is absent. One write succeeds.
func oneWriter(t *testing.T, store deadletter.Store) {
	var all sync.WaitGroup
	var mu sync.Mutex
	var codes []string
	for range 20 {
		all.Go(func() {
			_, err := store.PutObject(t.Context(), &s3.PutObjectInput{
				Bucket: aws.String(bucket), Key: aws.String("lock"), Body: strings.NewReader("x"), IfNoneMatch: aws.String("*"),
			})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				codes = append(codes, deadletter.ErrorCode(err))
			}
		})
	}
	all.Wait()
	slices.Sort(codes)
	if other := slices.Compact(slices.Clone(codes)); len(codes) != 19 || slices.ContainsFunc(other, func(c string) bool {
		return c != "PreconditionFailed" && c != "ConditionalRequestConflict"
	}) {
		t.Errorf("%d of 20 writes succeeded, the others: %v", 20-len(codes), other)
	}
}
