# Tests, by where they lie:
#   etude/<ring>/**_test.cpp      one program test_<ring> each
#   methods/<slug>/**_test.cpp    test_methods
#   tests/<suite>/*.cpp           test_<suite> each; *_main.cpp there is a helper program of its own
#   tests/<suite>/*.sh            one test each, exit status 0 passes and 77 skips
#   tests/fuzz/*.cpp              not here: cmake/Fuzz.cmake builds them with another compiler
#   cmake/tests/*.cmake           the build itself
# Labels: fast and the suite's name; the suites slow, fuzz and chaos carry only their own.
# In the environment of each: ETUDE_BIN (the program), ETUDE_BIN_DIR (it and the helpers), ETUDE_SOURCE.

set(ETUDE_SLOW_SUITES slow fuzz chaos)
set(ETUDE_TEST_UNITY 6 CACHE STRING "Test files that are compiled together; 0 compiles each by itself")

set(test_environment
  OMP_WAIT_POLICY=passive   # spinning threads of parallel tests slow each other down tenfold
  ETUDE_BIN=${CMAKE_BINARY_DIR}/etude
  ETUDE_BIN_DIR=${CMAKE_BINARY_DIR}
  ETUDE_SOURCE=${CMAKE_SOURCE_DIR}
  ASAN_OPTIONS=detect_leaks=0:abort_on_error=1   # LibTorch keeps its caches until the process ends
  UBSAN_OPTIONS=print_stacktrace=1)

function(etude_test_labels out_labels out_timeout suite)
  if(suite IN_LIST ETUDE_SLOW_SUITES)
    set(${out_labels} ${suite} PARENT_SCOPE)
    set(${out_timeout} 3600 PARENT_SCOPE)
  else()
    set(${out_labels} fast ${suite} PARENT_SCOPE)
    set(${out_timeout} 300 PARENT_SCOPE)
  endif()
endfunction()

# etude_test(<suite> [TORCH] SOURCES <files> LINK <targets>)
function(etude_test suite)
  cmake_parse_arguments(arg "TORCH" "" "SOURCES;LINK" ${ARGN})
  if(NOT arg_SOURCES)
    return()
  endif()
  set(target test_${suite})
  add_executable(${target} ${arg_SOURCES})
  target_link_libraries(${target} PRIVATE ${arg_LINK} GTest::gmock GTest::gtest GTest::gtest_main)
  if(ETUDE_TEST_UNITY)
    set_target_properties(${target} PROPERTIES
      UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE ${ETUDE_TEST_UNITY})
  endif()
  if(arg_TORCH)
    etude_use_torch(${target})
  endif()
  if(TARGET etude AND NOT suite IN_LIST ETUDE_RINGS)
    add_dependencies(${target} etude)   # suites may run the program
  endif()
  etude_test_labels(labels timeout ${suite})
  gtest_discover_tests(${target} TEST_PREFIX ${suite}. DISCOVERY_TIMEOUT 120 DISCOVERY_MODE PRE_TEST)
  # CMake 3.25 takes lists among the properties of discovered tests apart, so that neither the second label
  # nor the environment arrives: ctest sets them after the discovery.
  set(properties ${CMAKE_BINARY_DIR}/gen/${target}_properties.cmake)
  file(CONFIGURE OUTPUT ${properties} CONTENT "if(@target@_TESTS)
  set_tests_properties(\${@target@_TESTS} PROPERTIES LABELS \"@labels@\" TIMEOUT @timeout@
    ENVIRONMENT \"@test_environment@\")
endif()
" @ONLY)
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${properties})
endfunction()

# A program beside the tests, for those that must die or be killed without taking the test along.
function(etude_test_helper source)
  get_filename_component(name ${source} NAME_WE)
  string(REGEX REPLACE "_main$" "" name ${name})
  add_executable(${name} ${source})
  target_link_libraries(${name} PRIVATE etude_methods etude_report)
  etude_use_torch(${name})
endfunction()

macro(etude_all_tests)
  find_package(GTest QUIET)
  if(NOT GTest_FOUND)
    message(FATAL_ERROR "GoogleTest was not found. Run setup/install.sh test, "
      "or configure with -DETUDE_TESTS=OFF.")
  endif()
  include(GoogleTest)

  set(ETUDE_RINGS base report tensor data nn optim comm train rl methods)
  foreach(ring base report tensor data nn optim comm train rl)
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${ETUDE_ROOT}/etude/${ring}/*_test.cpp)
    if(ring MATCHES "^(base|report)$")
      etude_test(${ring} SOURCES ${sources} LINK etude_${ring})
    else()
      etude_test(${ring} TORCH SOURCES ${sources} LINK etude_${ring})
    endif()
  endforeach()

  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/methods/*_test.cpp)
  set(tests "")
  foreach(source ${sources})
    file(RELATIVE_PATH slug ${CMAKE_SOURCE_DIR}/methods ${source})
    string(REGEX REPLACE "/.*" "" slug ${slug})
    if(slug IN_LIST ETUDE_METHODS)
      list(APPEND tests ${source})
    endif()
  endforeach()
  etude_test(methods TORCH SOURCES ${tests} LINK etude_methods)

  file(GLOB suites CONFIGURE_DEPENDS LIST_DIRECTORIES true RELATIVE ${CMAKE_SOURCE_DIR}/tests
    ${CMAKE_SOURCE_DIR}/tests/*)
  foreach(suite ${suites})
    if(NOT IS_DIRECTORY ${CMAKE_SOURCE_DIR}/tests/${suite})
      continue()
    endif()
    if(suite IN_LIST ETUDE_RINGS)
      message(FATAL_ERROR "tests/${suite} has the name of a ring: its tests belong beside its sources.")
    endif()
    set(sources "")
    if(NOT suite STREQUAL fuzz)
      file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/${suite}/*.cpp)
    endif()
    set(helpers ${sources})
    list(FILTER helpers INCLUDE REGEX "_main\\.cpp$")
    list(FILTER sources EXCLUDE REGEX "_main\\.cpp$")
    foreach(helper ${helpers})
      etude_test_helper(${helper})
    endforeach()
    etude_test(${suite} TORCH SOURCES ${sources} LINK etude_methods etude_report)

    etude_test_labels(labels timeout ${suite})
    file(GLOB scripts CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/${suite}/*.sh)
    foreach(script ${scripts})
      get_filename_component(name ${script} NAME_WE)
      add_test(NAME ${suite}.${name} COMMAND bash ${script})
      set_tests_properties(${suite}.${name} PROPERTIES LABELS "${labels}" TIMEOUT ${timeout}
        SKIP_RETURN_CODE 77 ENVIRONMENT "${test_environment}")
    endforeach()
  endforeach()

  file(GLOB scripts CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/cmake/tests/*.cmake)
  foreach(script ${scripts})
    get_filename_component(name ${script} NAME_WE)
    add_test(NAME build.${name} COMMAND ${CMAKE_COMMAND} -DSOURCE=${CMAKE_SOURCE_DIR}
      -DWORK=${CMAKE_BINARY_DIR}/build_tests/${name} -P ${script})
    set_tests_properties(build.${name} PROPERTIES LABELS "fast;build" TIMEOUT 300)
  endforeach()
endmacro()

# bench/<name>.cpp is the program bench_<name>; `ninja bench` builds them, nothing else does.
function(etude_all_benches)
  cmake_parse_arguments(arg "" "" "LINK" ${ARGN})
  find_package(benchmark QUIET)
  add_custom_target(bench)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bench/*.cpp)
  foreach(source ${sources})
    get_filename_component(name ${source} NAME_WE)
    add_executable(bench_${name} EXCLUDE_FROM_ALL ${source})
    target_link_libraries(bench_${name} PRIVATE ${arg_LINK})
    if(benchmark_FOUND)
      target_link_libraries(bench_${name} PRIVATE benchmark::benchmark)
    endif()
    etude_use_torch(bench_${name})
    add_dependencies(bench bench_${name})
  endforeach()
endfunction()
