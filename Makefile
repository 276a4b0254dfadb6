# What a developer runs. The logic is in Go: test/verify, test/runner, test/arch.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BIN := $(CURDIR)/bin
MODULES = $(shell go list -m -f '{{.Dir}}')
# Modules outside of the workspace, whose dependencies must not choose the product's.
APART := deploy/images test/apilint test/cluster
BENCHTIME ?= 1s
REAL ?=
PRODUCT := github.com/peppasync/peppasync
# The race detector needs C, what is built for users does not. Vet has run before.
RACE := CGO_ENABLED=1 go test -race -vet=off -timeout 30m

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: build ## See the scene: a spike of 1,000 orders against a limited ERP; REAL=1 for the pace of 100 a minute
	go build -o $(BIN)/ ./test/runner/peppasync-scene
	$(BIN)/peppasync-scene $(if $(filter 1,$(REAL)),--real)

.PHONY: build
build: ## Build bin/peppasync and bin/peppasync-sim, the outside world
	@echo '== building the product and the outside world'
	go build -o $(BIN)/ ./services/peppasync ./test/sim/peppasync-sim

# The scenarios and chaos measure pace from outside, so they get the machine to
# themselves (-p 1), and they judge binaries and files of other modules, which the test
# cache does not see (-count=1).
# Within them tests run beside each other that mostly wait and judge what arrived and not when
# (besideOthers in test/chaos, t.Parallel in test/scenario), as the dispatcher's do
# (room_test.go): a product that waits for real windows takes a quarter of one processor.
.PHONY: test
test: apiserver ## Vet and run all tests with the race detector: unit, property, embedded JetStream, then the scenarios
	@echo '== vet'
	go vet work
	@echo '== unit, property and embedded JetStream tests'
	$(RACE) $$(go list work | grep -Ev '^$(PRODUCT)/(test/|services/(operator|throttle-dispatcher)$$)')
	@echo '== the dispatcher, whose pace and takeovers are judged, with the machine to itself'
	$(RACE) $(PRODUCT)/services/throttle-dispatcher
	@echo '== the operator, against a real Kubernetes API server'
	$(RACE) $(PRODUCT)/services/operator
	@echo '== from outside: the simulated world and the structure'
	$(RACE) -count=1 $$(go list work | grep '^$(PRODUCT)/test/' | grep -Ev '/(chaos|scenario)$$')
	@echo '== from outside: the scenarios and what goes wrong'
	$(RACE) -count=1 -p 1 $(PRODUCT)/test/chaos $(PRODUCT)/test/scenario
	@echo '== the container images'
	cd deploy/images && GOWORK=off go test -count=1 ./...

# The schema is compared with the commit before, where that has one.
BASE ?= $(shell git rev-parse --quiet --verify HEAD~1)

# As in make test, in the long form of each: faults, kills and paces for minutes. Without
# the race detector, which make test has: it slows the judge, which shares the machine with
# what it measures, and the product's binary has none in either.
.PHONY: chaos
chaos: ## Kill, stop, slow and mislead the product for half an hour, judged by the outside world
	go test -timeout 90m -count=1 -v ./test/chaos -long

# On a real Kubernetes node, which has programs of its own and is a module of its own.
# The first time it builds these programs; the Debian packages that are missing are installed.
.PHONY: e2e
e2e: node ## Start a real Kubernetes node, as root, and run what is tested on one
	cd test/cluster && GOWORK=off go test -count=1 -v -timeout 30m ./...

.PHONY: node
node: packages
	$(BIN)/peppasync-cluster able
	cd test/cluster && $(BIN)/peppasync-cluster build >/dev/null

.PHONY: packages
packages: bin/peppasync-cluster
	@missing=$$($(BIN)/peppasync-cluster needs); if [[ -n $$missing ]]; then \
		echo "installing $$missing"; export DEBIAN_FRONTEND=noninteractive; \
		apt-get update -q && apt-get install -q -y --no-install-recommends $$missing; \
	fi

bin/peppasync-cluster: FORCE
	cd test/cluster && GOWORK=off go build -o $(BIN)/ ./peppasync-cluster

.PHONY: lint
lint: bin/golangci-lint bin/buf ## Lint every module and the schema, and refuse a change that breaks stored messages
	@echo '== lint'
	@failed=; for module in $(MODULES); do \
		echo "golangci-lint run in $${module#$(CURDIR)/}"; (cd $$module && $(BIN)/golangci-lint run) || failed=1; \
	done; for module in $(APART); do \
		echo "golangci-lint run in $$module"; (cd $$module && GOWORK=off $(BIN)/golangci-lint run) || failed=1; \
	done; [[ -z $$failed ]]
	cd test/apilint && GOWORK=off go test ./... && GOWORK=off go run .
	cd proto && $(BIN)/buf lint
	@if [[ -n "$(BASE)" ]] && git cat-file -e '$(BASE):proto/buf.yaml' 2>/dev/null; then \
		echo 'buf breaking against $(BASE)'; \
		cd proto && $(BIN)/buf breaking --against "$$(git rev-parse --path-format=absolute --git-common-dir)#ref=$(BASE),subdir=proto"; \
	else echo 'buf breaking: no commit to compare with'; fi

.PHONY: generate
generate: bin/buf bin/protoc-gen-go bin/protoc-gen-go-grpc bin/controller-gen ## Generate the Go of the schema and of the custom resources
	@echo '== generate'
	cd proto && PATH="$(BIN):$$PATH" $(BIN)/buf generate
	cd services/api && $(BIN)/controller-gen object paths=./...
	rm -f services/api/crd/*.yaml charts/peppasync/files/crds/*.yaml # of a kind that is gone
	cd services/api && $(BIN)/controller-gen crd paths=./v1alpha1 output:crd:dir=crd
	mkdir -p charts/peppasync/files/crds && cp services/api/crd/*.yaml charts/peppasync/files/crds/

# What tests need of Kubernetes, built once and kept outside the repository: for longer
# than a test may take.
.PHONY: apiserver
apiserver: bin/peppasync-cluster
	@echo '== building the API server'
	cd test/cluster && $(BIN)/peppasync-cluster build etcd kube-apiserver kubectl >/dev/null

# The same as that of the node: Kubernetes' clients are most of it.
bin/helm: bin/peppasync-cluster
	@echo '== building helm'
	cd test/cluster && ln -sfn "$$($(BIN)/peppasync-cluster build helm)" $(BIN)/helm

# Its module has the graphs of Prometheus and the collector, which must not choose the
# product's versions.
.PHONY: observe
observe: bin/helm build ## Check what deploy/observability shows: manifests, alerts, and each query against a product that runs
	@echo '== what deploy/observability shows'
	cd test/observability && GOWORK=off go vet ./... && GOWORK=off go test -vet=off -count=1 ./...

# Its module has the graph of Kubernetes, which must not choose the product's versions.
.PHONY: chart
chart: bin/helm build apiserver ## Check the Helm chart: lint, and what it renders against three versions of Kubernetes and Pod Security
	@echo '== the chart'
	cd test/chart && GOWORK=off go vet ./... && GOWORK=off go test -vet=off -count=1 ./...

.PHONY: verify
verify: generate lint chart observe ## Generate and lint everything, build each module without the workspace, and refuse a tree that differs
	@echo '== each module alone, and the tree as it is committed'
	go run ./test/verify

# What is measured has the machine to itself. In short (.ci/run) it only shows that each runs
# and keeps what it promises of memory and processor time, AT_ONCE packages at a time.
AT_ONCE ?= 1

.PHONY: bench
bench: ## Run the benchmarks, BENCHTIME (1s) each
	go test -run '^$$' -bench . -benchtime $(BENCHTIME) -timeout 15m -p $(AT_ONCE) \
		$$(git grep -l '^func Benchmark' -- '*_test.go' | xargs -r -n 1 dirname | sort -u | sed 's|^|./|')

# Without Docker. PLATFORMS=linux/amd64 for one, IMAGES="peppasync pause" for some,
# REGISTRY=registry.example.com for their names.
PLATFORMS ?= linux/amd64,linux/arm64
REGISTRY ?= docker.io
IMAGES ?=

.PHONY: images
images: ## Build the container images as OCI archives into dist/images/, each with its bill of materials
	cd deploy/images && GOWORK=off go run . -out '$(CURDIR)/dist/images' -platforms '$(PLATFORMS)' -registry '$(REGISTRY)' $(IMAGES)

.PHONY: dist
dist: ## Build static, stripped, reproducible linux/amd64 binaries into dist/ with their SHA-256 sums
	CGO_ENABLED=0 GOOS=linux GOARCH=amd64 go build -trimpath -buildvcs=false -ldflags '-s -w' -o dist/ \
		./services/peppasync ./test/sim/peppasync-sim
	cd dist && sha256sum peppasync peppasync-sim | tee SHA256SUMS

# A pinned tool is built again when its module or the compiler has changed.
.PHONY: FORCE
bin/golangci-lint bin/buf bin/protoc-gen-go bin/protoc-gen-go-grpc bin/controller-gen: bin/%: FORCE
	@key=$$({ go env GOVERSION; cat deploy/tools/$*/go.mod deploy/tools/$*/go.sum; } | sha256sum); \
	if [[ ! -x $@ || "$$(cat bin/.$*.key 2>/dev/null)" != "$$key" ]]; then \
		echo "== building $@"; mkdir -p bin; \
		(cd deploy/tools/$* && GOWORK=off go build -trimpath -o $(BIN)/ tool); \
		echo "$$key" > bin/.$*.key; \
	fi
