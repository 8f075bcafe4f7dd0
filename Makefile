# Every target works on a fresh clone. `make demo` and `make test` need Go
# alone; what the others need, .ci/run installs.

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X github.com/headgate-io/headgate/gateway.version=$(VERSION) -X github.com/headgate-io/headgate/controller.version=$(VERSION)
TRIMPATH ?= -trimpath
BUILD    := CGO_ENABLED=0 $(GO) build $(TRIMPATH) -ldflags '$(LDFLAGS)'
TOOL     := $(GO) tool -modfile=tools/go.mod
FUZZTIME ?= 10s
ROUNDS   ?= 50
GATEWAYS ?= 20
CUTS     ?= 600
SITES    ?= 60
MINUTES  ?= 30
CROWD    ?= .
CHECKS   ?= 20000

.PHONY: warm scale link-bytes cloud-demo accounting accounting-short seeded-controller help engines toolchains tinygo demo build cross image test race conformance lint fmt fuzz bench load e2e examples packages packages-test firmware-test firmware-soak firmware-check bin/image seeded water crash power full-disk full-disk-controller soak crowd test-guests test-arm64 check clean

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

build: engines ## Build bin/headgate and bin/headgate-controller for this machine
	@$(BUILD) -o bin/headgate ./cmd/headgate
	@$(BUILD) -o bin/headgate-controller ./cmd/headgate-controller

BOARDS ?= linux/arm64 linux/arm/7 linux/arm/6 linux/amd64
cross: engines ## Build static binaries for the boards: arm64, armv7, armv6, amd64
	@./firmware-tests/cross.sh '$(GO)' '$(TRIMPATH)' '$(LDFLAGS)' $(BOARDS)

COMPRESS ?= yes
IMAGE := dist/headgate-$(VERSION)-rpi.img

image: engines ## Build the flashable Raspberry Pi image (needs mtools and e2fsprogs; wireless-regdb and curl, or WIFI=no)
	@mkdir -p dist
	@$(GO) test -C configs/image ./wifi
	@GOOS=linux GOARCH=arm64 $(BUILD) -o dist/headgate-linux-arm64 ./cmd/headgate
	@COMPRESS=$(COMPRESS) ./configs/image/build.sh '$(GO)' dist/headgate-linux-arm64 '$(IMAGE)'

packages: cross ## Build .deb and .tar.gz for arm64, armhf and amd64, and the controller's .deb for arm64 and amd64
	@./configs/package/build.sh '$(GO)' headgate '$(VERSION)' arm64 dist/headgate-linux-arm64 dist
	@./configs/package/build.sh '$(GO)' headgate '$(VERSION)' armhf dist/headgate-linux-armv6 dist
	@./configs/package/build.sh '$(GO)' headgate '$(VERSION)' amd64 dist/headgate-linux-amd64 dist
	@for arch in arm64 amd64; do \
	  GOOS=linux GOARCH=$$arch $(BUILD) -o dist/headgate-controller-linux-$$arch ./cmd/headgate-controller && \
	  ./configs/package/build.sh '$(GO)' headgate-controller '$(VERSION)' $$arch dist/headgate-controller-linux-$$arch dist || exit 1; \
	done

packages-test: build ## Install, upgrade, remove and purge the packages with the real dpkg, in a root of their own (needs root, systemd)
	@./firmware-tests/packages.sh '$(GO)' bin/headgate
	@./firmware-tests/controller-package.sh '$(GO)' bin/headgate-controller

warm: engines
	@$(GO) run ./internal/testcache/warm

# What takes longest begins first, so that nothing waits for it alone.
LONGEST := ./gateway ./cmd/headgate ./sandbox ./gateway/store ./examples

test: ## Run the tests; Go is all they need
	$(GO) vet ./...
	$(GO) test $(LONGEST) ./...

# Tests that would take minutes there leave themselves out: internal/slow.
race: ## Run the tests under the race detector
	CGO_ENABLED=1 $(GO) test -race -short $(LONGEST) ./...

conformance: ## Record what the broker's tests show of MQTT 3.1.1 and 5.0 in docs/CONFORMANCE.md
	$(GO) test -count=1 ./mqtt/broker -update

lint: ## Run the linters, import directions included
	$(TOOL) golangci-lint run ./...
	$(GO) mod verify

fmt: ## Format
	$(TOOL) gofumpt -w $$(git ls-files '*.go')

fuzz: ## Run every fuzz target for FUZZTIME; first show that the conversations and the tests of updates catch seeded faults
	$(GO) test -count=1 -tags seededfaults -run '^TestSeededFaults$$' ./firmware-tests/conversation ./sync/ota ./controller/rollout
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

FIRMWARE = ./bin/image -direct -headgate bin/headgate -image '$(IMAGE)' -update dist/headgate-linux-arm64

bin/image: build image
	@$(BUILD) -o bin/image ./firmware-tests/image

firmware-test: bin/image ## Boot the image in QEMU: a board's life, updates, GPIO, power cuts (needs qemu-system-arm, qemu-efi-aarch64, mtools, e2fsprogs)
	@$(FIRMWARE) -cuts 2

firmware-soak: CUTS = 25
firmware-soak: bin/image ## Cut the power of the image in QEMU CUTS times under load; then show that the loss of what was not synced is found
	@$(FIRMWARE) -checks none -cuts $(CUTS)

firmware-check: bin/image ## The least of both, as make check has it
	@$(FIRMWARE) -checks short -cuts 1 -prove=false

water: ## Hold the model of actuators against what happens in a field, CHECKS times; then show that it catches seeded faults
	$(GO) test -count=1 -run '^TestModel$$' ./sensors/actuate -rapid.checks=$(CHECKS)
	$(GO) test -count=1 -tags seededfaults -run '^TestSeededFaults$$' -v ./sensors/actuate

seeded: engines
	@$(BUILD) -tags seededfaults -o bin/headgate-seeded ./cmd/headgate

seeded-controller:
	@$(BUILD) -tags seededfaults -o bin/headgate-controller-seeded ./cmd/headgate-controller

scale: FLEET ?= 10000
scale: build ## Hold a controller against FLEET simulated gateways that report over real connections
	@$(BUILD) -o bin/scale ./firmware-tests/scale
	@./bin/scale -controller bin/headgate-controller -gateways $(FLEET)

link-bytes: build ## Measure what a gateway's uplink costs on a metered link in a day, in IP bytes (needs root and iproute2)
	@$(BUILD) -o bin/linkbytes ./firmware-tests/linkbytes
	@./bin/linkbytes -controller bin/headgate-controller

cloud-demo: build ## Show a fleet: a controller, three gateways, deployments to a group, a cut link, a bad release that is taken back
	@$(BUILD) -o bin/cloud ./firmware-tests/cloud
	@./bin/cloud -headgate bin/headgate -controller bin/headgate-controller

accounting: build seeded-controller ## Meter over cut links on killed gateways into killed controllers: all accounts are one number; then show that seeded faults are caught
	@$(BUILD) -o bin/accounting ./firmware-tests/accounting
	@./bin/accounting -gateways $(GATEWAYS) -for 60s -edit -seeded bin/headgate-controller-seeded
	@./bin/accounting -gateways $(GATEWAYS) -for 60s -shared -replicas 3

accounting-short: build ## The same with two gateways and a few seconds
	@$(BUILD) -o bin/accounting ./firmware-tests/accounting
	@./bin/accounting -gateways 2 -for 4s

crash: build seeded ## Kill the gateway ROUNDS times under load, at random and at every step; then show that seeded faults are caught
	@$(BUILD) -o bin/crash ./firmware-tests/crash
	@./bin/crash -rounds $(ROUNDS) -headgate bin/headgate -seeded bin/headgate-seeded

power: build seeded ## Cut the power CUTS times (0: after every write): replay what was written without what was not synced (needs strace)
	@$(BUILD) -o bin/power ./firmware-tests/power
	@./bin/power -images $(CUTS) -headgate bin/headgate -seeded bin/headgate-seeded

full-disk: build ## Fill a small tmpfs under the gateway, then let SITES calls of the database fail (needs root, strace, mosquitto-clients)
	@$(BUILD) -o bin/fulldisk ./firmware-tests/fulldisk
	@./bin/fulldisk -headgate bin/headgate -controller bin/headgate-controller -sites $(SITES)

full-disk-controller: ## Fill a small tmpfs under the controller (needs root; some seconds)
	@$(BUILD) -o bin/headgate-controller ./cmd/headgate-controller
	@$(BUILD) -o bin/fulldisk ./firmware-tests/fulldisk
	@./bin/fulldisk -controller bin/headgate-controller -controller-only

soak: build ## Work and misbehave for MINUTES; memory, goroutines, descriptors and files must stay flat
	@$(BUILD) -o bin/soak ./firmware-tests/soak
	@./bin/soak -headgate bin/headgate -minutes $(MINUTES)

crowd: build ## Many clients, subscribers, subscriptions, retained messages and functions in 256 MB; a stopped subscriber (needs mosquitto-clients)
	@$(BUILD) -o bin/crowd ./firmware-tests/crowd
	@./bin/crowd -headgate bin/headgate -run '$(CROWD)'

test-guests: engines toolchains ## Run the tests that need clang, wasi-libc, node and the Python engine; a missing toolchain fails
	HEADGATE_REQUIRE_TOOLCHAINS=1 $(GO) test -count=1 ./sandbox/... ./sdk/... ./examples/...

test-arm64: ## Run the tests of sandbox, store and mqtt as arm64 under qemu-user
	EMULATED_CPU=1 GOARCH=arm64 CGO_ENABLED=0 $(GO) test -short -exec qemu-aarch64-static ./sandbox/... ./gateway/store/... ./mqtt/...

# In check, what could go on for hours gets a short slice.
check: ROUNDS = 60
check: CUTS = 60
check: SITES = 5
check: MINUTES = 0.5
check: CROWD = clients|fan-out|10 000
check: FUZZTIME = 1s
check: CHECKS = 1000
check: COMPRESS = no
# Packages are compiled once for the tests and for the programs: without cgo, as
# boards have them, and with the paths they lie at. ARMv6 stands for both 32-bit
# ARMs.
check: export CGO_ENABLED = 0
check: export TRIMPATH =
check: BOARDS = linux/arm64 linux/arm/6 linux/amd64
# Tests wait more than they compute: four packages at a time fill two cores.
check: export GOFLAGS ?= -p=4
check: export HEADGATE_DEMO_SECONDS ?= 20
# The script engines are compiled once, and not once for each package.
check: export TESTCACHE_DIR := $(CURDIR)/bin/test-cache
check: export HEADGATE_REQUIRE_TOOLCHAINS = 1
check: engines toolchains warm lint test race test-arm64 cross packages-test ## All of it, as CI does
	@$(MAKE) -j3 --output-sync=target $(HARNESSES) $(foreach v,ROUNDS CUTS SITES MINUTES CROWD FUZZTIME COMPRESS CHECKS,'$(v)=$($(v))')
	@$(MAKE) demo
	@test -z "$$(git status --porcelain)" || { git status --short; echo 'the checks changed the tree'; exit 1; }

# What mostly waits for processes, disks and clocks waits together.
HARNESSES := firmware-check examples crash power fuzz soak crowd full-disk e2e accounting-short cloud-demo water

clean: ## Remove what was built
	rm -rf bin dist examples/*/*.wasm sandbox/engine/micropython/engine/*.gz sandbox/engine/micropython/npm/node_modules
