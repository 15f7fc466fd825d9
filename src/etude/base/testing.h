#pragma once
// For tests of all rings.

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "etude/base/error.h"

namespace etude {

/// A folder whose path has spaces and umlauts; it goes away with the test.
class TestFolder {
 public:
  TestFolder() {
    std::string name = std::filesystem::temp_directory_path().string() + "/etude-test-XXXXXX";
    if (!mkdtemp(name.data())) throw std::runtime_error("no temporary folder");
    base_ = name;
    path_ = base_ + "/Bücher und Hefte";
    make("");
    chmod(base_.c_str(), 0755);
  }
  ~TestFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(base_, ignored);
  }
  TestFolder(const TestFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string at(const std::string& name) const { return name.empty() ? path_ : path_ + "/" + name; }
  void make(const std::string& name) const { std::filesystem::create_directories(at(name)); }
  std::string write(const std::string& name, std::string_view content) const {
    make(std::filesystem::path(name).parent_path().string());
    std::ofstream(at(name), std::ios::binary) << content;
    return at(name);
  }
  std::string link(const std::string& to, const std::string& name) const {
    std::filesystem::create_symlink(to, at(name));
    return at(name);
  }

 private:
  std::string base_, path_;
};

/// Requires that a call fails with this code, with a message and a place that have these parts, and with a hint.
template <class Call>
void expect_error(Call&& call, Code code, std::string_view message, std::string_view where,
                  std::string_view hint = {}) {
  try {
    call();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    EXPECT_NE(e.message().find(message), std::string::npos) << e.what();
    EXPECT_NE(e.where().find(where), std::string::npos) << e.what() << "\nplace: " << e.where();
    EXPECT_NE(e.hint().find(hint), std::string::npos) << e.what();
    EXPECT_FALSE(e.hint().empty()) << e.what();
    return;
  }
  ADD_FAILURE() << "nothing was refused; expected: " << message;
}

}  // namespace etude
