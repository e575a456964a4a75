# One image with both programs, /usr/local/bin/scorer and /usr/local/bin/api.
#
#     docker build --tag cripto-prediction .
#
# What it runs on is an empty file system with the C library, the certificate authorities and the two programs: no
# shell, no package manager, a numeric user, and nothing that is written at run time.

ARG RUST=rust:1.95-slim-bookworm
ARG DEBIAN=debian:bookworm-slim

FROM ${RUST} AS toolchain
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ make \
    && rm -rf /var/lib/apt/lists/* \
    && cargo install cargo-chef --version 0.1.78 --locked
WORKDIR /src

# What the dependencies are, without the project's own code: unchanged as long as Cargo.lock and the manifests are.
FROM toolchain AS plan
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

# The dependencies take minutes and are a layer of their own; the project's code is compiled after them.
FROM toolchain AS build
COPY --from=plan /src/recipe.json recipe.json
RUN cargo chef cook --release --locked --package cripto-scorer --package cripto-api --recipe-path recipe.json
COPY . .
RUN cargo build --release --locked --package cripto-scorer --package cripto-api --bin scorer --bin api \
    && strip target/release/scorer target/release/api

# Programs that were compiled before are taken instead with `--build-context binaries=FOLDER`.
FROM scratch AS binaries
COPY --from=build /src/target/release/scorer /src/target/release/api /

FROM ${DEBIAN} AS certificates
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*

# The files that the programs need at run time, as the loader finds them.
FROM certificates AS files
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
COPY --from=binaries /scorer /api /programs/
RUN ! ldd /programs/scorer /programs/api | grep 'not found' \
    && mkdir -p /root-of-image/tmp /root-of-image/etc \
    && ldd /programs/scorer /programs/api | grep --only-matching '/[^ ():]*' | grep --invert-match '^/programs' \
        | sort --unique | xargs cp --dereference --parents --target-directory=/root-of-image \
    && cp --dereference --parents /etc/ssl/certs/ca-certificates.crt /usr/share/doc/libc6/copyright \
        --target-directory=/root-of-image \
    && echo 'hosts: files dns' >/root-of-image/etc/nsswitch.conf \
    && echo 'cripto:x:65532:65532:cripto:/:/sbin/nologin' >/root-of-image/etc/passwd \
    && echo 'cripto:x:65532:' >/root-of-image/etc/group

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="cripto-prediction" \
      org.opencontainers.image.description="Scores crypto-price models from a bucket and serves the predictions" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=files /root-of-image/ /
COPY --from=binaries /scorer /api /usr/local/bin/
ENV PATH=/usr/local/bin \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532:65532
EXPOSE 8000 9000
# In exec form, so that the program is process 1 itself and SIGTERM reaches it.
CMD ["/usr/local/bin/api"]
