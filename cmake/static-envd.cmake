# sandpit_static_envd(): the target `envd_static`, which makes <build>/envd/envd a static musl
# binary. It is built by a configure of its own (<build>/envd-static) of the same sources with
# cmake/musl-toolchain.cmake. The nested build decides what is out of date, so it runs at every
# build; it costs well under a second when nothing is.
function(sandpit_static_envd)
    add_custom_target(envd_static ALL
        COMMAND ${CMAKE_COMMAND}
            -D SOURCE_DIR=${PROJECT_SOURCE_DIR}
            -D BUILD_DIR=${CMAKE_BINARY_DIR}/envd-static
            -D OUTPUT=${CMAKE_BINARY_DIR}/envd/envd
            -D BUILD_TYPE=${CMAKE_BUILD_TYPE}
            -D HARDEN=${SANDPIT_HARDEN}
            -D FAULT_POINTS=${SANDPIT_FAULT_POINTS}
            -P ${PROJECT_SOURCE_DIR}/cmake/static-envd-build.cmake
        BYPRODUCTS ${CMAKE_BINARY_DIR}/envd/envd
        COMMENT "envd, static (musl)"
        USES_TERMINAL VERBATIM)
endfunction()
