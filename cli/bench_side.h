#pragma once
// Our side of `etude bench`, in a process of its own: what it does with the lines that it is given on standard input
// (cli/bench_task.h). Beside the peer's two requests it knows
//
//   {"explain": true}           one step
//     answer                    {"paths": {operator: {path: calls}}}
//   and in the place of a task
//   {"roof": {...}}             see cli/bench_roof.h

namespace etude::cli {

/// Serves until the end of the input. Errors: those of reading the files and of training.
void serve_bench();

}  // namespace etude::cli
