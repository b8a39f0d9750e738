# Two images. The one that pods take log-shipper from is what is built without a --target. It holds the
# program and nothing else, and serves in two ways:
#   as an initContainer   args: ["/mnt/log-shipper-volume"] installs it into that volume
#   as an image volume    mounted read-only, its root is what an installed volume is
# With --target backend it is the backend, with its page; what it keeps goes into the volume /data. It listens
# for others, and so it wants a token first:
#   podman run --volume=ptyshipper:/data IMAGE token create --deployment 7
#   podman run --volume=ptyshipper:/data --publish=7410:7410 --read-only IMAGE
# For any architecture that the base image has: the build stages build for the one that they run on.
#
# Each release changes this; the build stops where it is not the package's own version.
ARG VERSION=0.1.0

FROM python:3.13-slim AS build

# What changes least comes first, so that a change of the sources repeats only what follows them.
# binutils strips, openssl names certificates, gcc compiles what holds Python (whose headers the base image
# has), musl and zstd are the launcher's and the installer's, zlib is PyInstaller's where it has no wheel.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        binutils gcc libc6-dev libzstd-dev musl-tools openssl zlib1g-dev zstd \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*

WORKDIR /src
COPY pyproject.toml .
# A virtual environment, because a distribution's own Python takes no packages beside it.
RUN python3 -m venv /venv \
    && /venv/bin/python -c 'import tomllib; \
project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
print(*project["dependencies"], *project["optional-dependencies"]["bundle"], sep="\n")' \
        > /venv/requirements.txt \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --quiet \
        --requirement /venv/requirements.txt

COPY ptyshipper ptyshipper
ARG VERSION
# Times in the image are this, in seconds since 1970: the same sources and tools make the same image.
ARG SOURCE_DATE_EPOCH=0
RUN export SOURCE_DATE_EPOCH PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1 \
    && package=$(/venv/bin/python -c 'import ptyshipper; print(ptyshipper.__version__)') \
    && { [ "$VERSION" = "$package" ] || { echo "VERSION is $VERSION, the package's is $package" >&2; exit 1; }; } \
    && /venv/bin/python -m ptyshipper.bundle.build --output dist \
    && chmod -R u=rwX,go=rX dist/image \
    && find dist/image -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

FROM python:3.13-slim AS backend-build
WORKDIR /src
COPY pyproject.toml .
RUN python3 -m venv /venv \
    && /venv/bin/python -c 'import tomllib; \
project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
print(*project["dependencies"], *project["optional-dependencies"]["serve"], sep="\n")' \
        > /tmp/requirements.txt \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --quiet \
        --requirement /tmp/requirements.txt
COPY README.md .
COPY ptyshipper ptyshipper
ARG VERSION
# The page is built on the way, with PyPI's Node.js, and what that takes stays behind.
RUN package=$(/venv/bin/python -c 'import ptyshipper; print(ptyshipper.__version__)') \
    && { [ "$VERSION" = "$package" ] || { echo "VERSION is $VERSION, the package's is $package" >&2; exit 1; }; } \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --quiet --no-deps . \
    && /venv/bin/pip uninstall --quiet --yes pip \
    && install -d -o 65532 -g 65532 -m 700 /empty

FROM python:3.13-slim AS backend
ARG VERSION
LABEL org.opencontainers.image.title="ptyshipper-backend" \
      org.opencontainers.image.description="Keeps what wrapped programs print, and shows it" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.licenses="MIT"
COPY --from=backend-build /venv /venv
COPY --from=backend-build --chown=65532:65532 /empty /data
ENV PATH=/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PTYSHIPPER_DATA=/data \
    PTYSHIPPER_HOST=0.0.0.0
USER 65532:65532
VOLUME /data
EXPOSE 7410
ENTRYPOINT ["ptyshipper"]
CMD ["serve"]

FROM scratch
ARG VERSION
LABEL org.opencontainers.image.title="ptyshipper" \
      org.opencontainers.image.description="Runs a container's program, keeps its terminal, and ships what it prints" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /src/dist/image/ /
USER 65532:65532
ENTRYPOINT ["/install-log-shipper"]
