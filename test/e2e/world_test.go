// Package e2e tests the system from end to end: the built functions in a Lambda runtime, deployed by template.yaml,
// between moto and the simulated SIEMs. A recording proxy, the gate, is between the functions and everything that they
// connect to; it can kill a function during a request.
//
// `make build` makes the binaries. The tests share one deployment and leave its queues and bucket empty; those that
// change it do not run in parallel.
package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/arbitex/siem-connectors/emulator/cloud"
	"github.com/arbitex/siem-connectors/emulator/lambda/runtimeapi"
	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/catalog"
	"github.com/arbitex/siem-connectors/emulator/system"
	"github.com/arbitex/siem-connectors/internal/pki"
	"github.com/arbitex/siem-connectors/internal/testkit/testenv"
)

const (
	root = "../.."

	// Four attempts with waits of 1, 2 and 4 s: the fewest that show that the waits grow.
	maxAttempts    = 4
	backoffInitial = 1
	backoffMax     = 4

	// visibility is the queues' visibility timeout in seconds: longer than any invocation, and shorter than patience.
	visibility = "60"
)

// world holds what the tests share.
type world struct {
	folder  string // temporary
	ca      *pki.Authority
	caFile  string
	gate    *gate
	siems   map[string]*actor // by connector
	order   []*actor
	cloud   *system.System
	sqs     *sqs.Client
	s3      *s3.Client
	secrets *secretsmanager.Client
	output  output
	vault   vault
}

// actor is a simulated SIEM and its door of the gate.
type actor struct {
	catalog.SIEM
	siem.Simulator
	Name      string // the connector's
	own, door string // URL of the simulator and of its door; empty where it does not use HTTP
}

var w *world

func TestMain(m *testing.M) {
	if name := unknownConnector(); name != "" {
		fmt.Printf("FAIL: test/e2e/traits_test.go: known has no entry for the connector %q, or it lacks fields\n", name)
		os.Exit(1)
	}
	if _, err := exec.LookPath("python3"); err != nil {
		fmt.Println("NOT TESTED: the local AWS needs python3, which is not installed")
		return
	}
	if runtime.GOOS == "darwin" {
		fmt.Println("NOT TESTED: on macOS Go trusts no CA file named in the environment, and four connectors know of no " +
			"other")
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	folder, err := os.MkdirTemp("", "e2e")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer func() { _ = os.RemoveAll(folder) }()
	w = &world{folder: folder, siems: map[string]*actor{}, gate: newGate()}
	defer w.stop()
	if err := w.start(context.Background()); err != nil {
		fmt.Println("starting the system:", err)
		return 1
	}
	code := m.Run()
	// Search everything that the functions produced in any test.
	if found := w.leaks(); len(found) > 0 {
		fmt.Println("FAIL: secrets have leaked in the whole run:")
		fmt.Println(strings.Join(found, "\n"))
		return 1
	}
	return code
}

func (w *world) start(ctx context.Context) error {
	siems, err := w.openSIEMs()
	if err != nil {
		return err
	}
	environment := map[string]map[string]string{}
	for _, a := range w.order {
		environment[a.Function()] = system.Backoff(backoffInitial, backoffMax)
		environment[a.Function()]["SIEM_REQUEST_TIMEOUT_SECONDS"] = "15"
	}
	for id, name := range functions() {
		if environment[id] == nil {
			environment[id] = map[string]string{}
		}
		environment[id]["AWS_ENDPOINT_URL"] = w.gate.function(name)
	}
	template, err := w.template()
	if err != nil {
		return err
	}
	builds, err := w.bootstraps()
	if err != nil {
		return err
	}
	queues := map[string]map[string]string{"DeadLetterQueue": {"VisibilityTimeout": visibility}}
	for _, a := range w.order {
		queues[a.Queue()] = queues["DeadLetterQueue"]
		w.vault.keep(a.Secret())
	}
	w.cloud, err = system.Start(ctx, root, siems, cloud.Options{
		Template: template, Builds: builds, Venv: filepath.Join(root, "build", "venv"),
		Parameters:  map[string]string{"MaxAttempts": fmt.Sprint(maxAttempts)},
		Environment: environment, QueueAttributes: queues, Logs: &w.output, Progress: os.Stderr,
	})
	if err != nil {
		return err
	}
	w.gate.setAWS(w.cloud.Endpoint())
	w.sqs, w.s3, w.secrets = w.cloud.SQS, w.cloud.S3, secretsmanager.NewFromConfig(w.cloud.AWSConfig())
	for _, a := range w.order {
		if err := w.cloud.SetEnabled(a.mapping(), false); err != nil {
			return err
		}
	}
	return nil
}

// functions returns the name of each function by its logical id.
func functions() map[string]string {
	names := map[string]string{"DeadLetterFunction": "deadletter", "ReplayFunction": "replay"}
	for _, entry := range catalog.List() {
		names[entry.Function()] = entry.Name
	}
	return names
}

var loopback = regexp.MustCompile(`https://127\.0\.0\.1:\d+`)

// gated is a simulator behind its door.
type gated struct {
	siem.Simulator
	a *actor
}

func (g gated) Settings() map[string]string { return g.a.Settings() }
func (g gated) Secret() map[string]string   { return g.a.Secret() }

// openSIEMs starts the simulators and their doors.
func (w *world) openSIEMs() (siems []*system.SIEM, err error) {
	w.caFile = filepath.Join(w.folder, "ca.pem")
	if siems, w.ca, err = system.Simulate(w.caFile, catalog.List()); err != nil {
		return nil, err
	}
	for _, one := range siems {
		a := &actor{SIEM: one.SIEM, Simulator: one.Simulator, Name: one.Name}
		for _, value := range both(a.Simulator.Settings(), a.Simulator.Secret()) {
			if found := loopback.FindString(value); found != "" {
				a.own = found
			}
		}
		if a.own != "" {
			if a.door, err = w.gate.siem(a.Name, a.own, w.ca); err != nil {
				return nil, err
			}
		}
		one.Simulator = gated{a.Simulator, a}
		w.siems[a.Name], w.order = a, append(w.order, a)
	}
	return siems, nil
}

func both(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// Settings returns the simulator's settings, with the address of its door.
func (a *actor) Settings() map[string]string { return a.through(a.Simulator.Settings()) }

// Secret returns the simulator's secret, with the address of its door.
func (a *actor) Secret() map[string]string { return a.through(a.Simulator.Secret()) }

func (a *actor) through(values map[string]string) map[string]string { return a.at(a.door, values) }

// at replaces the SIEM's address.
func (a *actor) at(url string, values map[string]string) map[string]string {
	out := maps.Clone(values)
	if a.own == "" {
		return out
	}
	for name, value := range out {
		out[name] = strings.NewReplacer(a.own, url, a.door, url).Replace(value)
	}
	return out
}

func (a *actor) mapping() string { return a.Function() + "Queue" }

// poisoned makes the SIEM refuse the event with that id until the test ends.
func (a *actor) poisoned(t *testing.T, id string) {
	t.Helper()
	name := "poison " + id
	a.Inject(siem.Fault{Kind: siem.Poison, Name: name, Match: func(other string) bool { return other == id }})
	t.Cleanup(func() { a.Inject(siem.Fault{Kind: siem.Heal, Name: name}) })
}

// batching finds the batch sizes and windows of the connectors and of the drain in template.yaml.
var batching = regexp.MustCompile(`BatchSize: 100\n +MaximumBatchingWindowInSeconds: 5\n`)

// template copies template.yaml without batching windows, for which a test would have to wait. Batches are then of ten
// messages.
func (w *world) template() (string, error) {
	text, err := os.ReadFile(filepath.Join(root, "template.yaml"))
	if err != nil {
		return "", err
	}
	if n := len(batching.FindAll(text, -1)); n != 2 {
		return "", fmt.Errorf("template.yaml has %d batches of 100 with a window of 5 s, not 2, which this test replaces", n)
	}
	path := filepath.Join(w.folder, "template.yaml")
	return path, os.WriteFile(path, batching.ReplaceAll(text, []byte("BatchSize: 10\n")), 0o600)
}

// bootstraps writes a bootstrap for each function that connects the built binary to the gate's Runtime API.
func (w *world) bootstraps() (string, error) {
	builds := filepath.Join(w.folder, "build")
	for _, name := range functions() {
		binary, err := filepath.Abs(filepath.Join(root, "build", name, "bootstrap"))
		if err != nil {
			return "", err
		}
		if _, err := os.Stat(binary); err != nil {
			return "", fmt.Errorf("looking for a function (run `make build`): %w", err)
		}
		script := "#!/bin/sh\nAWS_LAMBDA_RUNTIME_API=" + w.gate.runtime(name) +
			"/$AWS_LAMBDA_RUNTIME_API\nexport AWS_LAMBDA_RUNTIME_API\nexec '" + binary + "'\n"
		if err := os.MkdirAll(filepath.Join(builds, name), 0o700); err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(builds, name, "bootstrap"), []byte(script), 0o700); err != nil {
			return "", err
		}
	}
	return builds, nil
}

// publish stores a SIEM's current credential in Secrets Manager.
func (w *world) publish(ctx context.Context, a *actor) error {
	w.vault.keep(a.Secret())
	return w.cloud.PutSecret(ctx, a.SIEM.Secret(), a.Secret())
}

func (w *world) stop() {
	if w.cloud != nil {
		_ = w.cloud.Close()
	}
	w.gate.close()
}

// output keeps every line that the functions print.
type output struct {
	mu    sync.Mutex
	lines strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lines.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lines.String()
}

// patience bounds every wait. A wait normally takes less than a tenth of it.
const patience = 90 * time.Second

// eventually waits until done returns true, and ends the test on a timeout.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	testenv.Eventually(t, patience, what, func() error {
		if !done() {
			return errNotYet
		}
		return nil
	})
}

var errNotYet = errors.New("not yet")

// must returns a value, and ends the test on an error.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// variables returns the environment of a connector's function in the deployment, without SIEM_SECRET_ID.
func (w *world) variables(a *actor) map[string]string {
	env := map[string]string{
		"SIEM_QUEUE_URL": w.cloud.Queue(a.Queue()), "SIEM_DEAD_LETTER_QUEUE_URL": w.deadLetterQueue(),
		"SIEM_MAX_ATTEMPTS":        "4",
		"SIEM_BACKOFF_MAX_SECONDS": "4", "SIEM_REQUEST_TIMEOUT_SECONDS": "5", "AWS_ENDPOINT_URL": w.gate.function(a.Name),
	}
	maps.Copy(env, a.Settings())
	return env
}

// function runs a connector's binary outside of the deployment, with its own environment.
func (w *world) function(t *testing.T, a *actor, env map[string]string) *runtimeapi.Function {
	t.Helper()
	f := runtimeapi.New(runtimeapi.Config{
		Name: "beside-" + a.Name, ARN: "arn:aws:lambda:us-east-1:123456789012:function:beside-" + a.Name,
		Region:    cloud.Region,
		Bootstrap: filepath.Join(w.folder, "build", a.Name, "bootstrap"), Environment: env, Timeout: 30 * time.Second,
		MemoryMB: 256, MaxInstances: 2,
		Output: func(line string) { _, _ = w.output.Write([]byte("beside-" + a.Name + " | " + line + "\n")) },
	})
	t.Cleanup(f.Close)
	return f
}

// secret creates a secret that holds a text, and returns its ARN.
func (w *world) secret(t *testing.T, text string) string {
	t.Helper()
	name := strings.NewReplacer("/", "-", "#", "-", ":", "-", "'", "-", ",", "-", "(", "-", ")", "-").Replace(t.Name()) +
		"-" + time.Now().Format("150405.000000000")
	in := &secretsmanager.CreateSecretInput{Name: &name, SecretString: &text}
	if text == "" { // neither AWS nor its SDK lets a secret be made empty, a binary one can be
		in.SecretString, in.SecretBinary = nil, []byte(" ")
	}
	return aws.ToString(must(w.secrets.CreateSecret(t.Context(), in))(t).ARN)
}

// full returns a working environment of a connector, with its credential in its own secret.
func (w *world) full(t *testing.T, a *actor) map[string]string {
	t.Helper()
	env := w.variables(a)
	env["SIEM_SECRET_ID"] = w.secret(t, encode(a.Secret()))
	return env
}

// invoker invokes a function.
type invoker func(payload []byte) (runtimeapi.Result, error)

func (w *world) deployed(t *testing.T, id string) invoker {
	return func(p []byte) (runtimeapi.Result, error) { return w.cloud.Invoke(t.Context(), id, p) }
}

func beside(t *testing.T, f *runtimeapi.Function) invoker {
	return func(p []byte) (runtimeapi.Result, error) { return f.Invoke(t.Context(), p) }
}

// failures invokes with an SQS event, and returns the ids in batchItemFailures.
func failures(t *testing.T, invoke invoker, payload []byte) []string {
	t.Helper()
	r := must(invoke(payload))(t)
	if r.Error != nil {
		t.Fatalf("the invocation failed: %v", r.Error)
	}
	var answer struct {
		BatchItemFailures []struct{ ItemIdentifier string }
	}
	if err := json.Unmarshal(r.Payload, &answer); err != nil || answer.BatchItemFailures == nil {
		t.Fatalf("answer %.300q: %v", r.Payload, err)
	}
	ids := make([]string, len(answer.BatchItemFailures))
	for i, f := range answer.BatchItemFailures {
		ids[i] = f.ItemIdentifier
	}
	return ids
}

// checked is the response of the connection check.
type checked struct {
	Connector, Step, Detail, Hint string
	OK                            bool
	Milliseconds                  int
}

func check(t *testing.T, invoke invoker) checked {
	t.Helper()
	r := must(invoke([]byte(`{"check":true}`)))(t)
	if r.Error != nil {
		t.Fatalf("the check failed as an invocation: %v", r.Error)
	}
	var c checked
	if err := json.Unmarshal(r.Payload, &c); err != nil {
		t.Fatalf("check %.300q: %v", r.Payload, err)
	}
	return c
}
