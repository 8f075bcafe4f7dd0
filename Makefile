# Every target works on a fresh clone. `make demo` and `make test` need Go
# alone; what the others need, .ci/run installs.

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X github.com/headgate-io/headgate/gateway.version=$(VERSION)
BUILD    := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)'
TOOL     := $(GO) tool -modfile=tools/go.mod
FUZZTIME ?= 10s
ROUNDS   ?= 50
CUTS     ?= 600
SITES    ?= 60
MINUTES  ?= 30
CROWD    ?= .

.PHONY: help engines toolchains tinygo demo build cross test race conformance lint fmt fuzz bench load e2e examples crash power full-disk soak crowd test-guests test-arm64 check clean

help: ## Show the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

engines: ## Fetch the script engines that are embedded (needs npm); without them headgate refuses Python
	@./sandbox/engine/micropython/fetch.sh

toolchains: ## Fetch the AssemblyScript compiler for the tests (needs npm)
	@npm ci --silent --no-audit --no-fund --prefix sdk/assemblyscript

tinygo: ## Build the TinyGo compiler for the tests, outside the tree (needs LLVM 19; takes minutes)
	@./sdk/build/tinygo/build.sh

demo: build ## Water a simulated field for a minute (HEADGATE_DEMO_SECONDS=n; 0 runs on)
	@$(BUILD) -o bin/demo ./examples/irrigation/demo
	@./bin/demo -headgate bin/headgate -project examples/irrigation

build: engines ## Build bin/headgate for this machine
	@$(BUILD) -o bin/headgate ./cmd/headgate

cross: engines ## Build static binaries for the boards: arm64, armv7, armv6, amd64
	@./firmware-tests/cross.sh '$(GO)' '$(LDFLAGS)'

test: ## Run the tests; Go is all they need
	$(GO) vet ./...
	$(GO) test ./...

# What runs whole gateways, or compiles guests of every language, takes minutes
# under the detector or under emulation; the other tests of packages gateway and
# sandbox show both the same code. Some of one goroutine has nothing to race with.
SLOW_RACE  := TestObjectsInEveryLanguage|TestWebInJavaScript|TestWrongTypesCompiled|TestAssemblyScriptTestKit|TestExamplesRewrittenAgree|TestScripts|TestBrokenProjects|TestExamples|TestConformance|TestFetchInEveryLanguage|TestCleanStateInEveryLanguage|TestCommand|TestPythonInterpreted|TestPlugins|TestPluginFetches|TestPluginBounds|TestModel|TestDamagedPages|TestInterruptedQuarantine|TestBombs
SLOW_ARM64 := TestModel|TestDamagedPages|TestObjectsInEveryLanguage|TestExamplesRewrittenAgree|TestPlugins|TestPluginFetches|TestPluginBounds|TestCommand|TestFetchInEveryLanguage|TestWebInJavaScript|TestLambdaHandlers|TestRefusedModules|TestPythonInterpreted

race: ## Run the tests under the race detector
	$(GO) test -race -skip '^($(SLOW_RACE))$$' ./...

conformance: ## Record what the broker's tests show of MQTT 3.1.1 and 5.0 in docs/CONFORMANCE.md
	$(GO) test -count=1 ./mqtt/broker -update

lint: ## Run the linters, import directions included
	$(TOOL) golangci-lint run ./...
	$(TOOL) staticcheck ./...
	$(GO) mod verify

fmt: ## Format
	$(TOOL) gofumpt -w $$(git ls-files '*.go')

fuzz: ## Run every fuzz target for FUZZTIME; first show that the conversations catch seeded faults
	$(GO) test -count=1 -tags seededfaults -run '^TestSeededFaults$$' ./firmware-tests/conversation
	@./firmware-tests/fuzz.sh '$(GO)' '$(FUZZTIME)'

bench: build ## Measure the budgets: testing.B, then the load driver
	$(GO) test -run '^$$' -bench . -benchmem ./mqtt/... ./sandbox/... ./gateway/...
	$(MAKE) load

load: build ## Measure the whole binary from outside
	@$(BUILD) -o bin/load ./firmware-tests/load
	@./bin/load -headgate bin/headgate

e2e: build ## Drive the binary with mosquitto, paho and mqtt.js
	$(GO) test -count=1 -tags e2e ./firmware-tests/e2e/...

examples: build toolchains ## Drive every example with curl and mosquitto, whole and without each of its functions (needs clang, rustc, curl, mosquitto-clients)
	$(GO) test -count=1 -tags e2e -parallel 2 ./firmware-tests/examples

crash: ## Kill the gateway ROUNDS times under load, at random and at every step; then show that seeded faults are caught
	@$(BUILD) -o bin/headgate ./cmd/headgate
	@$(BUILD) -tags seededfaults -o bin/headgate-seeded ./cmd/headgate
	@$(BUILD) -o bin/crash ./firmware-tests/crash
	@./bin/crash -rounds $(ROUNDS) -headgate bin/headgate -seeded bin/headgate-seeded

power: ## Cut the power CUTS times (0: after every write): replay what was written without what was not synced (needs strace)
	@$(BUILD) -o bin/headgate ./cmd/headgate
	@$(BUILD) -tags seededfaults -o bin/headgate-seeded ./cmd/headgate
	@$(BUILD) -o bin/power ./firmware-tests/power
	@./bin/power -images $(CUTS) -headgate bin/headgate -seeded bin/headgate-seeded

full-disk: build ## Fill a small tmpfs under the gateway, then let SITES calls of the database fail (needs root, strace, mosquitto-clients)
	@$(BUILD) -o bin/fulldisk ./firmware-tests/fulldisk
	@./bin/fulldisk -headgate bin/headgate -sites $(SITES)

soak: build ## Work and misbehave for MINUTES; memory, goroutines, descriptors and files must stay flat
	@$(BUILD) -o bin/soak ./firmware-tests/soak
	@./bin/soak -headgate bin/headgate -minutes $(MINUTES)

crowd: build ## Many clients, subscribers, subscriptions, retained messages and functions in 256 MB; a stopped subscriber (needs mosquitto-clients)
	@$(BUILD) -o bin/crowd ./firmware-tests/crowd
	@./bin/crowd -headgate bin/headgate -run '$(CROWD)'

test-guests: engines toolchains ## Run the tests that need clang, wasi-libc, node and the Python engine; a missing toolchain fails
	HEADGATE_REQUIRE_TOOLCHAINS=1 $(GO) test -count=1 ./sandbox/... ./sdk/... ./examples/...

# Modules of megabytes are compiled slowly under emulation; the smaller languages
# show the same there.
test-arm64: ## Run the tests of sandbox, store and mqtt as arm64 under qemu-user
	GOARCH=arm64 CGO_ENABLED=0 $(GO) test -exec qemu-aarch64-static -skip '^($(SLOW_ARM64))$$|^TestCleanStateInEveryLanguage$$/^(go|command|extism-go)$$' ./sandbox/... ./gateway/store/... ./mqtt/...

# In check, what could go on for hours gets a short slice.
check: ROUNDS = 100
check: CUTS = 90
check: SITES = 5
check: MINUTES = 0.5
check: CROWD = clients|fan-out|10 000
check: FUZZTIME = 2s
check: export HEADGATE_DEMO_SECONDS ?= 30
check: export HEADGATE_REQUIRE_TOOLCHAINS = 1
check: engines toolchains lint test race test-arm64 cross e2e examples crash power full-disk soak crowd fuzz demo ## All of it, as CI does
	@test -z "$$(git status --porcelain)" || { git status --short; echo 'the checks changed the tree'; exit 1; }

clean: ## Remove what was built
	rm -rf bin dist examples/*/*.wasm sandbox/engine/micropython/engine/*.gz sandbox/engine/micropython/npm/node_modules
