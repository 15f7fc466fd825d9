# etude_ring(<name> [TORCH] LINK <targets>): the static library etude_<name> from etude/<name>/**.cpp.
# A ring without sources (headers only, or not written yet) is an interface library.

# The one precompiled header; `pch.cpp` exists so that there is something to compile it for.
add_library(etude_pch OBJECT ${CMAKE_SOURCE_DIR}/cmake/pch.cpp)
target_link_libraries(etude_pch PRIVATE etude_flags etude::torch)
target_precompile_headers(etude_pch PRIVATE ${ETUDE_ROOT}/etude/base/torch_pch.h)

# Files marked SKIP_PRECOMPILE_HEADERS or with flags of their own must include what they need.
function(etude_use_torch target)
  target_link_libraries(${target} PUBLIC etude::torch)
  target_precompile_headers(${target} REUSE_FROM etude_pch)
  # A header that doesn't fit is an error, not four times the build time.
  target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Winvalid-pch>)
endfunction()

# Sources of a folder and below, without tests.
function(etude_sources out folder)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${folder}/*.cpp)
  list(FILTER sources EXCLUDE REGEX "_test\\.cpp$")
  set(${out} ${sources} PARENT_SCOPE)
endfunction()

function(etude_ring name)
  cmake_parse_arguments(arg "TORCH" "" "LINK" ${ARGN})
  etude_sources(sources ${ETUDE_ROOT}/etude/${name})
  if(sources)
    add_library(etude_${name} STATIC ${sources})
    target_link_libraries(etude_${name} PUBLIC ${arg_LINK})
    if(arg_TORCH)
      etude_use_torch(etude_${name})
    endif()
  else()
    add_library(etude_${name} INTERFACE)
    target_link_libraries(etude_${name} INTERFACE ${arg_LINK})
    if(arg_TORCH)
      target_link_libraries(etude_${name} INTERFACE etude::torch)
    endif()
  endif()
endfunction()

# etude_program(<name> FROM <folder> LINK <targets>): a program from <folder>/**.cpp.
function(etude_program name)
  cmake_parse_arguments(arg "" "FROM" "LINK" ${ARGN})
  etude_sources(sources ${CMAKE_SOURCE_DIR}/${arg_FROM})
  if(sources)
    add_executable(${name} ${sources})
    target_link_libraries(${name} PRIVATE ${arg_LINK})
    etude_use_torch(${name})
  endif()
endfunction()
