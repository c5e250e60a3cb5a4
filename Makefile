# Set-up and daily work. Everything lives in .venv; a stamp in it is as new as the lock file it was installed from, so
# that a second run installs nothing and needs no network.

PYTHON ?= python3
BIN := .venv/bin
ENVIRONMENT := .venv/.installed
TEST_ENVIRONMENT := .venv/.installed-test

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Two installs into one environment must not run at once.
.NOTPARALLEL:
.PHONY: help demo test test-slow bench format lock clean simulators

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  PYTHON=python3.12 chooses the interpreter of a new .venv (3.11 to 3.13; make clean first to change it)."

demo: $(ENVIRONMENT) ## set up and run: generate text, simulate it on every machine, write a report
	$(BIN)/bitloom run

test: $(TEST_ENVIRONMENT) simulators ## set up with test tools and run every check: lint, format, types, tests
	@.ci/debian-package chromium chromium chromium-browser google-chrome
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest -n 2

test-slow: $(TEST_ENVIRONMENT) simulators ## the tests that need PyTorch or minutes (SHORT=1: a shortened form)
	@.ci/install-torch
	@.ci/debian-package iverilog iverilog
	$(if $(filter 1,$(SHORT)),BITLOOM_SHORT=1 )$(BIN)/pytest -m slow -n 2

bench: $(ENVIRONMENT) ## measure the speed of bitloom itself
	$(BIN)/bitloom bench

format: $(TEST_ENVIRONMENT) ## format the code and mend what ruff can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

lock: ## write the lock files anew from pyproject.toml, keeping versions that still fit
	@.ci/lock "$(PYTHON)"

# Verilator compiles C++ and starts by perl's full library; a testbench needs Python as a shared library.
simulators: $(TEST_ENVIRONMENT)
	@.ci/debian-package g++ g++
	@.ci/debian-package perl pod2usage
	@$(BIN)/find_libpython | grep -q . || \
		.ci/debian-package "$$($(BIN)/python -c 'import sys; print("libpython%d.%d" % sys.version_info[:2])')"

clean: ## remove the environment and caches; results in runs/ and studies/ stay
	rm -rf .venv .hypothesis .mypy_cache .pytest_cache .ruff_cache dist
	find . -name __pycache__ -prune -exec rm -r {} +

$(ENVIRONMENT): requirements.lock pyproject.toml
	@.ci/install-environment requirements.lock "$(PYTHON)"
	@touch $@

# The test environment holds the whole runtime environment, at the same versions.
$(TEST_ENVIRONMENT): requirements-test.lock requirements.lock pyproject.toml
	@.ci/install-environment requirements-test.lock "$(PYTHON)"
	@touch $(ENVIRONMENT) $@
