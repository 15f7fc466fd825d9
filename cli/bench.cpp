#include <fstream>
#include <iostream>
#include <sstream>

#include "cli/bench_rounds.h"
#include "cli/bench_side.h"
#include "cli/commands.h"
#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/base/log.h"
#include "etude/base/text.h"
#include "etude/base/torch_pch.h"
#include "etude/report/format.h"

namespace etude::cli {
namespace {

constexpr double kLeastFree = 0.9;
constexpr const char* kResults = "bench/results.json";

struct Options {
  std::vector<std::string> rows;
  std::string formats = "fp32,bf16", python, out, table;
  int64_t rounds = 5, threads = available_cores();
  bool list = false, explain = false, quick = false, curves = false, force = false;
};

/// The parts of a list between commas. Errors: Code::usage for one that is not known.
std::vector<std::string> formats_of(const Options& o) {
  std::vector<std::string> formats;
  std::istringstream in(o.formats);
  for (std::string format; std::getline(in, format, ',');) {
    if (format != "fp32" && format != "bf16")
      throw Error(Code::usage, "there is no format '" + format + "'", "--format", "fp32, bf16, or fp32,bf16");
    formats.push_back(format);
  }
  return formats;
}

std::vector<StepShape> shapes_of(const Options& o) {
  if (o.rows.empty()) return step_shapes();
  std::vector<StepShape> shapes;
  for (const std::string& name : o.rows) shapes.push_back(find_step(name));
  return shapes;
}

/// What the user named, or what `make bench-peers` has set up, or what the system has.
std::string python_of(const Options& o) {
  if (!o.python.empty()) return o.python;
  const std::string program = peer_program(),
                    top = program.substr(0, program.size() - sizeof "/bench/peers/peer.py" + 1);
  const std::string own = top + "/.deps/bench/bin/python";
  return file::exists(own) ? own : "python3";
}

/// What a machine that computes for others too would tell is no speed. Errors: Code::usage.
void require_quiet(const Options& o) {
  double load = 0;
  std::ifstream("/proc/loadavg") >> load;
  const double free = free_share(o.threads, 0.5);
  if (free >= kLeastFree) return;
  const std::string what = "other programs use the cores: " + report::fixed(100 * free, 0) + " % of " +
                           std::to_string(o.threads) + " are free, load " + report::fixed(load, 1);
  if (!o.force)
    throw Error(Code::usage, what, "", "stop them and try again; --force measures all the same and says so");
  warn(what + "; this is recorded with the results");
}

void tell(const report::BenchRow& row) {
  const auto line = [&](const report::BenchSide& side) {
    const double seconds = report::spread(side.seconds).median;
    std::cout << "  " << padded(side.name, 18)
              << padded(human_count(static_cast<double>(row.tokens) / seconds) + " tokens/s", 18)
              << padded(report::plain(report::seconds_text(seconds)), 10) << padded(human_bytes(side.bytes), 11);
  };
  std::cout << row.name << ' ' << row.format << ": " << row.shape << ", "
            << human_count(static_cast<double>(row.parameters)) << " parameters\n";
  line(row.ours);
  std::cout << '\n';
  for (const report::BenchSide& peer : row.peers) {
    line(peer);
    const report::Spread ratio = report::speedup(row.ours, peer);
    std::cout << report::fixed(ratio.median, 2) << "x (" << report::fixed(ratio.low, 2) << " to "
              << report::fixed(ratio.high, 2) << ")" << (&peer == &row.best_peer() ? "  the best of them" : "") << '\n';
  }
  const double share = row.flops / report::spread(row.ours.seconds).median / row.roof;
  std::cout << "  " << report::fixed(100 * share, 0) << " % of the best product, " << report::fixed(row.roof / 1e9, 0)
            << " GF/s: " << row.roof_product << "; at least " << report::fixed(100 * row.quiet, 0)
            << " % of the cores were free\n"
            << std::flush;
}

void keep(const std::string& path, const report::BenchResults& results) {
  const bool there = file::exists(path);
  const report::BenchResults all =
      there ? report::merged(report::parse_bench(file::read(path), path), results) : results;
  file::write_atomically(path, report::to_json(all));
  inform("written: " + path + "; etude bench --table README.md renews the table of a page");
}

void renew_table(const Options& o) {
  const std::string results = o.out.empty() ? kResults : o.out;
  const report::BenchResults kept = report::parse_bench(file::read(results), results);
  file::write_atomically(o.table, report::with_bench(file::read(o.table), kept, o.table));
}

void explain(const Options& o, const BenchSettings& settings, bool json) {
  for (const StepShape& shape : shapes_of(o))
    for (const std::string& format : formats_of(o)) {
      const nlohmann::json paths = explain_step(shape, format, settings);
      if (json) {
        std::cout << nlohmann::json{{"name", shape.name}, {"format", format}, {"paths", paths}}.dump() << '\n';
        continue;
      }
      std::cout << shape.name << ' ' << format << ": calls in a step\n";
      for (const auto& [op, by_path] : paths.items())
        for (const auto& [path, calls] : by_path.items())
          std::cout << "  " << padded(op, 26) << padded(std::to_string(calls.get<int64_t>()), 6) << path << '\n';
    }
}

void measure(const Options& o, BenchSettings settings, bool json) {
  settings.python = python_of(o);
  report::BenchResults results;
  results.peer = "PyTorch " + torch_version(settings.python);
  results.machine = {processor_name(), at::get_cpu_capability(), TORCH_VERSION, o.threads};
  if (settings.tuned && tcmalloc_library().empty())
    warn("tcmalloc is not installed, so the peer is measured without it: setup/install.sh bench");
  require_quiet(o);
  for (const StepShape& shape : shapes_of(o))
    for (const std::string& format : formats_of(o)) {
      results.rows.push_back(measure_step(shape, format, settings));
      if (!json) tell(results.rows.back());
    }
  results.date = results.rows.front().date;
  results.commit = results.rows.front().commit;
  if (json) std::cout << report::to_json(results);
  const bool in_checkout = file::is_directory("bench/peers");
  if (!o.out.empty() || (in_checkout && !o.quick)) keep(o.out.empty() ? kResults : o.out, results);
}

void bench(const Options& o, Session& session) {
  const std::vector<std::string> formats = formats_of(o);  // says what is wrong before anything is started
  if (!o.table.empty()) return renew_table(o);
  if (o.list) {
    for (const StepShape& shape : step_shapes()) std::cout << padded(shape.name, 14) << shape.text() << '\n';
    return;
  }
  BenchSettings settings{.rounds = o.rounds, .threads = o.threads, .curves = o.curves};
  if (o.quick) settings.rounds = 1, settings.seconds = 0.3, settings.tuned = false;
  shapes_of(o);
  catch_interrupts("\nstopping\n");
  keep_to_cores(o.threads);
  if (o.explain) return explain(o, settings, session.json);
  measure(o, settings, session.json);
}

}  // namespace

void add_bench(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("bench", "training steps beside plain PyTorch's, in turn")
                      ->footer(
                          "examples:\n"
                          "  etude bench                            every step, fp32 and bf16; some minutes each\n"
                          "  etude bench decoder-256 --format bf16\n"
                          "  etude bench --explain decoder-512      the path of every operator; needs no PyTorch\n"
                          "  etude bench --table README.md          a page's table from bench/results.json\n"
                          "make bench-peers sets up a Python with PyTorch. docs/bench.md says how it is measured.");
  auto o = std::make_shared<Options>();
  command->add_option("rows", o->rows, "training steps, as --list has them; all if none is given");
  command->add_flag("--list", o->list, "the training steps that there are");
  command->add_option("--format", o->formats, "number formats: fp32, bf16")->capture_default_str()->check(not_empty());
  command->add_option("--rounds", o->rounds, "measures of each side, in turn")
      ->capture_default_str()
      ->check(whole(1, 1000));
  command->add_option("--threads", o->threads, "of both sides, on as many cores")
      ->capture_default_str()
      ->check(whole(1, available_cores()));
  command->add_option("--python", o->python, "a Python with PyTorch; .deps/bench/bin/python if not given")
      ->check(not_empty());
  command->add_flag("--curves", o->curves, "compare the losses of 50 steps first");
  command->add_flag("--explain", o->explain, "only tell the path that every operator of a step takes");
  command->add_flag("--quick", o->quick, "one short round beside eager PyTorch only; nothing is written unless --out");
  command->add_flag("--force", o->force, "measure though other programs use the cores");
  command->add_option("--out", o->out, "where results are written; bench/results.json in a checkout")
      ->check(not_empty());
  command->add_option("--table", o->table, "only renew the table of speeds of this page")->check(not_empty());
  command->callback([&session, o] { bench(*o, session); });

  auto* side = app.add_subcommand("bench-side", "a side of etude bench, which starts it")->group("");
  side->callback([] { serve_bench(); });
}

}  // namespace etude::cli
