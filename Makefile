# The ways in, for people and CI alike; `make help` lists them. Each installs what it needs first.
SHELL := /bin/bash
JOBS ?= $(shell nproc)
export JOBS

.PHONY: build setup models test test-full test-tsan test-python wheel demo fuzz bench race-gpu format clean help
.DEFAULT_GOAL := build

build: setup  ## Build the release: build/bin/sprnn and the library (the default)
	@cmake --preset release >/dev/null
	@cmake --build --preset release --parallel $(JOBS)

setup:  ## Only install the Debian packages that are missing (apt; sudo where needed)
	@scripts/setup.sh build

models: setup  ## Only fetch the pretrained models into build/models (pip, pinned)
	@scripts/fetch_models.sh

test: setup  ## Build and run all tests twice: release, and address + undefined-behaviour sanitizers
	@scripts/setup.sh clang || true
	@scripts/fetch_models.sh || true
	@scripts/python_env.sh numpy || true
	@scripts/test.sh release asan

test-full: test  ## make test, then compile the full matrix of plans for every architecture (hours)
	@seq 0 $$(($(JOBS) - 1)) | SPRNN_COVER=full GTEST_TOTAL_SHARDS=$(JOBS) \
	  xargs -P $(JOBS) -I{} env GTEST_SHARD_INDEX={} build/bin/cuda_compile_test --gtest_brief=1

test-tsan: setup  ## Build and run the tests of threads under the thread sanitizer
	@scripts/test.sh tsan

test-python: wheel  ## Test the Python package: all its layers from the wheel, the arrays layer on each of SPRNN_PYTHONS
	@scripts/setup.sh python
	@scripts/fetch_models.sh || true
	@scripts/test_python.sh

wheel: setup  ## Make the Python wheel, with what is not glibc and libstdc++ in it (build/wheel)
	@scripts/python_env.sh full
	@scripts/wheel.sh

demo: build models  ## Prune a real pretrained layer and show speed against accuracy
	@scripts/demo.sh

fuzz:  ## Run each fuzz target for SECONDS_EACH=60 (libFuzzer, clang)
	@scripts/setup.sh build fuzz
	@scripts/fuzz.sh

bench: build  ## Race the cases of bench/shapes/cpu.txt against oneDNN (results go to bench/results)
	@/usr/bin/python3 bench/race_cpu.py

race-gpu: build  ## Race the cases of bench/shapes/gpu.txt on a GPU (needs a CUDA toolkit, cuSPARSE and cuDNN when built)
	@test -x build/bin/race_gpu || { echo "race_gpu is not built: a CUDA toolkit, cuSPARSE or cuDNN is missing here"; exit 1; }
	@build/bin/race_gpu

format:  ## Format every C and C++ file (CUDA's, .cu and .cuh, stay as they are)
	@scripts/setup.sh format
	@git ls-files '*.hpp' '*.cpp' '*.h' '*.c' | xargs clang-format-14 -i

clean:  ## Remove build/, fetched models included
	@rm -rf build

help:  ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile
