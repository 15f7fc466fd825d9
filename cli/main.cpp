#include <sys/stat.h>
#include <unistd.h>

#include <iostream>
#include <new>

#include "cli/commands.h"
#include "etude/base/file.h"
#include "etude/base/log.h"
#include "etude/base/torch_pch.h"
#include "etude/tensor/allocator.h"
#include "etude/tensor/processor.h"

namespace etude::cli {
namespace {

struct Globals {
  bool quiet = false, verbose = false;
  std::string inject;
};

void add_globals(CLI::App& app, Session& session, Globals& globals) {
  app.add_flag("--json", session.json, "results and messages as one JSON object a line");
  app.add_flag("-q,--quiet", globals.quiet, "warnings and errors only");
  app.add_flag("-v,--verbose", globals.verbose, "say more");
  app.add_option("--inject", globals.inject,
                 "rehearse a fault: io:17:enospc, rank:1:kill@3/exchange, ... (docs/ranks.md)");
  app.parse_complete_callback([&session, &globals] {
    LogSettings log;
    log.verbosity = globals.quiet ? Verbosity::quiet : globals.verbose ? Verbosity::verbose : Verbosity::normal;
    log.json = session.json;
    set_log(log);
    if (globals.inject.starts_with("io:"))
      file::inject(file::Injection::parse(globals.inject));
    else if (!globals.inject.empty())
      rehearse(Rehearsal::parse(globals.inject));
  });
}

/// The first argument that is no option, what was meant as a command; or the one `after` so many others.
std::string command_word(int argc, char** argv, int after = 0) {
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--inject")
      ++i;
    else if (!word.starts_with("-") && after-- == 0)
      return word;
  }
  return "";
}

/// The first option that neither the program nor the command has.
std::string unknown_option(int argc, char** argv, const std::vector<std::string>& known) {
  for (int i = 1; i < argc; ++i) {
    const std::string word = std::string(argv[i]).substr(0, std::string(argv[i]).find('='));
    if (word.starts_with("--") && word.size() > 2 && std::find(known.begin(), known.end(), word) == known.end())
      return word;
  }
  return "";
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options())
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  return names;
}

/// What CLI11 found wrong with a command's arguments, in our words.
std::string in_our_words(const CLI::ParseError& error) {
  std::string text = error.what();
  const std::string unexpected = "The following argument was not expected: ", required = " is required";
  if (text.starts_with(unexpected)) return "'" + text.substr(unexpected.size()) + "' was not expected";
  if (error.get_name() == "RequiredError" && text.ends_with(required))
    return "the argument '" + text.substr(0, text.size() - required.size()) + "' is missing";
  if (const size_t at = text.find(": 1 required"); at != std::string::npos)
    return text.substr(0, at) + " needs a value";
  return text;
}

/// What is wrong with the command line, with what was probably meant.
Error usage_error(const CLI::App& app, const CLI::ParseError& error, int argc, char** argv) {
  const std::string word = command_word(argc, argv);
  const CLI::App* command = nullptr;
  std::vector<std::string> commands, options = option_names(app);
  for (const CLI::App* one : app.get_subcommands([](const CLI::App*) { return true; })) {
    commands.push_back(one->get_name());
    if (one->get_name() == word) command = one;
  }
  const std::string place = command ? "etude " + word : "command line";
  const std::string help = command ? place + " --help shows its options" : "etude --help shows commands and options";
  if (!command && !word.empty())
    return Error(Code::usage, "there is no command '" + word + "'", place, did_you_mean(word, commands, help));
  const auto parts =
      command ? command->get_subcommands([](const CLI::App*) { return true; }) : std::vector<const CLI::App*>();
  if (!parts.empty()) {
    commands.clear();
    const std::string part = command_word(argc, argv, 1);
    for (const CLI::App* one : parts) {
      commands.push_back(one->get_name());
      const std::vector<std::string> own = option_names(*one);
      options.insert(options.end(), own.begin(), own.end());
    }
    if (part.empty()) return Error(Code::usage, "no part of '" + word + "' is given", place, help);
    if (std::find(commands.begin(), commands.end(), part) == commands.end())
      return Error(Code::usage, "there is no '" + word + " " + part + "'", place, did_you_mean(part, commands, help));
  }
  if (command) {
    const std::vector<std::string> own = option_names(*command);
    options.insert(options.end(), own.begin(), own.end());
  }
  if (const std::string unknown = unknown_option(argc, argv, options); !unknown.empty())
    return Error(Code::usage, "there is no option '" + unknown + "'", place, did_you_mean(unknown, options, help));
  if (!command && error.get_name() == "RequiredError") return Error(Code::usage, "no command is given", place, help);
  return Error(Code::usage, in_our_words(error), place, help);
}

/// ": 4000000000000 bytes are wanted at once", from LibTorch's message.
std::string wanted(const std::string& message) {
  const std::string before = "tried to allocate ";
  const size_t at = message.find(before);
  if (at == std::string::npos) return "";
  return ": " + message.substr(at + before.size(), message.find(" bytes", at) - at - before.size()) +
         " bytes are wanted at once";
}

/// LibTorch's complaint, without its stack.
Error from_torch(const c10::Error& error) {
  std::string what = error.what_without_backtrace();
  what = what.substr(0, what.find('\n'));
  if (what.find("allocate memory") != std::string::npos)
    return Error(Code::device, "out of memory" + wanted(what), "",
                 "a smaller source.batch or net, fewer replicas, or compare with --jobs 1");
  return Error(Code::internal, "LibTorch: " + what, "", "please report it with the command and the recipe");
}

int run(int argc, char** argv) {
  CLI::App app{"Etude: published training methods, each one runnable and compared with its paper's baselines.",
               "etude"};
  app.footer(
      "begin with:\n"
      "  etude list                    the papers\n"
      "  etude show noloco             one of them: arms, options, claims\n"
      "  etude run noloco              train it, on text that is built in\n"
      "  etude compare noloco --plan   what a comparison would train, and how long that takes\n"
      "Each command's --help has more.");
  app.require_subcommand(1);
  app.fallthrough();
  app.set_help_flag("-h,--help", "this help");
  app.set_help_all_flag("--help-all", "help of all commands");
  Session session;
  session.arguments.assign(argv + 1, argv + argc);
  Globals globals;
  add_globals(app, session, globals);
  register_frame(session.registry);
  register_methods(session.registry);
  for (const auto& add :
       {add_list, add_show, add_run, add_compare, add_train, add_eject, add_check, add_inspect, add_generate,
        add_export, add_report, add_data, add_bench, add_doctor, add_completion, add_version})
    add(app, session);
  if (argc == 1) {
    std::cout << app.help();
    return static_cast<int>(Code::usage);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const bool help = error.get_exit_code() == 0;
    const std::string word = command_word(argc, argv);
    const bool known =
        word.empty() || !app.get_subcommands([&](const CLI::App* a) { return a->get_name() == word; }).empty();
    if (help && known) return app.exit(error);
    throw usage_error(app, error, argc, argv);
  }
  return session.status;
}

/// A reader that left is no error; a full disk behind standard output is one.
void finish_output() {
  std::cout.flush();
  struct stat out {};
  if (std::cout || fstat(STDOUT_FILENO, &out) != 0 || S_ISFIFO(out.st_mode) || S_ISSOCK(out.st_mode)) return;
  throw Error(Code::io, "what was to be shown could not be written", "standard output",
              "free some space, or send it elsewhere; what is stored in runs is whole");
}

int tell(const Error& error) {
  report_error(error);
  return error.exit_code();
}

}  // namespace
}  // namespace etude::cli

int main(int argc, char** argv) {
  using etude::Code, etude::Error, etude::cli::tell;
  etude::guard_standard_streams();
  try {
    etude::obey_isa_switch();
    etude::install_allocator();
    const int status = etude::cli::run(argc, argv);
    etude::cli::finish_output();
    return status;
  } catch (const Error& error) {
    return tell(error);
  } catch (const c10::Error& error) {
    return tell(etude::cli::from_torch(error));
  } catch (const std::bad_alloc&) {
    return tell(Error(Code::device, "out of memory", "", "a smaller source.batch or net, or fewer replicas"));
  } catch (const std::exception& error) {
    return tell(Error(Code::internal, error.what(), "", "please report it with the command and the recipe"));
  }
}
