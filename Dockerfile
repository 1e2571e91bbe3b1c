# agecls on a rented box with NVIDIA GPUs; docs/gpu-box.md says how to build, push and start it.
#
# Tags say what is meant, digests (of the indexes of all platforms) what is pulled. To move on to newer ones:
# docker buildx imagetools inspect TAG

# The interpreter that constraints.txt pins for and the tests run on; Ubuntu 24.04 has none of 3.11.
FROM python:3.11.15-slim-bookworm@sha256:b18992999dbe963a45a8a4da40ac2b1975be1a776d939d098c647482bcad5cba AS python

# torch's wheels bring CUDA 13.0, cuDNN and NCCL with them. Of the CUDA images the smallest is enough: it has the runtime,
# opens the host's driver to the container, and refuses to start where that driver is too old for CUDA 13.0.
FROM nvidia/cuda:13.0.3-base-ubuntu24.04@sha256:7c7413a56200486f71f181cad9310f6fd31b6bb21816ade15fc9c1e1e927a5c1

LABEL org.opencontainers.image.title="agecls" \
      org.opencontainers.image.description="Leakage-safe age classification of faces: pull, train, push" \
      org.opencontainers.image.documentation="docs/gpu-box.md" \
      org.opencontainers.image.licenses="Apache-2.0"

# curl stops the box (scripts/stop-vast); libarchive-tools unpacks rar; gcc and libc6-dev compile the kernels of torch.compile (train.compile=true); tini is the
# first process, hands on signals and buries the dead; the rest is what the interpreter needs.
# Versions are left open (DL3008): Ubuntu's archive keeps no version that a security fix has replaced.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        ca-certificates curl gcc libarchive-tools libc6-dev tini \
        libbz2-1.0 libcrypt1 libffi8 liblzma5 libncursesw6 libreadline8t64 libsqlite3-0 libssl3t64 libuuid1 zlib1g \
    && rm -rf /var/lib/apt/lists/*

COPY --from=python /usr/local/bin/python3.11 /usr/local/bin/python3.11
COPY --from=python /usr/local/include/python3.11 /usr/local/include/python3.11
COPY --from=python /usr/local/lib/libpython3.11.so.1.0 /usr/local/lib/libpython3.11.so.1.0
COPY --from=python /usr/local/lib/python3.11 /usr/local/lib/python3.11
RUN ldconfig \
    && python3.11 -c 'import bz2, ctypes, ensurepip, hashlib, lzma, multiprocessing, readline, sqlite3, ssl, uuid, zlib'

# Everything that is installed is owned by root; what runs is not.
RUN useradd --create-home --uid 1001 agecls \
    && install --directory --owner=agecls --group=agecls /data /cache /work

WORKDIR /opt/agecls
ENV PATH=/opt/agecls/.venv/bin:$PATH \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1 \
    AGECLS_ROOT=/data \
    AGECLS_CACHE=/cache \
    AGECLS_WORK=/work

# The largest and steadiest layers first; the code, which changes most, last.
COPY constraints.txt ./
COPY scripts/install scripts/
RUN python3.11 -m venv .venv \
    && scripts/install .venv/bin/python torch
COPY pyproject.toml ./
RUN scripts/install .venv/bin/python dependencies archives
COPY . .
RUN scripts/install .venv/bin/python code \
    && python -m compileall -q agecls \
    && agecls --version

# Images in /data, decoded images in /cache; runs, splits and logs in /work.
VOLUME ["/data", "/cache", "/work"]
WORKDIR /work
USER 1001:1001

# A training is no service: its health is its log and, in the end, its exit code.
HEALTHCHECK NONE
ENTRYPOINT ["tini", "--"]
CMD ["/opt/agecls/scripts/onstart"]
