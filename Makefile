# Everything runs in .venv, which the first target that needs it makes. `make` lists the targets.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# What pytest gets, as in `make test ARGS="-x -k resize"`; also taken by bench and demo.
ARGS ?=
# What `make test` runs; .ci/run runs both side by side.
TESTS ?= tests integration
# What the tests of the page look like.
export PTYSHIPPER_SCREENSHOTS ?= $(CURDIR)/build/screenshots
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv check test integration demo bench build bundle page clean

# What the bundle is made of: it is built anew when one of these changes.
BUNDLED := $(shell find ptyshipper -name node_modules -prune -o -name '*.py' -o -name '*.[ch]' -o -name '*.spec')
# What the page is made of, and what builds it.
PAGE := ptyshipper/backend/page
PAGE_SOURCES := $(wildcard $(PAGE)/src/* $(PAGE)/*.json $(PAGE)/*.mjs $(PAGE)/build.py)
PAGE_BUILT := $(PAGE)/built/index.html
# Tests that need a container runtime, and minutes.
LONG := runtimes or pod

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(READY) ## make .venv with everything that development needs

$(READY): pyproject.toml
	@.ci/venv $(VENV)
	@echo "installing into $(VENV)"
	@$(PIP) install --editable '.[dev]'
	@touch $@

check: $(READY) $(PAGE_BUILT) ## format, lint, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python $(PAGE)/build.py types

test: $(READY) $(PAGE_BUILT) ## every test but those that take minutes
	@.ci/tools
	@$(MAKE) --no-print-directory bundle || echo "no bundle, so its tests are skipped" >&2
	$(BIN)/python -m pytest $(TESTS) -m 'not ($(LONG))' $(ARGS)

integration: $(READY) $(PAGE_BUILT) ## the black-box tests, in real container runtimes too
	@.ci/tools
	@$(MAKE) --no-print-directory bundle
	$(BIN)/python -m pytest integration $(ARGS)

demo: $(READY) $(PAGE_BUILT) ## see it at work: backend, a wrapped program, what arrived
	@$(BIN)/python -m integration.demo $(ARGS)

bench: $(READY) $(PAGE_BUILT) ## measure, each figure beside a peer; ARGS="--quick", ARGS="--only cpu"
	@$(BIN)/python -m integration.bench $(ARGS)

bundle: dist/log-shipper dist/image/install-log-shipper ## dist/log-shipper, one static file for any image, and dist/image

dist/log-shipper dist/image/install-log-shipper &: $(READY) $(BUNDLED)
	@$(BIN)/python -m ptyshipper.bundle.build --output dist

page: $(PAGE_BUILT) ## the page that serve shows, with this machine's Node.js or PyPI's

$(PAGE_BUILT): $(READY) $(PAGE_SOURCES)
	@needed=$$($(BIN)/python $(PAGE)/build.py requirements) && { [ -z "$$needed" ] || $(PIP) install "$$needed"; }
	@$(BIN)/python $(PAGE)/build.py page

build: $(READY) $(PAGE_BUILT) ## wheel and sdist into dist/
	$(BIN)/python -m hatchling build -d dist

clean: ## remove what the other targets made
	rm -rf $(VENV) dist build $(PAGE)/built $(PAGE)/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
