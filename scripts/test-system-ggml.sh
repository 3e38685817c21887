#!/bin/sh
# test-system-ggml.sh DIR - builds this tree against Debian unstable's own ggml (plug-ins) in DIR, a chroot that is made there
# by debootstrap, and runs the fast tests. As root; needs the network the first time, and a few minutes.
set -eu
cd "$(dirname "$0")/.."
root=${1:?usage: test-system-ggml.sh DIR}
[ -d "$root/usr" ] || debootstrap --variant=minbase sid "$root" ${MIRROR:+"$MIRROR"} # debootstrap has its own mirror
mkdir -p "$root/src/lathe" "$root/proc"
mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
cp /etc/resolv.conf "$root/etc/"
chroot "$root" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends cmake ninja-build gcc g++ pkg-config \
    libggml-dev libggml0-backend-blas libggml0-backend-rpc libjansson-dev libyaml-dev libpcre2-dev liblapacke-dev \
    libopenblas-dev libedit-dev libcmocka-dev
git archive HEAD | tar x -C "$root/src/lathe"
shared=${LATHE_SHARED:-../shared}
[ ! -d "$shared" ] || [ -d "$root/src/shared" ] || cp -rL "$shared" "$root/src/shared"
chroot "$root" sh -c 'cd /src/lathe && cmake -S . -B build -G Ninja -DLATHE_SYSTEM_GGML=ON && cmake --build build &&
    build/lathe version && sh scripts/test.sh build fast'
