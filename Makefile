# Everything starts here: `make demo` and `make test` need Python 3.11+, make and nothing else.

PYTHON ?= python3
# LOCKED=1 installs exactly what was tested, by digest (requirements/dev.txt).
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test lint format public-names bench clean distclean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | column -t -s '|'

demo: $(VENV)/.demo ## Recognise people in real photographs, then serve the page (OPEN=0: do not)
	$(BIN)/limner demo --out out/demo $(if $(filter 0,$(OPEN)),,--serve)

test: $(VENV)/.dev ## Check style, types and import rules, then run every test
	scripts/check
	scripts/test

lint: $(VENV)/.dev ## Check style, types and import rules only
	scripts/check

format: $(VENV)/.dev ## Lay the code out
	$(BIN)/ruff check --fix src tests bench examples
	$(BIN)/ruff format src tests bench examples

public-names: $(VENV)/.dev ## Accept the present public names as promises
	$(BIN)/python tests/test_house.py > tests/public_names.new && mv tests/public_names.new tests/public_names.txt

bench: $(VENV)/.dev ## Measure speed and accuracy, side by side with others (long)
	$(BIN)/python bench/faces.py
	$(BIN)/python bench/hard.py
	$(BIN)/python bench/gallery.py

clean: ## Remove what runs leave behind; keeps the environment and fetched weights
	rm -rf build dist out .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests bench examples -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## The same, and the environment
	rm -rf $(VENV)

# A stamp is older than pyproject.toml when the dependencies may have changed.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "limner needs Python 3.11 or later; say which: make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	@echo "Installing limner and what it needs into $(VENV) (once; torch is large)."
	$(PIP) install --editable '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	@echo "Installing limner and its development tools into $(VENV) (once; torch is large)."
	$(if $(LOCKED),$(PIP) install --require-hashes -r requirements/dev.txt)
	$(PIP) install --editable $(if $(LOCKED),. --no-deps,'.[dev]')
	@touch $@ $(VENV)/.demo
