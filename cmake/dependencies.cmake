# Libraries from the system, or, in the static musl build, from the sysroot that cmake/musl made
# (found through PKG_CONFIG_LIBDIR, which its toolchain file sets).
find_package(PkgConfig REQUIRED)
pkg_check_modules(libuv REQUIRED IMPORTED_TARGET libuv)
pkg_check_modules(nghttp2 REQUIRED IMPORTED_TARGET libnghttp2)
pkg_check_modules(jansson REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(zlib REQUIRED IMPORTED_TARGET zlib)
pkg_check_modules(protobuf_c REQUIRED IMPORTED_TARGET libprotobuf-c)
if(NOT SANDPIT_ONLY_ENVD)
    pkg_check_modules(sqlite3 REQUIRED IMPORTED_TARGET sqlite3)
    pkg_check_modules(libcap REQUIRED IMPORTED_TARGET libcap)
    pkg_check_modules(libarchive REQUIRED IMPORTED_TARGET libarchive)
    pkg_check_modules(grpc REQUIRED IMPORTED_TARGET grpc)
    pkg_check_modules(libcurl REQUIRED IMPORTED_TARGET libcurl)
    pkg_check_modules(liblz4 REQUIRED IMPORTED_TARGET liblz4)
    pkg_check_modules(libxxhash REQUIRED IMPORTED_TARGET libxxhash)
    find_package(Threads REQUIRED)
    pkg_check_modules(cmocka REQUIRED IMPORTED_TARGET cmocka)
endif()

# llhttp: Debian ships its C source in node-llhttp, and no library.
set(LLHTTP_SOURCE_DIR /usr/share/llhttp CACHE PATH "Folder of api.c, http.c and llhttp.c")
set(LLHTTP_INCLUDE_DIR /usr/share/include/llhttp CACHE PATH "Folder of llhttp.h")
add_library(llhttp STATIC ${LLHTTP_SOURCE_DIR}/api.c ${LLHTTP_SOURCE_DIR}/http.c
    ${LLHTTP_SOURCE_DIR}/llhttp.c)
target_include_directories(llhttp SYSTEM PUBLIC ${LLHTTP_INCLUDE_DIR})
target_compile_options(llhttp PRIVATE -w)
target_link_libraries(llhttp PRIVATE project_hardening project_sanitizers)
