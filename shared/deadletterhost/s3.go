package deadletterhost

import (
	"context"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/arbitex/siem-connectors/shared/lambdahost"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// lazyS3 makes the client when it is first needed.
type lazyS3 struct {
	env  settings.Lookup
	mu   sync.Mutex
	made *s3.Client
}

func (l *lazyS3) client() (*s3.Client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.made == nil {
		cfg, err := lambdahost.AWSConfig(l.env, "S3")
		if err != nil {
			return nil, err
		}
		l.made = s3.NewFromConfig(cfg)
	}
	return l.made, nil
}

func (l *lazyS3) GetObject(ctx context.Context, in *s3.GetObjectInput, o ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	c, err := l.client()
	if err != nil {
		return nil, err
	}
	return c.GetObject(ctx, in, o...)
}

func (l *lazyS3) PutObject(ctx context.Context, in *s3.PutObjectInput, o ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	c, err := l.client()
	if err != nil {
		return nil, err
	}
	return c.PutObject(ctx, in, o...)
}

func (l *lazyS3) CopyObject(ctx context.Context, in *s3.CopyObjectInput, o ...func(*s3.Options)) (*s3.CopyObjectOutput, error) {
	c, err := l.client()
	if err != nil {
		return nil, err
	}
	return c.CopyObject(ctx, in, o...)
}

func (l *lazyS3) DeleteObject(ctx context.Context, in *s3.DeleteObjectInput, o ...func(*s3.Options)) (*s3.DeleteObjectOutput, error) {
	c, err := l.client()
	if err != nil {
		return nil, err
	}
	return c.DeleteObject(ctx, in, o...)
}

func (l *lazyS3) ListObjectsV2(ctx context.Context, in *s3.ListObjectsV2Input, o ...func(*s3.Options)) (*s3.ListObjectsV2Output, error) {
	c, err := l.client()
	if err != nil {
		return nil, err
	}
	return c.ListObjectsV2(ctx, in, o...)
}
