# `make demo` and `make test` do all the set-up: a virtual environment in .venv, the project in it, then the work.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
WORKS := $(BIN)/python -c 'import wbsr, torch, torchvision, cv2, lmdb, sklearn, matplotlib'

.PHONY: demo test install test-tools clean

demo: install
	$(BIN)/python -m wbsr demo

test: install test-tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile --max-worker-restart 0

# An environment is reused if an install of this setup.py finished in it and what it installed can be imported;
# otherwise it is repaired, and made anew where even its Python or pip does not start.
install:
	@if [ $(INSTALLED) -nt setup.py ] && $(WORKS) 2>/dev/null; then exit 0; fi; \
	set -ex; rm -f $(INSTALLED); \
	$(BIN)/python -m pip --version || $(PYTHON) -m venv --clear .venv; \
	if ! { $(BIN)/python -m pip install -e . && $(WORKS); }; then \
		$(PYTHON) -m venv --clear .venv; $(BIN)/python -m pip install -e .; $(WORKS); \
	fi; \
	touch $(INSTALLED)

test-tools: install
	@if ! { $(BIN)/ruff --version && $(BIN)/mypy --version && $(BIN)/python -m pytest --version \
		&& $(BIN)/python -c 'import pytest_timeout, xdist, hypothesis, spandrel, onnx, onnxscript, onnxruntime, jsonschema, safetensors' \
		&& $(BIN)/python -c 'import setuptools.command.bdist_wheel'; } >/dev/null 2>&1; then \
		$(BIN)/python -m pip install -e '.[test]'; \
	fi

clean:
	rm -rf .venv
