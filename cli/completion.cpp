// `etude completion SHELL`: the script that tells a shell how to complete; it asks `etude complete -- WORDS...`, so
// that it is never behind the program.

#include "cli/completion.h"

#include <algorithm>
#include <iostream>

namespace etude::cli {
namespace {

constexpr const char* kBash = R"(# etude: completion for bash. In ~/.bashrc:  source <(etude completion bash)
_etude() {
  local rest=${COMP_LINE:0:COMP_POINT} begun=() word i
  for ((i = 0; i <= COMP_CWORD; ++i)); do  # bash cuts words at = and : too
    word=${COMP_WORDS[i]}
    [[ $i == "$COMP_CWORD" ]] && word=${rest#"${rest%%[![:space:]]*}"}
    if [[ $i -gt 0 && $rest != [[:space:]]* ]]; then
      begun[-1]+=$word
    else
      rest=${rest#"${rest%%[![:space:]]*}"}
      begun+=("$word")
    fi
    rest=${rest#"$word"}
  done
  local current=${begun[-1]} lines kind
  mapfile -t lines < <("$1" complete -- "${begun[@]:1}" 2> /dev/null)
  kind=${lines[0]-}
  local cut=${current%"${current##*[=:]}"}
  COMPREPLY=()
  for word in "${lines[@]:1}"; do
    word=${word%%$'\t'*}
    COMPREPLY+=("${word#"$cut"}")
  done
  case $kind in
    beginnings) compopt -o nospace 2> /dev/null ;;
    paths) compopt -o filenames 2> /dev/null ;;
  esac
}
complete -F _etude etude
)";

constexpr const char* kZsh = R"(#compdef etude
# etude: completion for zsh. In ~/.zshrc, after compinit:  source <(etude completion zsh)
_etude() {
  local -a lines described names
  local kind line word help
  lines=("${(@f)$("${words[1]}" complete -- "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2> /dev/null)}")
  kind=${lines[1]}
  for line in "${(@)lines[2,-1]}"; do
    word=${line%%$'\t'*}
    help=${line#"$word"}
    names+=("$word")
    described+=("${word}${help:+  -- ${help#$'\t'}}")
  done
  case $kind in
    beginnings) compadd -l -S '' -d described -a names ;;
    paths) compadd -f -S '' -a names ;;
    words) compadd -l -d described -a names ;;
  esac
}
compdef _etude etude
)";

constexpr const char* kFish =
    R"(# etude: completion for fish. In ~/.config/fish/config.fish:  etude completion fish | source
function __etude_complete
    set -l begun (commandline -opc)
    set -l current (commandline -ct)
    $begun[1] complete -- $begun[2..-1] "$current" 2>/dev/null | tail -n +2
end
complete -c etude -f -a '(__etude_complete)'
)";

const char* script(const std::string& shell) {
  if (shell == "bash") return kBash;
  if (shell == "zsh") return kZsh;
  if (shell == "fish") return kFish;
  throw Error(Code::usage, "there is no completion for '" + shell + "'", "etude completion",
              did_you_mean(shell, {"bash", "zsh", "fish"}, "bash, zsh or fish"));
}

/// A line: the word, and behind a tab what it means.
std::string line(const Completion::Candidate& candidate) {
  std::string help = candidate.help;
  std::replace_if(
      help.begin(), help.end(), [](char c) { return c == '\t' || c == '\n'; }, ' ');
  return candidate.word + (help.empty() ? "" : "\t" + help) + "\n";
}

void tell(const Completion& completion) {
  constexpr const char* kKinds[] = {"words", "beginnings", "paths"};
  std::cout << kKinds[static_cast<size_t>(completion.kind)] << '\n';
  for (const Completion::Candidate& candidate : completion.candidates) std::cout << line(candidate);
}

}  // namespace

void add_completion(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("completion", "a script that completes commands, options, methods and keys")
                      ->footer(
                          "examples:\n"
                          "  source <(etude completion bash)      # in ~/.bashrc\n"
                          "  source <(etude completion zsh)       # in ~/.zshrc, after compinit\n"
                          "  etude completion fish | source       # in ~/.config/fish/config.fish");
  auto shell = std::make_shared<std::string>();
  command->add_option("shell", *shell, "bash, zsh or fish")->required();
  command->callback([shell] { std::cout << script(*shell); });

  // Asked by the scripts; in no help.
  auto* asked = app.add_subcommand("complete", "candidates for the last of the words behind --")->group("");
  auto words = std::make_shared<std::vector<std::string>>();
  asked->add_option("words", *words, "of the command line, the last one being completed");
  asked->callback([&app, &session, words] { tell(complete(app, session.registry, *words)); });
}

}  // namespace etude::cli
