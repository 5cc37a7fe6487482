# make demo: the whole chain on this machine.  make test: the tests.  make check: style and types.
# Each makes its own .venv the first time. Other Pythons: make PYTHON=python3.12 demo. On Linux pip's
# default torch brings CUDA (gigabytes); TORCH_INDEX=<address of torch's CPU wheels> avoids it.
PYTHON ?= python3
TORCH_INDEX ?=
PIP := .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test check

demo: .venv/installed
	.venv/bin/hwnas demo --out runs/demo

test: .venv/installed
	scripts/test

check: .venv/installed
	scripts/check

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else \
	  "hwnas needs Python 3.11 or later, this is %s: make PYTHON=python3.11" % sys.version.split()[0])'
	@echo "installing into .venv (minutes the first time)"
	$(PYTHON) -m venv .venv
	$(if $(TORCH_INDEX),$(PIP) --index-url $(TORCH_INDEX) torch)
	$(PIP) --editable '.[dev]'
	@touch $@
