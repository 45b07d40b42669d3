package ministack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// roles are the logical ids of the roles, with the names of the table below.
var roles = map[string]string{
	"elastic": "elasticRole", "splunk": "splunkRole", "drain": "DeadLetterRole", "replay": "ReplayRole",
	"guard": "GuardRole", "platform": "PlatformRole", "operator": "OperatorRole",
}

// permission is a call, and the roles that may make it. Every other role must be refused.
type permission struct {
	call    string
	allowed string
	do      action
}

type action = func(context.Context, clients) error

// call makes a call of one of the clients.
func call[C, In, Out, Option any](
	of func(clients) C, method func(C, context.Context, *In, ...func(*Option)) (*Out, error), in *In,
) action {
	return func(ctx context.Context, c clients) error {
		_, err := method(of(c), ctx, in)
		return err
	}
}

func onSQS(c clients) *sqs.Client                { return c.sqs }
func onS3(c clients) *s3.Client                  { return c.s3 }
func onSecrets(c clients) *secretsmanager.Client { return c.secrets }
func onLambda(c clients) *lambda.Client          { return c.lambda }

// permissions makes every call of the table with the credentials of every role.
func (s *stack) permissions() {
	for _, p := range slices.Concat(s.queuePermissions(), s.bucketPermissions(), s.otherPermissions()) {
		for role, id := range roles {
			err := p.do(s.t.Context(), s.as(id))
			want := slices.Contains(strings.Fields(p.allowed), role)
			if got := !denied(err); got != want {
				s.t.Errorf("%s %s: permitted %t, want %t: %v", role, p.call, got, want, err)
			}
		}
	}
}

// denied reports whether AWS refused the call for lack of permission. Any other error comes after the permission.
func denied(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && strings.Contains(api.ErrorCode(), "AccessDenied")
}

func (s *stack) queuePermissions() (all []permission) {
	queues := map[string]string{
		"elastic's queue": s.queue("elastic"), "splunk's queue": s.queue("splunk"),
		"the dead-letter queue": s.outputs["DeadLetterQueueUrl"], "the guard's queue": s.ids["GuardQueue"],
	}
	receivers := map[string]string{
		"elastic's queue": "elastic", "splunk's queue": "splunk", "the dead-letter queue": "drain",
		"the guard's queue": "guard",
	}
	senders := map[string]string{
		"elastic's queue": "elastic replay platform", "splunk's queue": "splunk replay platform",
		"the dead-letter queue": "elastic splunk",
	}
	delayers := map[string]string{"elastic's queue": "elastic", "splunk's queue": "splunk", "the guard's queue": "guard"}
	for name, url := range queues {
		queue, receipt := aws.String(url), aws.String("invalid")
		all = append(
			all,
			permission{"receives from " + name, receivers[name],
				call(onSQS, (*sqs.Client).ReceiveMessage, &sqs.ReceiveMessageInput{QueueUrl: queue})},
			permission{"deletes from " + name, receivers[name], call(onSQS, (*sqs.Client).DeleteMessage,
				&sqs.DeleteMessageInput{QueueUrl: queue, ReceiptHandle: receipt})},
			permission{"reads the attributes of " + name, receivers[name],
				call(onSQS, (*sqs.Client).GetQueueAttributes, &sqs.GetQueueAttributesInput{QueueUrl: queue})},
			permission{"sends to " + name, senders[name], call(onSQS, (*sqs.Client).SendMessage,
				&sqs.SendMessageInput{QueueUrl: queue, MessageBody: aws.String(event("sent"))})},
			permission{"delays a message of " + name, delayers[name], call(onSQS, (*sqs.Client).ChangeMessageVisibility,
				&sqs.ChangeMessageVisibilityInput{QueueUrl: queue, ReceiptHandle: receipt})},
			permission{"purges " + name, "",
				call(onSQS, (*sqs.Client).PurgeQueue, &sqs.PurgeQueueInput{QueueUrl: queue})},
			permission{"changes " + name, "", call(onSQS, (*sqs.Client).SetQueueAttributes,
				&sqs.SetQueueAttributesInput{QueueUrl: queue, Attributes: map[string]string{"DelaySeconds": "0"}})},
			permission{"deletes " + name, "",
				call(onSQS, (*sqs.Client).DeleteQueue, &sqs.DeleteQueueInput{QueueUrl: queue})},
		)
	}
	return all
}

func (s *stack) bucketPermissions() (all []permission) {
	bucket := aws.String(s.outputs["DeadLetterBucketName"])
	writers := map[string]string{
		"dead-letters/pending/connector=elastic/date=2026-01-01/x.jsonl": "replay", "dead-letters/progress/x": "replay",
		"dead-letters/replay.lock": "replay", "dead-letters/replayed/x": "replay", "dead-letters/discarded/x": "replay",
		"dead-letters/x": "", "other/x": "", "dead-letters-2/pending/x": "",
	}
	deleters := map[string]string{
		"dead-letters/pending/connector=elastic/date=2026-01-01/x.jsonl": "replay", "dead-letters/replay.lock": "replay",
	}
	readers := map[string]string{
		"dead-letters/pending/connector=elastic/date=2026-01-01/x.jsonl": "replay", "dead-letters/progress/x": "replay",
		"dead-letters/replay.lock": "replay",
	}
	put := func(key string, condition *string) action {
		return func(ctx context.Context, c clients) error {
			_, err := c.s3.PutObject(ctx, &s3.PutObjectInput{
				Bucket: bucket, Key: &key, Body: strings.NewReader(""), IfNoneMatch: condition,
			})
			return err
		}
	}
	for key, roles := range writers {
		creators := roles
		if strings.HasPrefix(key, "dead-letters/pending/") {
			creators += " drain"
		}
		version := aws.String("null")
		all = append(
			all,
			permission{"overwrites " + key, roles, put(key, nil)},
			permission{"creates " + key, creators, put(key, aws.String("*"))},
			permission{"reads " + key, readers[key],
				call(onS3, (*s3.Client).GetObject, &s3.GetObjectInput{Bucket: bucket, Key: &key})},
			permission{"deletes " + key, deleters[key],
				call(onS3, (*s3.Client).DeleteObject, &s3.DeleteObjectInput{Bucket: bucket, Key: &key})},
			permission{"deletes a version of " + key, "", call(onS3, (*s3.Client).DeleteObject,
				&s3.DeleteObjectInput{Bucket: bucket, Key: &key, VersionId: version})},
			permission{"reads a version of " + key, "", call(onS3, (*s3.Client).GetObject,
				&s3.GetObjectInput{Bucket: bucket, Key: &key, VersionId: version})},
		)
	}
	for prefix, roles := range map[string]string{
		"": "", "other/": "", "dead-letters": "", "dead-letters-2/": "",
		"dead-letters/pending/": "replay", "dead-letters/progress/": "replay", "dead-letters/replayed/": "replay",
	} {
		all = append(all, permission{"lists " + prefix, roles,
			call(onS3, (*s3.Client).ListObjectsV2, &s3.ListObjectsV2Input{Bucket: bucket, Prefix: &prefix})})
	}
	return append(
		all,
		permission{"lists the whole bucket", "",
			call(onS3, (*s3.Client).ListObjectsV2, &s3.ListObjectsV2Input{Bucket: bucket})},
		permission{"lists versions", "", call(onS3, (*s3.Client).ListObjectVersions,
			&s3.ListObjectVersionsInput{Bucket: bucket, Prefix: aws.String("dead-letters/")})},
		permission{"deletes the bucket's policy", "",
			call(onS3, (*s3.Client).DeleteBucketPolicy, &s3.DeleteBucketPolicyInput{Bucket: bucket})},
	)
}

func (s *stack) otherPermissions() (all []permission) {
	for _, name := range []string{"elastic", "splunk", "sumo"} {
		secret := aws.String(s.ids[name+"Secret"])
		owner := name
		if name == "sumo" {
			owner = "" // its role is not among the roles
		}
		all = append(
			all,
			permission{"reads the secret of " + name, owner, call(onSecrets, (*secretsmanager.Client).GetSecretValue,
				&secretsmanager.GetSecretValueInput{SecretId: secret})},
			permission{"writes the secret of " + name, "", call(onSecrets, (*secretsmanager.Client).PutSecretValue,
				&secretsmanager.PutSecretValueInput{SecretId: secret, SecretString: aws.String("{}")})},
		)
	}
	for id, callers := range map[string]string{
		"elasticFunction": "guard", "ReplayFunction": "guard operator", "DeadLetterFunction": "", "GuardFunction": "",
	} {
		function := aws.String(s.ids[id])
		tagger := ""
		if id == "elasticFunction" {
			tagger = "guard"
		}
		arn := aws.String(s.arn(id))
		all = append(
			all,
			permission{"invokes " + id, callers, call(onLambda, (*lambda.Client).Invoke,
				&lambda.InvokeInput{FunctionName: function, Payload: []byte(`{"check":true}`)})},
			permission{"lists the tags of " + id, tagger,
				call(onLambda, (*lambda.Client).ListTags, &lambda.ListTagsInput{Resource: arn})},
			permission{"tags " + id, tagger, call(onLambda, (*lambda.Client).TagResource,
				&lambda.TagResourceInput{Resource: arn, Tags: map[string]string{"a": "b"}})},
			permission{"changes " + id, "", call(onLambda, (*lambda.Client).UpdateFunctionConfiguration,
				&lambda.UpdateFunctionConfigurationInput{FunctionName: function})},
			permission{"reads the settings of " + id, "", call(onLambda, (*lambda.Client).GetFunctionConfiguration,
				&lambda.GetFunctionConfigurationInput{FunctionName: function})},
		)
	}
	for id, holder := range map[string]string{
		"elasticFunctionQueue": "guard", "DeadLetterFunctionQueue": "", "GuardFunctionQueue": "",
	} {
		mapping := aws.String(s.ids[id])
		all = append(
			all,
			permission{"reads the mapping " + id, holder, call(onLambda, (*lambda.Client).GetEventSourceMapping,
				&lambda.GetEventSourceMappingInput{UUID: mapping})},
			permission{"changes the mapping " + id, holder, call(onLambda, (*lambda.Client).UpdateEventSourceMapping,
				&lambda.UpdateEventSourceMappingInput{UUID: mapping})},
			permission{"deletes the mapping " + id, "", call(onLambda, (*lambda.Client).DeleteEventSourceMapping,
				&lambda.DeleteEventSourceMappingInput{UUID: mapping})},
		)
	}
	return all
}

// watched returns the metrics of ours that an alarm or the dashboard reads.
func watched(t *testing.T, template object) (names []string) {
	t.Helper()
	for _, r := range template["Resources"].(object) {
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		patterns := map[string]string{
			"AWS::CloudWatch::Alarm":     `"MetricName":"(\w+)","Namespace":"ArbitexSIEM"`,
			"AWS::CloudWatch::Dashboard": `(?:\$\{Own\}|OR [\\"]+)(\w+)`,
		}
		pattern, ok := patterns[r.(object)["Type"].(string)]
		if !ok {
			continue
		}
		for _, m := range regexp.MustCompile(pattern).FindAllSubmatch(text, -1) {
			if name := string(m[1]); name != "Throttles" { // Lambda's
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// holdsAndFilters has a 404 hold an event, and sends one that the setting of the severity filters.
func (s *stack) holdsAndFilters(name string) {
	s.siems[name].Inject(siem.Fault{Kind: siem.Status, Status: http.StatusNotFound, Times: 1})
	s.send(name, event("held"))
	s.arrive(name, "held")
	s.send(name, strings.Replace(event("filtered"), `"severity_id":1`, `"severity_id":0`, 1))
	s.empty(name)
}

// isNearlyFull has Splunk accept an event with the notice that its queues are nearly full.
func (s *stack) isNearlyFull() {
	s.siems["splunk"].Inject(siem.Fault{Kind: siem.Product, Code: "24", Times: 1})
	s.send("splunk", event("nearly-full"))
	s.arrive("splunk", "nearly-full")
}

// metrics checks that the functions have written each watched metric, with the dimensions that it is read with.
func (s *stack) metrics() {
	if len(s.watched) < 10 {
		s.t.Fatalf("the template reads only %v", s.watched)
	}
	s.eventually("every watched metric is written", func() error {
		text, err := os.ReadFile(s.log)
		if err != nil {
			return err
		}
		written := map[string]bool{"DrainFailed": true} // S3 does not fail here
		for line := range strings.Lines(string(text)) {
			if start := strings.Index(line, `{"_aws":`); start >= 0 {
				if err := readMetrics(line[start:], written); err != nil {
					s.t.Fatalf("%v: %s", err, line)
				}
			}
		}
		for _, name := range s.watched {
			if !written[name] {
				return fmt.Errorf("no function has written %s", name)
			}
		}
		return nil
	})
}

// readMetrics adds the metrics of a line in the embedded metric format, and returns what its specification forbids.
func readMetrics(line string, written map[string]bool) error {
	var root struct {
		AWS struct {
			Timestamp         int64
			CloudWatchMetrics []struct {
				Namespace  string
				Dimensions [][]string
				Metrics    []struct{ Name, Unit string }
			}
		} `json:"_aws"`
		Stack, Connector string
	}
	members := object{}
	if err := json.Unmarshal([]byte(line), &root); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(line), &members); err != nil {
		return err
	}
	if root.AWS.Timestamp == 0 || len(root.AWS.CloudWatchMetrics) != 1 || root.Stack != stackName ||
		root.Connector == "" {
		return fmt.Errorf("timestamp %d, stack %q, connector %q", root.AWS.Timestamp, root.Stack, root.Connector)
	}
	directive := root.AWS.CloudWatchMetrics[0]
	if directive.Namespace != "ArbitexSIEM" || fmt.Sprint(directive.Dimensions) != "[[Stack Connector]]" {
		return fmt.Errorf("namespace %q, dimensions %v", directive.Namespace, directive.Dimensions)
	}
	for _, m := range directive.Metrics {
		_, number := members[m.Name].(float64)
		if !number || !slices.Contains([]string{"Count", "Bytes", "Milliseconds"}, m.Unit) {
			return fmt.Errorf("%s in %s is %v", m.Name, m.Unit, members[m.Name])
		}
		written[m.Name] = true
	}
	return nil
}
