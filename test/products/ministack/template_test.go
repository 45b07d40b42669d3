package ministack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/catalog"
	"github.com/arbitex/siem-connectors/internal/testkit/products"
	"github.com/arbitex/siem-connectors/shared/deadletter"
)

func TestTemplate(t *testing.T) {
	s := deploy(t)
	t.Run("deliver", func(t *testing.T) {
		for _, entry := range catalog.List() {
			t.Run(entry.Name, func(t *testing.T) { s.with(t).delivers(entry) })
		}
	})
	t.Run("reject and replay", func(t *testing.T) { s.with(t).replaysRejected("elastic") })
	t.Run("give up and replay", func(t *testing.T) { s.with(t).replaysExhausted("splunk") })
	t.Run("retry a part", func(t *testing.T) { s.with(t).retriesPart("elastic") })
	t.Run("hold and filter", func(t *testing.T) { s.with(t).holdsAndFilters("datadog") })
	t.Run("nearly full", func(t *testing.T) { s.with(t).isNearlyFull() })
	t.Run("hold and resume", func(t *testing.T) { s.with(t).holdsAndResumes("sumo") })
	t.Run("metrics", func(t *testing.T) { s.with(t).metrics() })
	t.Run("permissions", func(t *testing.T) { s.with(t).permissions() })
}

func event(id string) string {
	return fmt.Sprintf(`{"class_uid":6003,"time":1741824000123,"severity_id":1,"metadata":{"uid":%q}}`, id)
}

func (s *stack) queue(connector string) string { return s.outputs[connector+"QueueUrl"] }

// send enqueues a message as the platform does.
func (s *stack) send(connector, body string) string {
	s.t.Helper()
	out, err := s.as("PlatformRole").sqs.SendMessage(s.t.Context(),
		&sqs.SendMessageInput{QueueUrl: aws.String(s.queue(connector)), MessageBody: &body})
	s.must(err)
	return *out.MessageId
}

// arrive waits until the SIEM has each of the events, once.
func (s *stack) arrive(connector string, ids ...string) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("%s has %v", connector, ids), func() error {
		counts := map[string]int{}
		for _, a := range s.siems[connector].Accepted() {
			counts[a.ID]++
		}
		for _, id := range ids {
			if counts[id] != 1 {
				return fmt.Errorf("%s is there %d times; the SIEM's last problem: %s", id, counts[id],
					s.siems[connector].Stats().LastProblem)
			}
		}
		return nil
	})
}

// delivers sends one event, three in one message, and one that no SIEM accepts.
func (s *stack) delivers(entry catalog.SIEM) {
	name := entry.Name
	s.send(name, event(name+"-1"))
	invalid := s.send(name, "["+event(name+"-2")+`,{"no":"time"},`+event(name+"-3")+"]")
	ids := []string{name + "-1", name + "-2", name + "-3"}
	if entry.Key == nil {
		s.arrive(name, ids...)
	} else { // CEF has no event id
		s.eventually("three events arrive", func() error {
			if n := len(s.siems[name].Accepted()); n != 3 {
				return fmt.Errorf("%d events; %s", n, s.siems[name].Stats().LastProblem)
			}
			return nil
		})
	}
	letter := s.letter(name, invalid+"/1")
	if string(letter.Body) != `{"no":"time"}` || letter.Attempts != 1 || !strings.Contains(letter.Error, "time") {
		s.t.Errorf("dead letter: %+v", letter)
	}
	s.empty(name)
}

// replaysRejected has the SIEM refuse one event of three, repairs the SIEM and replays.
func (s *stack) replaysRejected(name string) {
	bad := func(id string) bool { return id == "rejected" }
	s.siems[name].Inject(siem.Fault{Kind: siem.Poison, Name: "poison", Match: bad})
	message := s.send(name, "["+event("before")+","+event("rejected")+","+event("after")+"]")
	s.arrive(name, "before", "after")
	letter := s.letter(name, message+"/1")
	if letter.Attempts != 1 || string(letter.Body) != event("rejected") {
		s.t.Errorf("dead letter: %+v", letter)
	}
	s.siems[name].Inject(siem.Fault{Kind: siem.Heal, Name: "poison"})
	result := s.replay(`{"connector":"` + name + `","message_ids":["` + message + `/1"]}`)
	if result.Replayed != 1 || len(result.Errors) > 0 {
		s.t.Fatalf("replay: %+v", result)
	}
	s.arrive(name, "before", "rejected", "after")
	s.empty(name)
	if slices.ContainsFunc(s.letters(name), func(l deadletter.Record) bool { return l.MessageID == message+"/1" }) {
		s.t.Error("the replayed dead letter is still pending")
	}
}

// replaysExhausted has the SIEM fail until the attempts are over.
func (s *stack) replaysExhausted(name string) {
	s.siems[name].Inject(siem.Fault{Kind: siem.Status, Status: http.StatusServiceUnavailable, Name: "down"})
	message := s.send(name, event("exhausted"))
	letter := s.letter(name, message)
	givenUp := fmt.Sprintf("given up after %d attempts", maxAttempts)
	if letter.Attempts != maxAttempts || !strings.HasPrefix(letter.Error, givenUp) {
		s.t.Errorf("dead letter: %+v", letter)
	}
	s.siems[name].Inject(siem.Fault{Kind: siem.Heal, Name: "down"})
	if result := s.replay(`{"connector":"` + name + `","message_ids":["` + message + `"]}`); result.Replayed != 1 {
		s.t.Fatalf("replay: %+v", result)
	}
	s.arrive(name, "exhausted")
	s.empty(name)
}

// letters returns the pending dead letters of a connector, read as root.
func (s *stack) letters(name string) (all []deadletter.Record) {
	s.t.Helper()
	reader, err := deadletter.NewReader(s.root.s3, "s3://"+s.outputs["DeadLetterBucketName"]+"/dead-letters")
	s.must(err)
	filter := deadletter.Filter{Connector: name}
	_, err = reader.Each(s.t.Context(), filter, func(l *deadletter.Letter) error {
		l.Body = bytes.Clone(l.Body) // valid until this returns
		all = append(all, l.Record)
		return nil
	})
	s.must(err)
	return all
}

// letter waits for a dead letter.
func (s *stack) letter(name, messageID string) (found deadletter.Record) {
	s.t.Helper()
	s.eventually("the dead letter "+messageID, func() error {
		letters := s.letters(name)
		for _, l := range letters {
			if l.MessageID == messageID {
				found = l
				return nil
			}
		}
		return fmt.Errorf("not among %+v", letters)
	})
	return found
}

type replayed struct {
	Replayed, Skipped int
	Errors            []string
}

// replay invokes the replay function as an operator does in a region without function URLs.
func (s *stack) replay(body string) (result replayed) {
	s.t.Helper()
	payload, err := json.Marshal(object{
		"version": "2.0", "body": body, "headers": object{"content-type": "application/json"},
		"requestContext": object{"http": object{"method": "POST", "path": "/api/admin/siem/replay-dead-letter"}},
	})
	s.must(err)
	out, err := s.as("OperatorRole").lambda.Invoke(s.t.Context(),
		&lambda.InvokeInput{FunctionName: aws.String(s.outputs["ReplayFunctionName"]), Payload: payload})
	s.must(err)
	var response struct {
		StatusCode int
		Body       string
	}
	if err := json.Unmarshal(out.Payload, &response); err != nil || response.StatusCode != http.StatusOK {
		s.t.Fatalf("replay: %s", out.Payload)
	}
	s.must(json.Unmarshal([]byte(response.Body), &result))
	return result
}

// empty waits until a connector's queue has no message, visible or not.
func (s *stack) empty(name string) {
	s.t.Helper()
	s.eventually("the queue of "+name+" is empty", func() error {
		out, err := s.root.sqs.GetQueueAttributes(s.t.Context(), &sqs.GetQueueAttributesInput{
			QueueUrl: aws.String(s.queue(name)), AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameAll},
		})
		if err != nil {
			return err
		}
		for _, kind := range []string{"", "NotVisible", "Delayed"} {
			if n := out.Attributes["ApproximateNumberOfMessages"+kind]; n != "0" {
				return fmt.Errorf("%s messages %s", n, kind)
			}
		}
		return nil
	})
}

// retriesPart has the SIEM refuse the second of three events for a moment: the connector resends it to its own queue.
func (s *stack) retriesPart(name string) {
	s.siems[name].Inject(siem.Fault{Kind: siem.Product, Code: "item 429", Times: 1})
	s.send(name, "["+event("part-1")+","+event("part-2")+","+event("part-3")+"]")
	s.arrive(name, "part-1", "part-2", "part-3")
	s.empty(name)
}

// holdsAndResumes sends an alarm to the guard's queue, and waits for the check after one minute.
func (s *stack) holdsAndResumes(name string) {
	ctx := s.t.Context()
	mapping := &lambda.GetEventSourceMappingInput{UUID: aws.String(s.ids[name+"FunctionQueue"])}
	enabled := func(want bool) func() error {
		return func() error {
			out, err := s.root.lambda.GetEventSourceMapping(ctx, mapping)
			if err != nil {
				return err
			}
			if (aws.ToString(out.State) == "Enabled") != want {
				return fmt.Errorf("the mapping is %s", aws.ToString(out.State))
			}
			return nil
		}
	}
	before := s.siems[name].Stats().Requests
	_, err := s.root.sqs.SendMessage(ctx, &sqs.SendMessageInput{
		QueueUrl: aws.String(s.ids["GuardQueue"]),
		MessageBody: aws.String(`{"source":"aws.cloudwatch","detail-type":"CloudWatch Alarm State Change",` +
			`"detail":{"alarmName":"` + stackName + `-` + name + `-down","state":{"value":"ALARM"}}}`),
	})
	s.must(err)
	s.eventually("the guard holds "+name, enabled(false))
	s.eventually("the guard resumes "+name, enabled(true))
	in := &lambda.GetFunctionInput{FunctionName: aws.String(s.ids[name+"Function"])}
	function, err := s.root.lambda.GetFunction(ctx, in)
	s.must(err)
	if function.Tags["arbitex:guard"] == "" {
		s.t.Errorf("tags: %v", function.Tags)
	}
	if n := s.siems[name].Stats().Requests; n == before {
		s.t.Error("the guard resumed the connector without a check")
	}
}

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
	in := &sqs.SendMessageInput{QueueUrl: &first, MessageBody: aws.String("kept")}
	_, err := s.root.sqs.SendMessage(t.Context(), in)
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
