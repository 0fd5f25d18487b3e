# make run    the demo, from the checkpoint to the table
# make test   the whole test suite
# make test-fairseq   the tests that need fairseq itself, which is built from source into .venv-fairseq
# make test-slurm   the tests that start a Slurm of their own, which needs root and the packages slurm-wlm and munge
# make test-kills     the whole DAG killed thirty times, which takes some ten minutes
# make peers  what other quantizers make of the demo, with their packages in .venv-peers (benchmarks/peers.tsv)
# make lint   formatters, linters and the type checker
# Each installs the pinned packages into .venv first, if that was not done yet.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: run test test-fairseq test-slurm test-kills peers lint format lock

run: $(INSTALLED)
	@$(BIN)/snakemake --cores all
	@$(BIN)/python -m stablequant.show results/demo/comparison.tsv

test: $(INSTALLED)
	$(BIN)/python -m pytest -m "not fairseq and not slurm and not kills"

test-fairseq: $(INSTALLED) .venv-fairseq/installed
	$(BIN)/python -m pytest -m fairseq

test-slurm: $(INSTALLED)
	$(BIN)/python -m pytest -m slurm

test-kills: $(INSTALLED)
	$(BIN)/python -m pytest -m kills -s

peers: $(INSTALLED) .venv-peers/installed
	.venv-peers/bin/python benchmarks/peers.py --out benchmarks/peers.tsv

# The peers beside the project's own packages, which they see through a path file.
.venv-peers/installed: envs/peers.txt
	$(PYTHON) -m venv .venv-peers
	$(BIN)/python -c 'import site; print(site.getsitepackages()[0])' > "$$(.venv-peers/bin/python -c 'import site; print(site.getsitepackages()[0])')/project.pth"
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --requirement envs/peers.txt
	@touch $@

.venv-fairseq/installed: envs/fairseq.txt
	$(PYTHON) -m venv .venv-fairseq
	grep -vE '^(fairseq|torchaudio|antlr)' envs/fairseq.txt > .venv-fairseq/build.txt
	.venv-fairseq/bin/python -m pip install --quiet --disable-pip-version-check --requirement .venv-fairseq/build.txt wheel
	.venv-fairseq/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --requirement envs/fairseq.txt
	@touch $@

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules resources/demo/Snakefile
	$(BIN)/snakemake --lint
	$(BIN)/hadolint docker/*.Dockerfile
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile rules resources/demo/Snakefile

$(INSTALLED): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@touch $@

# The newest versions that fit requirements.in, written down exactly.
lock:
	rm -rf .venv
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.in
	{ echo "# Every package of the project, exactly; made from requirements.in by 'make lock'."; \
	  echo "# CUDA's libraries are not listed: a CUDA build of torch pins its own."; \
	  $(BIN)/python -m pip freeze --all | sed 's/+cpu$$//' | grep -vE '^(nvidia-|triton==|pip==)'; } > requirements.lock
	touch $(INSTALLED)
