#include <iostream>

#include "cli/commands.h"
#include "etude/base/file.h"
#include "etude/train/trainer.h"

namespace etude::cli {

void add_check(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("check", "all that can be known before training")->footer("examples:\n  etude check noloco/diloco --profile full\n  etude check my.toml");
  struct Options {
    std::string what, profile;
    std::vector<std::string> overrides;
  };
  auto o = std::make_shared<Options>();
  command->add_option("recipe", o->what, "METHOD, METHOD/ARM or a .toml file")->required();
  command->add_option("overrides", o->overrides, "key=value of the recipe");
  command->add_option("--profile", o->profile, "size; default: small for methods");
  command->callback([&session, o] {
    const bool own = o->what.ends_with(".toml");
    const Recipe recipe = find_recipe(o->what, o->profile.empty() && !own ? "small" : o->profile, o->overrides, session.registry);
    const TrainStage stage = make_stage(recipe, session.registry);
    std::cout << describe(stage);
    // Three steps without evaluation tell shapes, FLOPs and time; nothing is written.
    TrainStage probe = stage;
    probe.stop = Count{3, Unit::steps};
    probe.evaluations.clear();
    const Fit fitted = fit(probe);
    const double each = fitted.cost.step_seconds / 3;
    std::cout << "parameters: " << fitted.cost.parameters << " in each of " << stage.replicas << (stage.replicas == 1 ? " replica\n" : " replicas\n") << "FLOPs a step: " << human_count(fitted.counters[Unit::flops] / 3) << "\nbytes sent in 3 steps: " << human_bytes(fitted.counters[Unit::bytes])
              << "\npeak memory so far: " << human_bytes(fitted.cost.peak_bytes) << "\ntime a step here: " << human_time(each) << '\n';
    if (stage.stop.unit == Unit::steps) std::cout << "training until " << stage.stop.text() << ": about " << human_time(each * stage.stop.amount) << " without evaluation\n";
    std::cout << "run: " << run_directory(recipe, "runs") << '\n';
  });
}

void add_eject(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("eject", "write a built-in recipe as a file of your own")->footer("examples:\n  etude eject noloco/diloco my.toml\n  etude eject noloco --profile full > my.toml");
  struct Options { std::string what, file, profile = "small"; };
  auto o = std::make_shared<Options>();
  command->add_option("method", o->what, "METHOD or METHOD/ARM")->required();
  command->add_option("file", o->file, "where to; standard output if absent");
  command->add_option("--profile", o->profile, "size")->capture_default_str();
  command->callback([&session, o] {
    const std::string text = to_toml(find_recipe(o->what, o->profile, {}, session.registry).resolved);
    if (o->file.empty()) {
      std::cout << text;
      return;
    }
    if (file::exists(o->file)) throw Error(Code::usage, "the file is there already", o->file, "choose another name, or remove it");
    file::write_atomically(o->file, text);
  });
}

}  // namespace etude::cli
