# ArbitexSIEM connectors. `make help` lists what there is. Works with GNU make 3.81 and later; needs Go, and Python 3
# for the demo, the end-to-end tests (moto) and the template checks (SAM, cfn-lint), each in a venv made here.

GO      ?= go
PYTHON  ?= python3
FUZZTIME ?= 10s
BENCHTIME ?= 1s

GOLANGCI_VERSION := v2.15.0

# One folder with a main.go is one function; its bootstrap is build/<function>/bootstrap.
FUNCTIONS  := $(patsubst functions/%/main.go,%,$(wildcard functions/*/main.go))
BOOTSTRAPS := $(FUNCTIONS:%=build/%/bootstrap)
ARM64      := $(FUNCTIONS:%=build/arm64/%/bootstrap)
SOURCES    := go.mod go.sum $(shell find functions shared -name '*.go' ! -name '*_test.go' 2>/dev/null)

# Without net/rpc the linker drops what no function calls: a third less to load at a cold start.
BUILD := CGO_ENABLED=0 $(GO) build -tags lambda.norpc,nethttpomithttp2 -trimpath -buildvcs=false -ldflags "-s -w"

# End-to-end tests drive the built binaries, one package at a time; all others are unit tests.
UNIT = $(GO) list ./... | grep -v '/test\(/\|$$\)'
E2E  := $(if $(wildcard test/*_test.go test/*/*_test.go),./test/...)
# Modules of their own, so that what they compare us with stays out of the functions' go.mod.
MODULES := $(patsubst %/go.mod,%,$(wildcard */go.mod */*/go.mod))

TOOLS    := build/tools
GOLANGCI := build/bin/golangci-lint-$(GOLANGCI_VERSION)
export SAM_CLI_TELEMETRY := 0
export PATH := $(CURDIR)/build/bin:$(PATH)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: help demo test vet unit e2e modules build lint fmt fmt-check tidy-check template sam-build deploy bench fuzz \
	cover sizes syslog-daemons clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1|/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{printf "  make %-15s %s\n", $$1, $$2}'

demo: build ## the whole system on this machine: EVENTS=file.jsonl, COUNT=1000, SEED=1, KEEP=1 to stay up
	$(GO) run ./local

test: vet unit e2e modules ## go vet, unit tests with -race, end-to-end tests

vet:
	$(GO) vet ./...

unit:
	$(GO) test -race $$($(UNIT))

e2e: build
	$(if $(E2E),$(GO) test -race -count=1 -p 1 -timeout 20m $(E2E),@echo "no end-to-end tests")

modules: build
	@set -e; for m in $(MODULES); do echo "module $$m"; (cd "$$m" && $(GO) vet ./... && $(GO) test -race ./...); done

build: $(BOOTSTRAPS) ## host binaries at build/<function>/bootstrap

$(BOOTSTRAPS): build/%/bootstrap: $(SOURCES)
	@mkdir -p $(@D)
	$(BUILD) -o $@ ./functions/$*

$(ARM64): build/arm64/%/bootstrap: $(SOURCES)
	@mkdir -p $(@D)
	GOOS=linux GOARCH=arm64 $(BUILD) -o $@ ./functions/$*

# `sam build` calls build-<LogicalId>, e.g. build-SplunkFunction for functions/splunk.
build-%Function:
	@test -n "$(ARTIFACTS_DIR)" || { echo "ARTIFACTS_DIR is not set: this target is for sam build"; exit 1; }
	GOOS=linux GOARCH=arm64 $(BUILD) -o "$(ARTIFACTS_DIR)/bootstrap" ./functions/$(shell echo $* | tr '[:upper:]' '[:lower:]')

lint: $(GOLANGCI) ## golangci-lint, at the pinned version
	$(GOLANGCI) run

$(GOLANGCI):
	GOBIN="$(CURDIR)/build/bin" $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv build/bin/golangci-lint $@

fmt: $(GOLANGCI) ## format the Go sources
	$(GOLANGCI) fmt

fmt-check:
	@unformatted=$$(gofmt -l $$(find . -name '*.go' -not -path './build/*' -not -path './.aws-sam/*')); \
	if [ -n "$$unformatted" ]; then echo "not gofmt'ed:"; echo "$$unformatted"; exit 1; fi

tidy-check:
	@set -e; for m in . $(MODULES); do (cd "$$m" && $(GO) mod tidy -diff); done

template: $(TOOLS)/.made ## sam validate --lint and cfn-lint
	$(TOOLS)/bin/sam validate --lint --template template.yaml
	$(TOOLS)/bin/cfn-lint template.yaml

sam-build: $(TOOLS)/.made ## arm64 functions to deploy, in .aws-sam/build
	$(TOOLS)/bin/sam build

deploy: sam-build template ## sam deploy; ARGS="--guided" the first time
	$(TOOLS)/bin/sam deploy $(ARGS)

$(TOOLS)/.made: .ci/requirements.txt
	$(PYTHON) -m venv --clear $(TOOLS)
	$(TOOLS)/bin/pip install --quiet --disable-pip-version-check --requirement .ci/requirements.txt
	touch $@

bench: ## benchmarks: BENCHTIME=1s
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./...

fuzz: ## every fuzz target in turn: FUZZTIME=10s each
	@set -e; grep -rl --include='*_test.go' '^func Fuzz' functions shared local | sort | while read -r file; do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$$file"); do \
			echo "$$target in $$(dirname "$$file")"; \
			$(GO) test "./$$(dirname "$$file")" -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) </dev/null; \
		done; \
	done

cover: ## coverage of the unit tests, by package and in build/cover.html
	@mkdir -p build
	$(GO) test -coverprofile build/cover.out $$($(UNIT))
	$(GO) tool cover -html build/cover.out -o build/cover.html
	$(GO) tool cover -func build/cover.out | tail -n 1

sizes: $(ARM64) ## size of each function's arm64 binary, plain and compressed
	@for f in $(FUNCTIONS); do \
		printf '%-12s %9d bytes, %9d compressed\n' $$f $$(wc -c < build/arm64/$$f/bootstrap) $$(gzip -9c build/arm64/$$f/bootstrap | wc -c); \
	done

syslog-daemons: build/syslog/.made ## Debian's rsyslogd and syslog-ng into build/ for the QRadar tests; installs nothing

build/syslog/.made: .ci/syslog-daemons
	.ci/syslog-daemons build
	touch $@

clean: ## remove what was built, the venvs too
	rm -rf build .aws-sam
