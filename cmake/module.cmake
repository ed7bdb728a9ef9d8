# sandpit_library(name SOURCES ... [PUBLIC libs...] [PRIVATE libs...]): one folder, one library.
# What a folder does not link it cannot include by accident: the link list is the arrow list.
function(sandpit_library name)
    cmake_parse_arguments(arg "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
    add_library(${name} STATIC ${arg_SOURCES})
    target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR})
    target_compile_definitions(${name} PRIVATE _GNU_SOURCE)
    target_link_libraries(${name} PUBLIC ${arg_PUBLIC}
        PRIVATE ${arg_PRIVATE} project_warnings project_hardening)
    target_link_libraries(${name} PUBLIC project_sanitizers)
endfunction()

# sandpit_program(name SOURCES ... LIBS ...)
function(sandpit_program name)
    cmake_parse_arguments(arg "" "" "SOURCES;LIBS" ${ARGN})
    add_executable(${name} ${arg_SOURCES})
    target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
    target_compile_definitions(${name} PRIVATE _GNU_SOURCE)
    target_link_libraries(${name} PRIVATE ${arg_LIBS} project_warnings project_hardening
        project_sanitizers)
endfunction()

# sandpit_test(name SOURCES ... LIBS ... [LABELS ...] [TIMEOUT s]): a cmocka program run by ctest.
function(sandpit_test name)
    cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;LIBS;LABELS" ${ARGN})
    if(NOT arg_LABELS)
        set(arg_LABELS unit)
    endif()
    if(NOT arg_TIMEOUT)
        set(arg_TIMEOUT 60)
    endif()
    sandpit_program(${name} SOURCES ${arg_SOURCES} LIBS ${arg_LIBS} PkgConfig::cmocka)
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES LABELS "${arg_LABELS}" TIMEOUT ${arg_TIMEOUT}
        SKIP_RETURN_CODE 77)
endfunction()

# sandpit_fuzz(parser SOURCES ... LIBS ...): tests/fuzz/fuzz_<parser>.c with corpus/<parser>/ and,
# where there is one, <parser>.dict.
# SANDPIT_FUZZ_SECONDS (15) is the time ctest gives each.
set(SANDPIT_FUZZ_SECONDS 15 CACHE STRING "Seconds per fuzz target under ctest")
function(sandpit_fuzz parser)
    if(NOT SANDPIT_FUZZ)
        return()
    endif()
    cmake_parse_arguments(arg "" "" "SOURCES;LIBS" ${ARGN})
    sandpit_program(fuzz_${parser} SOURCES ${arg_SOURCES} LIBS ${arg_LIBS})
    target_link_options(fuzz_${parser} PRIVATE -fsanitize=fuzzer)
    if(NOT TARGET fuzzers)
        add_custom_target(fuzzers)
    endif()
    add_dependencies(fuzzers fuzz_${parser})
    set(found ${CMAKE_BINARY_DIR}/corpus/${parser})
    file(MAKE_DIRECTORY ${found})
    set(dict)
    if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${parser}.dict)
        set(dict -dict=${CMAKE_CURRENT_SOURCE_DIR}/${parser}.dict)
    endif()
    add_test(NAME fuzz_${parser} COMMAND fuzz_${parser} -max_total_time=${SANDPIT_FUZZ_SECONDS}
        -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 ${dict} -artifact_prefix=${found}/../${parser}-
        ${found} ${PROJECT_SOURCE_DIR}/tests/fuzz/corpus/${parser})
    math(EXPR limit "${SANDPIT_FUZZ_SECONDS} * 3 + 60")
    set_tests_properties(fuzz_${parser} PROPERTIES LABELS fuzz TIMEOUT ${limit})
endfunction()
