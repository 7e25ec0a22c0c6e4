# hardtack's one image: the mount, the endpoint, inference servers, and every small job of the chart.
#
#   docker buildx build --platform linux/amd64,linux/arm64 -t registry.example/hardtack:1.0 .
#
# BASE is any Debian 12. On a network that inspects TLS, give pip its certificates: --build-arg PIP_CERT=…
ARG BASE=docker.io/library/debian:bookworm-slim@sha256:96e378d7e6531ac9a15ad505478fcc2e69f371b10f5cdf87857c4b8188404716

FROM ${BASE} AS python
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3 \
 && rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log

FROM python AS build
ARG PIP_CERT
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv
WORKDIR /build
COPY requirements/build.txt requirements/image.txt ./
RUN python3 -m venv /tools && /tools/bin/pip install --require-hashes -r build.txt \
 && python3 -m venv --without-pip /opt/hardtack \
 && /tools/bin/pip --python /opt/hardtack/bin/python install --require-hashes -r image.txt
COPY LICENSE README.md pyproject.toml ./
COPY charts charts
COPY src src
# Into a tree of its own: a new version of hardtack is one small layer over the same dependencies.
RUN /tools/bin/pip wheel --no-build-isolation --no-deps --wheel-dir . . \
 && /tools/bin/pip --python /opt/hardtack/bin/python install --no-deps --root /code hardtack-*.whl
COPY tools/sbom.py ./
RUN PYTHONPATH=/code/opt/hardtack/lib/python3.11/site-packages /opt/hardtack/bin/python sbom.py > sbom.json \
 && install -D -m 0644 sbom.json /code/opt/hardtack/share/sbom.spdx.json

FROM python AS hardtack
ARG VERSION=0
LABEL org.opencontainers.image.title="hardtack" \
      org.opencontainers.image.description="Container images and model weights that an edge box keeps when the network goes." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=build /opt/hardtack /opt/hardtack
COPY --from=build /code/opt/hardtack /opt/hardtack
ENV PATH=/opt/hardtack/bin:/usr/sbin:/usr/bin:/sbin:/bin PYTHONUNBUFFERED=1
# The mount alone needs root; the chart says so where it does.
USER 65532:65532
ENTRYPOINT ["hardtack"]
CMD ["--help"]

# --target root: the same for a sidecar whose chart names no user, as those of mount-s3 don't.
FROM hardtack AS root
USER 0:0

FROM hardtack
