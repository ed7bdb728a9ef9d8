# sandpit_protobuf(name IMPORT_DIR dir PROTOS a.proto ...): generated C in a target of its own,
# compiled without our warnings; its headers are SYSTEM for everyone else.
find_program(PROTOC protoc REQUIRED)
find_program(PROTOC_GEN_C protoc-gen-c REQUIRED)
function(sandpit_protobuf name)
    cmake_parse_arguments(arg "" "IMPORT_DIR" "PROTOS" ${ARGN})
    set(out ${CMAKE_CURRENT_BINARY_DIR}/gen)
    file(MAKE_DIRECTORY ${out})
    set(sources)
    foreach(proto ${arg_PROTOS})
        string(REGEX REPLACE "\\.proto$" "" stem ${proto})
        set(input ${arg_IMPORT_DIR}/${proto})
        add_custom_command(
            OUTPUT ${out}/${stem}.pb-c.c ${out}/${stem}.pb-c.h
            COMMAND ${PROTOC} --plugin=protoc-gen-c=${PROJECT_SOURCE_DIR}/cmake/protoc-gen-c-optional
                --c_out=${out} -I${arg_IMPORT_DIR} -I/usr/include ${input}
            DEPENDS ${input} ${PROJECT_SOURCE_DIR}/cmake/protoc-gen-c-optional
            VERBATIM)
        list(APPEND sources ${out}/${stem}.pb-c.c)
    endforeach()
    add_library(${name} STATIC ${sources})
    target_include_directories(${name} SYSTEM PUBLIC ${out})
    target_compile_options(${name} PRIVATE -w)
    target_link_libraries(${name} PUBLIC PkgConfig::protobuf_c PRIVATE project_hardening
        project_sanitizers)
endfunction()
