# project_warnings: what every file of ours is compiled with. A warning is an error.
add_library(project_warnings INTERFACE)
target_compile_options(project_warnings INTERFACE
    -Wall -Wextra -Werror -Wshadow -Wconversion -Wno-sign-conversion -Wstrict-prototypes
    -Wmissing-prototypes -Wold-style-definition -Wpointer-arith -Wcast-qual -Wwrite-strings
    -Wundef -Wformat=2 -Wvla -Wimplicit-fallthrough -Wswitch-enum -Wnull-dereference
    -Wno-missing-field-initializers)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
    target_compile_options(project_warnings INTERFACE
        -Wduplicated-cond -Wduplicated-branches -Wlogical-op -Walloca -Wuse-after-free=3
        -Wbidi-chars=any
        # It fires on every snprintf that could truncate, also where the result is checked.
        -Wno-format-truncation)
endif()
if(CMAKE_C_COMPILER_ID STREQUAL "GNU" AND SANDPIT_SANITIZE)
    # gcc's null-dereference analysis reports paths that the sanitizers' own checks made.
    target_compile_options(project_warnings INTERFACE -Wno-null-dereference -Wno-maybe-uninitialized)
endif()
if(CMAKE_C_COMPILER_ID STREQUAL "Clang")
    # clang reports the casts inside protobuf-c's generated initializers at their use; gcc, which
    # keeps the warning, knows them for a system header's.
    target_compile_options(project_warnings INTERFACE -Wno-cast-qual)
endif()
