# Everything a newcomer types. Each target sets up what it needs.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help run test test-engines test-compose lint format gen lock bench clean

help: ## what there is to type
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.run ## start the whole suite on embedded engines; Ctrl-C stops it
	@exec $(BIN)/silo up

test: $(VENV)/.dev ## pass the tests; needs Python and PyPI alone
	$(BIN)/python -m pytest

test-engines: $(VENV)/.dev ## the contract, isolation and end-to-end suites on DynamoDB, S3 and OpenSearch engines
	$(BIN)/python -m tests.engines.servers
	$(BIN)/python -m pytest -p tests.engines.plugin tests/engines
	# Suites of several tests share one table here, and so their resolvers each other's operations: what ends a
	# resolver, or looks into the embedded engines' files, runs in `make test` alone.
	$(BIN)/python -m pytest -p tests.engines.plugin -m 'not embedded' tests/e2e tests/isolation

test-compose: $(VENV)/.dev ## build the image, bring docker-compose.yml up, attack and restart it, take it down
	$(BIN)/python -m pytest tests/compose

lint: $(VENV)/.dev ## formatting, lint, types, import contracts, protos and generated stubs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python protos/generate.py --check --image $(VENV)/protos.binpb
	$(BIN)/buf lint $(VENV)/protos.binpb

format: $(VENV)/.dev ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

gen: $(VENV)/.dev ## generate gen/ from protos/
	$(BIN)/python protos/generate.py

bench: $(VENV)/.dev $(VENV)/.bench ## drive the running system and write benchmarks/results/
	$(BIN)/python -m tests.engines.servers
	$(BIN)/python -m benchmarks

lock: $(VENV)/.dev ## pin the newest versions that pyproject.toml admits
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade \
	  pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade \
	  --extra dev --constraint requirements.lock pyproject.toml -o requirements-dev.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade \
	  --extra bench --constraint requirements.lock pyproject.toml -o requirements-bench.lock

clean: ## remove the virtual environment and caches; state in .silo stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Silo needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/python requirements.lock pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/.bench: $(VENV)/.run requirements-bench.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	@touch $@
