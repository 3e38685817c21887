#!/bin/sh
# deps.sh - installs what is missing to build and test: Debian packages by apt, ggml's source by npm.
# Does nothing (and needs no network) when all is there.
set -eu
cd "$(dirname "$0")/.."

npm_package=nodejs-whisper@0.3.1
npm_sha512="ceoilUVraRuR5FnNyXpGQT2auAR48Oc3AQBEmkXnVpSn9iN6yVRzQBFCqVTGWbk6Wdi95NhvwXNzFvuR7erLWw=="
ggml_tag=v0.15.1

say() { echo "deps: $*" >&2; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        say "please run as root: $*"
        exit 1
    fi
}

install_packages() {
    command -v apt-get >/dev/null 2>&1 || {
        say "this system has no apt-get; please install: $*"
        exit 1
    }
    say "installing $*"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    # shellcheck disable=SC2068
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $@ >/dev/null
}

missing=""
need_command() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
need_library() { pkg-config --exists "$1" 2>/dev/null || missing="$missing $2"; }
need_command gcc gcc
need_command g++ g++
need_command cmake cmake
need_command ninja ninja-build
need_command pkg-config pkg-config

need_library jansson libjansson-dev
need_library yaml-0.1 libyaml-dev
need_library libpcre2-8 libpcre2-dev
need_library lapacke liblapacke-dev
need_library openblas libopenblas-dev
need_library libedit libedit-dev
need_library cmocka libcmocka-dev
# shellcheck disable=SC2086
[ -z "$(echo $missing)" ] || install_packages $missing

# --- ggml
[ -n "${LATHE_GGML_SRC:-}" ] && exit 0
[ -f third_party/ggml/include/ggml.h ] && exit 0
mkdir -p third_party/cache

fetch_by_npm() {
    tarball=third_party/cache/nodejs-whisper-0.3.1.tgz
    if ! sha512_fits "$tarball"; then
        command -v npm >/dev/null 2>&1 || return 1
        (cd third_party/cache && npm pack "$npm_package" --silent >/dev/null) || return 1
    fi
    sha512_fits "$tarball" || {
        say "$npm_package has another checksum than expected; not used"
        return 1
    }
    rm -rf third_party/ggml third_party/unpack
    mkdir -p third_party/unpack
    tar xzf "$tarball" -C third_party/unpack package/cpp/whisper.cpp/ggml
    mv third_party/unpack/package/cpp/whisper.cpp/ggml third_party/ggml
    rm -rf third_party/unpack
}

sha512_fits() {
    [ -f "$1" ] || return 1
    [ "$(openssl dgst -sha512 -binary "$1" | base64 -w0)" = "$npm_sha512" ]
}

fetch_by_git() {
    rm -rf third_party/ggml
    git clone -q --depth 1 --branch $ggml_tag https://github.com/ggml-org/ggml third_party/ggml 2>/dev/null
}

command -v openssl >/dev/null 2>&1 || install_packages openssl
say "fetching ggml's source"
fetch_by_npm || fetch_by_git || {
    install_packages npm
    fetch_by_npm
} || {
    say "no ggml source could be fetched; name a tree with LATHE_GGML_SRC=DIR make, or use -DLATHE_SYSTEM_GGML=ON"
    exit 1
}
