# syntax=docker/dockerfile:1

# The one binary, built on the same Debian that it runs on.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# Sources of crates and what was compiled are kept between builds; the binary is taken out, since the cache is not part of
# the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin vestibule \
    && install -D target/release/vestibule /out/usr/local/bin/vestibule \
    && install -d -m 0700 /out/data /out/certs

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="Vestibule" \
      org.opencontainers.image.description="A virtual waiting room and a seat-booking engine in one replicated system" \
      org.opencontainers.image.licenses="Apache-2.0"
# Owned by whoever runs it, so that volumes mounted there are too.
COPY --from=build --chown=10001:10001 /out/data /data
COPY --from=build --chown=10001:10001 /out/certs /certs
COPY --from=build /out/usr/local/bin/vestibule /usr/local/bin/vestibule
USER 10001:10001
VOLUME /data
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/vestibule"]
CMD ["--help"]
