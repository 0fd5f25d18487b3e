# make run    the demo, from the checkpoint to the table
# make test [WORKERS=2]   the whole test suite, in two processes or as many as are told
# make test-interop   the tests that open bundles with other libraries, which are installed into .venv-interop; they take
#             the results of make run, and transformers.js needs node and npm
# make test-fairseq   the tests that need fairseq itself, which is built from source into .venv-fairseq
# make test-extra-large   a random HuBERT of extra large's size (963 million parameters) quantized and built, which takes 20 GB
# make test-slurm   the tests that start a Slurm of their own, which needs root and the packages slurm-wlm and munge
# make test-slurm-demo   the whole demo through such a Slurm, compared with a local run, which is made first if it is missing
# make test-lm        the tests of the language model, whose package is installed into .venv-lm
# make test-load      hundreds of requests to the service, with slow and broken clients, while it is killed and restarted
# make test-kills     the whole DAG killed thirty times, which takes some thirty minutes
# make peers  what other quantizers make of the demo, with packages in .venv-peers and
#             .venv-neural-compressor (benchmarks/peers.tsv)
# make gpu    what was never run on an NVIDIA GPU, in eight minutes, with TensorRT in .venv-gpu (benchmarks/gpu.tsv);
#             without a GPU, a rehearsal on the CPU
# make whisper CHECKPOINT=DIR CALIBRATION=DIR EVALUATION=DIR   Whisper and what others make of it, with their packages in
#             .venv-whisper (benchmarks/whisper.tsv)
# make mutants [MODULE=quantization.int8 | SAMPLE=400]   small changes of the code that no unit test notices: of all, of
#             one module, or of a random sample (docs/appendix/mutants.md)
# make lock | licences | audit   requirements.lock, docs/sbom.cdx.json and docs/licences.md, known vulnerabilities
# make docs   the documentation as a site, in site/
# make lint   formatters, linters and the type checker
# Each installs the pinned packages into .venv first, if that was not done yet.

PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin
# No test takes two minutes: one that takes ten hangs, and says where.
HANGING := -o faulthandler_timeout=600 -o faulthandler_exit_on_timeout=true
INSTALLED := .venv/installed

.PHONY: run test test-interop test-fairseq test-extra-large test-slurm test-slurm-demo test-load test-lm test-kills peers gpu whisper mutants docs lint format lock licences audit

run: $(INSTALLED)
	@$(BIN)/snakemake
	@$(BIN)/python -m stablequant.report.show results/demo/comparison.tsv
	@echo "All of this speech is synthesised."

test: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --max-worker-restart 1 --dist loadfile $(HANGING) -m "not fairseq and not extra_large and not slurm and not slurm_demo and not kills and not load and not lm"

# Without tests/conftest.py, which needs the project's own transformers.
test-interop: run .venv-interop/node/installed
	.venv-interop/bin/python -m pytest --confcutdir tests/interop tests/interop

test-fairseq: $(INSTALLED) .venv-fairseq/installed
	$(BIN)/python -m pytest -m fairseq

test-extra-large: $(INSTALLED)
	$(BIN)/python -m pytest -m extra_large

test-slurm: $(INSTALLED)
	$(BIN)/python -m pytest -m slurm

test-slurm-demo: run
	$(BIN)/python -m pytest -m slurm_demo

test-lm: $(INSTALLED) .venv-lm/installed
	.venv-lm/bin/python -m pytest -m lm tests/unit/recognisers/test_word_search.py tests/bundle

test-load: $(INSTALLED)
	$(BIN)/python -m pytest -m load

test-kills: $(INSTALLED)
	$(BIN)/python -m pytest -m kills -s

peers: $(INSTALLED) .venv-peers/installed .venv-neural-compressor/installed
	.venv-peers/bin/python benchmarks/peers.py --out benchmarks/peers.tsv

# Where TensorRT cannot be installed, TensorRT for RTX is tried; the table says what could not run.
gpu: $(INSTALLED)
ifneq ($(wildcard /dev/nvidia[0-9]*),)
	-$(MAKE) .venv-gpu/installed
	.venv-gpu/bin/python benchmarks/gpu.py
else
	$(BIN)/python benchmarks/gpu.py
endif

whisper: $(INSTALLED) .venv-whisper/installed
	.venv-whisper/bin/python benchmarks/whisper.py --checkpoint "$(CHECKPOINT)" --calibration "$(CALIBRATION)" --evaluation "$(EVALUATION)" --out benchmarks/whisper.tsv

docs: $(INSTALLED) .venv-docs/installed
	$(BIN)/python docs/write_reference.py
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=. .venv-docs/bin/mkdocs build --strict --quiet

# What an earlier run found is kept in mutants, so that a run continues it; without that folder it starts anew. Torch
# gets one thread for each of the tests that run at once.
mutants: $(INSTALLED) .venv-mutation/installed
	rm -rf mutants/tests
ifdef SAMPLE
	OMP_NUM_THREADS=1 nice -n 15 .venv-mutation/bin/python tests/sample_mutants.py $(SAMPLE)
else
	OMP_NUM_THREADS=1 nice -n 15 .venv-mutation/bin/mutmut run $(if $(MODULE),"stablequant.$(MODULE).*")
	@.venv-mutation/bin/mutmut results | sed '/: not checked$$/d'
endif
	@echo "To see one: .venv-mutation/bin/mutmut show NAME"

# Environments of their own beside the project's packages, which they see through a path file. The lists are complete,
# so that nothing is installed that they do not name, such as a further build of torch.
.venv-%/installed: envs/%.txt
	$(PYTHON) -m venv .venv-$*
	$(BIN)/python -c 'import site; print(site.getsitepackages()[0])' > "$$(.venv-$*/bin/python -c 'import site; print(site.getsitepackages()[0])')/project.pth"
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	@touch $@

.venv-interop/node/installed: .venv-interop/installed
	ONNXRUNTIME_NODE_INSTALL=skip npm install --silent --no-save --prefix .venv-interop/node @huggingface/transformers@4.3.2 # without CUDA
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
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile rules resources/demo/Snakefile

LOCKS := requirements-torch.lock requirements.lock requirements-cuda.lock
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes

# With --no-deps nothing is installed but what is listed, by its hash. A build of torch in PIP_FIND_LINKS, as a CPU build, is
# taken before an index's; a CUDA build needs its libraries besides.
$(INSTALLED): $(LOCKS)
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	@$(PIP) --no-index --requirement requirements-torch.lock 2>/dev/null || $(PIP) --requirement requirements-torch.lock
	$(PIP) --requirement requirements.lock
	@$(BIN)/python -m pip check >/dev/null || $(PIP) --requirement requirements-cuda.lock
	@$(BIN)/python -m pip check
	@touch $@

.venv-audit/installed: envs/audit.txt
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check --requirement envs/audit.txt
	@touch $@

# torch's CPU build has a hash of its own, which https://download.pytorch.org/whl/cpu/torch/ tells.
TORCH_CPU_HASH := 6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b
CUDA := ^(cuda|nvidia|triton)
ONLY = awk '/^[^ ]/ {listed = $(1)} listed' requirements.all

# The newest versions that fit requirements.in, written down exactly, with the hashes of their files.
lock: .venv-audit/installed
	.venv-audit/bin/uv pip compile --quiet --upgrade --generate-hashes --no-annotate --no-header --python-version 3.11 \
	    --python-platform x86_64-unknown-linux-gnu requirements.in --output-file requirements.all
	{ echo "# Every package of the project, exactly; made from requirements.in by 'make lock'."; \
	  echo "# torch and what its CUDA build needs are in files of their own."; \
	  $(call ONLY,!/$(CUDA)/ && !/^torch==/); } > requirements.lock
	{ echo "# torch from PyPI or, the CPU build, from PyTorch's index; made by 'make lock'."; \
	  $(call ONLY,/^torch==/) | sed '1a\    --hash=sha256:$(TORCH_CPU_HASH) \\'; } > requirements-torch.lock
	{ echo "# What a CUDA build of torch needs besides; made by 'make lock'."; $(call ONLY,/$(CUDA)/); } > requirements-cuda.lock
	rm requirements.all

# All that the locks name, torch's CUDA build and its libraries too, which takes some gigabytes.
.venv-cuda/installed: $(LOCKS)
	$(PYTHON) -m venv .venv-cuda
	PIP_FIND_LINKS= .venv-cuda/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes $(LOCKS:%=--requirement=%)
	@touch $@

# What is installed then, as a bill of materials (CycloneDX) and as a table of licences.
licences: .venv-cuda/installed .venv-audit/installed
	.venv-audit/bin/cyclonedx-py environment .venv-cuda --output-reproducible --output-file docs/sbom.cdx.json
	{ echo "# Licences"; echo; \
	  echo "These are the licences of all packages in the three locks, as the packages' metadata states them (\`make licences\`)."; \
	  echo "UNKNOWN means that the metadata states none; the package's page does. Some are proprietary: TensorRT for RTX and"; \
	  echo "NVIDIA's libraries of CUDA. Only the backend \`tensorrt-rtx\` needs the first, and it is never part of a bundle. Only a"; \
	  echo "CUDA build of torch needs the others."; echo; \
	  .venv-audit/bin/pip-licenses --python .venv-cuda/bin/python --with-system --with-urls --format markdown; } > docs/licences.md

# Known vulnerabilities, from PyPI's advisories; needs the net.
audit: .venv-audit/installed
	.venv-audit/bin/pip-audit --no-deps --disable-pip $(LOCKS:%=--requirement=%)
