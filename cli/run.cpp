#include "cli/commands.h"

namespace etude::cli {

void add_run(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("run", "train one arm of a method")->footer("examples:\n  etude run noloco\n  etude run noloco/diloco --profile smoke seed=1\n  etude run noloco --data my_texts/ net.model.dim=128");
  struct Options {
    std::string what, profile = "small", data, out = "runs";
    std::vector<std::string> overrides, with;
    bool fresh = false;
  };
  auto o = std::make_shared<Options>();
  command->add_option("method", o->what, "METHOD or METHOD/ARM")->required();
  command->add_option("overrides", o->overrides, "key=value of the recipe");
  command->add_option("--profile", o->profile, "size: smoke, small, full")->capture_default_str();
  command->add_option("--data", o->data, "text file or folder of .txt files");
  command->add_option("--out", o->out, "where runs are kept")->capture_default_str();
  command->add_flag("--fresh", o->fresh, "forget what this run did before");
  command->callback([&session, o] {
    if (!o->data.empty()) o->overrides.push_back("data.path=" + to_json(Config(o->data)));
    const Recipe recipe = find_recipe(o->what, o->profile, o->overrides, session.registry);
    RunSettings settings;
    settings.out = o->out;
    settings.fresh = o->fresh;
    session.status = run_and_tell(recipe, session, settings);
  });
}

void add_train(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("train", "train a recipe of your own")->footer("examples:\n  etude eject noloco my.toml\n  etude train my.toml stop='\"100 steps\"'");
  struct Options {
    std::string file, out = "runs";
    std::vector<std::string> overrides;
    bool fresh = false;
  };
  auto o = std::make_shared<Options>();
  command->add_option("recipe", o->file, "a .toml file")->required();
  command->add_option("overrides", o->overrides, "key=value of the recipe");
  command->add_option("--out", o->out, "where runs are kept")->capture_default_str();
  command->add_flag("--fresh", o->fresh, "forget what this run did before");
  command->callback([&session, o] {
    if (!o->file.ends_with(".toml")) throw Error(Code::usage, "'" + o->file + "' is no .toml file", "", "etude run METHOD trains a built-in recipe");
    RunSettings settings;
    settings.out = o->out;
    settings.fresh = o->fresh;
    session.status = run_and_tell(find_recipe(o->file, "", o->overrides, session.registry), session, settings);
  });
}

}  // namespace etude::cli
