package deployed

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// Secret reads the text of a connector's secret.
func (s *Stack) Secret(ctx context.Context, id string) (string, error) {
	arn, err := s.secretARN(id)
	if err != nil {
		return "", err
	}
	out, err := s.secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &arn})
	if err != nil {
		return "", failed("reading the secret of "+id, err)
	}
	return aws.ToString(out.SecretString), nil
}

// NamedSecret reads the text of a secret by its name or ARN, of the stack or not.
func (s *Stack) NamedSecret(ctx context.Context, name string) (string, error) {
	out, err := s.secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name})
	if err != nil {
		return "", failed("reading the secret "+name, err)
	}
	return aws.ToString(out.SecretString), nil
}

// PutSecret makes a text the current version of a connector's secret.
func (s *Stack) PutSecret(ctx context.Context, id, text string) error {
	arn, err := s.secretARN(id)
	if err != nil {
		return err
	}
	if _, err := s.secrets.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: &arn,
		SecretString: &text}); err != nil {
		return failed("storing the secret of "+id, err)
	}
	return nil
}

func (s *Stack) secretARN(id string) (string, error) {
	arn := s.physical[id+"Secret"]
	if arn == "" {
		return "", &Error{Doing: "looking for the secret of " + id, Err: fmt.Errorf("the stack %q has none", s.Name)}
	}
	return arn, nil
}

// DeadLetters is where dead letters are kept: a client of S3 and the path s3://bucket/prefix.
func (s *Stack) DeadLetters(ctx context.Context) (client *s3.Client, path string, err error) {
	env, err := s.Environment(ctx, "Replay")
	return s.s3, env["SIEM_DEAD_LETTER_PATH"], err
}

// Secrets is a client of Secrets Manager for what a connector that runs here reads itself.
func Secrets(cfg aws.Config) *secretsmanager.Client { return secretsmanager.NewFromConfig(cfg) }
