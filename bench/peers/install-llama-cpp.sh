#!/bin/sh
# install-llama-cpp.sh DIR [native|avx2] - llama.cpp's tools for this processor in DIR/bin, from the sources that PyPI's
# llama-cpp-python carries. 'native' (default) is -march=native; 'avx2' stops at AVX2, FMA, F16C and BMI2, as a machine
# without AVX-512 has them. Repacking is on in both, OpenMP off as in lathe.
# VERSION=0.3.36 and JOBS=2 are taken from the environment. A server without its web page: that one needs a download.
set -eu
dir=${1:?usage: install-llama-cpp.sh DIR [native|avx2]}
isa=${2:-native}
version=${VERSION:-0.3.36}
jobs=${JOBS:-2}
case $isa in
native) set -- -DGGML_NATIVE=ON ;;
avx2) set -- -DGGML_NATIVE=OFF -DGGML_SSE42=ON -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON ;;
*)
    echo "install-llama-cpp.sh: '$isa' is neither native nor avx2" >&2
    exit 2
    ;;
esac
mkdir -p "$dir"
cd "$dir"
archive=llama_cpp_python-$version.tar.gz
# --no-binary :all: would build the tools that read the package's metadata from source too, so only the package is named.
[ -f "$archive" ] || pip download --quiet --no-deps --no-binary llama-cpp-python "llama-cpp-python==$version"
[ -d "llama_cpp_python-$version" ] || tar xzf "$archive"
cmake -S "llama_cpp_python-$version/vendor/llama.cpp" -B build -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DBUILD_SHARED_LIBS=OFF -DGGML_OPENMP=OFF -DGGML_CPU_REPACK=ON "$@" \
    -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_APP=OFF
programs="llama-bench llama-perplexity llama-server llama-cli llama-completion llama-quantize llama-tokenize"
programs="$programs llama-batched-bench llama-imatrix llama-speculative llama-speculative-simple llama-lookup"
nice -n 5 cmake --build build -j "$jobs" --target $programs
mkdir -p bin
for program in $programs; do
    cp "build/bin/$program" bin/
done
echo "$dir/bin"
