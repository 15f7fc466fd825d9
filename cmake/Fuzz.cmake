# The fuzz targets alone (-DETUDE_FUZZ=ON, the preset fuzz), with clang's libFuzzer and sanitizers and without
# LibTorch: tests/fuzz/<name>.cpp defines LLVMFuzzerTestOneInput and becomes two programs,
#   fuzz_<name>      must find nothing
#   planted_<name>   the same with the bug of tests/fuzz/planted.h in it, which must be found
# They link all sources of the rings that can be read without LibTorch's headers; nobody keeps a list.

if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  message(FATAL_ERROR "Fuzz targets need clang++, this is ${CMAKE_CXX_COMPILER_ID}: run setup/install.sh fuzz "
    "and configure with the preset fuzz.")
endif()

# Sets out to TRUE when neither the file nor a header of ours that it includes, at any depth, includes LibTorch's.
function(etude_torch_free file out)
  get_property(known GLOBAL PROPERTY "etude_torch_free_${file}")
  if(NOT "${known}" STREQUAL "")
    set(${out} ${known} PARENT_SCOPE)
    return()
  endif()
  set_property(GLOBAL PROPERTY "etude_torch_free_${file}" TRUE)   # headers that include each other end here
  set_property(DIRECTORY ${CMAKE_SOURCE_DIR} APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
  set(free TRUE)
  file(STRINGS ${file} lines REGEX "^#include ")
  foreach(line ${lines})
    if(line MATCHES "[<\"](torch|ATen|c10|gloo)/")
      set(free FALSE)
    elseif(line MATCHES "\"(etude/[^\"]+)\"")
      set(header ${ETUDE_ROOT}/${CMAKE_MATCH_1})
      if(EXISTS ${header})
        etude_torch_free(${header} included)
        if(NOT included)
          set(free FALSE)
        endif()
      endif()
    endif()
  endforeach()
  set_property(GLOBAL PROPERTY "etude_torch_free_${file}" ${free})
  set(${out} ${free} PARENT_SCOPE)
endfunction()

set(fuzzed "")
foreach(ring base tensor data nn train)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${ETUDE_ROOT}/etude/${ring}/*.cpp)
  list(FILTER sources EXCLUDE REGEX "_test\\.cpp$")
  foreach(source ${sources})
    etude_torch_free(${source} free)
    if(free)
      list(APPEND fuzzed ${source})
    endif()
  endforeach()
endforeach()

set(fuzz_options -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -O1 -g1)
add_library(etude_fuzzed STATIC ${fuzzed})
target_compile_options(etude_fuzzed PUBLIC ${fuzz_options})
target_link_libraries(etude_fuzzed PUBLIC etude_assets etude_std ICU::i18n ICU::uc LibArchive::LibArchive
  LibXml2::LibXml2 yaml-cpp sentencepiece sentencepiece_train)

file(GLOB targets CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/fuzz/*.cpp)
foreach(source ${targets})
  get_filename_component(name ${source} NAME_WE)
  foreach(kind fuzz planted)
    add_executable(${kind}_${name} ${source})
    target_link_libraries(${kind}_${name} PRIVATE etude_fuzzed)
    target_link_options(${kind}_${name} PRIVATE -fsanitize=fuzzer,address,undefined)
  endforeach()
  target_compile_definitions(planted_${name} PRIVATE ETUDE_PLANTED_BUG)
endforeach()
