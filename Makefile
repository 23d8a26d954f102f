PYTHON ?= python3
PIP = .venv/bin/pip --disable-pip-version-check install -q
WORKERS ?= 2
PYTEST = .venv/bin/python -m pytest -n $(WORKERS) --dist worksteal --durations=20
# A study resumes; a demonstration starts anew.
DEMO = runs/demo

.PHONY: demo test test-all coverage lint docs web clean

demo: .venv/demo
	rm -rf $(DEMO)
	.venv/bin/orbitune study --recipe examples/demo.yaml --methods full,linear,lora --out $(DEMO)

# The quick tests: under five minutes on two cores.
test: .venv/dev
	$(PYTEST) -m "not slow and not browser and not install"

test-all: .venv/dev
	$(PYTEST)

coverage: .venv/dev
	$(PYTEST) -m "not install" --cov --cov-report=term

lint: .venv/dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

docs: .venv/dev
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true .venv/bin/mkdocs build --strict

# The page of `export --to web`, from its source: needs Node 20.19 or later with npm.
web:
	cd web && npm ci --no-audit --no-fund && npm run check && npm test && npm run build

clean:
	rm -rf .venv $(DEMO)

.venv/bin/pip:
	$(PYTHON) -m venv .venv

# Stamps: older than pyproject.toml, they are made again.
.venv/demo: pyproject.toml | .venv/bin/pip
	$(PIP) -e '.[demo]'
	touch $@

.venv/dev: pyproject.toml | .venv/bin/pip
	$(PIP) -e '.[dev]'
	touch $@
