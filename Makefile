# `make test` does all the set-up: a virtual environment in .venv, the project in it, then the work.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

.PHONY: test environment clean
.NOTPARALLEL:

test: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q

# The stamp says that an install finished; the import says that it still works. Otherwise the environment is made anew.
environment:
	@if ! { test $(STAMP) -nt setup.py && $(BIN)/python -c 'import wbsr, torch, torchvision, cv2, lmdb, sklearn' ; } 2>/dev/null; then \
		$(BIN)/python -c '' 2>/dev/null && $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) && \
		$(BIN)/python -m pip install -e '.[test]' && \
		$(BIN)/python -c 'import wbsr, torch, torchvision, cv2, lmdb, sklearn' && touch $(STAMP) || \
		{ echo 'The environment could not be made: see above, mend the cause, run make again.' >&2; exit 1; } ; \
	fi

clean:
	rm -rf $(VENV)
