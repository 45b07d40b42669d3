// Package ministack deploys the whole template into MiniStack, which enforces IAM, and runs the real binaries under
// their real roles.
package ministack

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	lambdahost "github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/catalog"
	"github.com/arbitex/siem-connectors/internal/pki"
	"github.com/arbitex/siem-connectors/internal/testkit/products"
	"github.com/arbitex/siem-connectors/internal/testkit/testenv"
)

const (
	root         = "../../.."
	templateFile = root + "/template.yaml"
	stackName    = "arbitex-siem" // deploy/check.py's
	codeBucket   = "code"
	maxAttempts  = 3
	patience     = time.Minute + 30*time.Second
)

// TestMain makes this test binary a Lambda function that returns the credentials of its role: the test then makes calls
// with them.
func TestMain(m *testing.M) {
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") != "" {
		lambdahost.Start(func() (map[string]string, error) {
			out := map[string]string{}
			for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} {
				out[name] = os.Getenv(name)
			}
			return out, nil
		})
		return
	}
	os.Exit(m.Run())
}

// stack is the deployed template.
type stack struct {
	t         *testing.T
	url, log  string
	watched   []string // the metrics of the alarms and of the dashboard
	ca        *pki.Authority
	root      clients
	ids       map[string]string // physical ids by logical id
	outputs   map[string]string
	siems     map[string]siem.Simulator
	roles     map[string]clients
	resources object
}

// clients are the clients of one principal.
type clients struct {
	sqs     *sqs.Client
	s3      *s3.Client
	secrets *secretsmanager.Client
	lambda  *lambda.Client
	cfn     *cloudformation.Client
}

// start starts MiniStack.
func start(t *testing.T) (*stack, string) {
	t.Helper()
	ca := pki.New("test CA")
	certificate := ca.Server("127.0.0.1")
	folder := t.TempDir()
	files := products.MiniStackFiles{
		Cert: filepath.Join(folder, "cert.pem"), Key: filepath.Join(folder, "key.pem"), CA: filepath.Join(folder, "ca.pem"),
	}
	for path, text := range map[string]string{
		files.Cert: certificate.CertPEM, files.Key: certificate.KeyPEM, files.CA: ca.PEM(),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := &stack{t: t, ca: ca, siems: map[string]siem.Simulator{}, roles: map[string]clients{}}
	s.url, s.log = products.MiniStack(t, files)
	s.root = s.clients(credentials.NewStaticCredentialsProvider("test", "test", ""))
	return s, files.CA
}

// deploy starts MiniStack and the simulated SIEMs, and creates the stack with all connectors.
func deploy(t *testing.T) *stack {
	t.Helper()
	template := products.MiniStackTemplate(t, templateFile, parameters())
	s, caFile := start(t)
	s.watched = watched(t, template)
	t.Logf("not deployed: %v", adjust(template))
	s.resources = template["Resources"].(object)
	s.resources["PlatformRole"] = principal("EnqueuePolicy")
	s.resources["OperatorRole"] = principal("ReplayCallerPolicy")
	s.uploadCode()
	s.create(template)
	for _, entry := range catalog.List() {
		simulator, err := entry.New(siem.Options{Authority: s.ca, CAFile: caFile})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = simulator.Close() })
		s.siems[entry.Name] = simulator
		s.configure(entry.Name)
	}
	return s
}

// parameters of the stack: all connectors, few attempts.
func parameters() map[string]string {
	var connectors []string
	for _, entry := range catalog.List() {
		connectors = append(connectors, entry.Name)
	}
	return map[string]string{"Connectors": strings.Join(connectors, ","), "MaxAttempts": fmt.Sprint(maxAttempts)}
}

// principal is a role of somebody else who has a policy of the stack.
func principal(policyID string) object {
	return object{"Type": "AWS::IAM::Role", "Properties": object{
		"ManagedPolicyArns": []any{object{"Ref": policyID}},
		"AssumeRolePolicyDocument": object{"Version": "2012-10-17", "Statement": []any{object{
			"Effect": "Allow", "Principal": object{"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole",
		}}},
	}}
}

func (s *stack) transport() *http.Transport {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig.RootCAs = s.ca.Pool()
	transport.Proxy = nil
	s.t.Cleanup(transport.CloseIdleConnections)
	return transport
}

func (s *stack) clients(provider aws.CredentialsProvider) clients {
	config := aws.Config{
		Region: products.MiniStackRegion, BaseEndpoint: aws.String(s.url), Credentials: provider,
		HTTPClient: &http.Client{Transport: s.transport()}, RetryMaxAttempts: 1,
	}
	return clients{
		sqs.NewFromConfig(config),
		s3.NewFromConfig(config, func(o *s3.Options) { o.UsePathStyle = true }),
		secretsmanager.NewFromConfig(config), lambda.NewFromConfig(config), cloudformation.NewFromConfig(config),
	}
}

func (s *stack) createBucket(name string) {
	s.t.Helper()
	_, err := s.root.s3.CreateBucket(s.t.Context(), &s3.CreateBucketInput{
		Bucket: &name,
		CreateBucketConfiguration: &s3types.CreateBucketConfiguration{
			LocationConstraint: s3types.BucketLocationConstraint(products.MiniStackRegion),
		},
	})
	s.must(err)
}

func (s *stack) uploadCode() {
	s.t.Helper()
	ctx := s.t.Context()
	s.createBucket(codeBucket)
	self, err := os.Executable()
	s.must(err)
	files := map[string]string{"credentials.zip": self}
	for id, r := range s.resources {
		if r.(object)["Type"] == "AWS::Lambda::Function" {
			files[codeKey(id)] = bootstrap(codeKey(id))
		}
	}
	for key, path := range files {
		if _, err := os.Stat(path); err != nil {
			testenv.Missing(s.t, path+" is missing: `make build` makes it")
		}
		_, err := s.root.s3.PutObject(ctx, &s3.PutObjectInput{
			Bucket: aws.String(codeBucket), Key: aws.String(key), Body: bytes.NewReader(archive(s.t, path)),
		})
		s.must(err)
	}
}

// archive returns a zip file that holds the program as bootstrap.
func archive(t *testing.T, path string) []byte {
	t.Helper()
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	w, err := z.CreateHeader(&zip.FileHeader{Name: "bootstrap", Method: zip.Store})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(program); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// create creates the stack, which must succeed.
func (s *stack) create(template object) {
	s.t.Helper()
	ctx := s.t.Context()
	one := s.createTo(template, cfntypes.StackStatusCreateComplete)
	s.outputs = map[string]string{}
	for _, o := range one.Outputs {
		s.outputs[*o.OutputKey] = *o.OutputValue
	}
	s.ids = map[string]string{}
	pages := cloudformation.NewListStackResourcesPaginator(s.root.cfn,
		&cloudformation.ListStackResourcesInput{StackName: aws.String(stackName)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		s.must(err)
		for _, r := range page.StackResourceSummaries {
			s.ids[*r.LogicalResourceId] = aws.ToString(r.PhysicalResourceId)
		}
	}
}

// createTo creates the stack and waits for the status.
func (s *stack) createTo(template object, want cfntypes.StackStatus) (one cfntypes.Stack) {
	s.t.Helper()
	ctx := s.t.Context()
	body, err := json.Marshal(template)
	s.must(err)
	_, err = s.root.s3.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String(codeBucket), Key: aws.String("template.json"), Body: bytes.NewReader(body),
	})
	s.must(err)
	var arguments []cfntypes.Parameter
	for name, value := range parameters() {
		arguments = append(arguments, cfntypes.Parameter{ParameterKey: &name, ParameterValue: &value})
	}
	_, err = s.root.cfn.CreateStack(ctx, &cloudformation.CreateStackInput{
		StackName: aws.String(stackName), TemplateURL: aws.String(s.url + "/" + codeBucket + "/template.json"),
		Capabilities: []cfntypes.Capability{cfntypes.CapabilityCapabilityIam},
		Parameters:   arguments,
	})
	s.must(err)
	s.eventually("the stack has the status "+string(want), func() error {
		out, err := s.root.cfn.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: aws.String(stackName)})
		if err != nil {
			return err
		}
		if one = out.Stacks[0]; one.StackStatus != want {
			return fmt.Errorf("%s: %s", one.StackStatus, s.failures(ctx))
		}
		return nil
	})
	return one
}

// failures returns why resources of the stack were not created.
func (s *stack) failures(ctx context.Context) string {
	out, err := s.root.cfn.DescribeStackEvents(ctx,
		&cloudformation.DescribeStackEventsInput{StackName: aws.String(stackName)})
	if err != nil {
		return err.Error()
	}
	var found []string
	for _, e := range out.StackEvents {
		if strings.HasSuffix(string(e.ResourceStatus), "FAILED") {
			found = append(found, aws.ToString(e.LogicalResourceId)+": "+aws.ToString(e.ResourceStatusReason))
		}
	}
	return strings.Join(found, "; ")
}

// configure writes the connector's settings into its secret.
func (s *stack) configure(connector string) {
	s.t.Helper()
	settings := map[string]string{
		"SIEM_BACKOFF_INITIAL_SECONDS": "1", "SIEM_BACKOFF_MAX_SECONDS": "2", "SIEM_REQUEST_TIMEOUT_SECONDS": "20",
		"SIEM_MIN_SEVERITY": "1",
	}
	maps.Copy(settings, s.siems[connector].Settings())
	maps.Copy(settings, s.siems[connector].Secret())
	delete(settings, "SSL_CERT_FILE") // MiniStack's environment has it
	body, err := json.Marshal(settings)
	s.must(err)
	_, err = s.root.secrets.PutSecretValue(s.t.Context(), &secretsmanager.PutSecretValueInput{
		SecretId: aws.String(s.ids[connector+"Secret"]), SecretString: aws.String(string(body)),
	})
	s.must(err)
}

// as returns the clients of a role of the template: a function with that role returns its credentials.
func (s *stack) as(roleID string) clients {
	s.t.Helper()
	if c, ok := s.roles[roleID]; ok {
		return c
	}
	name := "credentials-" + roleID
	_, err := s.root.lambda.CreateFunction(s.t.Context(), &lambda.CreateFunctionInput{
		FunctionName: &name, Runtime: lambdatypes.RuntimeProvidedal2023, Handler: aws.String("bootstrap"),
		Role:    aws.String("arn:aws:iam::" + products.MiniStackAccount + ":role/" + s.ids[roleID]),
		Code:    &lambdatypes.FunctionCode{S3Bucket: aws.String(codeBucket), S3Key: aws.String("credentials.zip")},
		Timeout: aws.Int32(30),
	})
	s.must(err)
	out, err := s.root.lambda.Invoke(s.t.Context(), &lambda.InvokeInput{FunctionName: &name, Payload: []byte("{}")})
	s.must(err)
	var c map[string]string
	if json.Unmarshal(out.Payload, &c) != nil || c["AWS_SESSION_TOKEN"] == "" {
		s.t.Fatalf("%s: the function responded %s", roleID, out.Payload)
	}
	s.roles[roleID] = s.clients(credentials.NewStaticCredentialsProvider(
		c["AWS_ACCESS_KEY_ID"], c["AWS_SECRET_ACCESS_KEY"], c["AWS_SESSION_TOKEN"]))
	return s.roles[roleID]
}

func (s *stack) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// eventually waits until check returns nil.
func (s *stack) eventually(what string, check func() error) {
	s.t.Helper()
	testenv.Eventually(s.t, patience, what, check)
}

// with returns the stack for a subtest.
func (s *stack) with(t *testing.T) *stack {
	c := *s
	c.t = t
	return &c
}

// arn returns the ARN of a function.
func (s *stack) arn(functionID string) string {
	const functions = "arn:aws:lambda:" + products.MiniStackRegion + ":" + products.MiniStackAccount + ":function:"
	return functions + s.ids[functionID]
}
