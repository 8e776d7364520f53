# make help       show these lines; `make` alone does the same
# make install    install everything into .venv; other targets do so when they first need it
# make demo       run the whole workflow on bundled digits: a few minutes on a CPU
# make test       run the tests; make test-slow: those that take minutes
# make test-gpu   run the tests of trainings on a GPU
# make test-cluster  run the workflow through Slurm on this machine; as root, install Slurm with apt-get first
# make lint       check formatting, style and types; make format: fix what can be fixed automatically
# make settings   write config/config.yaml from the defaults of all settings
# make compare    compare all methods on the bundled digits, five seeds, in one table and one figure
# make record     record a finished run with DVC: make record CONFIG=config/config.yaml
# make report     write a finished run's report, results/<run>/report.html: make report CONFIG=config/config.yaml
# make ablation   compare variants of one setting: make ablation NAME=matching-stage CONFIG=config/quickstart.yaml
# make ablations  measure the effect of each option of a CPU run: make ablations CONFIG=config/cifar10-cpu.yaml
# make budgets    compare accuracy at several numbers of GAN steps: make budgets CONFIG=config/cifar10-cpu.yaml
# make docs       build the documentation site in site/; make docs-serve: show it and rebuild it after each change
# make mermaid    download Mermaid with npm, which draws the diagrams of the documentation site
# make tables     rewrite the tables of results in the documents from docs/measured and docs/published.csv
# make chart      draw the README's chart of the rules from the workflow
# make pictures   run the demo and copy the README's pictures from it; includes make chart
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RUN := PATH="$(CURDIR)/$(BIN):$$PATH"
# Runs use the active environment if genifer is installed in it (for example one from environment.yml), else .venv.
# Targets for development always use .venv.
ACTIVE := $(wildcard $(VIRTUAL_ENV:%=%/bin/genifer) $(CONDA_PREFIX:%=%/bin/genifer))
ACTIVE := $(patsubst %/,%,$(dir $(filter-out $(CURDIR)/$(BIN)/genifer,$(firstword $(ACTIVE)))))
READY := $(if $(ACTIVE),,$(INSTALLED))
IN_ENV := PATH="$(or $(ACTIVE),$(CURDIR)/$(BIN)):$$PATH"
# Test files run in parallel with one thread each, because PyTorch's threads would wait for each other.
PYTEST := $(RUN) OMP_NUM_THREADS=1 pytest --numprocesses auto --maxprocesses 4 --dist loadfile

.PHONY: help install demo compare record test test-slow test-gpu test-cluster lint format settings pictures chart report
.PHONY: budgets ablation ablations tables docs docs-serve mermaid

help:
	@sed -n 's/^# \(make \)/\1/p' Makefile

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "genifer needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3"; exit 1; }
	@echo "installing genifer and its packages into $(VENV): some minutes, and 6 GB with the GPU libraries (docs/install.md)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY)
	@$(IN_ENV) snakemake --configfile config/quickstart.yaml
	@printf 'page    '; $(IN_ENV) genifer report --config config/quickstart.yaml

CONFIG ?= config/quickstart.yaml
record: $(READY)
	$(IN_ENV) genifer record --config $(CONFIG)

# CONFIG may be several files; REPORT is another path for the page. Snakemake's own report is written beside it.
report: $(READY)
	$(IN_ENV) genifer report $(CONFIG:%=--config %) $(REPORT:%=--output %) --with-snakemake

test: $(INSTALLED)
	$(PYTEST) -m "not slow"

# The slow tests of one file, such as those of all pages, would keep one worker busy while the others have nothing to do.
test-slow: $(INSTALLED)
	$(PYTEST) -m slow --dist worksteal

test-gpu: $(INSTALLED)
	GENIFER_TEST_DEVICE=cuda $(PYTEST) -m "not slow" tests/training tests/methods tests/data/test_prepared_images.py

# CLUSTER=whole runs the whole quickstart, not part of it. If Slurm cannot be installed, this prints the reason and runs nothing.
CLUSTER ?= part
test-cluster: $(INSTALLED)
	@tests/cluster/install.sh; code=$$?; [ $$code = 77 ] && exit 0; [ $$code = 0 ] || exit $$code; \
	$(RUN) OMP_NUM_THREADS=1 pytest --cold-start --cluster $(CLUSTER) tests/cluster --log-cli-level INFO

lint: $(INSTALLED)
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(RUN) snakefmt --check workflow
	$(RUN) snakemake --lint
	$(RUN) snakemake --lint --snakefile workflow/grid.smk

format: $(INSTALLED)
	$(RUN) ruff format .
	$(RUN) ruff check --fix .
	$(RUN) snakefmt workflow

compare: $(READY)
	$(IN_ENV) snakemake --configfile config/quickstart.yaml config/compare.yaml
	$(IN_ENV) genifer compare compare

budgets: $(READY)
	$(IN_ENV) snakemake --configfile $(CONFIG) config/budgets.yaml

ablations: $(READY)
	$(IN_ENV) snakemake --configfile $(CONFIG) config/ablations/cpu-options.yaml

# The run is named after both files, so that ablations of different run files do not overwrite each other.
NAME ?= matching-stage
ABLATION = $(NAME)-$(basename $(notdir $(CONFIG)))
ablation: $(READY)
	$(IN_ENV) snakemake --configfile $(CONFIG) config/ablations/$(NAME).yaml --config run=$(ABLATION)
	$(IN_ENV) genifer compare $(ABLATION) --output comparison/$(ABLATION)

pictures: demo chart
	mkdir -p docs/images
	cp results/quickstart/plots/accuracy.png docs/images/quickstart_accuracy.png
	cp results/quickstart/plots/replay_genifer_seed_0_task_2.png docs/images/quickstart_replay.png

tables: $(INSTALLED)
	$(RUN) pytest --quiet tests/test_documents.py -k tables --write-tables

MERMAID := 11.17.2
# The variable silences an advertisement for MkDocs's successor.
docs: $(INSTALLED)
	$(RUN) NO_MKDOCS_2_WARNING=1 mkdocs build --strict

# Mermaid draws the site's diagrams; without it they are shown as text.
mermaid:
	cd docs/site && npm pack --silent mermaid@$(MERMAID) \
		&& tar xzf mermaid-$(MERMAID).tgz --strip-components 2 package/dist/mermaid.min.js && rm mermaid-$(MERMAID).tgz

docs-serve: $(INSTALLED)
	$(RUN) NO_MKDOCS_2_WARNING=1 mkdocs serve

chart: $(INSTALLED)
	$(RUN) pytest --quiet tests/test_documents.py -k chart --write-chart

settings: $(INSTALLED)
	$(RUN) genifer settings > config/config.yaml.new && mv config/config.yaml.new config/config.yaml
