# docker build --tag genifer .
# docker build --tag genifer --build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu .
#
# The first has PyTorch for NVIDIA's GPUs, the second for CPUs. In a clone, of which the container then uses the code:
#
# docker run --rm --gpus all --user "$(id -u):$(id -g)" --volume "$PWD:/genifer" genifer snakemake
FROM python:3.11-slim-bookworm

# git for github() in Snakefiles and for DVC, a compiler for torch.compile.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc git libc6-dev \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 genifer

WORKDIR /genifer

# What pip needs, and no more, so that a change of the code installs nothing anew. pip reads the argument by its name.
ARG PIP_EXTRA_INDEX_URL
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY genifer/__init__.py genifer/
RUN pip install --no-cache-dir --constraint constraints.txt --editable .

COPY --chown=1000:1000 . .
RUN chown 1000:1000 /genifer
# With --user the container has a user without a name and a home.
ENV USER=genifer HOME=/tmp
USER 1000
CMD ["genifer", "--help"]
