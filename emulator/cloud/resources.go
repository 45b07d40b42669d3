package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/arbitex/siem-connectors/internal/samtemplate"
)

// resources creates the template's resources in moto, each at its first use, so that dependencies exist. One goroutine
// creates them; afterwards they are only read.
type resources struct {
	cloud *Cloud
	ctx   context.Context //nolint:containedctx // Attribute, which the template asks with, has no context of its own

	queues  map[string]queue
	buckets map[string]string // by logical id, the name
	secrets map[string]string // by logical id, the ARN
	making  []string          // the logical ids in creation, to detect a cycle
}

type queue struct {
	url, arn string
	redrive  *samtemplate.Redrive
}

var _ samtemplate.Attributes = (*resources)(nil)

func newResources(ctx context.Context, c *Cloud) *resources {
	return &resources{
		cloud: c, ctx: ctx, queues: map[string]queue{}, buckets: map[string]string{}, secrets: map[string]string{},
	}
}

// makeAll creates every queue, bucket and secret of the template.
func (r *resources) makeAll() error {
	t := r.cloud.template
	ids := slices.Concat(t.IDs(samtemplate.TypeQueue), t.IDs(samtemplate.TypeBucket), t.IDs(samtemplate.TypeSecret))
	r.cloud.progress("making queues (%d), buckets (%d), secrets (%d)",
		len(t.IDs(samtemplate.TypeQueue)), len(t.IDs(samtemplate.TypeBucket)), len(t.IDs(samtemplate.TypeSecret)))
	for _, id := range ids {
		if _, err := r.Attribute(id, ""); err != nil {
			return err
		}
	}
	return nil
}

// Attribute implements samtemplate.Attributes.
func (r *resources) Attribute(id, name string) (string, error) {
	kind, err := r.cloud.template.Type(id)
	if err != nil {
		return "", err
	}
	attributes := map[string]string{}
	switch kind {
	case samtemplate.TypeQueue:
		q, err := once(r, r.queues, id, r.makeQueue)
		if err != nil {
			return "", err
		}
		attributes = map[string]string{"": q.url, "QueueUrl": q.url, "Arn": q.arn,
			"QueueName": q.arn[strings.LastIndex(q.arn, ":")+1:]}
	case samtemplate.TypeBucket:
		b, err := once(r, r.buckets, id, r.makeBucket)
		if err != nil {
			return "", err
		}
		attributes = map[string]string{"": b, "Arn": "arn:aws:s3:::" + b}
	case samtemplate.TypeSecret:
		arn, err := once(r, r.secrets, id, r.makeSecret)
		if err != nil {
			return "", err
		}
		attributes = map[string]string{"": arn, "Id": arn}
	case samtemplate.TypeFunction:
		attributes = map[string]string{"": functionName(id), "Arn": functionARN(id)}
	case samtemplate.TypeMapping:
		attributes = map[string]string{"": id}
	case samtemplate.TypeRole:
		attributes = map[string]string{"RoleId": ""} // moto has no senders: the functions then do not check them
	}
	value, ok := attributes[name]
	if !ok {
		return "", fmt.Errorf("nothing local has the attribute %q of %s, a %s", name, id, kind)
	}
	return value, nil
}

// once creates the resource with a logical id, unless it exists.
func once[T any](r *resources, made map[string]T, id string, create func(string) (T, error)) (T, error) {
	if v, ok := made[id]; ok {
		return v, nil
	}
	var none T
	if slices.Contains(r.making, id) {
		return none, fmt.Errorf("circular dependency: %s", strings.Join(append(r.making, id), " needs "))
	}
	r.making = append(r.making, id)
	v, err := create(id)
	r.making = r.making[:len(r.making)-1]
	if err != nil {
		return none, err
	}
	made[id] = v
	return v, nil
}

func (r *resources) makeQueue(id string) (queue, error) {
	q, err := r.cloud.template.Queue(id, r)
	if err != nil {
		return queue{}, err
	}
	if q.Name == "" {
		q.Name = StackName + "-" + id
	}
	maps.Copy(q.Attributes, r.cloud.o.QueueAttributes[id])
	if q.Redrive != nil {
		policy, err := json.Marshal(map[string]string{
			"deadLetterTargetArn": q.Redrive.TargetARN, "maxReceiveCount": strconv.Itoa(q.Redrive.MaxReceiveCount),
		})
		if err != nil {
			return queue{}, fmt.Errorf("writing the redrive policy of %s: %w", id, err)
		}
		q.Attributes["RedrivePolicy"] = string(policy)
	}
	out, err := r.cloud.sqs.CreateQueue(r.ctx, &sqs.CreateQueueInput{QueueName: aws.String(q.Name),
		Attributes: q.Attributes})
	if err != nil {
		return queue{}, fmt.Errorf("making the queue %s: %w", id, err)
	}
	return queue{aws.ToString(out.QueueUrl), fmt.Sprintf("arn:aws:sqs:%s:%s:%s", Region, AccountID, q.Name), q.Redrive},
		nil
}

func (r *resources) makeBucket(id string) (string, error) {
	b, err := r.cloud.template.Bucket(id, r)
	if err != nil {
		return "", err
	}
	if b.Name == "" {
		b.Name = strings.ToLower(StackName + "-" + id)
	}
	name := aws.String(b.Name)
	if _, err = r.cloud.s3.CreateBucket(r.ctx, &s3.CreateBucketInput{Bucket: name}); err != nil {
		return "", fmt.Errorf("making the bucket %s: %w", id, err)
	}
	if b.Versioned && r.cloud.o.Endpoints["S3"] == "" {
		_, err = r.cloud.s3.PutBucketVersioning(r.ctx, &s3.PutBucketVersioningInput{
			Bucket: name, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
		})
		if err != nil {
			return "", fmt.Errorf("making the bucket %s a versioned one: %w", id, err)
		}
	}
	return b.Name, nil
}

func (r *resources) makeSecret(id string) (string, error) {
	s, err := r.cloud.template.Secret(id, r)
	if err != nil {
		return "", err
	}
	if s.Name == "" {
		s.Name = StackName + "-" + id
	}
	out, err := r.cloud.secrets.CreateSecret(r.ctx, &secretsmanager.CreateSecretInput{
		Name: aws.String(s.Name), SecretString: aws.String(s.Value),
	})
	if err != nil {
		return "", fmt.Errorf("making the secret %s: %w", id, err)
	}
	return aws.ToString(out.ARN), nil
}

// byARN returns the queue with an ARN.
func (r *resources) byARN(arn string) (queue, error) {
	for _, q := range r.queues {
		if q.arn == arn {
			return q, nil
		}
	}
	return queue{}, fmt.Errorf("the template makes no queue %q", arn)
}

// isDeadLetterQueue reports whether the queue with that ARN is the dead-letter queue of another.
func (r *resources) isDeadLetterQueue(arn string) bool {
	for _, q := range r.queues {
		if q.redrive != nil && q.redrive.TargetARN == arn {
			return true
		}
	}
	return false
}

// checkIDs returns an error for options of resources that the template does not deploy.
func (c *Cloud) checkIDs() error {
	var problems []error
	check := func(what, kind string, ids []string) {
		for _, id := range ids {
			if actual, err := c.template.Type(id); err != nil || actual != kind {
				problems = append(problems, fmt.Errorf("options: %s: %q is not a resource of type %s", what, id, kind))
			}
		}
	}
	check("Environment", samtemplate.TypeFunction, slices.Sorted(maps.Keys(c.o.Environment)))
	check("QueueAttributes", samtemplate.TypeQueue, slices.Sorted(maps.Keys(c.o.QueueAttributes)))
	return errors.Join(problems...)
}
