# Run by the target of sandpit_static_envd(): sysroot, nested configure, nested build, strip.
function(run)
    execute_process(COMMAND ${ARGN} RESULT_VARIABLE rc)
    if(NOT rc EQUAL 0)
        list(JOIN ARGN " " line)
        message(FATAL_ERROR "failed: ${line}")
    endif()
endfunction()

execute_process(COMMAND ${SOURCE_DIR}/cmake/musl-sysroot.sh
    OUTPUT_VARIABLE sysroot OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE rc)
if(NOT rc EQUAL 0)
    message(FATAL_ERROR "cannot build envd's libraries for musl (see the line above)")
endif()

# Configure once per sysroot; a toolchain must not change under a build directory.
set(made_for "")
if(EXISTS ${BUILD_DIR}/sysroot.txt)
    file(READ ${BUILD_DIR}/sysroot.txt made_for)
endif()
set(inputs "${sysroot} ${BUILD_TYPE} ${HARDEN} ${FAULT_POINTS}")
if(NOT made_for STREQUAL inputs)
    file(REMOVE_RECURSE ${BUILD_DIR})
    run(${CMAKE_COMMAND} -S ${SOURCE_DIR} -B ${BUILD_DIR} -G Ninja --log-level=WARNING
        -DCMAKE_TOOLCHAIN_FILE=${SOURCE_DIR}/cmake/musl-toolchain.cmake
        -DSANDPIT_MUSL_SYSROOT=${sysroot}
        -DSANDPIT_ONLY_ENVD=ON
        -DSANDPIT_HARDEN=${HARDEN}
        -DSANDPIT_FAULT_POINTS=${FAULT_POINTS}
        -DCMAKE_BUILD_TYPE=${BUILD_TYPE})
    file(WRITE ${BUILD_DIR}/sysroot.txt "${inputs}")
endif()
run(${CMAKE_COMMAND} --build ${BUILD_DIR} --target envd)

set(built ${BUILD_DIR}/envd/envd)
if(NOT EXISTS ${OUTPUT} OR ${built} IS_NEWER_THAN ${OUTPUT})
    get_filename_component(folder ${OUTPUT} DIRECTORY)
    file(MAKE_DIRECTORY ${folder})
    run(strip -o ${OUTPUT}.new ${built})
    file(RENAME ${OUTPUT}.new ${OUTPUT})
    # Whoever passes the binary on owes the notices of what is in it.
    file(COPY ${sysroot}/licenses DESTINATION ${folder})
    file(COPY_FILE /usr/share/doc/node-llhttp/copyright ${folder}/licenses/llhttp)
endif()
