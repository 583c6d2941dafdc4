# make demo: the whole method on the embedded corpus.  make test: the tests.  make check: linters and types, as in CI.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check lock clean

demo: $(VENV)/.installed
	$(BIN)/python run.py

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The stamp file is newer than the lock file, so that a second call installs nothing.
$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 13) else "Python 3.11 or 3.12 is needed, not %d.%d: make PYTHON=python3.12 ..." % v[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -q -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -q --no-deps -e .
	@touch $@

# Write new pins from the ranges in pyproject.toml; review the difference before you commit it.
lock:
	rm -rf $(VENV).lock && $(PYTHON) -m venv $(VENV).lock
	$(VENV).lock/bin/python -m pip install -q torch==2.13.0
	$(VENV).lock/bin/python -m pip install -q --upgrade pip
	$(VENV).lock/bin/python -m pip install -q . --group dev
	( grep '^#' requirements.lock; $(VENV).lock/bin/python -m pip freeze | sed 's/+cpu$$//' \
	  | grep -v -e "^qurating" -e '^nvidia-' -e '^cuda-' -e '^triton==' ) > requirements.lock.new
	mv requirements.lock.new requirements.lock
	rm -rf $(VENV).lock

clean:
	rm -rf $(VENV) outputs multirun
