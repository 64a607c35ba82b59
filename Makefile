# Quorate. `make demo` shows it, `make test` checks everything, `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BUF         := go run github.com/bufbuild/buf/cmd/buf@v1.75.0
STATICCHECK := go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := go run golang.org/x/vuln/cmd/govulncheck@v1.9.0
SHIPPED     := quorate quorate-agent quorate-signer quorate-verifier quorate-gate
T           ?= 10s

export GOFLAGS := -buildvcs=false

.PHONY: help programs demo demo-ledger test realboot build bench fuzz mutation proto docs check unit race cross generated vulnerabilities fuzz-short

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | awk -F'|' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: ## four hosts with software TPMs: admitted, refused, suspended (3 minutes at most)
	@.ci/packages demo
	@$(MAKE) --no-print-directory programs
	@bin/quorate-sim demo --bin bin --out demo

demo-ledger: ## a real ledger: a machine joins, one is attacked, evicted and returns (2 minutes at most)
	@.ci/packages demo
	@$(MAKE) --no-print-directory programs
	@CGO_ENABLED=0 go build -o bin/ github.com/cometbft/cometbft/cmd/cometbft github.com/cometbft/cometbft/abci/cmd/abci-cli
	@bin/quorate-sim ledger --bin bin --out demo

test: ## everything: checks, unit tests, race detector, short fuzzing, demos, real boots
	@.ci/packages test
	@$(MAKE) --no-print-directory check unit race fuzz-short cross vulnerabilities demo demo-ledger realboot
	@echo "make test: everything passed"

realboot: ## real boots of Debian under OVMF with Secure Boot and a TPM, in QEMU
	@.ci/packages realboot
	@$(MAKE) --no-print-directory programs
	@bin/quorate-sim realboot --bin bin --out demo

programs:
	@echo "== building the programs (the first time takes a minute or two)"
	@CGO_ENABLED=0 go build -o bin/ $(SHIPPED:%=./cmd/%) ./cmd/quorate-sim

build: ## the shipped binaries, into bin/
	CGO_ENABLED=0 go build -trimpath -o bin/ $(SHIPPED:%=./cmd/%)

bench: ## speed against the bare operations, with the gates
	@.ci/packages demo
	@$(MAKE) --no-print-directory programs
	@bin/quorate-sim bench --bin bin

fuzz: ## every fuzz target for T each, for example: make fuzz T=1m or T=100000x
	@.ci/fuzz $(T)

mutation: ## would the tests notice a lost check? Half an hour and more; writes docs/mutation.md
	@mkdir -p bin
	nice go run ./cmd/quorate-sim mutate --write docs/mutation.md

proto: ## generate the gRPC code again
	cd proto && $(BUF) generate

docs: ## write the generated documents again
	go run ./cmd/quorate docs --dir docs
	go run ./cmd/quorate-sim catalogue --write docs/attacks.md

check: generated ## formatting, vet, staticcheck, tidy, generated files
	@echo "== gofmt, vet, tidy, staticcheck"
	@out=$$(gofmt -l $$(git ls-files '*.go' | grep -v '\.pb\.go$$')); [ -z "$$out" ] || { echo "gofmt: $$out"; exit 1; }
	@go mod tidy -diff
	@go vet ./...
	@$(STATICCHECK) ./...

generated:
	@echo "== generated code and documents"
	@.ci/generated

unit:
	@echo "== tests"
	@go test -timeout 15m ./...

race:
	@echo "== race detector"
	@go test -race -timeout 15m ./agent/... ./verifier ./verifier/journal/... ./verifier/store/... ./verifier/rpc/... ./verifier/archive/... ./admission/attestedtls ./admission/cometbft ./admission/roster ./admission/watch

fuzz-short:
	@echo "== short fuzzing"
	@.ci/fuzz 10000x

cross:
	@echo "== static builds for amd64 and arm64, without simulators"
	@for arch in amd64 arm64; do CGO_ENABLED=0 GOOS=linux GOARCH=$$arch go build -trimpath -o bin/linux-$$arch/ $(SHIPPED:%=./cmd/%); done
	@.ci/binaries bin/linux-amd64 bin/linux-arm64

vulnerabilities:
	@echo "== known vulnerabilities"
	@.ci/vulnerabilities "$(GOVULNCHECK)"
