# Archelon's tasks. `make help` lists them.

SHELL       := /bin/bash
GO          ?= go
BIN         := bin/archelon
PKGS        := ./...
FUZZTIME    ?= 30s
BENCHTIME   ?= 1s
CONFORMANCE ?= $(firstword $(wildcard ../shared/conformance/functional testdata/conformance))
VERSION     := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS     := -s -w -X main.version=$(VERSION)

export CGO_ENABLED ?= 0

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the tasks
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

.PHONY: run
run: ## run the database (data in ./archelon-data, on 127.0.0.1:27017)
	$(GO) run ./cmd/archelon serve

.PHONY: build
build: ## build a static binary into bin/
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/archelon

.PHONY: build-all
build-all: ## check that the binary builds for old amd64 and for arm64
	GOOS=linux GOARCH=amd64 GOAMD64=v1 $(GO) build -o /dev/null ./cmd/archelon
	GOOS=linux GOARCH=arm64 $(GO) build -o /dev/null ./cmd/archelon

.PHONY: test
test: needs vet ## run every test: unit, race, drivers, crash, conformance
	$(GO) test -timeout 15m . # alone: it measures what neighbours notice of hostile commands
	$(GO) test -timeout 15m $$($(GO) list $(PKGS) | grep -v -e '/archelon$$' -e '/archelon/test/') ./cmd/archelon
	$(GO) test -timeout 15m -count=1 ./test/... # the binary they start is none of the inputs that go test remembers
	$(MAKE) --no-print-directory race
	$(MAKE) --no-print-directory conformance

# What the tests need that is no Go program: a C compiler for the race detector, PostgreSQL (its programs, no cluster) for
# the engine. Root on Debian gets what is missing; the driver tests install Node, mongosh and pymongo by themselves.
.PHONY: needs
needs:
	@missing=; command -v gcc >/dev/null || missing='gcc libc6-dev'; \
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || missing="$$missing postgresql"; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  mkdir -p /etc/postgresql-common; \
	  [ -e /etc/postgresql-common/createcluster.conf ] || echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf; \
	  export DEBIAN_FRONTEND=noninteractive; apt-get update -qq && \
	    apt-get install -y -qq --no-install-recommends -o Dpkg::Options::=--force-confold $$missing; fi

.PHONY: race
race: ## run the concurrent packages under the race detector
	@if command -v gcc >/dev/null; then \
	  CGO_ENABLED=1 $(GO) test -race -short -timeout 15m ./wire ./server ./egress/... ./service \
	    ./internal/storage/... ./internal/database ./internal/session ./internal/copier ./server/auth; \
	else echo 'race: skipped: install a C compiler (gcc) to run it'; fi

.PHONY: test-short
test-short: ## run the unit tests only
	$(GO) test -short $(PKGS)

.PHONY: vet
vet: ## run go vet
	$(GO) vet $(PKGS)

.PHONY: lint
lint: ## run golangci-lint
	$(GO) tool -modfile=tools/go.mod golangci-lint run

.PHONY: fmt
fmt: ## format the code
	gofmt -w $$(git ls-files '*.go')

.PHONY: conformance
conformance: ## compare with MongoDB's recorded replies, on every engine
ifeq ($(CONFORMANCE),)
	@echo 'conformance: skipped: no corpus (set CONFORMANCE to its folder)'
else
	$(GO) run ./cmd/archelon-conformance -serve memory -dir $(CONFORMANCE) -known testdata/known-failures.txt
	$(GO) run ./cmd/archelon-conformance -serve pebble -dir $(CONFORMANCE) -known testdata/known-failures.txt -no-table
	@if ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then \
	  $(GO) run ./cmd/archelon-conformance -serve postgres -dir $(CONFORMANCE) -known testdata/known-failures.txt -no-table; \
	else echo 'conformance: postgres: skipped: PostgreSQL is not installed'; fi
endif

.PHONY: diff
diff: ## compare Pebble with PostgreSQL over the whole conformance corpus, reply by reply (5 minutes)
	ARCHELON_DIFF=all CONFORMANCE="$(abspath $(CONFORMANCE))" $(GO) test ./test/diffcorpus -run EnginesAgree -v -count=1 -timeout 40m

.PHONY: bench
bench: ## run the Go benchmarks
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) $(PKGS)

.PHONY: perf
perf: ## measure the promises of docs/performance.md (4 minutes, on an idle machine)
	ARCHELON_PERF=1 $(GO) test ./test/perf -run TestPromises -v -count=1
	ARCHELON_PERF=1 $(GO) test ./gateway -run TestHop -v -count=1

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME (default 30s)
	@set -e; for pkg in $$($(GO) list $(PKGS)); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "== $$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$pkg; \
	  done; \
	done

.PHONY: docs
docs: ## write docs/compatibility.md anew from the tables of commands, stages and operators
	$(GO) run ./internal/compatdoc > docs/compatibility.md

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
