# make demo       the whole chain on bundled digits, in minutes on a CPU
# make test       the tests        make test-slow   those that take longer
# make lint       formatting, linting, types
# make settings   write config/config.yaml anew from genifer/config.py
# make record     let DVC record a run that Snakemake has made: make record CONFIG=config/config.yaml
# make pictures   run the demo and take the pictures of the README from it
# make report     one page about a finished run: make report CONFIG=config/config.yaml REPORT=report.html
# make chart      draw the README's chart of the rules anew
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RUN := PATH="$(CURDIR)/$(BIN):$$PATH"
# Files of tests side by side, each on one thread: PyTorch's threads would wait for each other.
PYTEST := $(RUN) OMP_NUM_THREADS=1 pytest --numprocesses auto --maxprocesses 4 --dist loadfile

.PHONY: demo record test test-slow lint format settings pictures chart report

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "genifer needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(INSTALLED)
	$(RUN) snakemake --configfile config/quickstart.yaml
	@$(RUN) genifer summary --config config/quickstart.yaml

CONFIG ?= config/quickstart.yaml
record: $(INSTALLED)
	$(RUN) genifer record --config $(CONFIG)

REPORT ?= results/quickstart/report.html
report: $(INSTALLED)
	$(RUN) snakemake --configfile $(CONFIG) --report $(REPORT)

test: $(INSTALLED)
	$(PYTEST) -m "not slow"

test-slow: $(INSTALLED)
	$(PYTEST) -m slow

lint: $(INSTALLED)
	$(RUN) ruff format --check genifer tests
	$(RUN) ruff check genifer tests
	$(RUN) mypy
	$(RUN) snakefmt --check workflow
	$(RUN) snakemake --lint

format: $(INSTALLED)
	$(RUN) ruff format genifer tests
	$(RUN) ruff check --fix genifer tests
	$(RUN) snakefmt workflow

pictures: demo chart
	mkdir -p docs/images
	cp results/quickstart/plots/accuracy.png docs/images/quickstart_accuracy.png
	cp results/quickstart/plots/replay_seed_0_task_2.png docs/images/quickstart_replay.png

chart: $(INSTALLED)
	$(RUN) pytest --quiet tests/test_documents.py -k chart --write-chart

settings: $(INSTALLED)
	$(RUN) genifer settings > config/config.yaml.new && mv config/config.yaml.new config/config.yaml
