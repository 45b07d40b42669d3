package products

import (
	"archive/zip"
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/emulator/moto"
	"github.com/arbitex/siem-connectors/internal/testkit/testenv"
)

const ministackVersion = "1.5.33"

// The account and the region of MiniStack: those that deploy/check.py writes into the template.
const (
	MiniStackAccount = "123456789012"
	MiniStackRegion  = "eu-west-1"
)

// MiniStackFiles are the paths of the PEM files of a MiniStack: its certificate for 127.0.0.1 with its key, and the CA
// that its functions trust.
type MiniStackFiles struct{ Cert, Key, CA string }

// MiniStack starts MiniStack 1.5.33 (MIT, from PyPI) with TLS and authorization by IAM policies, and returns its URL
// and the path of its log, which has every line that a function prints.
// The access key "test" with the secret "test" is the account's root. Functions run as processes of this machine, with
// the credentials of their roles and the URL as AWS_ENDPOINT_URL. Python listens on a random loopback port only.
func MiniStack(t testing.TB, files MiniStackFiles) (url, logFile string) {
	t.Helper()
	python := installMiniStack(t)
	script, err := sources.ReadFile("ministack/serve.py")
	if err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	url = "https://" + address
	_, port, _ := net.SplitHostPort(address)
	folder := t.TempDir()
	log := createLog(t, product{name: "ministack"})
	//nolint:gosec,noctx // the test's cleanup ends the process
	cmd := exec.Command(python, "-c", string(script), address)
	cmd.Dir = folder
	cmd.Env = []string{ // nothing else: functions inherit it
		"PATH=" + os.Getenv("PATH"), //nolint:forbidigo // a child's
		"TMPDIR=" + folder, "HOME=" + folder, "PYTHONUNBUFFERED=1",
		"BIND_HOST=127.0.0.1", "MINISTACK_HOST=127.0.0.1", "GATEWAY_PORT=" + port,
		"MINISTACK_ACCOUNT_ID=" + MiniStackAccount, "MINISTACK_REGION=" + MiniStackRegion,
		"AUTH=true", "USE_SSL=1", "MINISTACK_SSL_CERT=" + files.Cert, "MINISTACK_SSL_KEY=" + files.Key,
		"AWS_ENDPOINT_URL=" + url, "SSL_CERT_FILE=" + files.CA, "SFTP_ENABLED=0",
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // serve.py ends its process group
	err = waitForListener(startProcess(t, cmd), func() (net.Conn, error) {
		//nolint:gosec,noctx // only whether it listens; loopback
		return tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	})
	if err != nil {
		t.Fatalf("MiniStack: %v: see %s", err, log.Name())
	}
	return url, log.Name()
}

// startProcess starts a process that ends when its standard input does, which it does with the test. It returns a
// channel that is closed when the process has ended.
func startProcess(t testing.TB, cmd *exec.Cmd) <-chan struct{} {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	t.Cleanup(func() {
		_ = stdin.Close()
		<-exited
	})
	return exited
}

var errEnded = errors.New("it ended before it was ready")

// waitForListener returns when a connection succeeds.
func waitForListener(exited <-chan struct{}, dial func() (net.Conn, error)) error {
	late := time.After(startTimeout)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		connection, err := dial()
		if err == nil {
			return connection.Close()
		}
		select {
		case <-tick.C:
		case <-exited:
			return errEnded
		case <-late:
			return fmt.Errorf("it was not ready after %s", startTimeout)
		}
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed at once
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// MiniStackTemplate returns what CloudFormation creates for a template with these parameters; see Template. The loops
// are expanded as MiniStack does, which replaces an identifier only where CloudFormation does.
func MiniStackTemplate(t testing.TB, path string, parameters map[string]string) map[string]any {
	t.Helper()
	script, err := sources.ReadFile("ministack/expand.py")
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(parameters)
	if err != nil {
		t.Fatal(err)
	}
	return translate(t, parameters, python3(t, installMiniStack(t), nil, "-c", string(script),
		path, string(text)))
}

// installMiniStack returns the Python of a virtual environment that holds MiniStack.
func installMiniStack(t testing.TB) string {
	t.Helper()
	requested(t, "ministack "+ministackVersion)
	cache := filepath.Join(root(t), "build", "products", "ministack-"+ministackVersion)
	list, err := sources.ReadFile("ministack/requirements.txt")
	if err != nil {
		t.Fatal(err)
	}
	if err := moto.InstallVenv(t.Context(), cache, list, t.Output()); err != nil {
		testenv.Missing(t, err.Error())
	}
	return filepath.Join(cache, "bin", "python")
}

// run runs a command that installs a product.
func run(t testing.TB, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...) //nolint:gosec // programs of Java
	if output, err := cmd.CombinedOutput(); err != nil {
		testenv.Missing(t, name+": "+err.Error()+": "+lastLine(string(output)))
	}
}

// install returns the folder that holds the product's jars and main class, after it has fetched them where that is
// allowed. Two processes may do so at the same time.
func install(t testing.TB, p product) string {
	t.Helper()
	requested(t, p.name+" "+p.version)
	pom, err := sources.ReadFile(p.folder + "/pom.xml")
	if err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(root(t), "build", "products", fmt.Sprintf("%s-%s-%x", p.name, p.version,
		sha256.Sum256(pom))[:len(p.name)+len(p.version)+10])
	if _, err := os.Stat(filepath.Join(cache, "lib")); err == nil {
		writeSources(t, p, cache)
		return cache
	}
	if _, err := exec.LookPath("mvn"); err != nil {
		testenv.Missing(t, p.name+" comes from Maven Central, and mvn is not installed")
	}
	if err := os.MkdirAll(filepath.Dir(cache), 0o750); err != nil {
		t.Fatal(err)
	}
	//nolint:usetesting // a rename needs the file system of build/
	staging, err := os.MkdirTemp(filepath.Dir(cache), p.name+"-*.part")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(staging) }()
	writeSources(t, p, staging)
	t.Logf("fetching %s %s from Maven Central", p.name, p.version)
	//nolint:gosec,noctx // go test's own timeout bounds the download
	mvn := exec.Command("mvn", "--batch-mode", "--quiet", "--strict-checksums", "dependency:copy-dependencies",
		"-DincludeScope=runtime", "-DoutputDirectory="+filepath.Join(staging, "lib"))
	mvn.Dir = staging
	if output, err := mvn.CombinedOutput(); err != nil {
		testenv.Missing(t, p.name+" "+p.version+" was not fetched: "+err.Error()+": "+lastLine(string(output)))
	}
	arrangeModules(t, p, staging)
	if err := os.Rename(staging, cache); err != nil {
		if _, other := os.Stat(filepath.Join(cache, "lib")); other != nil { // else another process was faster
			t.Fatal(err)
		}
	}
	return cache
}

// requested skips the test unless the run is one with products.
func requested(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("FETCH_PRODUCTS") == "" { //nolint:forbidigo // the targets of make set it
		t.Skip("NOT TESTED: make content and make interop-all test with " + what)
	}
}

// writeSources puts pom.xml and the main class into the folder.
func writeSources(t testing.TB, p product, folder string) {
	t.Helper()
	for _, name := range []string{"pom.xml", p.mainClass} {
		data, err := sources.ReadFile(p.folder + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// arrangeModules moves the jars of modules out of the class path and writes the descriptors that the server reads. It
// drops the line modulename: the server's own Java modules are on the class path here.
func arrangeModules(t testing.TB, p product, folder string) {
	t.Helper()
	const descriptor = "plugin-descriptor.properties"
	var moved []string
	for _, m := range p.modules {
		target := filepath.Join(folder, "modules", m.name)
		if err := os.MkdirAll(target, 0o750); err != nil {
			t.Fatal(err)
		}
		for _, prefix := range m.jars {
			jars, _ := filepath.Glob(filepath.Join(folder, "lib", prefix+"*.jar"))
			for _, jar := range jars {
				if err := os.Link(jar, filepath.Join(target, filepath.Base(jar))); err != nil {
					t.Fatal(err)
				}
			}
			moved = append(moved, jars...)
		}
		text := []byte("name=" + m.name + "\ndescription=x\nversion=" + p.version + "\nelasticsearch.version=" + p.version +
			"\njava.version=17\nclassname=Analysis\n")
		if m.name == analysis {
			compile(t, p, folder, target)
		} else {
			text = readDescriptor(t, filepath.Join(target, m.name+"-"+p.version+".jar"),
				"META-INF/es-plugins/"+m.name+"/"+descriptor)
		}
		if err := os.WriteFile(filepath.Join(target, descriptor), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, jar := range moved {
		_ = os.Remove(jar) // two modules may have moved it
	}
}

// compile makes the jar of this package's module.
func compile(t testing.TB, p product, folder, target string) {
	t.Helper()
	data, err := sources.ReadFile(p.folder + "/Analysis.java")
	if err != nil {
		t.Fatal(err)
	}
	source, classes := filepath.Join(folder, "Analysis.java"), filepath.Join(folder, "classes")
	if err := os.WriteFile(source, data, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "javac", "-cp", filepath.Join(folder, "lib", "*"), "-d", classes, source)
	run(t, "jar", "--create", "--file", filepath.Join(target, "analysis.jar"), "-C", classes, ".")
}

func readDescriptor(t testing.TB, jar, name string) []byte {
	t.Helper()
	archive, err := zip.OpenReader(jar)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = archive.Close() }()
	file, err := archive.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	return withoutModuleName(t, file)
}

func withoutModuleName(t testing.TB, descriptor io.Reader) []byte {
	t.Helper()
	var kept []byte
	lines := bufio.NewScanner(descriptor)
	for lines.Scan() {
		if !strings.HasPrefix(lines.Text(), "modulename") {
			kept = append(append(kept, lines.Bytes()...), '\n')
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return kept
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// root returns the folder of the repository's go.mod.
func root(t testing.TB) string {
	t.Helper()
	folder, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		_, err := os.Stat(filepath.Join(folder, "template.yaml"))
		if err == nil {
			return folder
		}
		parent := filepath.Dir(folder)
		if parent == folder {
			t.Fatal("no template.yaml above the working directory")
		}
		folder = parent
	}
}
