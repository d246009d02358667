# Everything the book needs, from Python alone. `make` lists the targets.

PYTHON ?= python3
VENV ?= .venv
PORT ?= 8000
VARIANT ?= 0
MODELS ?= 20
KIND ?= networks
BIN := $(VENV)/bin

# make splits paths at spaces.
EMPTY :=
ifneq ($(findstring $(EMPTY) $(EMPTY),$(VENV)),)
$(error VENV is "$(VENV)"; make cannot use a path with spaces: name another one)
endif

# An environment keeps the Python that made it: who asks for another one must hear that.
ifeq ($(origin PYTHON),command line)
ifneq ($(wildcard $(BIN)/python),)
VERSION := -c 'import platform; print(platform.python_version())'
ASKED := $(shell $(PYTHON) $(VERSION) 2>/dev/null)
THERE := $(shell $(BIN)/python $(VERSION) 2>/dev/null)
ifneq ($(ASKED),$(THERE))
$(error $(VENV) was made by Python $(THERE), and $(PYTHON) $(if $(ASKED),is $(ASKED),does not run). \
Remove $(VENV), or name another one: make PYTHON=$(PYTHON) VENV=.venv-$(or $(ASKED),other) ...)
endif
endif
endif

# One environment, filled in two steps: `make site` needs no torch, the rest does.
FULL := $(VENV)/full.stamp
SITE := $(if $(wildcard $(FULL)),$(FULL),$(VENV)/site.stamp)

# Chapters print no progress bars and leave the other cores alone.
export TQDM_DISABLE := 1
export OMP_WAIT_POLICY := PASSIVE

.DEFAULT_GOAL := help
.PHONY: help book site serve record pages test quick lint results results-check zip pdf address colab release lab bench assignments grade zoo hunt attack clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

book: $(FULL) ## run every chapter here and build the site from what they print
	$(BIN)/python -m tools book

site: $(SITE) ## build the site from the stored outputs, in seconds and without torch
	$(BIN)/python -m tools site

serve: $(SITE) ## show the built site at http://localhost:8000 (PORT=... for another port)
	$(BIN)/python -m tools serve $(PORT)

record: $(FULL) ## run chapters and keep their outputs in chapters/ (ONLY="03 05" for some)
	$(BIN)/python -m tools record $(ONLY)

pages: $(FULL) ## rewrite the generated pages in chapters/ after a docstring, a run or a result changed
	$(BIN)/python -m tools pages

zip: $(SITE) ## pack site, slides, notebooks, results and library into _build/badnets-book.zip, to open from a folder
	$(BIN)/python -m tools zip

pdf: $(FULL) ## print the book with Chromium into _build/badnets-book.pdf (minutes)
	$(BIN)/python -m tools pdf

address: $(FULL) ## rewrite setup cells and Colab badges after the address, the release or a chapter's extras changed
	$(BIN)/python -m tools address

colab: $(FULL) ## run three chapters as a Colab user does, in a fresh environment (WITH=python3.12 TORCH=oldest, tested or newest; RECORD=1 dates the status page)
	$(BIN)/python -m tools colab --python $(or $(WITH),$(PYTHON)) --torch $(or $(TORCH),newest) $(if $(RECORD),--record)

release: $(FULL) ## check a release: address, version, changelog, tag, notebooks, built files (CONTRIBUTING has the order)
	$(BIN)/python -m tools release

test: $(FULL) ## check everything: style, types, layers, library, chapters, site, grader
	$(BIN)/python -m tools test

quick: $(FULL) ## check in two minutes: style, types, layers, and what needs no browser, chapter or grader
	$(BIN)/python -m tools quick

lint: $(FULL) ## check style, types and layers only
	$(BIN)/python -m tools lint

results: $(FULL) ## run the experiments behind badnets_lib/study/results again (hours; ONLY="poison_curve" for some)
	$(BIN)/python -m tools results $(ONLY)

results-check: $(FULL) ## rerun a few cells of every committed result and compare (SEED=1 for others)
	$(BIN)/python -m tools results-check $(ONLY) $(if $(SEED),--seed $(SEED))

lab: $(FULL) ## train and export what the browser lab shows (minutes)
	$(BIN)/python -m tools lab

bench: $(FULL) ## measure the library's speed and memory on this machine (RECORD=1 puts it on the status page; ONLY="poisoning" for some rows)
	$(BIN)/python -m tools bench $(if $(RECORD),--json tools/bench.json) $(if $(ONLY),--only $(ONLY))

assignments: $(FULL) ## write the coursework's notebooks for students and teachers (VARIANT=2027 for a cohort's own numbers)
	$(BIN)/python -m tools assignments --variant $(VARIANT)

grade: $(FULL) ## grade a folder of submissions (ASSIGNMENT=2 FROM=folder ROSTER=table DUE="2027-03-01 23:59" AGAIN=name; VARIANT as handed out)
	$(BIN)/python -m tools grade "$(ASSIGNMENT)" "$(FROM)" --variant $(VARIANT) $(if $(UNSAFE),--unsafe) \
		$(if $(ROSTER),--roster "$(ROSTER)") $(if $(DUE),--due "$(DUE)") $(if $(AGAIN),--again "$(AGAIN)")

zoo: $(FULL) ## make the capstone's networks from a secret (SALT="..." MODELS=20; KIND=adapters for a base and adapters), and the hunt to beat
	@$(BIN)/python -m tools zoo --salt "$(SALT)" --models $(MODELS) --kind $(KIND)

hunt: $(FULL) ## score a folder of hunt.json against that zoo (FROM=folder)
	$(BIN)/python -m tools hunt "$(FROM)"

attack: $(FULL) ## play a folder of plan.json against the course's detectors (FROM=folder)
	$(BIN)/python -m tools attack "$(FROM)"

clean: ## remove what was built (not the environment, finished cells of sweeps, or marks)
	@$(PYTHON) -m tools clean

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "The book needs Python 3.11 or newer; $(PYTHON) is not. Say which one to use: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
		{ echo "$(PYTHON) cannot make environments. On Debian or Ubuntu: apt install python3-venv"; exit 1; }
	@$(PYTHON) tools/environment.py new $(VENV)

$(VENV)/site.stamp: tools/requirements-site.txt constraints.txt | $(BIN)/python
	@$(BIN)/python tools/environment.py fill $@ $^

$(FULL): requirements.txt tools/requirements-site.txt constraints.txt pyproject.toml | $(BIN)/python
	@$(BIN)/python tools/environment.py fill $@ $^
