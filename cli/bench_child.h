#pragma once
// A process that computes on request: it is told in lines of JSON on its standard input, and answers each with one on
// its standard output. What else it writes there is passed over.

#include <sys/types.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace etude::cli {

class BenchChild {
 public:
  using Variables = std::map<std::string, std::string>;

  /// Starts a program (a path, or a name on PATH) with variables beside or instead of our own. `name` stands in errors;
  /// standard error goes to a file. Errors: Code::io when it can't be started.
  BenchChild(std::string name, const std::vector<std::string>& words, const Variables& variables,
             std::string errors_file);
  /// Ends it, and whatever it started.
  ~BenchChild();
  BenchChild(const BenchChild&) = delete;
  BenchChild& operator=(const BenchChild&) = delete;

  /// Errors: Code::io with the end of its standard error when it ends instead of answering; Code::interrupted after
  /// Ctrl-C.
  nlohmann::json ask(const nlohmann::json& request);
  const std::string& name() const { return name_; }

 private:
  /// Without waiting for the answer, and the next answer.
  void tell(const nlohmann::json& request);
  nlohmann::json hear();
  [[noreturn]] void fail();

  std::string name_, errors_file_, rest_;
  pid_t process_ = -1;
  int to_ = -1, from_ = -1;
};

}  // namespace etude::cli
