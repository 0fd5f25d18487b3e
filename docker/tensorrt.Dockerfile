# The search on an NVIDIA GPU and TensorRT's libraries, on the base image that the paper used in its 24.03 release; that
# one holds Python 3.10, so a later release is taken, with Python 3.12.
#
#     docker build -f docker/tensorrt.Dockerfile -t stablequant:tensorrt .
#     docker run --rm --gpus all stablequant:tensorrt              # make run: the demo and its table
#     docker run --rm --gpus all stablequant:tensorrt make test    # the test suite
#     docker run --rm --gpus all -v /data:/data -v "$PWD/results:/stablequant/results" stablequant:tensorrt \
#         .venv/bin/snakemake --cores all --configfile presets/hubert-large-librispeech.yaml --config librispeech=/data/LibriSpeech

FROM nvcr.io/nvidia/tensorrt:25.08-py3

ENV PIP_NO_CACHE_DIR=1

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends flite make python3-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /stablequant
COPY Makefile requirements.lock requirements-torch.lock requirements-cuda.lock ./
RUN make .venv/installed
# The image's own TensorRT is shown to .venv, behind the packages that are installed there.
RUN python3 -c 'import pathlib, tensorrt; print(pathlib.Path(tensorrt.__file__).parents[1])' \
    > "$(.venv/bin/python -c 'import site; print(site.getsitepackages()[0])')/tensorrt.pth"
COPY . .

CMD ["make", "run"]
