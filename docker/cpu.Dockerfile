# The search, the export and the OpenVINO engines on a CPU.
#
#     docker build -f docker/cpu.Dockerfile -t stablequant:cpu .
#     docker run --rm stablequant:cpu                      # make run: the demo and its table
#     docker run --rm stablequant:cpu make test            # the test suite
#     docker run --rm -v /data:/data -v "$PWD/results:/stablequant/results" stablequant:cpu \
#         .venv/bin/snakemake --cores all --configfile presets/wav2vec2-base-librispeech.yaml --config librispeech=/data/LibriSpeech

FROM debian:12-slim

# The CPU build of torch sorts before the CUDA build of the same version, and is a tenth of its size.
ENV PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu \
    PIP_NO_CACHE_DIR=1

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates flite make python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /stablequant
COPY Makefile requirements.lock requirements-torch.lock requirements-cuda.lock ./
RUN make .venv/installed
COPY . .

CMD ["make", "run"]
