# The few verbs. Each installs what it needs into .venv, pinned by hashes.
PYTHON ?= python3
BIN := .venv/bin

export BENTOML_DO_NOT_TRACK := True
export ORT_DISABLE_TELEMETRY := 1

.PHONY: install demo test test-all check serve gpu-check bench-ablation bench-export bench-bulk bench-encoders bench-serving bench-training reliability reliability-long build container lock

# Python 3.11 to 3.13, on Linux (x86-64) or macOS (arm64); elsewhere: pip install -e .
install: .venv/installed

.venv/installed: requirements/all.txt requirements/uv.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "Python 3.11 to 3.13 is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements/all.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

# Train, export, serve and sample a small GAN: what the project does, in a few minutes.
demo: install
	$(BIN)/ganzoo demo

# Lint, types, and the tests that every change wants, in two processes: ten minutes on two cores.
# One thread a process: several would wait for one another.
PROCESSES ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --numprocesses $(PROCESSES) --dist loadscope
test: check
	$(PYTEST) -m "not slow"

# Every test, and the coverage.
test-all: check
	$(PYTEST) --cov --cov-report=term

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

serve: install
	$(BIN)/ganzoo serve

# What only a machine with an NVIDIA GPU can show.
gpu-check: install
	$(BIN)/python -m pytest -m gpu

# What each remedy is worth: DCGAN on MNIST at one budget of CPU time, three seeds a cell; about an hour.
bench-ablation: install
	$(BIN)/python -m tests.bench.ablation --data mnist:data

# Images a second, ours beside PyTorch, OpenVINO and plain ONNX Runtime; half an hour with nothing else running.
bench-export: install
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --no-deps -r requirements/bench.txt
	$(BIN)/python -m tests.bench.export

# What encodes pictures how fast; a minute.
bench-encoders: install
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --no-deps -r requirements/bench.txt
	$(BIN)/python -m tests.bench.encoders

# Samples a second into shards, ours beside a plain loop and the engine alone; minutes, nothing else running.
bench-bulk: install
	$(BIN)/python -m tests.bench.bulk

# Requests a second, ours beside BentoML's batching, LitServe and PyTriton; a quarter of an hour, nothing else running.
# PyTriton wants a Python with a shared library, as distributions have it.
bench-serving: install
	$(BIN)/uv venv --quiet --clear --python /usr/bin/python3 .venv/peers
	$(BIN)/uv pip install --quiet --python .venv/peers/bin/python --require-hashes -r requirements/peers.txt
	$(BIN)/python -m tests.bench.serving

# Examples a second that training learns from, ours beside the plain loop; ten minutes with nothing else running.
bench-training: install
	$(BIN)/python -m tests.bench.training

# What must not break, broken on purpose, each beside a control that breaks: docs/reliability.md; a quarter of
# an hour, nothing else running. The long one takes hours.
reliability: install
	$(BIN)/python -m tests.reliability

reliability-long: install
	$(BIN)/python -m tests.reliability --long

build: install
	$(BIN)/bentoml build

# The server's image: make container BASE=python:3.11-slim-bookworm@sha256:... VARIANT=cuda; docs/containers.md.
BASE ?= python:3.11-slim-bookworm
VARIANT ?= cpu
ENGINE ?= docker
BUILD_FLAGS ?=
container:
	$(ENGINE) build $(BUILD_FLAGS) --build-arg BASE=$(BASE) --build-arg VARIANT=$(VARIANT) \
	  --build-arg REVISION=$(shell git rev-parse HEAD) --tag ganzoo:$(VARIANT) .

# Choose the newest versions again, and write the locks.
COMPILE := $(BIN)/uv pip compile --quiet --no-annotate --no-header --generate-hashes --python-version 3.11
SERVED := -c requirements/all.txt --python-platform x86_64-manylinux_2_28
lock: install
	$(COMPILE) --upgrade --universal pyproject.toml --extra dev -o requirements/all.txt
	echo uv | $(COMPILE) --universal -c requirements/all.txt - -o requirements/uv.txt
	printf "openvino\nopencv-python-headless\n" | $(COMPILE) --universal -c requirements/all.txt - -o requirements/bench.txt
	$(COMPILE) $(SERVED) requirements/serving.in -o requirements/serving.txt
	sed 's/^onnxruntime-gpu.*/onnxruntime/' requirements/serving.in | $(COMPILE) $(SERVED) - -o requirements/serving-cpu.txt
	echo cyclonedx-bom | $(COMPILE) $(SERVED) - -o requirements/sbom.txt
	$(COMPILE) --python-platform x86_64-manylinux_2_36 requirements/peers.in -o requirements/peers.txt
