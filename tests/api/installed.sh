# After cmake --install the example builds with pkg-config and with the CMake package, and runs.
set -eu
[ -z "${LATHE_SANITIZE:-}" ] || exit 77
command -v pkg-config >/dev/null || exit 77
model=$(cd "${LATHE_SHARED:-../shared}" 2>/dev/null && pwd)/models/stories260K-f32.gguf
[ -f "$model" ] || exit 77
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cmake --install "$1" --prefix "$dir/usr" >"$dir/log" 2>&1 || { tail "$dir/log"; exit 1; }
lib=$(dirname "$(find "$dir/usr" -name liblathe.so)")
export PKG_CONFIG_PATH="$lib/pkgconfig" LD_LIBRARY_PATH="$lib"
cc -o "$dir/hello" examples/hello.c $(pkg-config --cflags --libs lathe)
[ -n "$("$dir/hello" "$model" "Once upon a time")" ]
if ar t "$lib/liblathe.a" | grep -q '^ggml'; then # else ggml is a shared library of the system
    cc -o "$dir/hello-static" examples/hello.c $(pkg-config --cflags lathe) "$lib/liblathe.a" \
        $(pkg-config --libs jansson yaml-0.1 libpcre2-8 lapacke openblas) -lstdc++ -lpthread -lm -ldl
    [ -n "$("$dir/hello-static" "$model" "Once upon a time")" ]
fi
# Nothing but the public interface is seen from outside.
nm -D --defined-only "$lib/liblathe.so" | awk '$3 !~ /^lathe_/' >"$dir/foreign"
[ ! -s "$dir/foreign" ] || { echo "liblathe.so exports:" >&2; head "$dir/foreign" >&2; exit 1; }
"$dir/usr/bin/lathe" version >/dev/null
mkdir "$dir/user"
cp examples/hello.c "$dir/user/"
cat >"$dir/user/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.25)
project(user C CXX)
find_package(lathe REQUIRED)
add_executable(hello hello.c)
target_link_libraries(hello PRIVATE lathe::lathe)
END
cmake -S "$dir/user" -B "$dir/user/build" -DCMAKE_PREFIX_PATH="$dir/usr" >"$dir/log" 2>&1 || { tail "$dir/log"; exit 1; }
cmake --build "$dir/user/build" >"$dir/log" 2>&1 || { tail "$dir/log"; exit 1; }
[ -n "$("$dir/user/build/hello" "$model" "Once upon a time")" ]
