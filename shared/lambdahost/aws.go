package lambdahost

import (
	"context"
	"fmt"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/arbitex/siem-connectors/shared/deadletter"
	"github.com/arbitex/siem-connectors/shared/intake"
)

// SQS is what the functions need of SQS.
type SQS = intake.Queue

// S3 is what the functions about dead letters need.
type S3 = deadletter.Store

// clients makes the SDK's clients when they are first needed: loading its configuration is most of a cold start, and a
// batch that is delivered whole needs none of them.
type clients struct {
	mu      sync.Mutex
	cfg     *aws.Config
	sqs     *sqs.Client
	secrets *secretsmanager.Client
	s3      *s3.Client
}

// client returns the client kept at, building it first when there is none.
func client[T any](ctx context.Context, c *clients, at func(*clients) **T, build func(aws.Config) *T) (*T, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cfg == nil {
		cfg, err := config.LoadDefaultConfig(ctx)
		if err != nil {
			return nil, fmt.Errorf("loading the AWS SDK's configuration: %w", err)
		}
		c.cfg = &cfg
	}
	kept := at(c)
	if *kept == nil {
		*kept = build(*c.cfg)
	}
	return *kept, nil
}

type lazySQS struct{ *clients }

func (l lazySQS) client(ctx context.Context) (*sqs.Client, error) {
	return client(ctx, l.clients, func(c *clients) **sqs.Client { return &c.sqs }, func(cfg aws.Config) *sqs.Client { return sqs.NewFromConfig(cfg) })
}

func (l lazySQS) ChangeMessageVisibilityBatch(ctx context.Context, in *sqs.ChangeMessageVisibilityBatchInput, o ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error) {
	c, err := l.client(ctx)
	if err != nil {
		return nil, err
	}
	return c.ChangeMessageVisibilityBatch(ctx, in, o...)
}

func (l lazySQS) SendMessageBatch(ctx context.Context, in *sqs.SendMessageBatchInput, o ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	c, err := l.client(ctx)
	if err != nil {
		return nil, err
	}
	return c.SendMessageBatch(ctx, in, o...)
}

type lazySecrets struct{ *clients }

func (l lazySecrets) GetSecretValue(ctx context.Context, in *secretsmanager.GetSecretValueInput, o ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error) {
	c, err := client(ctx, l.clients, func(c *clients) **secretsmanager.Client { return &c.secrets },
		func(cfg aws.Config) *secretsmanager.Client { return secretsmanager.NewFromConfig(cfg) })
	if err != nil {
		return nil, err
	}
	return c.GetSecretValue(ctx, in, o...)
}

type lazyS3 struct{ *clients }

func (l lazyS3) client(ctx context.Context) (*s3.Client, error) {
	return client(ctx, l.clients, func(c *clients) **s3.Client { return &c.s3 }, func(cfg aws.Config) *s3.Client { return s3.NewFromConfig(cfg) })
}

func (l lazyS3) GetObject(ctx context.Context, in *s3.GetObjectInput, o ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	c, err := l.client(ctx)
	if err != nil {
		return nil, err
	}
	return c.GetObject(ctx, in, o...)
}

func (l lazyS3) PutObject(ctx context.Context, in *s3.PutObjectInput, o ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	c, err := l.client(ctx)
	if err != nil {
		return nil, err
	}
	return c.PutObject(ctx, in, o...)
}

func (l lazyS3) CopyObject(ctx context.Context, in *s3.CopyObjectInput, o ...func(*s3.Options)) (*s3.CopyObjectOutput, error) {
	c, err := l.client(ctx)
	if err != nil {
		return nil, err
	}
	return c.CopyObject(ctx, in, o...)
}

func (l lazyS3) DeleteObject(ctx context.Context, in *s3.DeleteObjectInput, o ...func(*s3.Options)) (*s3.DeleteObjectOutput, error) {
	c, err := l.client(ctx)
	if err != nil {
		return nil, err
	}
	return c.DeleteObject(ctx, in, o...)
}

func (l lazyS3) ListObjectsV2(ctx context.Context, in *s3.ListObjectsV2Input, o ...func(*s3.Options)) (*s3.ListObjectsV2Output, error) {
	c, err := l.client(ctx)
	if err != nil {
		return nil, err
	}
	return c.ListObjectsV2(ctx, in, o...)
}
