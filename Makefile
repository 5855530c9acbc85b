# lockcluster: what a developer types. A bare "make" lists the targets.
#
# Needed: Go 1.26 (see go.mod), make, git. "make test" installs what its tests
# need from Debian's packages when it may; other targets say what they miss.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO       ?= go
TAGS     := hashicorpmetrics
MODULE   := github.com/lockcluster/lockcluster
BIN      := $(CURDIR)/.bin
FUZZTIME ?= 60s
# How test results are shown; "testname" or "standard-verbose" show every test.
TESTFORMAT ?= standard-quiet
# More flags for go test, e.g. TESTFLAGS='-run TestX -count=1'.
TESTFLAGS ?=
# What to test, e.g. PKGS=./fsm/...; the nested modules only with the default
PKGS ?= ./...

GOLANGCI_VERSION := v2.15.0
GOLANGCI = $(firstword $(wildcard $(BIN)/golangci-lint $(shell $(GO) env GOPATH)/bin/golangci-lint) $(BIN)/golangci-lint)

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
COMMIT  := $(shell git rev-parse HEAD 2>/dev/null)
LDFLAGS := -X $(MODULE)/internal/buildinfo.version=$(VERSION) -X $(MODULE)/internal/buildinfo.commit=$(COMMIT)

# Modules of their own below the main one; each is tested where it exists.
NESTED := $(patsubst %/go.mod,%,$(wildcard compat/atlantis/go.mod bench/go.mod))

TEST := $(BIN)/gotestsum --format $(TESTFORMAT) --

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/\1\t\2/' \
	  | while IFS=$$'\t' read -r t h; do printf '  %-14s %s\n' "$$t" "$$h"; done

## building

.PHONY: build
build: ## build the lockcluster binary into the current folder
	CGO_ENABLED=0 $(GO) build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' -o lockcluster ./cmd/lockcluster

.PHONY: proto
proto: tools ## regenerate the protobuf code (needs protoc 3.21: apt-get install protobuf-compiler)
	tools/proto.sh $(BIN) .

.PHONY: image
image: ## build the container image (needs a registry for the Go builder image)
	docker build -f deploy/compose/Dockerfile --build-arg VERSION=$(VERSION) -t lockcluster:local .

## testing

.PHONY: test
test: test-deps $(BIN)/gotestsum ## run every test; installs what the tests need (redis-server) when it may
	@echo "== $(MODULE)"
	@$(TEST) -tags $(TAGS) -timeout 30m $(TESTFLAGS) $(PKGS)
	@[ '$(PKGS)' = ./... ] || exit 0; for m in $(NESTED); do echo "== nested module $$m"; \
	  (cd $$m && $(TEST) -tags $(TAGS) -timeout 20m $(TESTFLAGS) ./...) || exit 1; done

.PHONY: test-deps
test-deps: ## install the programs that tests talk to, or say what is missing
	@tools/test-deps.sh

.PHONY: race
race: $(BIN)/gotestsum ## run the tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(TEST) -race -tags $(TAGS) -timeout 60m $(TESTFLAGS) $(PKGS)

.PHONY: fuzz
fuzz: ## run every fuzz target, FUZZTIME each (default 60s)
	tools/fuzz.sh $(FUZZTIME) $(TAGS)

.PHONY: e2e
e2e: test-deps $(BIN)/gotestsum ## run the tests on real processes only
	@pkgs=$$($(GO) list -tags $(TAGS) ./internal/e2e/... ./cmd/... 2>/dev/null); \
	  $(TEST) -tags $(TAGS) -count=1 -timeout 40m $(TESTFLAGS) $$pkgs

.PHONY: race-atlantis
race-atlantis: test-deps ## race Atlantis's own code on two nodes, and on plain Redis (about 2 minutes)
	cd compat/atlantis && LOCKCLUSTER_RACE_KEYS=20000 $(GO) test -tags $(TAGS) -count=1 -timeout 30m -v -run 'Race|ClusterMode' ./wire

.PHONY: chaos
chaos: ## kill the leader 50 times, all nodes 20 times, move leadership 20 times (about 4 minutes)
	LOCKCLUSTER_KILLS=50 LOCKCLUSTER_KILLS_ALL=20 LOCKCLUSTER_TRANSFERS=20 $(GO) test -tags $(TAGS) -count=1 -timeout 60m -v ./internal/e2e

.PHONY: road
road: test-deps ## move between two lock systems 500 times, crash at every step 20 times, depose 20 leaders (takes hours)
	LOCKCLUSTER_SWITCHES=500 LOCKCLUSTER_SWITCH_LOCKS=10000 LOCKCLUSTER_STEP_CRASHES=20 LOCKCLUSTER_DEPOSED=20 \
	  LOCKCLUSTER_GRADUAL_LOCKS=1000 LOCKCLUSTER_GRADUAL_RACES=1000 \
	  $(GO) test -tags $(TAGS) -count=1 -timeout 12h -v \
	  -run 'SwitchUnderLoad|CrashAtEveryStep|Deposed|Shadow|Gradual|Rollback|V1[5-9]|V20' ./internal/e2e

.PHONY: compose-smoke
compose-smoke: ## bring three nodes up with Docker Compose, kill one, check the locks
	LOCKCLUSTER_NEED_DOCKER=1 $(GO) test -tags $(TAGS) -count=1 -v -timeout 20m ./deploy/compose/...

.PHONY: bench
bench: ## measure our doors beside etcd, Redis and bbolt (module bench/; takes long)
	@test -f bench/go.mod || { echo "there is no module bench/ yet" >&2; exit 1; }
	$(MAKE) -C bench

## checking

.PHONY: verify
verify: fmt-check vet lint proto-check arch ## every check that changes nothing, without the tests

.PHONY: fix
fix: proto fmt ## every repair: generated code, modern Go, formatting
	$(GO) fix -tags $(TAGS) ./...

.PHONY: fmt
fmt: $(BIN)/gofumpt ## format all Go code
	@git ls-files --cached --others --exclude-standard -z '*.go' | xargs -0r $(BIN)/gofumpt -w

.PHONY: fmt-check
fmt-check: $(BIN)/gofumpt ## list Go files that "make fmt" would change
	@bad=$$(git ls-files --cached --others --exclude-standard -z '*.go' | xargs -0r $(BIN)/gofumpt -l); \
	  [ -z "$$bad" ] || { echo "not formatted (run make fmt):"; echo "$$bad"; exit 1; } >&2

.PHONY: vet
vet: ## run go vet, in the nested modules too
	$(GO) vet -tags $(TAGS) ./...
	@for m in $(NESTED); do (cd $$m && $(GO) vet -tags $(TAGS) ./...) || exit 1; done

.PHONY: arch
arch: ## check the import rules, file sizes and the purity of fsm
	$(GO) test -count=1 ./internal/archtest

.PHONY: lint
lint: lint-go lint-scripts ## run all linters (installs golangci-lint into .bin once, which takes long)

.PHONY: lint-go
lint-go: $(GOLANGCI)
	@$(GOLANGCI) version | grep -q 'version $(patsubst v%,%,$(GOLANGCI_VERSION)) ' || \
	  echo "$(GOLANGCI) is not $(GOLANGCI_VERSION); its findings may differ" >&2
	$(GOLANGCI) config verify
	$(GOLANGCI) run ./...

.PHONY: lint-scripts
lint-scripts:
	@for t in shellcheck yamllint; do command -v $$t >/dev/null || \
	  { echo "$$t is missing: apt-get install $$t" >&2; exit 1; }; done
	shellcheck $$(git ls-files --cached --others --exclude-standard '*.sh' .ci/run)
	git ls-files --cached --others --exclude-standard '*.yml' '*.yaml' | grep -v /testdata/ | xargs -r yamllint -s -d '{extends: default, rules: {document-start: disable, line-length: {max: 140}, truthy: {check-keys: false}, comments: {min-spaces-from-content: 1}}}'

.PHONY: proto-check
proto-check: tools ## check that the committed protobuf code is what its sources give
	@tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; tools/proto.sh $(BIN) "$$tmp"; \
	  bad=0; while read -r f; do cmp -s "$$tmp/$$f" "$$f" || { echo "$$f is not what its source gives: run make proto" >&2; bad=1; }; \
	  done < <(cd "$$tmp" && find . -name '*.go' | sed 's,^\./,,' | sort); exit $$bad

## tools: pinned in tools/go.mod, built into .bin

.PHONY: tools
tools: $(BIN)/gofumpt $(BIN)/protoc-gen-go $(BIN)/protoc-gen-go-grpc $(BIN)/gotestsum $(BIN)/benchstat

$(BIN)/gofumpt:            TOOL := mvdan.cc/gofumpt
$(BIN)/gotestsum:          TOOL := gotest.tools/gotestsum
$(BIN)/benchstat:          TOOL := golang.org/x/perf/cmd/benchstat
$(BIN)/protoc-gen-go:      TOOL := google.golang.org/protobuf/cmd/protoc-gen-go
$(BIN)/protoc-gen-go-grpc: TOOL := google.golang.org/grpc/cmd/protoc-gen-go-grpc
$(BIN)/gofumpt $(BIN)/gotestsum $(BIN)/benchstat $(BIN)/protoc-gen-go $(BIN)/protoc-gen-go-grpc: tools/go.mod tools/go.sum
	@mkdir -p $(BIN)
	@GOBIN=$(BIN) $(GO) -C tools install $(TOOL)
	@touch $@

$(BIN)/golangci-lint:
	@echo "installing golangci-lint $(GOLANGCI_VERSION) into .bin; this takes several minutes, once"
	GOBIN=$(BIN) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

.PHONY: clean
clean: ## remove what make built
	rm -rf $(BIN) lockcluster
