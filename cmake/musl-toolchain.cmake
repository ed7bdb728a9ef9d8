# Static binaries against musl and the sysroot that cmake/musl-sysroot.sh made. Give its path as
# SANDPIT_MUSL_SYSROOT.
if(NOT IS_DIRECTORY "${SANDPIT_MUSL_SYSROOT}/lib/pkgconfig")
    message(FATAL_ERROR "SANDPIT_MUSL_SYSROOT is not a sysroot made by cmake/musl-sysroot.sh")
endif()
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES SANDPIT_MUSL_SYSROOT)

set(CMAKE_C_COMPILER musl-gcc)
set(CMAKE_C_FLAGS_INIT
    "-idirafter ${SANDPIT_MUSL_SYSROOT}/kernel -ffunction-sections -fdata-sections")
set(CMAKE_EXE_LINKER_FLAGS_INIT "-static -Wl,--gc-sections")

# Only the sysroot's libraries; what the machine has is built for glibc.
set(ENV{PKG_CONFIG_LIBDIR} ${SANDPIT_MUSL_SYSROOT}/lib/pkgconfig)
set(ENV{PKG_CONFIG_PATH} "")
set(CMAKE_FIND_LIBRARY_PREFIXES lib)
set(CMAKE_FIND_LIBRARY_SUFFIXES .a)
set(CMAKE_PREFIX_PATH ${SANDPIT_MUSL_SYSROOT})
