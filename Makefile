# Common tasks. Targets install what they need into .venv, pinned by hashes.
PYTHON ?= python3
BIN := .venv/bin

export BENTOML_DO_NOT_TRACK := True
export ORT_DISABLE_TELEMETRY := 1

.PHONY: install demo test test-all check serve gpu-check readers bench-ablation bench-few-images bench-fine-tuning bench-quality bench-translation bench-export bench-bulk bench-encoders bench-features bench-serving bench-training reliability reliability-long build container lock

# For Python 3.11 to 3.13 on Linux (x86-64) or macOS (arm64). On other platforms: pip install -e .
install: .venv/installed

.venv/installed: requirements/all.txt requirements/uv.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "Python 3.11 to 3.13 is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements/all.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

# Train, export, serve and sample a small GAN, in a few minutes.
demo: install
	$(BIN)/ganzoo demo

# Lint, type checks and the quick tests, which every change needs.
# The tests run in two processes and take ten minutes on two cores.
# Each process has one thread, because several would wait for one another.
PROCESSES ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --numprocesses $(PROCESSES) --dist loadscope --no-loadscope-reorder
test: check
	$(PYTEST) -m "not slow"

# Every test, with coverage.
test-all: check
	$(PYTEST) --cov --cov-report=term

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

serve: install
	$(BIN)/ganzoo serve

# The tests that need an NVIDIA GPU.
gpu-check: install
	$(BIN)/python -m pytest -m gpu

# The exported graphs in other runtimes, with those that `make test` skips: OpenCV 5 and ONNX Runtime Web (needs npm).
readers: install
	$(BIN)/uv pip install --quiet --target .venv/readers/opencv5 --require-hashes --no-deps -r requirements/readers.txt
	cp requirements/readers/package.json requirements/readers/package-lock.json .venv/readers
	npm ci --silent --ignore-scripts --prefix .venv/readers
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/training/artifacts/test_readers.py

# Ablation of DCGAN's settings on MNIST: the same CPU time for every run, three seeds per cell. Takes about an hour.
bench-ablation: install
	$(BIN)/python -m tests.bench.ablation --data mnist:data

# No, fixed and adaptive augmentation on few images: the same number of examples for every run, three seeds.
# Takes a quarter of an hour. Continues where it was interrupted. GANZOO_TEST_DATA has cifar10-jpeg.zip and emoji.
bench-few-images: install
	$(BIN)/python -m tests.bench.few_images

# From nine classes of CIFAR-10 to 500 pictures of the tenth, against from scratch: the same steps, three seeds.
# Takes half an hour. Continues where it was interrupted. GANZOO_TEST_DATA has cifar10-jpeg.zip.
bench-fine-tuning: install
	$(BIN)/python -m tests.bench.fine_tuning

# Our entries on CIFAR-10 and emoji, for as many CPU seconds each, three seeds: make bench-quality [PEERS=DIR]
# Takes hours. Continues where it was interrupted. GANZOO_TEST_DATA has cifar10-jpeg.zip and emoji. With PEERS, the
# folder of the clones that CONTRIBUTING.md names, the training scripts of others run for as many seconds.
bench-quality: install
	$(BIN)/python -m tests.bench.quality $(if $(PEERS),--peers $(PEERS))

# Unpaired translation of emoji, for as many CPU seconds each, three seeds: make bench-translation [PEERS=DIR]
# The data are those of bench-quality. Runs are kept and continued. Takes ten hours of one core.
bench-translation: install
	$(BIN)/python -m tests.bench.translation $(if $(PEERS),--peers $(PEERS))

# Images per second, compared with PyTorch, OpenVINO and plain ONNX Runtime.
# Takes half an hour. Run nothing else at the same time.
bench-export: install
	$(BIN)/python -m tests.bench.export

# Speed of image encoders. Takes a minute.
bench-encoders: install
	$(BIN)/python -m tests.bench.encoders

# Scores of images that are damaged on purpose: make bench-features DATA=DIR (see tests/bench/features.py).
# Takes a quarter of an hour, and continues where it was stopped.
DATA ?= data
bench-features: install
	$(BIN)/python -m tests.bench.features --data $(DATA)

# Samples per second written to shards, compared with a plain loop and with the engine alone.
# Takes minutes. Run nothing else at the same time.
bench-bulk: install
	$(BIN)/python -m tests.bench.bulk

# Requests per second, compared with BentoML's batching, LitServe and PyTriton.
# Takes half an hour. Run nothing else at the same time.
# PyTriton needs a Python with a shared library, such as those of Linux distributions.
bench-serving: install
	$(BIN)/uv venv --quiet --clear --python /usr/bin/python3 .venv/peers
	$(BIN)/uv pip install --quiet --python .venv/peers/bin/python --require-hashes -r requirements/peers.txt
	$(BIN)/python -m tests.bench.serving

# Training throughput in examples per second, compared with the plain loop.
# Takes ten minutes. Run nothing else at the same time.
bench-training: install
	$(BIN)/python -m tests.bench.training

# Tests of reliability: faults are caused on purpose, each with a control that must break (docs/reliability.md).
# Takes half an hour. Run nothing else at the same time. The long variant takes hours.
reliability: install
	$(BIN)/python -m tests.reliability

reliability-long: install
	$(BIN)/python -m tests.reliability --long

build: install
	$(BIN)/bentoml build

# Build the server's image: make container BASE=python:3.11-slim-bookworm@sha256:... VARIANT=cuda
# See docs/containers.md.
BASE ?= python:3.11-slim-bookworm
VARIANT ?= cpu
ENGINE ?= docker
BUILD_FLAGS ?=
container:
	$(ENGINE) build $(BUILD_FLAGS) --build-arg BASE=$(BASE) --build-arg VARIANT=$(VARIANT) \
	  --build-arg REVISION=$(shell git rev-parse HEAD) --tag ganzoo:$(VARIANT) .

# Resolve the newest versions and write the lock files.
COMPILE := $(BIN)/uv pip compile --quiet --no-annotate --no-header --generate-hashes --python-version 3.11
SERVED := -c requirements/all.txt --python-platform x86_64-manylinux_2_28
lock: install
	$(COMPILE) --upgrade --universal pyproject.toml --extra dev -o requirements/all.txt
	echo uv | $(COMPILE) --universal -c requirements/all.txt - -o requirements/uv.txt
	echo "opencv-python-headless>=5" | $(COMPILE) --universal --no-emit-package numpy - -o requirements/readers.txt
	npm update --package-lock-only --omit-lockfile-registry-resolved --prefix requirements/readers
	$(COMPILE) $(SERVED) pyproject.toml -o requirements/base.txt
	$(COMPILE) $(SERVED) pyproject.toml --extra cuda -o requirements/serving.txt
	echo "onnxruntime-gpu; sys_platform == 'never'" > requirements/cpu.override
	echo onnxruntime | $(COMPILE) $(SERVED) pyproject.toml - --override requirements/cpu.override -o requirements/serving-cpu.txt
	rm requirements/cpu.override
	echo cyclonedx-bom | $(COMPILE) $(SERVED) - -o requirements/sbom.txt
	$(COMPILE) --python-platform x86_64-manylinux_2_36 requirements/peers.in -o requirements/peers.txt
