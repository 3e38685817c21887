#!/bin/sh
# install-llama-cpp.sh DIR - llama.cpp's llama-bench and llama-perplexity for this processor, in DIR/bin, from the sources
# that PyPI's llama-cpp-python carries. VERSION=0.3.36 and JOBS=2 are taken from the environment.
set -eu
dir=${1:?usage: install-llama-cpp.sh DIR}
version=${VERSION:-0.3.36}
jobs=${JOBS:-2}
mkdir -p "$dir"
cd "$dir"
archive=llama_cpp_python-$version.tar.gz
# --no-binary :all: would build the tools that read the package's metadata from source too, so only the package is named.
[ -f "$archive" ] || pip download --quiet --no-deps --no-binary llama-cpp-python "llama-cpp-python==$version"
[ -d "llama_cpp_python-$version" ] || tar xzf "$archive"
cmake -S "llama_cpp_python-$version/vendor/llama.cpp" -B build -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DBUILD_SHARED_LIBS=OFF -DGGML_NATIVE=ON -DGGML_OPENMP=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF \
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF
nice -n 5 cmake --build build -j "$jobs" --target llama-bench llama-perplexity
mkdir -p bin
cp build/bin/llama-bench build/bin/llama-perplexity bin/
echo "$dir/bin"
