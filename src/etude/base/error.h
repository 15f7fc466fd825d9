#pragma once
// The one exception type of Etude. What a user can cause (a file, a flag, a peer, a full disk) ends
// in an Error with four parts; what only a programmer can cause ends in ETUDE_CHECK.

#include <exception>
#include <string>
#include <string_view>
#include <vector>

namespace etude {

/// Kinds of failure. The value is the exit code of the process.
enum class Code : int {
  usage = 2,         ///< the command line
  config = 3,        ///< a recipe, an option, a combination of methods
  data = 4,          ///< a data set
  checkpoint = 5,    ///< a stored run
  numeric = 6,       ///< a value that is not finite
  comms = 7,         ///< a peer
  device = 8,        ///< an accelerator
  io = 9,            ///< a file system
  internal = 70,     ///< a bug of ours
  interrupted = 130  ///< Ctrl-C
};

std::string_view code_name(Code code);

/// what: one sentence with the offending value. where: "file:line:column", a tensor's or an option's
/// name; may be empty. hint: what to do; may be empty.
class Error : public std::exception {
 public:
  Error(Code code, std::string what, std::string where = {}, std::string hint = {});

  Code code() const { return code_; }
  const std::string& message() const { return message_; }
  const std::string& where() const { return where_; }
  const std::string& hint() const { return hint_; }
  int exit_code() const { return static_cast<int>(code_); }

  /// The same error with a place, if it has none yet: for callers who know where a text came from.
  Error at(std::string where) const;

  /// "config: unknown key 'lerning_rate' (my.toml:12:1)\nhint: did you mean 'learning_rate'?"
  const char* what() const noexcept override { return full_.c_str(); }

 private:
  Code code_;
  std::string message_, where_, hint_, full_;
};

/// The candidates nearest to `word` (Damerau-Levenshtein, at most a third of its length, at least 1;
/// case and '-' against '_' don't count), best first, ties in the given order; empty if none is near.
std::vector<std::string> nearest(std::string_view word, const std::vector<std::string>& candidates);

/// "did you mean 'x'?" from nearest(), or `otherwise`.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates, std::string otherwise = {});

/// Throws an Error of Code::internal that names the condition and the line of source.
[[noreturn]] void check_failed(const char* condition, const char* file, int line, const std::string& message);

}  // namespace etude

/// For mistakes of programmers; never reachable from a file, a flag or a peer.
#define ETUDE_CHECK(condition, message) \
  ((condition) ? void(0) : ::etude::check_failed(#condition, __FILE__, __LINE__, (message)))
