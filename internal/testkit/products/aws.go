package products

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/testenv"
)

// The modules and versions of the programs that `go install` builds. They are Apache-2.0.
const (
	versityModule, versityVersion = "github.com/versity/versitygw/cmd/versitygw", "v1.8.0"
	rieModule                     = "github.com/aws/aws-lambda-runtime-interface-emulator/cmd/aws-lambda-rie"
	rieVersion                    = "v0.0.0-20261030222936-bef5c4ba774d"
)

// ElasticMQ starts ElasticMQ 1.6.12, an SQS (Apache-2.0), and returns its base URL. It accepts any credentials.
func ElasticMQ(t testing.TB) string {
	t.Helper()
	return startNode(t, product{
		name: "elasticmq", version: "1.6.12", folder: "elasticmq", mainClass: "ElasticMQNode.java",
	}, nil).URL
}

// VersityGW starts versitygw 1.8.0, an S3 with versions of objects, and returns its base URL. Its access key and its
// secret are "local".
func VersityGW(t testing.TB) string {
	t.Helper()
	program := goInstall(t, versityModule, versityVersion)
	folder := t.TempDir()
	data, sidecar := filepath.Join(folder, "data"), filepath.Join(folder, "meta")
	versions := filepath.Join(folder, "versions")
	for _, name := range []string{data, sidecar, versions} {
		if err := os.Mkdir(name, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return "http://" + serve(t, nil, func(address string) []string {
		return []string{
			program, "--access", "local", "--secret", "local", "--port", address, "--quiet",
			"posix", "--sidecar", sidecar, "--versioning-dir", versions, data,
		}
	})
}

// LambdaRIE runs a bootstrap with this environment in AWS's runtime interface emulator, and returns the URL that
// invokes it. It needs Linux.
func LambdaRIE(t testing.TB, bootstrap string, env []string) string {
	t.Helper()
	program := goInstall(t, rieModule, rieVersion)
	return "http://" + serve(t, env, func(address string) []string {
		return []string{
			program, "--runtime-api-address", freeAddress(t), "--runtime-interface-emulator-address", address, bootstrap,
		}
	}) + "/2015-03-31/functions/function/invocations"
}

// goInstall returns the path of a program, after it has built it where that is allowed.
func goInstall(t testing.TB, module, version string) string {
	t.Helper()
	name := filepath.Base(module)
	requested(t, name+" "+version)
	folder := filepath.Join(root(t), "build", "products", name+"-"+version)
	program := filepath.Join(folder, name)
	if _, err := os.Stat(program); err == nil {
		return program
	}
	t.Logf("building %s %s", name, version)
	cmd := exec.CommandContext(t.Context(), "go", "install", module+"@"+version) //nolint:gosec // constants
	cmd.Dir = t.TempDir()                                                        // not this module
	//nolint:forbidigo // a child's
	cmd.Env = append(os.Environ(), "GOBIN="+folder, "GOFLAGS=-trimpath", "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		testenv.Missing(t, name+" "+version+" was not built: "+err.Error()+": "+lastLine(string(output)))
	}
	return program
}

// untilEOF runs its arguments until they end or its standard input does, which it does with the test process.
const untilEOF = `exec 3<&0; "$@" 3<&- & p=$!; { cat <&3 >/dev/null; kill $p 2>/dev/null; } & wait $p`

// serve runs a program that listens at a loopback address, until the test ends. Another process may take the free
// address first: then it tries another one.
func serve(t testing.TB, env []string, command func(address string) []string) (address string) {
	t.Helper()
	for range 3 {
		address = freeAddress(t)
		args := command(address)
		log := createLog(t, product{name: filepath.Base(args[0])})
		//nolint:gosec,noctx // the test's cleanup ends the process
		cmd := exec.Command("/bin/sh", append([]string{"-c", untilEOF, "sh"}, args...)...)
		cmd.Env, cmd.Stdout, cmd.Stderr = env, log, log
		err := waitForListener(startProcess(t, cmd), func() (net.Conn, error) {
			return net.Dial("tcp", address) //nolint:noctx // loopback
		})
		if err == nil {
			return address
		}
		if !errors.Is(err, errEnded) {
			t.Fatalf("%s: %v: see %s", args[0], err, log.Name())
		}
	}
	t.Fatal("the program ended three times before it was ready")
	return ""
}
