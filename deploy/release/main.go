// Command release packs the binaries of a release and writes its templates and checksums. `make release` calls it.
//
// The same inputs give the same bytes: entries of archives have a fixed time, mode and order.
package main

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// semver is a version of https://semver.org with the prefix v. Build metadata is not allowed: S3 keys and file names
// contain the version.
var semver = regexp.MustCompile(`^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$`)

// architectures of the functions: the name in Go, and the name in Lambda.
var architectures = []struct{ goarch, lambda string }{{"arm64", "arm64"}, {"amd64", "x86_64"}}

func run(args []string) error {
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	version := flags.String("version", "", "version, for example v1.0.0")
	binaries := flags.String("binaries", "", "folder of functions/<goarch>/<function> and siemctl/<goos>-<goarch>/siemctl")
	dist := flags.String("dist", "", "folder to write to")
	sums := flags.Bool("sums", false, "only write the checksums of the folder's files")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *sums {
		return writeSums(*dist)
	}
	if !semver.MatchString(*version) {
		return fmt.Errorf("VERSION: expected a version such as v1.0.0, found %q", *version)
	}
	return errors.Join(
		packFunctions(filepath.Join(*binaries, "functions"), *dist),
		packSiemctl(filepath.Join(*binaries, "siemctl"), *dist, *version),
		writeTemplates("template.yaml", *dist, *version),
		copyFiles(*dist, "LICENSE", "README.md", "CHANGELOG.md"),
	)
}

// packFunctions writes function-<name>-<architecture>.zip for each binary.
func packFunctions(binaries, dist string) error {
	for _, a := range architectures {
		files, err := os.ReadDir(filepath.Join(binaries, a.goarch))
		if err != nil {
			return err
		}
		for _, f := range files {
			content, err := os.ReadFile(filepath.Join(binaries, a.goarch, f.Name()))
			if err != nil {
				return err
			}
			archive, err := zipped([]entry{{"bootstrap", 0o755, content}})
			if err != nil {
				return err
			}
			if err := write(filepath.Join(dist, "function-"+f.Name()+"-"+a.lambda+".zip"), archive); err != nil {
				return err
			}
		}
	}
	return nil
}

// packSiemctl writes an archive with the license for each platform: zip for Windows, tar.gz for the others.
func packSiemctl(binaries, dist, version string) error {
	license, err := os.ReadFile("LICENSE")
	if err != nil {
		return err
	}
	platforms, err := os.ReadDir(binaries)
	if err != nil {
		return err
	}
	for _, p := range platforms {
		name, suffix, pack := "siemctl", ".tar.gz", tarred
		if strings.HasPrefix(p.Name(), "windows") {
			name, suffix, pack = "siemctl.exe", ".zip", zipped
		}
		content, err := os.ReadFile(filepath.Join(binaries, p.Name(), name))
		if err != nil {
			return err
		}
		archive, err := pack([]entry{{"LICENSE", 0o644, license}, {name, 0o755, content}})
		if err != nil {
			return err
		}
		if err := write(filepath.Join(dist, "siemctl-"+version+"-"+p.Name()+suffix), archive); err != nil {
			return err
		}
	}
	return nil
}

func copyFiles(dist string, names ...string) error {
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := write(filepath.Join(dist, name), content); err != nil {
			return err
		}
	}
	return nil
}

// sumsFile is in the format of sha256sum.
const sumsFile = "SHA256SUMS"

func writeSums(dist string) error {
	files, err := os.ReadDir(dist)
	if err != nil {
		return err
	}
	var lines []string
	for _, f := range files {
		if f.Name() == sumsFile {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dist, f.Name()))
		if err != nil {
			return err
		}
		lines = append(lines, fmt.Sprintf("%x  %s\n", sha256.Sum256(content), f.Name()))
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[64:], b[64:]) })
	return write(filepath.Join(dist, sumsFile), []byte(strings.Join(lines, "")))
}

func write(name string, content []byte) error {
	return os.WriteFile(name, content, 0o644) //nolint:gosec // G306: these files are published
}
