# ArbitexSIEM connectors. `make help` lists what there is. Works with GNU make 3.81 and later; needs Go, and Python 3
# for the demo, the end-to-end tests (moto) and the template checks (SAM, cfn-lint), each in a venv made here.

GO      ?= go
PYTHON  ?= python3
FUZZTIME ?= 10s
BENCHTIME ?= 1s
SEEDS    ?= 1000
FROM     ?= 1

GOLANGCI_VERSION := v2.15.0
GOVULNCHECK_VERSION := v1.9.0

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
SCANNER  := build/scan
GOLANGCI := build/bin/golangci-lint-$(GOLANGCI_VERSION)
export SAM_CLI_TELEMETRY := 0
export PATH := $(CURDIR)/build/bin:$(PATH)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: help demo test vet unit e2e modules build lint fmt fmt-check tidy-check template scan sam-build deploy \
	bench bench-peers growth guards fuzz simulate replay-many mutants matrix soak vuln cover sizes syslog-daemons siemctl clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1|/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{printf "  make %-15s %s\n", $$1, $$2}'

demo: build ## the whole system on this machine: EVENTS=file.jsonl, COUNT=1000, SEED=1, KEEP=1 to stay up
	$(GO) run ./emulator

test: vet unit guards e2e modules ## go vet, unit tests with -race, end-to-end tests

vet:
	$(GO) vet ./...

unit:
	$(GO) test -race $$($(UNIT))

e2e: build
	$(if $(E2E),$(GO) test -race -count=1 -p 1 -timeout 20m $(E2E),@echo "no end-to-end tests")

modules: build
	@set -e; for m in $(MODULES); do echo "module $$m"; (cd "$$m" && $(GO) vet ./... && $(GO) test ./...); done

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
	$(GOLANGCI) run --allow-parallel-runners

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

template: $(TOOLS)/.made ## sam validate --lint, cfn-lint, and a deployment into moto's CloudFormation
	$(TOOLS)/bin/sam validate --lint --template template.yaml
	$(TOOLS)/bin/cfn-lint template.yaml alarms.yaml
	$(TOOLS)/bin/python -B -W ignore deploy/check.py

scan: $(SCANNER)/.made ## checkov on template.yaml and alarms.yaml; all switched on; exceptions say why, there or in .checkov.yaml
	@rm -rf build/scanned && mkdir -p build/scanned && cp alarms.yaml build/scanned
	@# Everything switched on: the scanner follows the conditions, and would not see what is off by default.
	@sed -e 's/Default: "false"/Default: "true"/' -e '/^  KmsKeyArn:/,/Default:/s/Default: ""/Default: arn:aws:kms:eu-west-1:123456789012:key\/1/' \
		template.yaml > build/scanned/template.yaml
	$(SCANNER)/bin/checkov --config-file .checkov.yaml

sam-build: $(TOOLS)/.made ## arm64 functions to deploy, in .aws-sam/build
	$(TOOLS)/bin/sam build

deploy: sam-build template ## sam deploy; ARGS="--guided" the first time; CANARY=Canary10Percent5Minutes to go step by step
	$(if $(CANARY),$(TOOLS)/bin/python -B -W ignore deploy/canary.py .aws-sam/build/template.yaml $(CANARY) samconfig.toml '$(ARGS)')
	$(TOOLS)/bin/sam deploy $(ARGS)

$(TOOLS)/.made: .ci/requirements.txt
	$(PYTHON) -m venv --clear $(TOOLS)
	$(TOOLS)/bin/pip install --quiet --disable-pip-version-check --requirement .ci/requirements.txt
	touch $@

$(SCANNER)/.made: .ci/requirements-scan.txt
	$(PYTHON) -m venv --clear $(SCANNER)
	$(SCANNER)/bin/pip install --quiet --disable-pip-version-check --requirement .ci/requirements-scan.txt
	touch $@

bench: ## benchmarks: BENCHTIME=1s
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./...

bench-peers: build syslog-daemons ## measure against other deliverers, renew docs/performance.md: BENCH="-rounds 3"
	$(BUILD) -o build/bench/ ./test/bench ./test/bench/floor ./test/bench/profile
	cd test/peers && $(BUILD) -o ../../build/bench/ ./collector ./elastic
	build/bench/bench -page docs/performance.md $(BENCH)

growth: build ## measure one process by sizes of events and batches, renew docs/growth.md: BENCH="-rounds 3"
	$(GO) run ./test/bench -growth docs/growth.md $(BENCH)

guards: ## allocations, requests and sizes that must not grow; without -race, which empties pools
	$(GO) test -count=1 ./test/bench

fuzz: ## every fuzz target in turn: FUZZTIME=10s each
	@GO='$(GO)' .ci/fuzz $(FUZZTIME)

simulate: ## the whole system in a simulated world: SEEDS=1000, FROM=1, or BURST=100000; UPDATE=1 writes docs/reliability.md; PLAN=seed tells one run's story
	$(GO) test ./test/simulation -v -count=1 -timeout 0 $(if $(PLAN),-run '^TestPlan$$' -plan '$(PLAN)',\
		$(if $(BURST),-run '^TestBurst$$' -burst $(BURST),-run '^TestSimulation$$' -seeds $(SEEDS) -from $(FROM)) \
		$(if $(UPDATE),-update '$(CURDIR)/docs/reliability.md'))

replay-many: ## siemctl replay of LETTERS=100000 dead letters in the local system, interrupted twice
	LETTERS=$(or $(LETTERS),100000) $(GO) test -count=1 -timeout 1h ./cmd/siemctl -run '^TestAWS$$/^many$$' -v

mutants: ## deliberate defects in the core, each of which a test must see: MUTANTS=name,… for some of them
	$(GO) run ./test/mutants $(MUTANTS)

matrix: build ## every fault against every connector; UPDATE=1 writes what was seen into docs/reliability.md
	$(GO) test -count=1 ./test/matrix $(if $(UPDATE),-update)

soak: build ## a million events with faults on, then a burst, reported: EVENTS=n, BURST=n, SEED=n; REPORT=1 writes docs/reliability.md
	$(GO) run ./test/soak $(if $(EVENTS),-events $(EVENTS)) $(if $(BURST),-burst $(BURST)) $(if $(SEED),-seed $(SEED)) \
		$(if $(REPORT),-page docs/reliability.md)

vuln: ## known vulnerabilities in what the functions call; skipped, loudly, where the database cannot be had
	@out=$$($(GO) run golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION) ./functions/... ./cmd/... 2>&1) && { echo "$$out"; exit 0; }; echo "$$out"; \
	case "$$out" in *"fetching vulnerabilities"*) echo "SKIPPED: the vulnerability database cannot be had, NOTHING WAS CHECKED";; *) exit 1;; esac

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

siemctl: ## the operator's tool, at build/siemctl
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w" -o build/siemctl ./cmd/siemctl

clean: ## remove what was built, the venvs too
	rm -rf build .aws-sam
