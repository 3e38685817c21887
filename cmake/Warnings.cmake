# Our own sources only: ggml and users of the library do not see these flags.
add_library(lathe_warnings INTERFACE)
target_compile_options(lathe_warnings INTERFACE
    $<$<COMPILE_LANGUAGE:C>:-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wstrict-prototypes
      -Wmissing-prototypes -Wpointer-arith -Wcast-qual -Wwrite-strings -Wvla -Wundef -Wformat=2>)
option(LATHE_WERROR "warnings are errors" OFF)
if(LATHE_WERROR)
    target_compile_options(lathe_warnings INTERFACE $<$<COMPILE_LANGUAGE:C>:-Werror>)
endif()
