# Everything here runs with bounded time. `make` alone prints what there is.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Go, and the programs that Debian keeps out of an ordinary user's PATH.
export PATH := $(PATH):/usr/local/go/bin:/usr/local/sbin:/usr/sbin:/sbin

# The latest tag, with what came after it. Without a tag: the release that the source leads to.
VERSION ?= $(shell git describe --tags --match 'v*' --dirty 2>/dev/null || echo v0.9.0)
VERSION := $(VERSION)
STATIC_IPS ?= 10.0.1.10 10.0.1.11 10.0.1.12 10.0.1.13
SEEDS ?= 1000
SCALE ?= 3,5,10,20,50,100,200,1000
FUZZTIME ?= 10s
TEST_TIMEOUT ?= 15m
SIMULATE_TIMEOUT ?= 4h
BENCH_TIMEOUT ?= 1h
BENCH ?= .
BENCHSTAT := golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.13.2

# One set of flags for all of vet, test and build.
export CGO_ENABLED := 0
export GOFLAGS := $(shell scripts/goflags.sh)
# The manual pages have the date of the last commit.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null)
export SOURCE_DATE_EPOCH := $(SOURCE_DATE_EPOCH)
# Functions at multiples of 16 bytes and not of 32, the default on amd64: 0.14 MB less.
LDFLAGS := -s -w -funcalign=16 -X github.com/emr-static-ip/emr-static-ip/agent.version=$(VERSION)

.PHONY: help
help: ## this list
	@echo "targets:"
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r t d; do printf '  %-16s %s\n' "$$t" "$$d"; done
	@echo "variables: STATIC_IPS, SEEDS=$(SEEDS), SCALE=$(SCALE), FUZZTIME=$(FUZZTIME), BENCH=$(BENCH), TEST_TIMEOUT=$(TEST_TIMEOUT), VERSION=$(VERSION), TO=s3://..."

.PHONY: demo
demo: setup bin/emr-static-ip bin/emrsim ## launch a whole EMR cluster on this machine, no AWS account needed (root, sudo or user namespaces)
	scripts/as-root.sh --namespaces-first bin/emrsim launch --report report.html -- $(STATIC_IPS)

.PHONY: scenarios
scenarios: setup bin/emr-static-ip bin/emrsim ## run all scenarios of a cluster's life: cmd/emrsim/scenarios; OTHER=FILE is another version, for upgrades
	scripts/as-root.sh bin/emrsim run --all$(if $(OTHER), --other $(OTHER))

.PHONY: setup
setup: ## install the programs that the demo and the tests need and that are missing
	@scripts/setup.sh run

# lint checks the scripts with shellcheck, which this installs.
.PHONY: setup-test
setup-test:
	@echo "make test: about 6 minutes on two cores, the first time 13; 'make test-unit' takes 3 and installs nothing"
	@scripts/setup.sh run test

.PHONY: test
test: setup-test ## all tests, with kernel and end-to-end tests; none of these is skipped; and lint beside them
	@# lint computes while tests wait, and so do the tests of the templates, a module of its own. What they find is printed at
	@# once, and again at the end. make is called without the variable MAKE: with it, make --dry-run would run the whole recipe.
	@# -count=1: the end-to-end tests build the program themselves, which the cache of test results does not see.
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; status=0; linted=0; \
	{ SECONDS=0; if make --no-print-directory lint test-templates >"$$log" 2>&1; then grep -E "not (run|checked)" "$$log" || true; echo "lint, and tests of the templates: nothing found, $$SECONDS s"; else cat "$$log"; exit 1; fi; } & lint=$$!; \
	REQUIRE_NETNS=1 scripts/test.sh -count=1 -timeout $(TEST_TIMEOUT) ./... || status=$$?; \
	wait $$lint || linted=$$?; \
	if [ $$linted != 0 ]; then cat "$$log"; echo "make lint or make test-templates failed: see above"; fi; \
	if [ $$status != 0 ]; then echo "tests failed: see above"; fi; \
	[ $$status = 0 ] && [ $$linted = 0 ]

.PHONY: test-templates
test-templates: ## the tests of the CloudFormation and Terraform templates, which have a module of their own
	go -C scripts/templates test -count=1 -timeout $(TEST_TIMEOUT) ./...

.PHONY: golden
golden: ## write the golden files anew, of all packages that have them
	go test -count=1 -timeout $(TEST_TIMEOUT) $$(go list -f '{{.ImportPath}} {{.TestImports}} {{.XTestImports}}' ./... | sed -n 's| .*/internal/golden.*||p') -args -update

.PHONY: test-unit
test-unit: ## the tests that can run here; those that need root or namespaces are skipped where there are none
	go test -short -timeout $(TEST_TIMEOUT) ./...

.PHONY: race
race: setup ## the tests under Go's race detector (needs a C compiler)
	CGO_ENABLED=1 scripts/test.sh -race -count=1 -timeout 30m ./...

.PHONY: test-container
test-container: ## kernel and end-to-end tests in a container without network (docker, or podman with buildah)
	VERSION=$(VERSION) scripts/test-container.sh

.PHONY: demo-container
demo-container: ## build the image of the demo, and run it: a launch in a container without network
	VERSION=$(VERSION) scripts/test-container.sh --demo

.PHONY: simulate
simulate: ## SEEDS simulated cluster launches with faults, in virtual time: make simulate SEEDS=100000
	go test ./cmd/emrsim/simulation -count=1 -timeout $(SIMULATE_TIMEOUT) -v -run '^TestLaunches$$' -args -seeds $(SEEDS)

.PHONY: scale
scale: ## time and calls of launches of SCALE nodes under AWS's quotas, in virtual time
	go test ./cmd/emrsim/simulation -count=1 -timeout $(SIMULATE_TIMEOUT) -v -run '^TestScale$$' -args -scale $(SCALE)

.PHONY: fuzz
fuzz: ## each fuzz test for FUZZTIME
	scripts/fuzz.sh $(FUZZTIME)

.PHONY: bench
bench: setup bin/emr-static-ip ## what the program costs, in one table with floors and limits: BENCHMARKS.md; compares with the last run by benchstat
	@[ ! -f bin/bench.txt ] || mv bin/bench.txt bin/bench-before.txt
	timeout $(BENCH_TIMEOUT) go run ./scripts/bench BENCHMARKS.md bin/emr-static-ip
	@[ ! -f bin/bench-before.txt ] || timeout 10m go run $(BENCHSTAT) bin/bench-before.txt bin/bench.txt || echo "benchstat cannot be fetched here: not compared"

.PHONY: bench-all
bench-all: setup ## all benchmarks of Go, as they are: also a call, the model; BENCH selects by name
	scripts/test.sh -timeout $(BENCH_TIMEOUT) -run '^$$' -bench '$(BENCH)' -count=1 ./...

.PHONY: lint
lint: ## gofmt, go vet; golangci-lint and shellcheck where they can be had
	@unformatted="$$(gofmt -l .)"; if [ -n "$$unformatted" ]; then echo "not formatted by gofmt:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go -C scripts/templates vet ./...
	@if timeout 10m go run $(GOLANGCI_LINT) version; then set -x; timeout 10m go run $(GOLANGCI_LINT) run --timeout 10m ./...; else echo "golangci-lint cannot be fetched here: not run"; fi
	@if command -v shellcheck >/dev/null; then set -x; shellcheck scripts/*.sh scripts/terraform/modules/*/*.sh scripts/monitoring/*.sh agent/systemd/*.sh .ci/run; else echo "shellcheck is not installed: scripts not checked"; fi

.PHONY: build
build: bin/emr-static-ip bin/emr-static-ip-linux-amd64 bin/emr-static-ip-linux-arm64 ## the static binary for this machine, for amd64 and for arm64, in bin/
	scripts/check-binaries.sh '$(VERSION)' bin/emr-static-ip bin/emr-static-ip-linux-amd64 bin/emr-static-ip-linux-arm64

bin/emr-static-ip: FORCE
	scripts/build.sh $@ ./cmd/emr-static-ip -ldflags '$(LDFLAGS)'

bin/emr-static-ip-linux-%: FORCE
	GOOS=linux GOARCH=$* scripts/build.sh $@ ./cmd/emr-static-ip -ldflags '$(LDFLAGS)'

bin/emrsim: FORCE
	scripts/build.sh $@ ./cmd/emrsim -ldflags '$(LDFLAGS)'

.PHONY: man
man: ## the manual pages in bin/man, from the source of --help
	rm -rf bin/man
	mkdir -p bin/man
	go run ./scripts/manpage '$(VERSION)' bin/man
	@echo "manual pages: $$(ls bin/man | wc -l) files in bin/man; read one with: man -l bin/man/emr-static-ip.8"

.PHONY: dist
dist: bin/emr-static-ip-linux-amd64 bin/emr-static-ip-linux-arm64 ## what is published, in dist/: binaries, bootstrap.sh, bills of materials, licences, manual pages, policies, templates, checksums
	scripts/check-binaries.sh '$(VERSION)' $^
	scripts/dist.sh '$(VERSION)' bin dist

.PHONY: dist-check
dist-check: dist ## dist/ again from a copy of the sources elsewhere: the same bytes
	scripts/dist-check.sh '$(VERSION)' dist

# Before anything is built, which takes minutes.
ifneq ($(filter publish,$(MAKECMDGOALS)),)
ifeq ($(TO),)
$(error where to? make publish TO=s3://BUCKET/PREFIX)
endif
ifeq ($(filter s3://%,$(TO)),)
$(error TO=$(TO) does not begin with s3://: make publish TO=s3://BUCKET/PREFIX)
endif
endif

.PHONY: publish
publish: dist ## upload dist/ with the AWS CLI: make publish TO=s3://BUCKET/PREFIX
	scripts/publish.sh '$(TO)'

.PHONY: clean
clean: ## remove what the build made; the container base image stays (make clean-container removes it)
	rm -rf bin dist report.html

.PHONY: clean-container
clean-container: ## remove the images that test-container made
	scripts/test-container.sh --clean

.PHONY: FORCE
FORCE:
