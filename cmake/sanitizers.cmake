# project_sanitizers: compiled into every target of ours, empty unless SANDPIT_SANITIZE is set.
add_library(project_sanitizers INTERFACE)
if(SANDPIT_SANITIZE)
    target_compile_options(project_sanitizers INTERFACE
        -fsanitize=${SANDPIT_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g)
    target_link_options(project_sanitizers INTERFACE -fsanitize=${SANDPIT_SANITIZE})
endif()
if(SANDPIT_FUZZ)
    target_compile_options(project_sanitizers INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(SANDPIT_FAULT_POINTS)
    target_compile_definitions(project_sanitizers INTERFACE SANDPIT_FAULT_POINTS=1)
endif()
