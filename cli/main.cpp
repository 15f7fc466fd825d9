#include <iostream>

#include "cli/commands.h"
#include "etude/base/file.h"
#include "etude/base/log.h"

namespace {

int run(int argc, char** argv) {
  using namespace etude;
  CLI::App app{"Etude: published training methods, each one runnable and compared with its paper's baselines.\n\n"
               "  etude list                         the papers\n"
               "  etude show noloco                  one of them: arms, options\n"
               "  etude run noloco/diloco            train one arm\n"
               "  etude compare noloco --plan        what a comparison would train, and how long\n"};
  app.require_subcommand(1);
  app.set_help_all_flag("--help-all", "help of all commands");
  cli::Session session;
  bool quiet = false, verbose = false;
  std::string inject;
  app.add_flag("--json", session.json, "one JSON object a line");
  app.add_flag("-q,--quiet", quiet, "warnings and errors only");
  app.add_flag("-v,--verbose", verbose, "say more");
  app.add_option("--inject", inject, "rehearse a fault: io:N:kill|powercut|enospc|eio");
  app.fallthrough();
  register_frame(session.registry);
  register_methods(session.registry);
  cli::add_list(app, session);
  cli::add_show(app, session);
  cli::add_run(app, session);
  cli::add_compare(app, session);
  cli::add_train(app, session);
  cli::add_eject(app, session);
  cli::add_check(app, session);
  cli::add_generate(app, session);
  cli::add_doctor(app, session);
  app.parse_complete_callback([&] {
    LogSettings log;
    log.verbosity = quiet ? Verbosity::quiet : verbose ? Verbosity::verbose : Verbosity::normal;
    log.json = session.json;
    set_log(log);
    if (!inject.empty()) file::inject(file::Injection::parse(inject));
  });
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    std::vector<std::string> commands;
    for (const auto* command : app.get_subcommands({})) commands.push_back(command->get_name());
    const std::string word = argc > 1 ? argv[1] : "";
    throw Error(Code::usage, error.what(), "", app.get_subcommands().empty() ? did_you_mean(word, commands, "etude --help shows the commands") : "etude " + word + " --help shows its options");
  }
  return session.status;
}

}  // namespace

int main(int argc, char** argv) {
  etude::guard_standard_streams();
  try {
    const int status = run(argc, argv);
    std::cout.flush();
    return status;
  } catch (const etude::Error& error) {
    etude::report_error(error);
    return error.exit_code();
  } catch (const std::exception& error) {
    etude::report_error(etude::Error(etude::Code::internal, error.what(), "", "this is a mistake of ours: please report it with the command"));
    return static_cast<int>(etude::Code::internal);
  }
}
