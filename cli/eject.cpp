#include <iostream>

#include "cli/commands.h"
#include "etude/base/file.h"
#include "etude/base/log.h"

namespace etude::cli {
namespace {

struct Options {
  std::string what, file, profile = "small";
  std::vector<std::string> overrides;
};

/// The recipe as it is trained, every default written out.
std::string ejected(const Recipe& recipe, const Options& o) {
  const std::string name = o.file.empty() ? "FILE" : o.file;
  return "# " + recipe.method + "/" + recipe.arm + ", profile " + o.profile + ": " + recipe.options.about +
         "\n# Every default is written out; `etude show " + recipe.method + " --keys" +
         "` explains the options.\n#\n#   etude check " + name + "\n#   etude train " + name + "\n\n" +
         to_toml(recipe.resolved);
}

void eject(const Options& o, const Registry& registry) {
  const std::string text = ejected(find_recipe(o.what, o.profile, o.overrides, registry), o);
  if (o.file.empty()) {
    std::cout << text;
    return;
  }
  if (!is_file_name(o.file))
    throw Error(Code::usage, "'" + o.file + "' is no name for a recipe", "command line",
                "it must end in .toml: " + o.file + ".toml");
  if (file::exists(o.file))
    throw Error(Code::usage, "'" + o.file + "' is there already", o.file, "choose another name, or remove it");
  file::write_atomically(o.file, text);
  inform("written; etude train " + o.file + " trains it");
}

}  // namespace

void add_eject(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("eject", "write a built-in recipe into a file of your own")
                      ->footer(
                          "examples:\n"
                          "  etude eject noloco/diloco my.toml\n"
                          "  etude eject noloco --profile full with.0.every=20 > my.toml");
  auto o = std::make_shared<Options>();
  command->add_option("method", o->what, "METHOD, or METHOD/ARM")->required();
  command->add_option("file", o->file, "a new .toml file; standard output if not given");
  command->add_option("overrides", o->overrides, "key=value of the recipe");
  command->add_option("--profile", o->profile, "size: smoke, small, full")->capture_default_str();
  command->callback([&session, o] {
    // A first override stands where the file would: only it has a '='.
    if (o->file.find('=') != std::string::npos) {
      o->overrides.insert(o->overrides.begin(), o->file);
      o->file.clear();
    }
    if (is_file_name(o->what))
      throw Error(Code::usage, "'" + o->what + "' is a file already", "command line",
                  "etude train " + o->what + " trains it");
    eject(*o, session.registry);
  });
}

}  // namespace etude::cli
