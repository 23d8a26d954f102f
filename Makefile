PYTHON ?= python3
PIP = .venv/bin/pip --disable-pip-version-check install -q
# A study resumes; a demonstration starts anew.
DEMO = runs/demo

.PHONY: demo test lint docs clean

demo: .venv/demo
	rm -rf $(DEMO)
	.venv/bin/orbitune study --recipe examples/demo.yaml --methods full,linear,lora --out $(DEMO)

test: .venv/dev
	.venv/bin/python -m pytest -n 2 --dist worksteal

lint: .venv/dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

docs: .venv/dev
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true .venv/bin/mkdocs build --strict

clean:
	rm -rf .venv $(DEMO)

.venv/demo: pyproject.toml requirements-demo.txt
	test -x .venv/bin/pip || $(PYTHON) -m venv .venv
	$(PIP) -e '.[demo]'
	$(PIP) --no-deps --require-hashes -r requirements-demo.txt
	touch $@

.venv/dev: .venv/demo
	$(PIP) -e '.[dev]'
	touch $@
