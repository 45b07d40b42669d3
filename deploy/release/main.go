// Command release packs the binaries of a release and writes its templates and checksums. `make release` calls it.
//
// The same inputs give the same bytes: entries of archives have a fixed time, mode and order.
package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
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

// entry is a file of an archive.
type entry struct {
	name    string
	mode    fs.FileMode
	content []byte
}

// epoch is the time of every entry: the first that zip can represent.
var epoch = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC) //nolint:gochecknoglobals // a constant

func zipped(entries []entry) ([]byte, error) {
	var b bytes.Buffer
	archive := zip.NewWriter(&b)
	archive.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(w, flate.BestCompression)
	})
	for _, e := range entries {
		header := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		header.SetMode(e.mode) // Lambda needs the execute bit of bootstrap
		header.Modified = epoch
		w, err := archive.CreateHeader(header)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(e.content); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func tarred(entries []entry) ([]byte, error) {
	var b bytes.Buffer
	compressed, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	archive := tar.NewWriter(compressed)
	for _, e := range entries {
		header := &tar.Header{
			Name: e.name, Mode: int64(e.mode), Size: int64(len(e.content)), ModTime: epoch, Format: tar.FormatUSTAR,
		}
		if err := archive.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := archive.Write(e.content); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	if err := compressed.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
