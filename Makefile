# The thin front of CMake: `make demo`, `make test` and friends. Everything it does is in scripts/ and
# CMakePresets.json; `make help` lists the targets.
PRESET ?= release
JOBS   ?= $(shell nproc 2>/dev/null || echo 2)
BUILD   = $(if $(filter release,$(PRESET)),build,build-$(PRESET))

.PHONY: all help deps build demo test test-all asan ubsan tsan bench claims format lint install clean
all: build

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## make deps      install what is missing (apt; npm for ggml's source)
deps:
	@sh scripts/deps.sh

build/.configured build-$(PRESET)/.configured: | deps
	@cmake --preset $(PRESET) && touch $@

## make build     build/lathe, build/liblathe.so, build/liblathe.a
build: $(BUILD)/.configured
	@cmake --build $(BUILD) -j $(JOBS)

## make demo      everything from nothing, then the main job on a small model (MODEL=file.gguf for yours)
demo: build
	@sh scripts/demo.sh $(BUILD)/lathe $(MODEL)

## make test      the fast tests; the last line is 'N passed, N failed, N skipped'
test: build
	@sh scripts/test.sh $(BUILD) fast

## make test-all  the slow ones too
test-all: build
	@sh scripts/test.sh $(BUILD) all

## make asan | ubsan | tsan   the fast tests under a sanitizer
asan ubsan tsan:
	@$(MAKE) --no-print-directory PRESET=$@ test

## make bench     the benchmarks (never part of the tests)
bench: build
	@sh scripts/bench.sh $(BUILD)

## make claims    docs/claims.md: every lab's claims; runs labs that have no stored result (minutes each)
claims: build
	@sh scripts/claims.sh $(BUILD)

## make format | lint
format:
	@sh scripts/format.sh
lint:
	@sh scripts/lint.sh

## make install   cmake --install (PREFIX=/usr/local)
install: build
	@cmake --install $(BUILD) $(if $(PREFIX),--prefix $(PREFIX))

clean:
	@rm -rf build build-*
