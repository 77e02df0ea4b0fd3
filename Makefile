# Every target sets up what it needs: an environment inside the project, `.conda/`
# where mamba, micromamba or conda is there, else `.venv/` (Debian, Ubuntu).
SHELL := /bin/bash
.DEFAULT_GOAL := help

ENV := $(shell bash scripts/setup.sh --where)
STAMP := $(ENV)/.q2-aam-installed
PLUGIN := $(ENV)/.q2-aam-cached

export PATH := $(CURDIR)/$(ENV)/bin:$(PATH)
export MPLBACKEND := Agg
ifeq ($(ENV),.conda)
export CONDA_PREFIX := $(CURDIR)/.conda
endif

.PHONY: help setup demo test test-rachis tutorials galaxy fuzz fuzz-kills coverage \
  mutants lint docs bench clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

setup: $(PLUGIN)  ## set up the environment and stop

demo: $(PLUGIN)  ## from a table to reports, on real data
	bash demo/run.sh

test: lint $(PLUGIN)  ## check the style and run all tests
	python -m pytest -n auto --maxprocesses 4 --dist loadfile

tutorials: $(PLUGIN)  ## follow the tutorials word for word; DATA=DIR or by downloads
	AAM_TUTORIAL_DATA=$(or $(DATA),download) python -m pytest \
	  tests/plugin/test_tutorials.py

fuzz-kills: $(PLUGIN)  ## kill runs and resume them; SEED=1 KILLS=40 TERMS=20 QIIME=6
	python -m tests.fuzz.kills --seed $(or $(SEED),0) --kills $(or $(KILLS),40) \
	  --terms $(or $(TERMS),20) --qiime $(or $(QIIME),6)

test-rachis:  ## run the tests with the renamed framework and current libraries
	bash scripts/test-rachis.sh

# q2galaxy is not on PyPI: a checkout of it, at the tag of the QIIME 2 that is used.
Q2GALAXY := $(wildcard ../q2galaxy)

galaxy: $(PLUGIN) .venv-galaxy/installed  ## make, lint and run the Galaxy tools; Q2GALAXY=DIR
	python -m tools.galaxy_tools build/galaxy $(if $(Q2GALAXY),--checkout $(Q2GALAXY))
	.venv-galaxy/bin/python tools/galaxy_lint.py build/galaxy/tools/*/*.xml

.venv-galaxy/installed:
	python3 -m venv .venv-galaxy
	.venv-galaxy/bin/pip install --quiet galaxy-tool-util edam-ontology
	@touch $@

fuzz: $(PLUGIN)  ## try damaged inputs: SEED=1 NUMBER=1000 TIME=600 TARGET=name
	python -m tests.fuzz $(if $(SEED),--seed $(SEED)) $(if $(NUMBER),--number $(NUMBER)) \
	  $(if $(TIME),--seconds $(TIME)) $(TARGET)

coverage: $(PLUGIN)  ## run all tests, and list the lines that none of them reaches
	python -m pytest -n auto --maxprocesses 4 --dist loadfile -q \
	  --cov=aam_core --cov=q2_aam --cov-report=term-missing

mutants: $(PLUGIN)  ## change code, see tests fail: NAMES="aam_core.data.folds*", or SEED=1 NUMBER=500
	SEED=$(SEED) NUMBER=$(NUMBER) JOBS=$(JOBS) bash scripts/mutants.sh $(NAMES)

lint: $(STAMP)  ## check the style alone
	ruff check .
	ruff format --check .
	vermin --quiet --no-tips --violations --eval-annotations --target=3.10- \
	  aam_core q2_aam tests tools demo docs setup.py

docs: $(STAMP)  ## build the documentation, with warnings as errors
	python -m pip install --quiet --no-build-isolation -e ".[docs]"
	python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo "The documentation is in build/docs/index.html."

bench: $(STAMP)  ## measure time and memory; NAME=step measures one thing
	python -m benchmarks $(NAME)

clean:  ## remove the environment and all results
	rm -rf .venv .venv-rachis .venv-galaxy .venv-mutants mutants .conda .cache .hypothesis build dist \
	  demo-output fuzz-failures *.egg-info

$(STAMP): setup.py environment.yml scripts/setup.sh scripts/common.sh
	bash scripts/setup.sh
	@touch $@

# q2cli keeps a copy of what the plugins declare: renew it when ours changes.
$(PLUGIN): $(STAMP) $(wildcard q2_aam/*.py) $(wildcard aam_core/config/*.py)
	qiime dev refresh-cache
	@touch $@
