# etude::torch: the LibTorch in use, as imported targets of our own. LibTorch's CMake package is not
# asked: the one in the pinned wheel fails at configure on a machine without its CUDA toolkit. Nothing
# here links CUDA; libtorch_cuda.so is opened at run time where it can be.
#
# Taken: the cache variable or environment variable ETUDE_TORCH (an unpacked LibTorch distribution, or
# the folder of an installed `torch` package), else what setup/libtorch.sh unpacked into .deps/.

set(ETUDE_TORCH_OLDEST 2.11)
set(ETUDE_TORCH "" CACHE PATH "LibTorch to use in place of the pinned one (from ${ETUDE_TORCH_OLDEST} on)")
if(NOT "$ENV{ETUDE_TORCH}" STREQUAL "" AND NOT "$ENV{ETUDE_TORCH}" STREQUAL ETUDE_TORCH)
  set(ETUDE_TORCH "$ENV{ETUDE_TORCH}" CACHE PATH "" FORCE)
endif()

set(pins ${CMAKE_SOURCE_DIR}/setup/libtorch.txt)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${pins})
file(STRINGS ${pins} pin REGEX "^torch==")
string(REGEX REPLACE "^torch==([0-9.]+).*" "\\1" ETUDE_TORCH_PINNED "${pin}")

if(ETUDE_TORCH)
  get_filename_component(torch_root "${ETUDE_TORCH}" ABSOLUTE)
  set(torch_hint "ETUDE_TORCH=${ETUDE_TORCH} must be an unpacked LibTorch distribution or the folder \
of an installed torch package: it holds lib/libtorch_cpu.so and include/torch/. Without ETUDE_TORCH \
(unset it, and configure with -DETUDE_TORCH=), setup/libtorch.sh fetches LibTorch ${ETUDE_TORCH_PINNED}.")
else()
  set(torch_root ${CMAKE_SOURCE_DIR}/.deps/libtorch-${ETUDE_TORCH_PINNED}/torch)
  set(torch_hint "Run setup/libtorch.sh, which fetches LibTorch ${ETUDE_TORCH_PINNED} into .deps/, \
or set ETUDE_TORCH to the folder of one that you have (from ${ETUDE_TORCH_OLDEST} on).")
endif()

foreach(needed lib/libtorch_cpu.so lib/libc10.so include/ATen/ATen.h
        include/torch/csrc/api/include/torch/torch.h)
  if(NOT EXISTS ${torch_root}/${needed})
    message(FATAL_ERROR "No usable LibTorch: ${torch_root}/${needed} is missing.\n${torch_hint}")
  endif()
endforeach()

set(torch_version "")
foreach(header include/torch/headeronly/version.h include/torch/csrc/api/include/torch/version.h)
  if(NOT torch_version AND EXISTS ${torch_root}/${header})
    file(STRINGS ${torch_root}/${header} lines REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
    string(REGEX MATCHALL "[0-9]+" torch_version "${lines}")
    list(JOIN torch_version "." torch_version)
  endif()
endforeach()
if(NOT torch_version OR torch_version VERSION_LESS ETUDE_TORCH_OLDEST)
  message(FATAL_ERROR "The LibTorch in ${torch_root} is version '${torch_version}'; \
Etude needs ${ETUDE_TORCH_OLDEST} or later.\n${torch_hint}")
endif()

# The wheels keep the CUDA libraries that libtorch_cpu.so is linked against in sibling packages.
set(torch_rpath ${torch_root}/lib)
file(GLOB torch_siblings LIST_DIRECTORIES true
  ${torch_root}/../nvidia/*/lib ${torch_root}/../torch.libs)
foreach(dir ${torch_siblings})
  get_filename_component(dir ${dir} ABSOLUTE)
  list(APPEND torch_rpath ${dir})
endforeach()

# A library that is missing would otherwise show as an undefined symbol at the first link.
if(NOT torch_checked STREQUAL torch_root)
  find_program(ETUDE_OBJDUMP objdump)
  mark_as_advanced(ETUDE_OBJDUMP)
  if(ETUDE_OBJDUMP)
    execute_process(COMMAND ${ETUDE_OBJDUMP} -p ${torch_root}/lib/libtorch_cpu.so
      OUTPUT_VARIABLE headers ERROR_QUIET)
    string(REGEX MATCHALL "NEEDED +lib(cu|nv)[a-zA-Z0-9_.]+" needed_libs "${headers}")
    foreach(entry ${needed_libs})
      string(REGEX REPLACE "NEEDED +" "" name "${entry}")
      unset(found CACHE)
      find_library(found NAMES ${name} HINTS ${torch_rpath} ENV LD_LIBRARY_PATH)
      if(NOT found)
        message(FATAL_ERROR "The LibTorch in ${torch_root} needs ${name}, which is not installed. \
Beside a torch package it comes from the package nvidia-cuda-runtime or nvidia-cuda-cupti of its \
CUDA version.\n${torch_hint}")
      endif()
      unset(found CACHE)
    endforeach()
  endif()
  set(torch_checked ${torch_root} CACHE INTERNAL "LibTorch whose libraries were found complete")
endif()

add_library(etude_torch_c10 SHARED IMPORTED)
set_target_properties(etude_torch_c10 PROPERTIES IMPORTED_LOCATION ${torch_root}/lib/libc10.so)
add_library(etude_torch_cpu SHARED IMPORTED)
set_target_properties(etude_torch_cpu PROPERTIES IMPORTED_LOCATION ${torch_root}/lib/libtorch_cpu.so)

add_library(etude_torch INTERFACE)
add_library(etude::torch ALIAS etude_torch)
target_include_directories(etude_torch SYSTEM INTERFACE
  ${torch_root}/include ${torch_root}/include/torch/csrc/api/include)
target_link_libraries(etude_torch INTERFACE etude_torch_cpu etude_torch_c10)
# at::parallel_for is a template with OpenMP inside: without this flag it runs on one thread in silence.
target_compile_options(etude_torch INTERFACE -fopenmp)
target_link_options(etude_torch INTERFACE -fopenmp)
set(CMAKE_BUILD_RPATH ${torch_rpath})
foreach(dir ${torch_rpath})
  target_link_options(etude_torch INTERFACE -Wl,-rpath-link,${dir})
endforeach()

message(STATUS "LibTorch ${torch_version}: ${torch_root}")
