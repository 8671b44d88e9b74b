# Two commands for a machine with Python 3.11 and make: `make demo` and `make test`.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: setup demo test test-cluster fuzz soak lint lint-ruff lint-mypy lint-spelling lint-nextflow lock bench images clean help

PYTEST_ARGS ?=
INJECTIONS ?= 200
SEED ?= 0
DEMO := build/demo
export PATH := $(CURDIR)/.venv/bin:$(PATH)

help:         ## this list
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1\t/' | expand -t 22

setup:        ## everything into .venv: locked packages, linumpy, Nextflow and its Java
	@tools/setup.sh

demo: setup   ## simulate a serial acquisition, correct it, say where the results are
	python -m linumpy.simulate --output $(DEMO)/input
	nextflow -log $(DEMO)/nextflow.log run . -work-dir $(DEMO)/work \
	    --input $(DEMO)/input/samplesheet.csv --outdir $(DEMO)/results
	@echo
	@for image in $(CURDIR)/$(DEMO)/results/*/corrected.ome.zarr; do \
	    echo "corrected image  $$image"; \
	    echo "report           $${image%/*}/report.html"; \
	done

test: setup   ## all tests but those on a cluster (PYTEST_ARGS: more arguments for pytest)
	python -m pytest -m 'not cluster' $(PYTEST_ARGS)

test-cluster: setup  ## tests on a real Slurm and Grid Engine, with Apptainer and podman, which they install; needs root
	python -m pytest -m cluster $(PYTEST_ARGS)

FUZZ_SEED ?= 1
FUZZ_EXAMPLES ?= 20000
fuzz: setup   ## stores mutated at random, other ones with each FUZZ_SEED, FUZZ_EXAMPLES of them
	FUZZ_SEED=$(FUZZ_SEED) FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) python -m pytest tests/corpus/test_mutation.py $(PYTEST_ARGS)

soak: setup   ## faults at random, resumed until done (INJECTIONS, SEED); full disks need root
	python -m tests.soak --injections $(INJECTIONS) --seed $(SEED)

lint: lint-ruff lint-mypy lint-spelling lint-nextflow  ## ruff, mypy, codespell, nextflow lint
lint-ruff: setup
	ruff check .
	ruff format --check .
lint-mypy: setup
	mypy
lint-spelling: setup
	codespell
lint-nextflow: setup
	nextflow lint main.nf nextflow.config conf modules workflows tests/cluster

lock: setup   ## resolve requirements/*.txt anew (UPGRADE=1: with the newest versions)
	tools/lock.sh

bench: setup  ## the figures of the README and docs
	python -m benchmarks

images:       ## CPU and CUDA images and their SIFs into build/images
	containers/build.sh

clean:        ## remove what the other targets made; .venv and your runs (work, results, .nextflow) stay
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis
