package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/arbitex/siem-connectors/emulator/cloud"
	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/catalog"
	"github.com/arbitex/siem-connectors/internal/pki"
	"github.com/arbitex/siem-connectors/internal/testkit/testenv"
	"github.com/arbitex/siem-connectors/shared/drain"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
	replayfunction "github.com/arbitex/siem-connectors/shared/replay"
)

// TestMain lets this binary be siemctl in the scripts, and the functions' bootstrap in the local AWS: the folder it is
// linked into says which one.
func TestMain(m *testing.M) {
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") != "" {
		bootstrap(filepath.Base(filepath.Dir(os.Args[0])))
		return
	}
	testscript.Main(m, map[string]func(){"siemctl": main})
}

func bootstrap(function string) {
	switch function {
	case "deadletter":
		lambdahost.Start(drain.NewFunction(lambdahost.System(), nil))
	case "replay":
		lambdahost.Start(replayfunction.NewFunction(lambdahost.System(), nil))
	}
	for _, c := range allConnectors() {
		if c.Name == function {
			lambdahost.RunConnector(c.Name, c.Open)
		}
	}
}

// patience limits every wait of the scripts; each is expected to take less than a tenth of it.
const patience = time.Minute

// world is the local AWS and the SIEMs that the scripts of testdata/aws share.
type world struct {
	cloud      *cloud.Cloud
	simulators map[string]siem.Simulator
	endpoint   string
}

func TestOffline(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/offline", Setup: setup(""), RequireExplicitExec: true, RequireUniqueNames: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

func TestAWS(t *testing.T) {
	testenv.Python(t)
	w := deploy(t, "splunk", "sumo", "elastic")
	t.Run("scripts", func(t *testing.T) { // its end waits for the scripts, which run in parallel
		testscript.Run(t, testscript.Params{
			Dir: "testdata/aws", Setup: setup(w.endpoint), RequireExplicitExec: true, RequireUniqueNames: true,
			Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "until": until, "siem": w.command},
		})
	})
	t.Run("many", func(t *testing.T) { replayMany(t, w) })
}

// setup gives a script's commands what an operator's shell has, and nothing of this machine's configuration.
func setup(endpoint string) func(*testscript.Env) error {
	return func(env *testscript.Env) error {
		env.Setenv("AWS_EC2_METADATA_DISABLED", "true")
		env.Setenv("AWS_CONFIG_FILE", filepath.Join(env.WorkDir, "none"))
		env.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(env.WorkDir, "none"))
		env.Setenv("TEMPLATE", filepath.Join(repository(), "template.yaml"))
		if endpoint != "" {
			env.Setenv("AWS_ACCESS_KEY_ID", "local")
			env.Setenv("AWS_SECRET_ACCESS_KEY", "local")
			env.Setenv("AWS_REGION", cloud.Region)
			env.Setenv("AWS_ENDPOINT_URL", endpoint)
			env.Setenv("SIEMCTL_STACK", cloud.StackName)
		}
		return nil
	}
}

func repository() string {
	dir, err := filepath.Abs("../..")
	if err != nil {
		panic(err)
	}
	return dir
}

// deploy starts the simulators and the local AWS with the project's template.
func deploy(t *testing.T, wanted ...string) *world {
	t.Helper()
	w := &world{simulators: map[string]siem.Simulator{}}
	authority := pki.New("siemctl test CA")
	dir := t.TempDir()
	options := siem.Options{Authority: authority, CAFile: filepath.Join(dir, "ca.pem")}
	if err := authority.WriteFile(options.CAFile); err != nil {
		t.Fatal(err)
	}
	o := cloud.Options{
		Template: filepath.Join(repository(), "template.yaml"), Venv: filepath.Join(repository(), "build", "venv"),
		Builds:     dir,
		Parameters: map[string]string{}, Environment: map[string]map[string]string{},
	}
	link(t, dir, append([]string{"deadletter", "replay"}, wanted...))
	var deployed []catalog.SIEM
	for _, entry := range catalog.List() {
		if !slices.Contains(wanted, entry.Name) {
			continue
		}
		s := newSimulator(t, entry.Name, options)
		t.Cleanup(func() { s.Close() })
		w.simulators[entry.Name] = s
		deployed = append(deployed, entry)
		variables := maps.Clone(s.Settings())
		variables["SIEM_BACKOFF_INITIAL_SECONDS"], variables["SIEM_BACKOFF_MAX_SECONDS"] = "1", "1"
		o.Environment[entry.Function()] = variables
	}
	o.Parameters = catalog.Parameters(deployed)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	var err error
	if w.cloud, err = cloud.Start(ctx, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.cloud.Stop)
	if w.endpoint, err = w.cloud.ServeAPI(ctx); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(wanted, "elastic") { // paused, so that its events stay in the queue
		if err := w.cloud.SetEnabled("elasticFunctionQueue", false); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// link makes this binary the bootstrap of each function.
func link(t *testing.T, dir string, functions []string) {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range functions {
		if err := os.Mkdir(filepath.Join(dir, name), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(binary, filepath.Join(dir, name, "bootstrap")); err != nil {
			t.Fatal(err)
		}
	}
}

// exits runs a command that must end with an exit code: exits 2 siemctl check --local.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code command args...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("running %s: %v", args[1], err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// until runs a command again and again until its standard output matches: until 'pattern' siemctl status.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until pattern command args...")
	}
	pattern := regexp.MustCompile("(?s)" + args[0])
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(patience); ; {
		err := ts.Exec(args[1], args[2:]...)
		if out := ts.ReadFile("stdout"); pattern.MatchString(out) {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			ts.Fatalf("%s did not appear in time (%v)", args[0], err)
		}
	}
}

// command does something with a SIEM: siem splunk secret file, siem splunk search file, siem splunk poison id, siem
// splunk heal, siem splunk rotate, siem splunk accepted n.
func (w *world) command(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: siem name what [argument]")
	}
	s := w.simulators[args[0]]
	switch args[1] {
	case "secret":
		data, err := json.Marshal(s.Secret())
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(args[2]), data, 0o600))
	case "search":
		data, err := json.Marshal(s.(siem.Searchable).SearchSettings())
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(args[2]), data, 0o600))
	case "poison":
		s.Inject(siem.Fault{Kind: siem.Poison, Name: args[2], Match: func(id string) bool {
			return strings.HasPrefix(id, args[2])
		}})
	case "heal":
		s.Inject(siem.Fault{Kind: siem.Heal})
	case "rotate":
		s.Rotate()
	case "accepted":
		if got := fmt.Sprint(len(s.Accepted())); got != args[2] {
			ts.Fatalf("%s has accepted %s events, want %s", args[0], got, args[2])
		}
	default:
		ts.Fatalf("siem: %q is not known", args[1])
	}
}

// siemctlCommand returns a command that runs siemctl against an AWS.
func siemctlCommand(ctx context.Context, t *testing.T, endpoint string, args ...string) *exec.Cmd {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Args[0] = "siemctl" // which is what tells this binary to be it
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local", "AWS_REGION="+cloud.Region,
		"AWS_ENDPOINT_URL="+endpoint, "SIEMCTL_STACK="+cloud.StackName, "TERM=xterm", "COLUMNS=")
	return cmd
}

// interruptAt starts a command, sends SIGINT at each line of one of its streams that matches, and returns the lines and
// the exit code.
func interruptAt(cmd *exec.Cmd, stream io.Reader, matches func(string) bool) (printed string, code int, err error) {
	if err := cmd.Start(); err != nil {
		return "", 0, err
	}
	for lines := bufio.NewScanner(stream); lines.Scan(); {
		printed += lines.Text() + "\n"
		if matches(lines.Text()) {
			_ = cmd.Process.Signal(syscall.SIGINT) // it may have ended
		}
	}
	err = cmd.Wait()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return printed, exit.ExitCode(), nil
	}
	return printed, 0, err
}

// interrupt runs a command, sends SIGINT once a line of its output contains a text, and expects the exit code 130:
// interrupt text siemctl logs -f. The output is in the file interrupted.
func interrupt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: interrupt text command args...")
	}
	binary, err := os.Executable()
	ts.Check(err)
	cmd := exec.Command(binary, args[2:]...)
	cmd.Args[0] = args[1]
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
		"SIEMCTL_STACK", "COLUMNS"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	printed, code, err := interruptAt(cmd, out, func(line string) bool { return strings.Contains(line, args[0]) })
	ts.Check(err)
	ts.Logf("%s", printed)
	ts.Check(os.WriteFile(ts.MkAbs("interrupted"), []byte(printed), 0o600))
	if code != exitInterrupted {
		ts.Fatalf("exit code %d, want %d", code, exitInterrupted)
	}
	if !strings.Contains(printed, args[0]) {
		ts.Fatalf("the output does not contain %q", args[0])
	}
}
