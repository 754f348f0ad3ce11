# Image of the server with the artifacts of this checkout.
# docs/containers.md explains how to build, run and inspect it.
#
#   docker build --build-arg BASE=python:3.11-slim-bookworm@sha256:... --build-arg VARIANT=cuda --tag ganzoo .

# Python 3.11 on Debian or a similar distribution. Pin the base by its digest.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS packages
# Packages to install: cpu or cuda. With cuda, CUDA and cuDNN are packages too, so the base needs neither.
ARG VARIANT=cpu
COPY requirements/serving-cpu.txt /requirements/cpu.txt
COPY requirements/serving.txt /requirements/cuda.txt
# Images round the modification times of files. Bytecode that is validated by these times would be compiled again at
# every start.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m venv /venv \
 && /venv/bin/pip install --no-cache-dir --no-compile --require-hashes --only-binary :all: \
        -r /requirements/${VARIANT}.txt \
 && /venv/bin/pip uninstall --yes pip setuptools \
 && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /venv

# Write an SBOM of these packages: docker build --target sbom --output . .
FROM packages AS listed
COPY requirements/sbom.txt /requirements/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m venv /lister \
 && /lister/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r /requirements/sbom.txt \
 && /lister/bin/cyclonedx-py environment --output-reproducible --output-file /sbom.json /venv

FROM scratch AS sbom
COPY --from=listed /sbom.json /

# The code. It must be readable, whatever the umask of the checkout was.
FROM ${BASE} AS app
COPY . /app
RUN rm -r /app/requirements \
 && chmod -R u=rwX,go=rX /app \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /app/serving

FROM ${BASE} AS server
# The base may include pip.
RUN if python3 -m pip --version; then python3 -m pip uninstall --yes pip setuptools wheel; fi
COPY --from=packages /venv /venv
COPY --from=app /app /app
WORKDIR /app
# The server writes only below /tmp. PID 1 receives SIGTERM, reports for some seconds that it is not ready, and exits.
ENV PATH=/venv/bin:$PATH \
    HOME=/tmp \
    BENTOML_HOST=0.0.0.0 \
    BENTOML_PORT=3000 \
    BENTOML_DO_NOT_TRACK=True \
    ORT_DISABLE_TELEMETRY=1 \
    GANZOO_DRAIN=5
USER 65532:65532
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python3", "-c", "\
import http.client, os; \
server = http.client.HTTPConnection('127.0.0.1:' + os.environ['BENTOML_PORT'], timeout=4); \
server.request('GET', '/readyz'); \
exit(server.getresponse().status != 200)"]
CMD ["bentoml", "serve", "serving.service:GANZoo"]
ARG REVISION
LABEL org.opencontainers.image.title="GAN Zoo" \
      org.opencontainers.image.description="Sampling and image-to-image translation by GANs, over HTTP" \
      org.opencontainers.image.licenses=MIT \
      org.opencontainers.image.revision=${REVISION}
