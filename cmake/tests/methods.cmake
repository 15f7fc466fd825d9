# The discovery of methods (cmake/Methods.cmake) on folders made for the purpose.
# Run with -DSOURCE=<repository> -DWORK=<folder to write in>.

cmake_minimum_required(VERSION 3.25)

if(DEFINED CASE)   # one case, in a process of its own, since FATAL_ERROR ends it
  include(${SOURCE}/cmake/Methods.cmake)
  etude_find_methods(ROOT ${WORK}/${CASE})
  etude_registry_text(text ${ETUDE_METHODS})
  message(STATUS "METHODS=${ETUDE_METHODS}")
  message("${text}")
  return()
endif()

function(check case result pattern)
  execute_process(COMMAND ${CMAKE_COMMAND} -DSOURCE=${SOURCE} -DWORK=${WORK} -DCASE=${case}
    -P ${CMAKE_CURRENT_FUNCTION_LIST_FILE} RESULT_VARIABLE status OUTPUT_VARIABLE out ERROR_VARIABLE err)
  string(REGEX REPLACE "[ \n]+" " " text "${out} ${err}")
  if((result STREQUAL "ok" AND NOT status EQUAL 0) OR (result STREQUAL "error" AND status EQUAL 0)
      OR NOT text MATCHES "${pattern}")
    message(SEND_ERROR "case ${case}: expected ${result} and '${pattern}', got status ${status}:\n${out}${err}")
  endif()
endfunction()

file(REMOVE_RECURSE ${WORK})
file(MAKE_DIRECTORY ${WORK}/none)
foreach(path two/noloco/noloco.cpp two/b-prop/b_prop.cpp two/papers.toml same/a-b/a_b.cpp same/a_b/a_b.cpp
    case/A-b/a_b.cpp misnamed/prop/props.cpp card/prop/README.md)
  file(WRITE ${WORK}/${path} "")
endforeach()

check(none ok "METHODS= ")
check(two ok "METHODS=b-prop;noloco .*\"b-prop\", register_b_prop}, {\"noloco\", register_noloco}")
check(same error "methods/a-b and methods/a_b are both register_a_b")
check(case error "methods/A-b: a method's folder is its slug")
check(misnamed ok "holds sources but no prop.cpp")
check(card ok "METHODS= ")
