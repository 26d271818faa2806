# Every target does its own set-up. The environment lives in .venv and holds what $(LOCK) names, each file checked by its
# hash. It is re-used while pyproject.toml, the lock, the folder of the checkout and the Python version stay the same: the
# four make up the name of the stamp below.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
LOCK := requirements.lock
KEY := $(shell { cat pyproject.toml $(LOCK); pwd; $(PYTHON) --version; } | cksum | cut -d' ' -f1)
STAMP := $(VENV)/ready-$(KEY)
PEERS := .venv-peers
PEERS_STAMP := $(PEERS)/ready-$(shell { cat benchmarks/int8_peers.txt; pwd; $(PYTHON) --version; } | cksum | cut -d' ' -f1)
# A server of Triton that runs on a CPU, and its client, which wants another protobuf than onnx does.
TRITON := .venv-triton
TRITON_PINS := tests/runtime/triton.txt
TRITON_WHEEL := nvidia-pytriton==0.7.0
TRITON_STAMP := $(TRITON)/ready-$(shell { cat $(TRITON_PINS); echo $(TRITON_WHEEL); pwd; $(PYTHON) --version; } | cksum | cut -d' ' -f1)
EXTRAS := export,grounding,cpu,rtx,openvino,ray,serve,sign,dev
# NVIDIA's client of the protocol that edgesmith serve speaks: it wants an older ml_dtypes than onnx is tested with
CLIENT := .venv-triton-client
CLIENT_PINS := tests/runtime/serve/triton_client.txt
CLIENT_STAMP := $(CLIENT)/ready-$(shell { cat $(CLIENT_PINS); pwd; $(PYTHON) --version; } | cksum | cut -d' ' -f1)
COMMA := ,
LOCKING := .venv-lock
LATEST := .venv-latest
# What a device may have at the least. No torch in it: what needs the exporter is skipped, and says so.
FLOOR := .venv-floor
FLOOR_PINS := tests/runtime/floor.txt
FLOOR_STAMP := $(FLOOR)/ready-$(shell { cat $(FLOOR_PINS); pwd; $(PYTHON) --version; } | cksum | cut -d' ' -f1)
# Python for Arm, emulated, and the wheels it runs with (tools/arm)
ARM := .venv-arm
PIP := -m pip install --quiet --disable-pip-version-check
# Two workers: the test suite is meant for two cores, and every worker loads torch once (about 0.5 GB). One file goes to one
# worker, so that an export which its tests share is made once.
WORKERS ?= 2
PYTEST_OPTIONS := -q -n $(WORKERS) --dist loadfile
PYTEST := $(RUN) -m pytest $(PYTEST_OPTIONS)

.PHONY: help env lock demo test test-slow test-floor triton-env test-triton test-arm test-latest fuzz mutants soundness lint format bench bench-int8 bench-detection bench-zoo bench-zoo-int8 kernels peers triton-client gpu-check clean

help:  ## list the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

env: $(STAMP)  ## make the environment in .venv, everything included

# Modules are run as `python -m`, never through the scripts in .venv/bin: those hold the path of the folder they were
# made in, and a checkout may move. A moved checkout has another stamp and only re-links the package.
$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit("edgesmith needs Python 3.10 or newer, found " + sys.version.split()[0]) if sys.version_info < (3, 10) else None'
	@$(RUN) -c 'import pip' 2>/dev/null || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV); }
	$(RUN) $(PIP) --require-hashes -r $(LOCK)
	$(RUN) $(PIP) --no-deps --no-build-isolation -e .
	@rm -f $(VENV)/ready-* && touch $@

# uv, because it resolves for every Python and system at once. Its own settings (UV_CONSTRAINT, ...) hold.
lock:  ## choose the newest versions that pyproject.toml allows, and write them with their hashes into requirements.lock
	$(PYTHON) -m venv --clear $(LOCKING)
	$(LOCKING)/bin/python $(PIP) uv
	$(LOCKING)/bin/python -m uv pip compile --quiet --upgrade --universal --python-version 3.10 --generate-hashes --no-annotate \
		--custom-compile-command "make lock" $(addprefix --extra ,$(subst $(COMMA), ,$(EXTRAS))) \
		--output-file $(LOCK) pyproject.toml
	rm -rf $(LOCKING)

demo: $(STAMP)  ## export SMT, verify it, measure it and run it on a photograph
	@$(RUN) -m edgesmith.exporter.commands.demo

test: lint test-floor $(CLIENT_STAMP)  ## lint, types and all tests that are not slow; before them those of the runtime on its floors
	$(PYTEST) -m "not slow"

test-slow: $(STAMP)  ## the tests that take minutes: every family, precision and target
	$(PYTEST) -m slow

test-floor: $(FLOOR_STAMP)  ## the runtime's tests with the oldest OpenCV, NumPy and ONNX Runtime that are supported, without torch
	PYTHONPATH=$(CURDIR)/$(FLOOR)/here $(FLOOR)/bin/python -m pytest $(PYTEST_OPTIONS) -m "not slow" tests/runtime tests/test_old_bundles.py

$(FLOOR_STAMP): $(FLOOR_PINS)
	@$(FLOOR)/bin/python -c 'import pip' 2>/dev/null || { rm -rf $(FLOOR); $(PYTHON) -m venv $(FLOOR); }
	$(FLOOR)/bin/python $(PIP) -r $(FLOOR_PINS)
	@mkdir -p $(FLOOR)/here && ln -sfn ../.. $(FLOOR)/here/edgesmith
	@rm -f $(FLOOR)/ready-* && touch $@

# Not part of CI. Of the wheel only the server is used, so what its Python depends on is left out.
triton-env: $(TRITON_STAMP)  ## make an environment with a Triton server in .venv-triton

$(TRITON_STAMP): $(TRITON_PINS)
	@$(TRITON)/bin/python -c 'import pip' 2>/dev/null || { rm -rf $(TRITON); $(PYTHON) -m venv $(TRITON); }
	$(TRITON)/bin/python $(PIP) -r $(TRITON_PINS)
	$(TRITON)/bin/python $(PIP) --no-deps $(TRITON_WHEEL)
	@mkdir -p $(TRITON)/here && ln -sfn ../.. $(TRITON)/here/edgesmith
	@$(TRITON)/bin/python -c 'import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), "here.pth").write_text("$(CURDIR)/$(TRITON)/here")'
	@rm -f $(TRITON)/ready-* && touch $@

# Not part of CI: it takes packages of Debian, and where those cannot be had it says so and ends with 0.
ARM_TESTS ?=
test-arm: $(STAMP)  ## the runtime on emulated 64-bit Arm, beside what x86 makes of the same; ARM_TESTS=tests/runtime for more
	tools/arm/tests.sh $(RUN) $(ARM) $(ARM_TESTS)

TRITON_REQUESTS ?= 48
test-triton: triton-env  ## the tests of edgesmith triton, with a real server (docs/triton.md); TRITON_REQUESTS=2000 for a long run
	TRITON_REQUESTS=$(TRITON_REQUESTS) $(TRITON)/bin/python -m pytest -q tests/runtime/test_triton_*.py

# Not part of CI: what it finds is news about others' releases, not about a change of ours.
test-latest:  ## the tests with the newest versions instead of the locked ones: what breaks, and which versions differ
	$(PYTHON) -m venv --clear $(LATEST)
	$(LATEST)/bin/python $(PIP) "setuptools>=77"
	$(LATEST)/bin/python $(PIP) --no-build-isolation -e ".[$(EXTRAS)]"
	$(LATEST)/bin/python tools/beside_lock.py $(LOCK) $(PYTEST_OPTIONS) -m "not slow"

FUZZ ?= --count 10000
fuzz: $(STAMP)  ## damage files on purpose, 10,000 of them: every one is used, or refused in words (tools/fuzz/driver.py)
	$(RUN) tools/fuzz/driver.py $(FUZZ)

# Not part of CI: it takes the better part of an hour. What it found before is kept in build/mutants, and it goes on there.
MUTANTS ?= 200
SEED ?= 0
mutants: $(STAMP)  ## plant bugs in patterns, calibration and runtime, and see whether the nearest tests fail (tools/mutants)
	$(RUN) tools/mutants --count $(MUTANTS) --seed $(SEED)

# Not part of CI: minutes to an hour. The traced graphs are kept in build/soundness.
soundness: $(STAMP)  ## run the passes on 5,000 mutants of exported graphs, alone and in many orders (tools/soundness)
	$(RUN) tools/soundness $(SOUNDNESS)

lint: $(STAMP)  ## ruff and mypy
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	@mkdir -p $(VENV)/types && ln -sfn ../.. $(VENV)/types/edgesmith
	cd $(VENV)/types && ../bin/python -m mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache -p edgesmith

format: $(STAMP)  ## let ruff put the code into shape
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

bench: $(STAMP)  ## measure every family against the peers on the CPU (benchmarks/README.md)
	$(RUN) benchmarks/cpu_peers.py

bench-int8: $(STAMP)  ## measure int8 against ONNX Runtime's tools, ModelOpt and NNCF (benchmarks/README.md)
	@$(MAKE) --no-print-directory peers || echo "no environment for ModelOpt and NNCF: their rows will say so"
	$(RUN) benchmarks/int8.py

bench-detection: $(STAMP)  ## measure detectors against every CPU peer, and what int8 costs them (benchmarks/README.md)
	@$(MAKE) --no-print-directory peers || echo "no environment for ModelOpt and NNCF: their rows will say so"
	$(RUN) benchmarks/detection.py
	$(RUN) benchmarks/detection_accuracy.py

# Not part of CI: an hour or two of one core. Rows are kept in build/zoo, and a run that breaks goes on there.
bench-zoo: $(STAMP)  ## export the smallest variant of every module of timm: parity, CPU time, engines, fused attention
	$(RUN) benchmarks/zoo $(ZOO)

# Not part of CI: half an hour of one core. Rows are kept in build/zoo_int8, and a run that breaks goes on there.
bench-zoo-int8: $(STAMP)  ## int8 of twelve networks of timm on photographs, beside ONNX Runtime's tool
	$(RUN) benchmarks/zoo_int8.py $(ZOO)

kernels: $(STAMP)  ## compile the kernels of the fused ops, assemble them for every chip, write the pages that tell of them
	$(RUN) -m edgesmith.exporter.plugins.pack.pack
	$(RUN) -m edgesmith.exporter.plugins.pack.ptxas
	$(RUN) -m edgesmith.exporter.commands.inspect.ops_page

# ModelOpt and NNCF want other versions of onnx and ONNX Runtime than we do, so they have an environment of their own.
peers: $(PEERS_STAMP)  ## make that environment in .venv-peers

$(PEERS_STAMP):
	@$(PEERS)/bin/python -c 'import pip' 2>/dev/null || { rm -rf $(PEERS); $(PYTHON) -m venv $(PEERS); }
	$(PEERS)/bin/python $(PIP) -r benchmarks/int8_peers.txt
	@rm -f $(PEERS)/ready-* && touch $@

triton-client: $(CLIENT_STAMP)  ## make the environment of tritonclient, which the tests of edgesmith serve run

$(CLIENT_STAMP): $(CLIENT_PINS)
	@$(CLIENT)/bin/python -c 'import pip' 2>/dev/null || { rm -rf $(CLIENT); $(PYTHON) -m venv $(CLIENT); }
	$(CLIENT)/bin/python $(PIP) -r $(CLIENT_PINS)
	@rm -f $(CLIENT)/ready-* && touch $@

gpu-check:  ## on a machine with a GPU and torch: every kernel checked and timed (tests/gpu/README.md)
	$(PYTHON) tests/gpu/check.py

clean:  ## remove what the targets made, the environment included
	rm -rf $(VENV) $(PEERS) $(FLOOR) $(TRITON) $(CLIENT) $(ARM) $(LOCKING) $(LATEST) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache demo.run benchmarks/int8.run
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
