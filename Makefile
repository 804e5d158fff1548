# Everything a newcomer needs: 'make demo' shows a result, 'make test' checks it all. 'make' lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# One thread: the networks are small, and more threads only wait for one another.
export OMP_NUM_THREADS := 1
export RAY_USAGE_STATS_ENABLED := 0
# Ray would start its workers at niceness 15; tests that compute would starve those that wait for such a worker.
test check test-extended: export RAY_worker_niceness := 0
# Tests start hundreds of Python processes: compiled once, also where bytecode is off (an empty value is its default).
export PYTHONDONTWRITEBYTECODE :=

# Several test processes, each with whole files and, if these need one, a Ray cluster of its own. tests/conftest.py says
# how many, and puts files of slow tests first.
IN_PARALLEL := -n auto --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-extended check lint docs build bench bench-dispatch bench-scaling check-cluster cluster-test cluster-test-s3 format fuzz clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(STAMP) ## create .venv with the tested versions of all dependencies

$(STAMP): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || \
		{ echo "lad-rllib needs Python 3.11 or 3.12, '$(PYTHON)' is not; try: make venv PYTHON=python3.11" >&2; exit 1; }
	@echo "Installing into $(VENV); the first time takes a few minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP) ## train two policies on the paper's setting; then a policy in front of five real pipelines, tuned while it serves
	@echo "1. The paper's method: each base station learns from the delays of its own tasks. LAD-PMD minimises the delay"
	@echo "of all tasks, and beats the greedy oracle."
	$(BIN)/lad-rllib train --episodes 40 --seed 1 --output results/demo/lad-ts --overwrite
	$(BIN)/lad-rllib train --algorithm lad-pmd --episodes 20 --seed 1 --output results/demo/lad-pmd --overwrite
	$(BIN)/lad-rllib evaluate --checkpoint results/demo/lad-ts/checkpoint results/demo/lad-pmd/checkpoint --episodes 5 \
		--output results/demo
	@echo; echo "2. Five real pipelines of the embedded model, measured: a simulator of them."
	$(BIN)/lad-rllib fleet calibrate --fleet digits --in-process --step-counts 2 6 10 --held-out 8 --repeats 1 \
		--no-check --load 0.9 --output results/demo/calibration
	@echo; echo "3. The same five behind OpenAI's Images API. The policy any-fleet decides at once, without training; it is tuned"
	@echo "in the simulator while they serve, and swapped in."
	$(BIN)/python -m experiments.first_image --setting results/demo/calibration/requests.yaml --output results/demo/service
	@echo; echo "4. Before and after on requests of the simulator that neither was trained on: any-fleet is hard to beat."
	$(BIN)/lad-rllib evaluate --checkpoint any-fleet results/demo/service/tuned/checkpoint --greedy-actions --episodes 5 \
		--setting results/demo/calibration/requests.yaml --output results/demo/service
	@echo; echo "Results are in results/demo. To go on, type 'source $(BIN)/activate', then for example"
	@echo "  lad-rllib serve"
	@echo "  lad-rllib evaluate --checkpoint results/demo/lad-ts/checkpoint results/demo/lad-pmd/checkpoint --bounds"
	@echo "  lad-rllib --help"

# Kernels are compiled while the types are checked: each of several test processes would compile them.
test: $(STAMP) $(VENV)/aws-check/.installed ## format, lint, types and all tests
	@$(BIN)/python -c "from lad_rllib.compiling import compile_all; compile_all()" & compiling=$$!; \
		$(MAKE) --no-print-directory lint && wait $$compiling
	$(BIN)/pytest -q -rsfE $(IN_PARALLEL) -m "not serial and not lab and not extended"
	$(BIN)/pytest -q -rsfE -m "serial and not lab and not extended" $$(grep -rl --include='*.py' mark.serial tests)

test-extended: $(STAMP) ## the slower tests that 'make test' leaves out
	$(BIN)/pytest -q -m extended

check: lint ## format, lint, types and the fast tests: before every commit
	$(BIN)/pytest -q $(IN_PARALLEL) -m "not cluster and not slow and not lab and not extended"

lint: $(STAMP) ## format, lint and types only
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(STAMP) ## the documentation's site, strictly, into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

build: $(STAMP) ## wheel and source distribution into dist
	$(BIN)/python -m build --no-isolation

fuzz: $(STAMP) ## every damaged copy of every file of settings and fleets, not a sample as in 'make test'
	LAD_RLLIB_FUZZ_CASES=1000000 $(BIN)/pytest -q tests/*/test_*_fuzz.py

bench: $(STAMP) ## speed of training and simulation, as ratios in one run
	$(BIN)/python -m benchmarks.speed

bench-dispatch: $(STAMP) ## cost of dispatch over 5, 20 and 100 edge servers
	$(BIN)/python -m benchmarks.dispatch

bench-scaling: $(STAMP) ## training against runners, environments, learners, network size and GPU
	$(BIN)/python -m benchmarks.scaling
	$(BIN)/python -m benchmarks.scaling_worlds

check-cluster: $(VENV)/aws-check/.installed ## look for mistakes in the files of cluster/; nothing is started
	$(BIN)/python cluster/check.py

$(VENV)/aws-check/.installed: cluster/aws-check.txt $(STAMP)
	$(BIN)/pip install -q --disable-pip-version-check --upgrade --target $(VENV)/aws-check -r cluster/aws-check.txt
	@touch $@

cluster-test: $(VENV)/.cluster-installed ## whole clusters on machines made of namespaces: ray up to ray down, faults; needs root
	$(BIN)/pytest -v -rs -m "lab and not s3" tests/lab

cluster-test-s3: $(VENV)/.cluster-installed $(VENV)/s3-server/.installed ## the same with a search on an S3 server
	$(BIN)/pytest -v -rs -m s3 tests/lab

$(VENV)/.cluster-installed: $(STAMP)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev,cluster]'
	@touch $@

$(VENV)/s3-server/.installed: tests/lab/s3-server.txt $(STAMP)
	$(BIN)/pip install -q --disable-pip-version-check --upgrade --target $(VENV)/s3-server -r tests/lab/s3-server.txt
	@touch $@

format: $(STAMP) ## rewrite the code in the project's format
	$(BIN)/ruff check --fix-only -q .
	$(BIN)/ruff format .

clean: ## remove .venv, results of the demo and caches
	rm -rf $(VENV) results/demo build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
