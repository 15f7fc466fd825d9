#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "etude/base/torch_pch.h"

namespace etude::cli {

void add_version(CLI::App& app, Session& session) {
  app.add_subcommand("version", "this program, its commit, its LibTorch")
      ->footer("examples:\n  etude version\n  etude --json version")
      ->callback([&session] {
        const std::string commit = source_commit();
        if (session.json)
          std::cout << nlohmann::json{{"etude", kVersion},
                                      {"commit", commit},
                                      {"libtorch", TORCH_VERSION},
                                      {"compiler", __VERSION__}}
                           .dump()
                    << '\n';
        else
          std::cout << "etude " << kVersion << (commit.empty() ? "" : ", commit " + commit.substr(0, 12))
                    << ", LibTorch " << TORCH_VERSION << ", g++ " << __VERSION__ << '\n';
      });
}

}  // namespace etude::cli
