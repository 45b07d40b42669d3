package ministack

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/splunk"
	"github.com/arbitex/siem-connectors/emulator/siem/sumo"
	"github.com/arbitex/siem-connectors/internal/testkit/products"
	"github.com/arbitex/siem-connectors/internal/testkit/terminal"
	"github.com/arbitex/siem-connectors/internal/testkit/testenv"
)

// TestInit runs siemctl init with the files of a release. SAM CLI deploys them. siemctl stores the settings, checks the
// connection, resumes the connector and sends an event, which arrives in the simulated SIEM. A second init adds another
// connector to the stack.
func TestInit(t *testing.T) {
	in := newInstallation(t)
	hec, err := splunk.New(siem.Options{Authority: in.ca})
	in.must(err)
	t.Cleanup(func() { _ = hec.Close() })
	collector, err := sumo.New(siem.Options{Authority: in.ca})
	in.must(err)
	t.Cleanup(func() { _ = collector.Close() })

	in.init("splunk", hec, [][2]string{
		{"ARN of the topic (Enter: CloudWatch only): ", ""},
		{"SPLUNK_HEC_TLS_CA_BUNDLE (not set): ", "@" + in.caFile},
		{"SPLUNK_HEC_TOKEN (not set): ", hec.Secret()["SPLUNK_HEC_TOKEN"]},
		{"SPLUNK_HEC_URL (not set): ", hec.Settings()["SPLUNK_HEC_URL"]},
	})
	in.init("sumo", collector, [][2]string{
		{"SUMO_HTTP_SOURCE_URL (not set): ", collector.Secret()["SUMO_HTTP_SOURCE_URL"]},
	})
	status, err := in.siemctl("status").CombinedOutput()
	for _, name := range []string{"splunk", "sumo"} {
		if running := regexp.MustCompile(`(?m)^` + name + ` +running`); err != nil || !running.Match(status) {
			t.Errorf("%s does not run: %v: %s", name, err, status)
		}
	}
}

// installation is what an operator has: the files of a release, SAM CLI, and an account.
type installation struct {
	*stack
	folder, program string // of the release, siemctl
	env             []string
	caFile          string
}

func newInstallation(t *testing.T) *installation {
	t.Helper()
	tools, err := filepath.Abs(root + "/build/tools/bin")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(tools, "sam")); err != nil {
		testenv.Missing(t, "SAM CLI is not in build/tools: `make template` makes it")
	}
	in := new(installation)
	in.stack, in.caFile = start(t)
	in.folder, in.program = makeRelease(t)
	in.createBucket(codeBucket)
	in.env = []string{
		"PATH=" + tools + ":/usr/bin:/bin", "HOME=" + t.TempDir(), "TERM=xterm", "NO_COLOR=1", "SAM_CLI_TELEMETRY=0",
		"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_REGION=" + products.MiniStackRegion,
		"AWS_DEFAULT_REGION=" + products.MiniStackRegion, "AWS_CA_BUNDLE=" + in.caFile,
		"AWS_ENDPOINT_URL=" + in.transforming(), "SIEMCTL_STACK=" + stackName,
	}
	return in
}

func (in *installation) siemctl(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(in.t.Context(), in.program, args...)
	cmd.Env = in.env
	return cmd
}

// init runs siemctl init, answers its questions, and requires that one event arrives.
func (in *installation) init(connector string, simulator siem.Simulator, answers [][2]string) {
	in.t.Helper()
	args := []string{"init", connector, "--release", in.folder}
	if runtime.GOARCH == "amd64" {
		args = append(args, "--x86")
	}
	session := terminal.Start(in.t, 120, in.siemctl(args...))
	for _, a := range answers {
		session.Answer(a[0], a[1])
	}
	shown, code := session.End()
	if n := len(simulator.Accepted()); code != 0 || n != 1 || !strings.Contains(shown, "delivered 1") {
		in.t.Fatalf("exit code %d, %s has %d events, want 1: the terminal shows\n%s", code, connector, n, shown)
	}
}

// makeRelease makes the files of a release for this machine's architecture, and returns their folder and the path of
// siemctl.
func makeRelease(t *testing.T) (folder, siemctl string) {
	t.Helper()
	binaries, folder := t.TempDir(), t.TempDir()
	functions := filepath.Join(binaries, "functions")
	for _, path := range []string{filepath.Join(functions, "arm64"), filepath.Join(functions, "amd64")} {
		if err := os.MkdirAll(path, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	built, err := filepath.Glob(root + "/build/*/bootstrap")
	if err != nil || len(built) < 10 {
		testenv.Missing(t, "the functions are not in build: `make build` makes them")
	}
	for _, path := range built {
		path, err := filepath.Abs(path)
		if err == nil {
			err = os.Symlink(path, filepath.Join(functions, runtime.GOARCH, filepath.Base(filepath.Dir(path))))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	siemctl = filepath.Join(binaries, "siemctl", runtime.GOOS+"-"+runtime.GOARCH, "siemctl")
	for _, args := range [][]string{
		{"build", "-o", siemctl, "./cmd/siemctl"},
		{"run", "./deploy/release", "-version", "v0.0.0", "-binaries", binaries, "-dist", folder},
	} {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = root
		if output, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, output)
		}
	}
	return folder, siemctl
}

// transforming starts a proxy of MiniStack, which lacks the transform of SAM, and returns its URL. The proxy transforms
// and adjusts the templates of stacks and change sets.
func (s *stack) transforming() string {
	s.t.Helper()
	certificate := s.ca.Server("127.0.0.1")
	target, err := url.Parse(s.url)
	s.must(err)
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host },
		Transport: s.transport(),
	}
	// SAM CLI sends a request again after a minute, which the transform exceeds on a busy machine.
	var mu sync.Mutex
	done := map[string]string{} // the changed body by the body
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
			s.transformRequest(w, r, &mu, done) //nolint:contextcheck // it goes on when the request is sent again
		}
		proxy.ServeHTTP(w, r)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate.TLS}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	s.t.Cleanup(server.Close)
	return server.URL
}

// transformRequest changes the body of a request as done says, and adds to done what it does not have.
func (s *stack) transformRequest(w http.ResponseWriter, r *http.Request, mu *sync.Mutex, done map[string]string) {
	mu.Lock()
	defer mu.Unlock() // also if the test fails here
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	form, err := url.ParseQuery(string(body))
	if action := form.Get("Action"); err == nil && (action == "CreateChangeSet" || action == "CreateStack") {
		original := string(body)
		if done[original] == "" {
			s.transform(s.t.Context(), form)
			done[original] = form.Encode()
		}
		body = []byte(done[original])
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	r.Header.Set("Content-Length", fmt.Sprint(len(body)))
}

// transform changes the template of a request.
func (s *stack) transform(ctx context.Context, form url.Values) {
	if text := form.Get("TemplateBody"); text != "" { // of the bucket for the code, which has no resource to transform
		var template object
		s.must(json.Unmarshal([]byte(text), &template))
		delete(template, "Transform")
		body, err := json.Marshal(template)
		s.must(err)
		form.Set("TemplateBody", string(body))
		return
	}
	parameters := map[string]string{}
	for i := 1; form.Has(fmt.Sprintf("Parameters.member.%d.ParameterKey", i)); i++ {
		one := fmt.Sprintf("Parameters.member.%d.Parameter", i)
		if form.Has(one + "Value") { // otherwise the previous value, which is the default here
			parameters[form.Get(one+"Key")] = form.Get(one + "Value")
		}
	}
	file := filepath.Join(s.t.TempDir(), "template.yaml")
	at, err := url.Parse(form.Get("TemplateURL"))
	s.must(err)
	bucket, key, _ := strings.Cut(at.Path[1:], "/")
	if name, _, ok := strings.Cut(at.Host, ".s3."); ok {
		bucket, key = name, at.Path[1:]
	}
	uploaded, err := s.root.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	s.must(err)
	text, err := io.ReadAll(uploaded.Body)
	s.must(err)
	s.must(os.WriteFile(file, text, 0o600))
	template := products.MiniStackTemplate(s.t, file, parameters)
	adjust(template)
	s.requireCode(ctx, template["Resources"].(object))
	body, err := json.Marshal(template)
	s.must(err)
	_, err = s.root.s3.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String(codeBucket), Key: aws.String("template.json"), Body: bytes.NewReader(body),
	})
	s.must(err)
	form.Set("TemplateURL", s.url+"/"+codeBucket+"/template.json")
}

// requireCode requires that the code of every function is in S3: MiniStack creates a function without it.
func (s *stack) requireCode(ctx context.Context, resources object) {
	for id, r := range resources {
		resource := r.(object)
		if resource["Type"] != "AWS::Lambda::Function" {
			continue
		}
		code := resource["Properties"].(object)["Code"].(object)
		if text, ok := code["S3Key"].(object); ok {
			code["S3Key"] = text["Fn::Sub"] // without a variable, because the loops are expanded
		}
		bucket, key := fmt.Sprint(code["S3Bucket"]), fmt.Sprint(code["S3Key"])
		if _, err := s.root.s3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &key}); err != nil {
			s.t.Errorf("%s: its code is not in S3, s3://%s/%s: %v", id, bucket, key, err)
		}
	}
}

// TestTerraform applies deploy/terraform, finds nothing to change afterwards, and destroys the stack. `make
// terraform-check` sets TERRAFORM_PLUGINS, a folder with the AWS provider; empty, Terraform downloads it.
func TestTerraform(t *testing.T) {
	plugins, ok := os.LookupEnv("TERRAFORM_PLUGINS")
	if !ok {
		t.Skip("NOT TESTED: TERRAFORM_PLUGINS is not set: `make terraform-check` sets it")
	}
	if _, err := exec.LookPath("terraform"); err != nil {
		testenv.Missing(t, "terraform is not installed")
	}
	in := newInstallation(t)
	in.createBucket("deployments")
	module, err := filepath.Abs(root + "/deploy/terraform")
	in.must(err)
	architecture := map[string]string{"amd64": "x86_64", "arm64": "arm64"}[runtime.GOARCH]
	folder := t.TempDir()
	in.must(os.WriteFile(filepath.Join(folder, "main.tf"), fmt.Appendf(nil, `
provider "aws" {
  s3_use_path_style = true
}

module "siem" {
  source       = %q
  release      = %q
  bucket       = "deployments"
  prefix       = var.prefix
  architecture = %q
  parameters   = { Connectors = "splunk,sumo" }
}

variable "prefix" {
  default = "code"
}

output "outputs" {
  value = module.siem.outputs
}
`, module, in.folder, architecture), 0o600))
	terraform := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "terraform", append(args, "-no-color")...)
		cmd.Dir, cmd.Env = folder, append(in.env, "CHECKPOINT_DISABLE=1")
		output, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("terraform %v: %v: %s", args, err, output)
		}
		return string(output)
	}
	initArgs := []string{"init", "-input=false"}
	if plugins != "" {
		initArgs = append(initArgs, "-plugin-dir="+plugins)
	}
	terraform(initArgs...)
	terraform("validate")
	terraform("apply", "-auto-approve", "-input=false")
	terraform("plan", "-detailed-exitcode", "-input=false") // exits with 2 if there is something to change
	// Changed code has a new key. A rollback of the stack needs the old code, so it is deleted last.
	upgrade := terraform("plan", "-input=false", "-var=prefix=new")
	if !strings.Contains(upgrade, `+/- resource "aws_s3_object" "code"`) {
		t.Errorf("an upgrade deletes the old code before the stack is updated: %s", upgrade)
	}
	var outputs struct {
		Outputs struct{ Value map[string]string }
	}
	in.must(json.Unmarshal([]byte(terraform("output", "-json")), &outputs))
	if have := outputs.Outputs.Value; have["Version"] != "v0.0.0" || have["DeployedConnectors"] != "splunk,sumo" ||
		!strings.Contains(have["splunkQueueUrl"], "splunkQueue") {
		t.Errorf("outputs %v", have)
	}
	if status, err := in.siemctl("status").CombinedOutput(); err != nil || !strings.Contains(string(status), "sumo") {
		t.Errorf("siemctl status: %v: %s", err, status)
	}
	terraform("destroy", "-auto-approve", "-input=false")
	if queue := outputs.Outputs.Value["splunkQueueUrl"]; !slices.Contains(in.left(), queue) {
		t.Errorf("destroy deletes the queue %s", queue)
	}
}
