package deployed

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// Secret reads the text of a connector's secret.
func (s *Stack) Secret(ctx context.Context, id string) (string, error) {
	arn, err := s.secretARN(id)
	if err != nil {
		return "", err
	}
	return s.readSecret(ctx, arn, "reading the secret of "+id)
}

// SearchSecret is the name of the secret of the operators' search credentials. It is not a resource of the stack, and
// no role of the stack can read it.
func (s *Stack) SearchSecret() string { return s.Name + "/search" }

// ErrNoSecret means that a secret does not exist.
var ErrNoSecret = errors.New("no such secret")

// NamedSecret reads the text of a secret by its name or ARN, of the stack or not.
func (s *Stack) NamedSecret(ctx context.Context, name string) (string, error) {
	text, err := s.readSecret(ctx, name, "reading the secret "+name)
	if isMissing(err) {
		return "", &Error{Doing: "reading the secret " + name, Err: ErrNoSecret}
	}
	return text, err
}

func (s *Stack) readSecret(ctx context.Context, name, doing string) (string, error) {
	out, err := s.secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name})
	if err != nil {
		return "", failed(doing, err)
	}
	return aws.ToString(out.SecretString), nil
}

func isMissing(err error) bool {
	_, missing := errors.AsType[*types.ResourceNotFoundException](err)
	return missing
}

// PutSearchSecret makes a text the current version of the secret of search credentials, which it creates if there is
// none.
func (s *Stack) PutSearchSecret(ctx context.Context, text string) error {
	name := s.SearchSecret()
	_, err := s.secrets.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: &name, SecretString: &text})
	if isMissing(err) {
		_, err = s.secrets.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &name, SecretString: &text,
			Description: aws.String("Search credentials of the operators of " + s.Name + ", for siemctl")})
	}
	if err != nil {
		return failed("storing the secret "+name, err)
	}
	return nil
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
