# Rules of docs/philosophy.md that a compiler doesn't check: a ring includes only what is inside it,
# methods never include each other and write no loop, update, random stream or file of their own,
# LibTorch's front end comes through one header, no file is over 700 lines.
# Run with -DSOURCE=<repository> -DWORK=<folder>.

cmake_minimum_required(VERSION 3.25)

set(base_sees base)
set(report_sees base report)
set(tensor_sees base tensor)
set(data_sees base tensor data)
set(nn_sees base tensor nn data)      # data: etude/data/batch.h, the batch that a net's FLOPs are of
set(optim_sees base tensor optim nn)  # nn: the nets whose parameters a learner owns
set(comm_sees base tensor comm)
set(train_sees base tensor data nn optim comm train)
set(rl_sees ${train_sees} rl)

# What the sources of a method (its tests aside) do not contain, and what to do instead.
set(method_rules
  "for *\\(.* [a-z_]*steps? *<|for *\\(.*< *[a-z_]*steps|while *\\(.*step"
    "a loop over steps: the loop is the frame's, act at its events (docs/loop.md)"
  "optimizer(->|\\.)step|torch::optim::"
    "an update: say which learner a pass moves, or own the slot optimizer"
  "torch::(rand|randn|randint|randperm|bernoulli|normal|multinomial|manual_seed)[ _(]|std::(mt19937|random_device)|[^a-z_]rand\\("
    "a random stream of its own: draw from step.rng(...) or ctx.rng(...)"
  "#include <(fstream|filesystem|sys/socket\\.h|fcntl\\.h|netdb\\.h)>|[^a-z_]fopen *\\(|file::"
    "files or sockets: data comes from sources, state is kept in step.store()")

function(check_method name lines out)
  set(bad "")
  set(rules ${method_rules})
  while(rules)
    list(POP_FRONT rules pattern instead)
    foreach(line IN LISTS lines)
      if(line MATCHES "${pattern}")
        string(APPEND bad "${name}: ${line}: ${instead}\n")
      endif()
    endforeach()
  endwhile()
  set(${out} "${bad}" PARENT_SCOPE)
endfunction()

function(check_tree root out)
  set(bad "")
  file(GLOB_RECURSE all ${root}/src/etude/*.h ${root}/src/etude/*.cpp)
  file(GLOB_RECURSE more ${root}/methods/*.h ${root}/methods/*.cpp ${root}/cli/*.h ${root}/cli/*.cpp
    ${root}/tests/*.h ${root}/tests/*.cpp ${root}/bench/*.cpp)
  list(APPEND all ${more})
  foreach(file ${all})
    file(RELATIVE_PATH name ${root} ${file})
    string(REGEX REPLACE "^src/" "" name ${name})
    set(ring "")
    set(method "")
    if(name MATCHES "^etude/([^/]+)/")
      set(ring ${CMAKE_MATCH_1})
    elseif(name MATCHES "^methods/([^/]+)/")
      set(method ${CMAKE_MATCH_1})
    endif()

    file(STRINGS ${file} includes REGEX "^#include ")
    foreach(line ${includes})
      if(line MATCHES "<torch/(torch|all|nn|optim|data|serialize|jit)\\.h>")
        string(APPEND bad "${name}: ${line}: include \"etude/base/torch_pch.h\", or one header of torch::nn\n")
      elseif(line MATCHES "\"etude/([^/]+)/" AND ring)
        set(other ${CMAKE_MATCH_1})
        if(NOT other IN_LIST ${ring}_sees AND NOT line MATCHES "etude/base/torch_pch.h")
          string(APPEND bad "${name}: ${line}: the ring ${ring} is inside the ring ${other}\n")
        endif()
      elseif(line MATCHES "\"(methods|cli|tests)/" AND ring AND NOT name MATCHES "(_test\\.cpp|/testing[a-z_]*\\.h)$")
        string(APPEND bad "${name}: ${line}: the library includes no ${CMAKE_MATCH_1}\n")
      elseif(line MATCHES "\"methods/([^/]+)/" AND method AND NOT CMAKE_MATCH_1 STREQUAL method)
        string(APPEND bad "${name}: ${line}: methods never include methods; shared code moves into a ring\n")
      endif()
    endforeach()
    if(ring MATCHES "^(base|report)$")
      file(STRINGS ${file} torch REGEX "^#include (<(torch|ATen|c10)/|\"etude/base/torch_pch.h\")")
      if(torch AND NOT name STREQUAL "etude/base/torch_pch.h")
        string(APPEND bad "${name}: ${torch}: the ring ${ring} is free of LibTorch\n")
      endif()
    endif()

    if(method AND NOT name MATCHES "_test\\.cpp$")
      file(STRINGS ${file} lines)
      check_method(${name} "${lines}" own)
      string(APPEND bad "${own}")
    endif()

    file(READ ${file} text)
    string(REGEX MATCHALL "\n" lines "${text}")
    list(LENGTH lines count)
    if(count GREATER 700)
      string(APPEND bad "${name}: ${count} lines; the limit is 700\n")
    endif()
  endforeach()
  set(${out} "${bad}" PARENT_SCOPE)
endfunction()

# The check itself finds what it is for.
file(REMOVE_RECURSE ${WORK})
file(WRITE ${WORK}/src/etude/nn/a.h "#include <torch/torch.h>\n#include \"etude/train/trainer.h\"\n")
file(WRITE ${WORK}/src/etude/base/b.h "#include <ATen/ATen.h>\n")
file(WRITE ${WORK}/methods/x/x.cpp "#include \"methods/y/y.h\"\n#include \"methods/x/x.h\"\n")
file(WRITE ${WORK}/methods/x/loop.cpp "  for (int64_t step = 0; step < steps; ++step) {\n    optimizer->step(lr);
  noise = torch::randn({2});\n#include <fstream>\n  for (const Parameter& p : step.parameters()) mean(p);\n")
file(WRITE ${WORK}/methods/x/x_test.cpp "#include <fstream>\n")
check_tree(${WORK} bad)
string(REGEX MATCHALL "\n" found "${bad}")
list(LENGTH found found)
if(NOT found EQUAL 8)
  message(FATAL_ERROR "the check found ${found} of 8 planted faults:\n${bad}")
endif()

check_tree(${SOURCE} bad)
if(bad)
  message("${bad}")   # as it is: FATAL_ERROR would wrap the lines
  message(FATAL_ERROR "the includes above break a rule of the house")
endif()
