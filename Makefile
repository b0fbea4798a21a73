# make demo      the whole default study on the embedded phantom
# make studies   the five published designs, one after the other (docs/studies/)
# make test      the tests              make check      lint, types, architecture
# make test-slow the long tests         make test-real  the tests on real data (HCCFLOW_REALDATA=folder of archives)
# make test-slurm a cluster on this machine (root, Debian; bash tests/slurm_cluster.sh install)
# Each makes .venv from requirements.lock first; nothing is needed but Python 3.11, gcc and make.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 2>/dev/null || { python3 -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && command -v python3; })
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
PYTEST := $(BIN)/python -m pytest

.PHONY: verify demo studies test test-slow test-real check lock docs
.DEFAULT_GOAL := demo

$(VENV)/.complete: requirements.lock
	@if [ -z "$(PYTHON)" ]; then \
	  echo "hccflow needs Python 3.11 (PyRadiomics builds on no newer one), and none was found."; \
	  echo "Two ways to get it:  apt-get install python3.11 python3.11-venv   (or your system's package manager)"; \
	  echo "                or:  conda create -n py311 python=3.11 && conda activate py311"; \
	  echo "Then run make again, or name it: make PYTHON=/path/to/python3.11"; exit 1; fi
	@command -v gcc >/dev/null || { echo "hccflow needs gcc, to build PyRadiomics: apt-get install gcc"; exit 1; }
	@echo "Setting up .venv from requirements.lock (2 to 5 minutes, about 3 GB)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps pyradiomics==3.0.1
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	$(BIN)/python -m pip check --disable-pip-version-check
	@touch $@

demo: $(VENV)/.complete
	@$(BIN)/snakemake --cores all --quiet rules
	@echo "The report: $(CURDIR)/results/phantom/report/report.html"

STUDIES := li2022 eob2026 jia2026 chen2025 yu2025

studies: $(VENV)/.complete
	@for study in $(STUDIES); do \
	  echo "$$study: $$(date +%H:%M:%S)"; \
	  $(BIN)/snakemake --cores all --configfile studies/$$study.yaml --quiet rules || exit 1; done
	@for study in $(STUDIES); do echo "The report of $$study: $(CURDIR)/results/$$study/report/report.html"; done

# A file's tests share one process, so that the micro study is run once. (pytest 9.2 does not see xdist's groups.)
test: $(VENV)/.complete
	$(PYTEST) -m "not slow and not realdata" -n 2 --dist loadfile

test-slow: $(VENV)/.complete
	$(PYTEST) -m "slow and not realdata and not slurm"

test-slurm: $(VENV)/.complete
	$(PYTEST) -m slurm

test-real: $(VENV)/.complete
	$(PYTEST) -m realdata

# Every number of the reference cases beside R's: make verify HCCFLOW_REFERENCE=<folder that holds stats/>
verify: $(VENV)/.complete
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.reference.run --out docs/verification.md

check: $(VENV)/.complete
	$(BIN)/ruff check .
	$(BIN)/ruff format --check workflow/hccflow tests benchmarks envs
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint
	$(BIN)/mypy
	$(PYTEST) -q tests/test_architecture.py

lock: $(VENV)/.complete
	$(BIN)/python envs/lock.py

docs: $(VENV)/.complete
	$(BIN)/hccflow configdoc --out docs/config.md
