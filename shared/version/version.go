// Package version holds the version of the connectors.
package version

// Version is the released version, for example v1.0.0. `make release` sets it with the linker (-X); any other build is
// "development".
var Version = "development" //nolint:gochecknoglobals // the linker sets only variables
