# ArbitexSIEM connectors. `make help` lists the targets. Works with GNU make 3.81 and later. Needs Go, and Python 3 for
# the demo, the end-to-end tests (moto) and the template checks (SAM, cfn-lint). Make creates a venv for each of them.

GO      ?= go
PYTHON  ?= python3
FUZZTIME ?= 10s
BENCHTIME ?= 1s
SEEDS    ?= 1000
FROM     ?= 1

GOLANGCI_VERSION := v2.15.0
GOVULNCHECK_VERSION := v1.9.0
CYCLONEDX_VERSION := v1.10.0
CHECKOV_VERSION := 3.3.30
# Releases are built with this version of Go: another version produces other bytes.
RELEASE_GO := go1.26.8

# One folder with a main.go is one function; its bootstrap is build/<function>/bootstrap.
FUNCTIONS  := $(patsubst functions/%/main.go,%,$(wildcard functions/*/main.go))
BOOTSTRAPS := $(FUNCTIONS:%=build/%/bootstrap)
ARM64      := $(FUNCTIONS:%=build/arm64/%/bootstrap)
SOURCES    := go.mod go.sum $(shell find functions shared -name '*.go' ! -name '*_test.go' 2>/dev/null)

# Without net/rpc, the linker removes unused methods. The binaries are a third smaller, which shortens cold starts.
BUILD = CGO_ENABLED=0 $(GO) build -tags lambda.norpc,nethttpomithttp2 -trimpath -buildvcs=false -ldflags "$(LDFLAGS)"
LDFLAGS := -s -w

# Everything but test/, whose suites have their own targets. The mutants' table is a unit test.
UNIT = $(GO) list ./... | grep -v '/test/\(bench\|e2e\|eighth\|matrix\|products\|soak\)'
MODULES := $(patsubst %/go.mod,%,$(wildcard */go.mod */*/go.mod test/interop/*/go.mod))

TOOLS    := build/tools
SCANNER  := build/scan-$(CHECKOV_VERSION)
CYCLONEDX := build/bin/cyclonedx-gomod-$(CYCLONEDX_VERSION)
CONTENT  := build/content
GOLANGCI := build/bin/golangci-lint-$(GOLANGCI_VERSION)
export SAM_CLI_TELEMETRY := 0
export PATH := $(CURDIR)/build/bin:$(PATH)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: help demo picture test vet unit test-all race e2e interop interop-aws interop-all producers peers compile build \
	lint fmt fmt-check tidy-check template terraform-check scan sam-build deploy bench bench-peers latency growth guards \
	eighth fuzz simulate replay-many mutants matrix soak vuln cover sizes content syslog-daemons siemctl release \
	release-check clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1|/p' $(firstword $(MAKEFILE_LIST)) | \
		awk -F'|' '{printf "  make %-15s %s\n", $$1, $$2}'

demo: build ## run the whole system locally (2 minutes): EVENTS=file.jsonl, COUNT=1000, SEED=1, KEEP=1 keeps it running
	$(GO) run ./emulator

picture: build $(TOOLS)/.made ## run the demo, and draw the end of its output in docs/demo.svg (2 minutes)
	script -qec '$(MAKE) -s demo' build/demo.txt
	$(TOOLS)/bin/python .ci/picture build/demo.txt docs/demo.svg

test: vet build unit ## vet and all unit tests (4 minutes on two cores, downloads included)

vet:
	$(GO) vet ./...

unit:
	$(GO) test $$($(UNIT))

test-all: ## what .ci/run runs after `make test` (15 minutes)
	@start=$$(date +%s); for target in race guards e2e matrix eighth interop producers peers; do \
		echo "== make $$target ($$(($$(date +%s) - start)) s)"; $(MAKE) -s $$target || exit 1; done

race: ## unit tests with the race detector (4 minutes)
	$(GO) test -race $$($(UNIT))

e2e: build ## end-to-end tests: built binaries, moto, loopback sockets (2 minutes)
	$(GO) test -count=1 -timeout 20m ./test/e2e ./test/soak

# Separate modules keep the dependencies of third-party clients and servers out of the functions' go.mod.
interop: build $(TOOLS)/.made ## third-party clients and receivers against connectors and simulators (5 minutes)
	$(call in-module,test/interop)
	$(call in-module,test/interop/datadog)
	$(GO) test -count=1 ./test/products/alarms

interop-aws: build ## ElasticMQ, versitygw and AWS's Lambda emulator: drain, S3, replay, bootstraps (3 minutes, 200 MB)
	FETCH_PRODUCTS=1 $(GO) test -count=1 -v -timeout 30m ./test/products/aws
	FETCH_PRODUCTS=1 $(GO) test -count=1 -v -run '^TestQueueOfElasticMQ$$' ./test/simulation

interop-all: interop interop-aws $(TOOLS)/.made ## all of these, OpenSearch, Elasticsearch and MiniStack (15 minutes)
	FETCH_PRODUCTS=1 $(GO) test -count=1 -v -p 1 -timeout 30m ./test/products/elastic ./test/products/ministack \
		./cmd/siemctl/internal/search ./cmd/siemctl/internal/indextemplate

producers: build/moto/.made ## the platform's libraries (producers/python, producers/go) against moto (1 minute)
	cd producers/python && $(CURDIR)/build/moto/bin/python -B -W ignore -m unittest
	cd producers/go && $(GO) vet ./... && PRODUCER_MOTO=$(CURDIR)/build/moto/bin/python $(GO) test ./...

peers: ## compile the other log shippers that `make bench-peers` measures (5 minutes)
	cd test/peers && $(GO) vet ./...

compile: peers ## compile what `make test-all` needs beside the functions (10 minutes)
	cd test/interop && $(GO) test -vet=all -run '^$$' ./...
	cd test/interop/datadog && $(GO) test -vet=all -run '^$$' ./...
	$(GO) build -race ./...

in-module = cd $(1) && $(GO) test -vet=all ./...

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
	GOOS=linux GOARCH=arm64 $(BUILD) -o "$(ARTIFACTS_DIR)/bootstrap" \
		./functions/$(shell echo $* | tr '[:upper:]' '[:lower:]')

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

template: $(TOOLS)/.made ## sam validate --lint, cfn-lint, a deployment into moto's CloudFormation, and sam publish
	$(TOOLS)/bin/sam validate --lint --template template.yaml
	$(TOOLS)/bin/cfn-lint template.yaml
	$(TOOLS)/bin/python -B -W ignore deploy/check.py
	REQUIRE_TOOLS=1 $(GO) test -count=1 -run '^TestPublish$$' ./deploy/release

terraform-check: build $(TOOLS)/.made ## apply deploy/terraform to MiniStack: PLUGINS=folder has the AWS provider
	terraform fmt -check -diff deploy/terraform
	TERRAFORM_PLUGINS='$(abspath $(PLUGINS))' FETCH_PRODUCTS=1 REQUIRE_TOOLS=1 $(GO) test -count=1 -v \
		-run '^TestTerraform$$' ./test/products/ministack

scan: $(SCANNER)/.made $(TOOLS)/.made ## checkov on the expanded template; exceptions state their reason
	@rm -rf build/scanned && mkdir -p build/scanned
	$(TOOLS)/bin/python -B -W ignore deploy/check.py --expanded > build/scanned/template.json
	$(SCANNER)/bin/checkov --config-file .checkov.yaml

sam-build: $(TOOLS)/.made ## arm64 functions to deploy, in .aws-sam/build
	$(TOOLS)/bin/sam build

deploy: sam-build template ## sam deploy; ARGS="--guided" the first time; CANARY=Canary10Percent5Minutes in steps
	$(if $(CANARY),$(TOOLS)/bin/python -B -W ignore deploy/canary.py .aws-sam/build/template.yaml $(CANARY) \
		samconfig.toml '$(ARGS)')
	$(TOOLS)/bin/sam deploy $(ARGS)

venv = $(PYTHON) -m venv --clear $(1) && $(1)/bin/pip install --quiet --disable-pip-version-check $(2)

$(TOOLS)/.made: .ci/requirements.txt
	$(call venv,$(TOOLS),--requirement $<)
	touch $@

build/moto/.made: emulator/moto/requirements.txt
	$(call venv,build/moto,--no-deps --requirement $<)
	touch $@

# In a venv of its own: checkov pins an old boto3.
$(SCANNER)/.made:
	$(call venv,$(SCANNER),checkov==$(CHECKOV_VERSION))
	touch $@

bench: ## benchmarks: BENCHTIME=1s
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./...

latency: build ## time of a batch with the CPU of 128, 256 and 1,769 MB of memory; needs root and cgroup v1 (1 minute)
	$(GO) run ./test/bench -latency

bench-peers: build syslog-daemons ## compare with other log shippers, update docs/performance.md: BENCH="-rounds 3"
	$(BUILD) -o build/bench/ ./test/bench ./test/bench/floor
	cd test/peers && $(BUILD) -o ../../build/bench/ ./collector ./elastic
	build/bench/bench -page docs/performance.md $(BENCH)

growth: build ## measure one process by event and batch size: BENCH="-rounds 3"
	$(GO) run ./test/bench -growth $(BENCH)

eighth: ## add a connector to a copy of the tree, and show that a test names each missing entry (5 minutes)
	$(GO) test -count=1 -timeout 40m ./test/eighth -v

guards: ## limits on allocations, requests and sizes (1 minute); without -race, which empties pools
	$(GO) test -count=1 ./test/bench

fuzz: ## every fuzz target in turn: FUZZTIME=10s each
	@GO='$(GO)' .ci/fuzz $(FUZZTIME)

simulate: ## simulate the system: SEEDS=1000, FROM=1 or BURST=100000; UPDATE=1 updates docs; PLAN=seed prints a run
	$(GO) test ./test/simulation -v -count=1 -timeout 0 $(if $(PLAN),-run '^TestPlan$$' -plan '$(PLAN)',\
		$(if $(BURST),-run '^TestBurst$$' -burst $(BURST),-run '^TestSimulation$$' -seeds $(SEEDS) -from $(FROM)) \
		$(if $(UPDATE),-update '$(CURDIR)/docs/reliability.md'))

replay-many: ## siemctl replay of LETTERS=100000 dead letters in the emulator, interrupted twice (2 minutes)
	LETTERS=$(or $(LETTERS),100000) $(GO) test -count=1 -timeout 1h ./cmd/siemctl -run '^TestAWS$$/^many$$' -v

mutants: ## deliberate defects, each of which a test must find (15 minutes): MUTANTS=name,... or EVERY=10 for a tenth
	$(GO) run ./test/mutants -every $(or $(EVERY),1) $(MUTANTS)

matrix: build ## every fault against every connector (1 minute); UPDATE=1 writes the results into docs/reliability.md
	$(GO) test -count=1 ./test/matrix $(if $(UPDATE),-update)

soak: build ## a million events with faults, then a burst (35 minutes): EVENTS=n, BURST=n, SEED=n; REPORT=1 updates docs
	$(GO) run ./test/soak $(if $(EVENTS),-events $(EVENTS)) $(if $(BURST),-burst $(BURST)) $(if $(SEED),-seed $(SEED)) \
		$(if $(REPORT),-page docs/reliability.md)

vuln: ## known vulnerabilities in called code; prints SKIPPED if the database cannot be reached
	@out=$$($(GO) run golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION) ./functions/... ./cmd/... 2>&1) && \
		{ echo "$$out"; exit 0; }; echo "$$out"; \
	case "$$out" in *"fetching vulnerabilities"*) \
		echo "SKIPPED: vulnerability check, the database cannot be reached";; *) exit 1;; esac

cover: ## coverage of the unit tests, by package and in build/cover.html
	@mkdir -p build
	$(GO) test -coverprofile build/cover.out $$($(UNIT))
	$(GO) tool cover -html build/cover.out -o build/cover.html
	$(GO) tool cover -func build/cover.out | tail -n 1

sizes: $(ARM64) ## size of each function's arm64 binary, plain and compressed
	@for f in $(FUNCTIONS); do \
		printf '%-12s %9d bytes, %9d compressed\n' $$f $$(wc -c < build/arm64/$$f/bootstrap) \
			$$(gzip -9c build/arm64/$$f/bootstrap | wc -c); \
	done

content: $(CONTENT)/.made ## check contrib/ with vendors' tools and real products; CONTENT_EVENTS=file.jsonl adds events
	$(CONTENT)/venv/bin/python -B contrib/check.py $(CONTENT)
	node contrib/check.js $(CONTENT)/node/node_modules
	@echo "starting OpenSearch and Elasticsearch; the first time they are downloaded, 140 MB"
	FETCH_PRODUCTS=1 $(GO) test -count=1 -v ./contrib ./internal/testkit/products

$(CONTENT)/.made: .ci/requirements-content.txt .ci/content/package.json .ci/content/package-lock.json
	@for tool in node npm java mvn; do \
		command -v $$tool >/dev/null || { \
			echo "make content needs $$tool (Debian: nodejs npm default-jdk-headless maven)"; exit 1; }; \
	done
	@echo "installing the vendors' checkers in $(CONTENT)"
	$(call venv,$(CONTENT)/venv,--require-hashes --requirement .ci/requirements-content.txt)
	rm -rf $(CONTENT)/node && mkdir -p $(CONTENT)/node
	cp .ci/content/package.json .ci/content/package-lock.json $(CONTENT)/node
	cd $(CONTENT)/node && npm ci --ignore-scripts --legacy-peer-deps --no-audit --no-fund --loglevel=error
	touch $@

syslog-daemons: build/syslog/.made ## Debian's rsyslogd and syslog-ng into build/ for the QRadar tests; installs nothing

build/syslog/.made: .ci/syslog-daemons
	.ci/syslog-daemons build
	touch $@

siemctl: ## the operator's tool, at build/siemctl
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w" -o build/siemctl ./cmd/siemctl

# Environment variables that change the bytes of a release.
release: export GOTOOLCHAIN := $(RELEASE_GO)
release: export GOFLAGS :=
release: export GOEXPERIMENT :=
release: export GOAMD64 := v1
release: export GOARM64 := v8.0
release: LDFLAGS += -X github.com/arbitex/siem-connectors/shared/version.Version=$(VERSION)

SIEMCTL_PLATFORMS := linux-amd64 linux-arm64 darwin-amd64 darwin-arm64 windows-amd64 windows-arm64

release: $(CYCLONEDX) ## release files, in dist/: VERSION=v1.0.0 (5 minutes)
	@test -n "$(VERSION)" || { echo "VERSION is not set: make release VERSION=v1.0.0"; exit 1; }
	rm -rf dist build/release && mkdir -p dist
	for arch in arm64 amd64; do \
		GOOS=linux GOARCH=$$arch $(BUILD) -o build/release/functions/$$arch/ $(FUNCTIONS:%=./functions/%) || exit 1; done
	for p in $(SIEMCTL_PLATFORMS); do GOOS=$${p%-*} GOARCH=$${p#*-} CGO_ENABLED=0 \
		$(GO) build -trimpath -buildvcs=false -ldflags "$(LDFLAGS)" -o build/release/siemctl/$$p/ ./cmd/siemctl || \
			exit 1; done
	$(GO) run -trimpath ./deploy/release -version "$(VERSION)" -binaries build/release -dist dist
	for f in $(FUNCTIONS:%=functions/arm64/%) siemctl/linux-amd64/siemctl; do \
		$(CYCLONEDX) bin -json -noserial -notimestamp -std -version "$(VERSION)" \
			-output dist/$${f##*/}.cdx.json build/release/$$f || exit 1; done
	$(GO) run -trimpath ./deploy/release -sums -dist dist

release-check: $(CYCLONEDX) ## make a release in two copies of the project and compare the bytes (10 minutes)
	deploy/release/check "$(or $(VERSION),v0.0.0)"

$(CYCLONEDX):
	GOBIN="$(CURDIR)/build/bin" $(GO) install -trimpath \
		github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@$(CYCLONEDX_VERSION)
	mv build/bin/cyclonedx-gomod $@

clean: ## remove what was built, the venvs too
	rm -rf build dist .aws-sam
