# The lanewise image: one container computes one chunk, or aggregates a campaign (docs/containers.md).
#
#   docker build -t lanewise .                                     CPU
#   docker build -t lanewise:cuda12 --build-arg EXTRA=cuda12 .     NVIDIA driver ≥ 525; EXTRA=cuda13: ≥ 580
#
# A site that needs its own pip settings or certificate authority hands them in as the build secrets `pipconf` and
# `hostca` (seen as /etc/pip.conf and /run/host-ca.crt while pip runs); neither stays in the image.

FROM debian:trixie-slim AS python
# Debian's stable release is what pins these; a version here would vanish from the mirrors with the next fix.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3 tini \
 && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* \
 && groupadd --gid 10001 lanewise \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin lanewise \
 && install --directory --owner 10001 --group 10001 /work

FROM python AS dependencies
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /pip \
 && python3 -m venv --without-pip /opt/lanewise
WORKDIR /build
COPY requirements*.lock ./
ARG EXTRA=""
# unchecked-hash: bytecode by time stamp would be stale wherever a builder or registry rewrites times, and a read-only root
# could never renew it. compileall also meets templates in other packages, no valid Python, hence `|| true`.
RUN --mount=type=secret,id=pipconf,target=/etc/pip.conf --mount=type=secret,id=hostca,target=/run/host-ca.crt \
    /pip/bin/pip --python /opt/lanewise/bin/python install --no-cache-dir --no-compile --require-hashes \
      --requirement "requirements${EXTRA:+-$EXTRA}.lock" \
 && { PYTHONWARNINGS=ignore python3 -m compileall -qq -j 0 --invalidation-mode unchecked-hash /opt/lanewise/lib || true; }

FROM dependencies AS application
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY src src
ARG SOURCE_DATE_EPOCH
RUN /pip/bin/pip --python /opt/lanewise/bin/python install --no-cache-dir --no-compile --no-index --no-deps \
      --no-build-isolation --prefix /application . \
 && python3 -m compileall -q --invalidation-mode unchecked-hash -s /application -p /opt/lanewise /application/lib \
 && find /application -exec touch --no-dereference --date "@${SOURCE_DATE_EPOCH:-$(date +%s)}" {} +

FROM python
COPY --from=dependencies /opt/lanewise /opt/lanewise
COPY --from=application /application /opt/lanewise
COPY schemas /usr/share/lanewise/schemas
COPY manifests /usr/share/lanewise/manifests
ARG EXTRA=""
ARG VERSION=""
ARG REVISION=""
LABEL org.opencontainers.image.title="lanewise" \
      org.opencontainers.image.description="Campaigns of many independent Bayesian inference problems, as lanes of one vmapped JAX program" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/debian:trixie-slim"
# The root may be read-only: everything that writes by itself writes under /tmp. The NVIDIA variables are empty in a CPU
# image, where `all` would hand every GPU of a node to a container that asked for none.
ENV PATH=/opt/lanewise/bin:$PATH \
    HOME=/tmp \
    TMPDIR=/tmp \
    XDG_CACHE_HOME=/tmp/cache \
    MPLCONFIGDIR=/tmp/matplotlib \
    PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=${EXTRA:+all} \
    NVIDIA_DRIVER_CAPABILITIES=${EXTRA:+compute,utility}
USER 10001:10001
WORKDIR /work
# tini: as process 1, Python would get no signal that it has no handler for, and would leave zombies.
ENTRYPOINT ["tini", "--", "lanewise"]
CMD ["--help"]
