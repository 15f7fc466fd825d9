# etude_assets: files of the repository compiled into the program (etude/base/assets.h).
# The list is made at configure time and follows new files; the bytes are taken at build time.

enable_language(ASM)

set(asset_patterns
  methods/papers.toml
  methods/*/arms/*.toml
  methods/*/claims.toml
  methods/*/excuses.toml
  methods/*/results.json
  methods/*/README.md)
list(TRANSFORM asset_patterns PREPEND ${CMAKE_SOURCE_DIR}/)
file(GLOB asset_files CONFIGURE_DEPENDS ${asset_patterns})
file(GLOB_RECURSE asset_more CONFIGURE_DEPENDS
  ${CMAKE_SOURCE_DIR}/data/* ${ETUDE_ROOT}/etude/report/assets/*)
list(FILTER asset_more INCLUDE REGEX "\\.(txt|md|toml|json|css|js|html|svg)$")
list(APPEND asset_files ${asset_more})
list(FILTER asset_files EXCLUDE REGEX "/\\.[^/]*$")   # editors' leavings

set(asset_list "")
foreach(file ${asset_files})
  if(file MATCHES "[\"\\\t\n]")
    message(FATAL_ERROR "The name of ${file} has a character that can't be compiled in: rename it.")
  endif()
  file(RELATIVE_PATH key ${CMAKE_SOURCE_DIR} ${file})
  string(REGEX REPLACE "^src/etude/" "etude/" key ${key})
  string(APPEND asset_list "${key}\t${file}\n")
endforeach()
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/gen/assets.list CONTENT "${asset_list}" @ONLY)

set(asset_gen ${CMAKE_BINARY_DIR}/gen/assets.gen.S ${CMAKE_BINARY_DIR}/gen/assets.gen.cpp)
add_custom_command(
  OUTPUT ${asset_gen}
  COMMAND ${CMAKE_COMMAND} -DLIST=${CMAKE_BINARY_DIR}/gen/assets.list -DOUT=${CMAKE_BINARY_DIR}/gen
    -P ${CMAKE_SOURCE_DIR}/cmake/embed.cmake
  DEPENDS ${asset_files} ${CMAKE_BINARY_DIR}/gen/assets.list ${CMAKE_SOURCE_DIR}/cmake/embed.cmake
  COMMENT "Embedding assets" VERBATIM)
set_source_files_properties(${CMAKE_BINARY_DIR}/gen/assets.gen.S PROPERTIES
  OBJECT_DEPENDS "${asset_files}")

add_library(etude_assets STATIC ${asset_gen})
target_compile_features(etude_assets PRIVATE cxx_std_20)
target_include_directories(etude_assets PUBLIC ${ETUDE_ROOT})
