.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help experiments peers models plots report test frameworks lowest coverage bench optimality chaos fuzz smoke verify lint types docs notebook clean

PYTHON ?= python3
VENV := .venv
PYTHON_VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
# The stamp's name has the interpreter's version. A new version, or a newer lock, makes .venv again.
READY := $(VENV)/ready-$(PYTHON_VERSION)
PEERS_VENV := .venv-peers
PEERS_READY := $(PEERS_VENV)/ready-$(PYTHON_VERSION)
LOWEST_VENV := .venv-lowest
LOWEST_READY := $(LOWEST_VENV)/ready-$(PYTHON_VERSION)
DOCS_VENV := .venv-docs
DOCS_READY := $(DOCS_VENV)/ready-$(PYTHON_VERSION)
NOTEBOOK_VENV := .venv-notebook
NOTEBOOK_READY := $(NOTEBOOK_VENV)/ready-$(PYTHON_VERSION)
SITE := build/docs
HARNESS := $(VENV)/bin/python -m harness
# How many cells that count bytes run at once: one for each core. It changes no number.
JOBS := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
# Draws the figures of the folders on standard input, several folders at once.
DRAW = tr '\n' '\0' | xargs -0 -P $(JOBS) -n 1 $(HARNESS) plot

SMOKE := experiments/smoke.toml
PEERS := $(wildcard experiments/peers*.toml)
MODELS := experiments/own_models.toml
EXPERIMENTS := $(filter-out $(SMOKE) $(PEERS) $(MODELS),$(wildcard experiments/*.toml))

# The folder of results, which are written, drawn and verified.
RESULTS := results
# A warning before published results of the given experiments are measured again.
WILL_REPLACE = @for name in $(basename $(notdir $(1))); do if [ -e "$(RESULTS)/$$name/environment.json" ]; then \
		echo "Results in $(RESULTS)/ are replaced as soon as their experiment is complete. RESULTS=folder keeps them."; break; \
	fi; done

# Each run of the tests writes a report, which .ci/run sums up.
PYTEST := -m pytest -q -n 2 --junitxml=build/tests
# The files of tests that $(VENV) skips, because they need packages that it does not have.
NEED_MORE = $(shell grep -rl importorskip --include='test_*.py' tests)

# How many memory cells of each experiment are verified. A sample is enough, because they repeat to the byte.
VERIFIED := 8

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  make %-12s %s\n", $$1, $$2}'
	@echo "  PYTHON=python3.12 chooses the interpreter (3.11 or newer)"
	@echo "  RESULTS=folder uses this folder instead of results/, to measure, draw and verify"

experiments: $(READY) ## measure every experiment and draw its figures; an interrupted run goes on
	$(call WILL_REPLACE,$(EXPERIMENTS))
	@failed=0; for file in $(EXPERIMENTS); do \
		$(HARNESS) run --jobs $(JOBS) --results "$(RESULTS)" $$file || { code=$$?; [ $$code -eq 1 ] || exit $$code; failed=1; }; \
	done; printf '%s\n' $(EXPERIMENTS:experiments/%.toml="$(RESULTS)"/%) | $(DRAW) && \
	$(HARNESS) report --output "$(RESULTS)/report.html" "$(RESULTS)" && exit $$failed

peers: $(PEERS_READY) ## measure PyTorch, JAX and scikit-learn beside our own step, in a separate environment
	$(call WILL_REPLACE,$(PEERS))
	@failed=0; for file in $(PEERS); do \
		results="$(RESULTS)/$$(basename $$file .toml)"; \
		$(PEERS_VENV)/bin/python -m harness run --jobs $(JOBS) --results "$(RESULTS)" $$file || { code=$$?; [ $$code -eq 1 ] || exit $$code; failed=1; }; \
		$(PEERS_VENV)/bin/python -m harness plot "$$results" && $(PEERS_VENV)/bin/python -m harness peers "$$results" || exit $$?; \
	done; exit $$failed

models: $(PEERS_READY) ## measure users' own PyTorch models within budgets, in the environment of peers (half an hour)
	$(call WILL_REPLACE,$(MODELS))
	$(PEERS_VENV)/bin/python -m harness run --jobs $(JOBS) --results "$(RESULTS)" $(MODELS)
	$(PEERS_VENV)/bin/python -m harness plot "$(RESULTS)/$(basename $(notdir $(MODELS)))"

plots: $(READY) ## draw every figure again from the CSVs in results/
	@for file in "$(RESULTS)"/*/environment.json; do dirname "$$file"; done | $(DRAW)

report: $(READY) ## write all results as one HTML page, results/report.html
	$(HARNESS) report --output "$(RESULTS)/report.html" "$(RESULTS)"

test: $(READY) ## run the tests
	$(VENV)/bin/python $(PYTEST)/test.xml

frameworks: $(READY) $(PEERS_READY) ## check types with PyTorch's and JAX's own; run the tests that need them, scikit-learn, frictionless, Jupyter or a browser
	$(VENV)/bin/mypy --python-executable $(PEERS_VENV)/bin/python
	$(PEERS_VENV)/bin/python $(PYTEST)/frameworks.xml $(NEED_MORE)

lowest: $(LOWEST_READY) ## run the tests with the lowest versions that pyproject.toml allows
	@# Old versions use what newer ones call deprecated. Without -W their warnings would count as errors.
	$(LOWEST_VENV)/bin/python $(PYTEST)/lowest.xml -W ignore::DeprecationWarning

coverage: $(PEERS_READY) ## measure which lines and branches the tests run, also in workers; fails below the floor
	rm -rf build/coverage
	$(PEERS_VENV)/bin/python -m coverage run $(PYTEST)/coverage.xml
	@# A worker that a test kills may leave half a file. Without -W this would warn of it.
	$(PEERS_VENV)/bin/python -W ignore -m coverage report

bench: $(READY) ## measure training steps against their matrix products and least memory, and the cost of the harness (twenty minutes)
	$(VENV)/bin/python -m benchmarks.step
	$(VENV)/bin/python -m benchmarks.passes
	$(VENV)/bin/python -m benchmarks.harness

optimality: $(READY) ## compare the optimal schedule with exhaustive search, and with its bound on deep chains (minutes)
	$(VENV)/bin/python -m tests.slow.optimality

chaos: $(READY) ## end a run 50 times at random moments; nothing may be lost, doubled or left behind (minutes)
	$(VENV)/bin/python -m tests.slow.chaos

fuzz: $(READY) ## give a million bad inputs to the readers of files and schedules; none may raise a traceback
	$(VENV)/bin/python -m tests.slow.fuzz

smoke: $(READY) ## run a tiny experiment: measure it, and draw its figures
	$(HARNESS) run --results "$(RESULTS)" $(SMOKE)
	$(HARNESS) plot "$(RESULTS)/smoke"

verify: $(READY) ## measure some cells of each committed result again, and compare every byte
	@failed=0; for table in "$(RESULTS)"/*/memory.csv; do \
		$(HARNESS) verify "$$(dirname "$$table")" --cells $(VERIFIED) || { code=$$?; [ $$code -eq 1 ] || exit $$code; failed=1; }; \
	done; exit $$failed

lint: $(READY) ## check style and formatting
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(READY) ## check types with mypy, strictly in networks/
	$(VENV)/bin/mypy

docs: $(DOCS_READY) ## build the guides and the reference as a site; a broken link or an undocumented public name fails
	$(DOCS_VENV)/bin/python docs/site/stage.py $(SITE)
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --strict --config-file $(SITE)/mkdocs.yml
	@echo "  $(SITE)/site/index.html"

notebook: $(NOTEBOOK_READY) ## open the tour for a classroom, notebooks/tour.ipynb, in a separate environment
	$(NOTEBOOK_VENV)/bin/jupyter lab notebooks/tour.ipynb

clean: ## remove environments, caches, the site and the smoke results, which can be made again
	rm -rf $(VENV) $(PEERS_VENV) $(LOWEST_VENV) $(DOCS_VENV) $(NOTEBOOK_VENV) build results/smoke .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "make: $(PYTHON) is not Python 3.11 or newer; choose one with PYTHON=python3.12" >&2; exit 2; }
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(PEERS_READY): requirements.lock pyproject.toml
	rm -rf $(PEERS_VENV)
	$(PYTHON) -m venv $(PEERS_VENV)
	$(PEERS_VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(PEERS_VENV)/bin/pip install --quiet --disable-pip-version-check --constraint requirements.lock --no-build-isolation --editable '.[peers,datapackage,browser,notebook]'
	@touch $@

$(LOWEST_READY): requirements-lowest.lock
	rm -rf $(LOWEST_VENV)
	$(PYTHON) -m venv $(LOWEST_VENV)
	$(LOWEST_VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps -r requirements-lowest.lock
	$(LOWEST_VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(DOCS_READY): requirements.lock pyproject.toml
	rm -rf $(DOCS_VENV)
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/pip install --quiet --disable-pip-version-check --constraint requirements.lock '.[docs]'
	@touch $@

$(NOTEBOOK_READY): requirements.lock pyproject.toml
	rm -rf $(NOTEBOOK_VENV)
	$(PYTHON) -m venv $(NOTEBOOK_VENV)
	$(NOTEBOOK_VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(NOTEBOOK_VENV)/bin/pip install --quiet --disable-pip-version-check --constraint requirements.lock --no-build-isolation --editable '.[notebook]'
	@touch $@
