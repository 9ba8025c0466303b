# `make detect` and `make test` are the two commands of the README; both stand on `make setup`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
CLIP := demo/generated/talking_face.mp4
FILES ?=

.PHONY: setup detect test lint format clean
.DELETE_ON_ERROR:

setup: $(VENV)/.runtime ## .venv with the package and its command `macbdf`

$(VENV)/.runtime: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("MACB-DF needs Python 3.11 or newer, this is " + sys.version.split()[0] + ". Say which one: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	@echo "Installing into $(VENV) (a few minutes, about 2 GB) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --editable ".[media,synthetic]"
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	@echo "Adding the test tools ..."
	@$(PIP) --editable ".[dev,demo]"
	@touch $@

$(CLIP): $(VENV)/.runtime
	@$(BIN)/macbdf make-clip $@

detect: $(CLIP) ## judge a self-made clip, and FILES="..." where given
	@$(BIN)/macbdf detect $(CLIP) $(FILES)

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

test: lint ## linters and tests
	@$(BIN)/python -m pytest

format: $(VENV)/.dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist demo/generated .pytest_cache .mypy_cache .ruff_cache
