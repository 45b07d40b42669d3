package ministack

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/arbitex/siem-connectors/internal/testkit/products"
)

// TestLifecycle repeats a first deployment that failed, and deploys again under the same name after a deletion, which
// keeps queues and dead letters.
func TestLifecycle(t *testing.T) {
	template := products.MiniStackTemplate(t, templateFile, parameters())
	adjust(template)
	s, _ := start(t)
	s.resources = template["Resources"].(object)
	s.uploadCode()

	s.fail(template)
	if left := s.left(); len(left) > 0 {
		t.Errorf("a failed first deployment leaves %v", left)
	}
	s.create(template)
	first := s.queue("splunk")
	_, err := s.root.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &first, MessageBody: aws.String("kept")})
	s.must(err)
	s.delete()
	kept := s.left()
	if len(kept) != 9 || !slices.Contains(kept, first) { // seven queues, dead-letter queue, bucket
		t.Errorf("a deletion keeps %v", kept)
	}
	s.create(template) // AWS makes another queue; MiniStack derives its name from the ids alone, and finds the old one
	for _, name := range kept {
		if !slices.Contains(s.left(), name) {
			t.Errorf("the second deployment deletes %s", name)
		}
	}
	s.delete()

	before := len(s.left()) // Retain, which the template had, does not pass
	for _, r := range s.resources {
		if r.(object)["DeletionPolicy"] == "RetainExceptOnCreate" {
			r.(object)["DeletionPolicy"] = "Retain"
		}
	}
	s.fail(template)
	if len(s.left()) == before {
		t.Error("with Retain, a failed first deployment leaves nothing")
	}
}

// fail creates the stack with a resource that fails after all that a deletion keeps, and deletes the failed stack.
func (s *stack) fail(template object) {
	s.t.Helper()
	var retained []any
	for id, r := range s.resources {
		if r.(object)["DeletionPolicy"] != nil {
			retained = append(retained, id)
		}
	}
	s.resources["Broken"] = object{
		"Type": "AWS::SQS::Queue", "DependsOn": retained, "Properties": object{"VisibilityTimeout": -1},
	}
	s.createTo(template, cfntypes.StackStatusRollbackComplete)
	delete(s.resources, "Broken")
	s.delete()
}

func (s *stack) delete() {
	s.t.Helper()
	name := aws.String(stackName)
	_, err := s.root.cfn.DeleteStack(s.t.Context(), &cloudformation.DeleteStackInput{StackName: name})
	s.must(err)
	s.eventually("the stack is deleted", func() error {
		_, err := s.root.cfn.DescribeStacks(s.t.Context(), &cloudformation.DescribeStacksInput{StackName: name})
		if err == nil {
			return errors.New("it still exists")
		}
		return nil
	})
}

// left returns the queues and buckets that stacks made.
func (s *stack) left() (all []string) {
	s.t.Helper()
	queues, err := s.root.sqs.ListQueues(s.t.Context(), &sqs.ListQueuesInput{})
	s.must(err)
	for _, url := range queues.QueueUrls {
		if !strings.Contains(url, "GuardQueue") {
			all = append(all, url)
		}
	}
	buckets, err := s.root.s3.ListBuckets(s.t.Context(), &s3.ListBucketsInput{})
	s.must(err)
	for _, b := range buckets.Buckets {
		if *b.Name != codeBucket {
			all = append(all, *b.Name)
		}
	}
	return all
}
