# Orderly. `make` alone lists the targets.

VENV := .venv
BIN := $(VENV)/bin
SAMPLE := examples/journey-orders.csv

# The first Python that is new enough; PYTHON=... chooses another.
PYTHON ?= $(shell for each in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$each; break; }; done)

.DEFAULT_GOAL := help
.PHONY: help run test test-long test-page test-system test-e2e lint type format bench lock clean \
	up down logs ps scale demo reset doctor

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.runtime ## Pay the sample orders with a fresh ledger, on this machine alone
	@$(BIN)/orderly run $(SAMPLE) --fresh
	@echo
	@echo "Try next:"
	@echo "  . $(BIN)/activate                         so that the shell finds orderly"
	@echo "  orderly verify                               prove it again"
	@echo "  orderly explain 31198505922                  one order's whole story"
	@echo "  orderly run $(SAMPLE)      the same file again: all duplicates"
	@echo "  orderly run --orders 50000                   as many orders as you like"

up: ## Build and start the containers; QUEUE_MODE=local for a single one
	@docker/stack.sh up

down: ## Stop the containers; the orders stay
	@docker/stack.sh down

logs: ## Show what the containers say
	@docker/stack.sh logs

ps: ## List the containers
	@docker/stack.sh ps

scale: ## Run N payment containers: make scale N=4
	@docker/stack.sh scale

demo: ## Send 20,000 new orders through the containers, and prove them; SEED=7 for the same ones
	@docker/stack.sh demo

reset: ## Remove the containers, all their orders and the passwords; asks, YES=1 does not
	@docker/stack.sh reset

doctor: ## Say what the containers need that is not there
	@docker/doctor.sh

test: $(VENV)/.dev ## Run the tests that need nothing but Python and make, and take no long time
	@$(BIN)/pytest -n 4 --dist worksteal -m "not long"

test-long: $(VENV)/.dev ## Run those that take long: storms, loads, outages, and properties on all examples
	@THOROUGH=1 $(BIN)/pytest -n 3 --dist worksteal -m "long or hypothesis"

test-page: $(VENV)/.dev ## Run the tests of the page, in Chromium, and through nginx
	@$(BIN)/python -m tests.support.needs page
	@$(BIN)/pytest tests/browser

test-system: $(VENV)/.dev ## Run the tests beside nginx, pgbouncer and other programs of the system
	@$(BIN)/python -m tests.support.needs system
	@$(BIN)/pytest tests/system

test-e2e: $(VENV)/.dev ## Run the tests of the containers
	@$(BIN)/pytest tests/e2e

lint: $(VENV)/.dev ## Check style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

type: $(VENV)/.dev ## Check the types
	@$(BIN)/mypy

format: $(VENV)/.dev ## Format the code, and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/.dev ## Measure throughput, latency and memory; prints, never fails
	@$(BIN)/python -m benchmarks

lock: $(VENV)/.dev ## Resolve the dependencies anew, for Python 3.11 to 3.14
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
		--upgrade pyproject.toml --extra build -o requirements/runtime.txt
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
		--upgrade pyproject.toml --extra build --extra dev -c requirements/runtime.txt \
		-o requirements/dev.txt

clean: ## Remove the virtual environment and caches; ledgers in var/ stay
	@rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.runtime: requirements/runtime.txt pyproject.toml
	$(call install,requirements/runtime.txt)
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml
	$(call install,requirements/dev.txt)
	@touch $@ $(VENV)/.runtime

# Every package is pinned with its hashes. Without pip .venv was left half-made, and is made again. The project itself is linked, so edits count at once. By
# its path alone: setuptools' finder of single packages doubles the time in which Python starts.
define install
	@[ -n "$(PYTHON)" ] || { \
		echo "orderly: needs Python 3.11 or newer; install one, or name it: make PYTHON=..."; \
		exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "orderly: $(PYTHON) is not Python 3.11 or newer; name another: make PYTHON=..."; \
		exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "orderly: $(PYTHON) lacks the venv module (on Debian: apt install python3-venv)"; \
		exit 1; }
	@echo "installing into $(VENV) ..."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r $(1)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation \
		--config-settings editable_mode=compat -e .
endef
