# One set of flags for everything, because the precompiled header (30 s, 720 MB) is valid for exactly
# the flags it was made with. That is also why nothing here sets -fPIC or -fPIE: the compiler's own
# default (position-independent executables on Debian) serves libraries and programs alike.

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 12)
  message(FATAL_ERROR "g++ ${CMAKE_CXX_COMPILER_VERSION} is too old: C++20 as used here needs 12 or later.")
endif()

# NDEBUG stays out: our own checks for programmers are cheap and stay in; LibTorch's headers don't
# depend on it. -O2 without debug information compiles fastest; the time goes into LibTorch's kernels.
set(CMAKE_CXX_FLAGS_RELEASE "-O2")
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O1 -g1 -fno-omit-frame-pointer")
set(CMAKE_CXX_FLAGS_DEBUG "-O0 -g -D_GLIBCXX_ASSERTIONS")

# Dependencies come in as SYSTEM includes, so these speak of our code only.
add_library(etude_flags INTERFACE)
target_include_directories(etude_flags INTERFACE ${ETUDE_ROOT} ${CMAKE_SOURCE_DIR})
target_compile_options(etude_flags INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual
  # Two options in place of -Wconversion, which in numeric code asks for a cast at every
  # int64_t -> double and every index.
  -Wfloat-conversion -Wvla
  $<$<BOOL:${ETUDE_WERROR}>:-Werror>
  # False alarms of g++ 12 in its own std::string, std::vector and std::optional at -O2.
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict -Wno-array-bounds -Wno-stringop-overflow
    -Wno-stringop-overread -Wno-maybe-uninitialized -Wno-dangling-pointer>)
# The same bits on every processor: no contraction into fused multiply-adds behind our back.
target_compile_options(etude_flags INTERFACE -ffp-contract=off)
if(ETUDE_SANITIZE)
  target_compile_options(etude_flags INTERFACE -fsanitize=${ETUDE_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(etude_flags INTERFACE -fsanitize=${ETUDE_SANITIZE})
endif()

find_program(ETUDE_MOLD mold)
find_program(ETUDE_CCACHE ccache)
mark_as_advanced(ETUDE_MOLD ETUDE_CCACHE)
if(ETUDE_MOLD)
  target_link_options(etude_flags INTERFACE -fuse-ld=mold)
endif()
# DT_RPATH and not DT_RUNPATH: LibTorch's libraries find each other through the program's own path.
target_link_options(etude_flags INTERFACE -Wl,--disable-new-dtags)

if(ETUDE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # What ccache asks for with a precompiled header; -fpch-preprocess lets it see its contents.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
    CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
    ${ETUDE_CCACHE})
  target_compile_options(etude_flags INTERFACE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
endif()
