#include "etude/base/log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <regex>
#include <thread>

#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/base/text.h"

namespace etude::log_test {
namespace {

struct Result {
  std::string text;  ///< what came out on standard error
  int status = 0;    ///< exit status, or 1000 + the signal
};

Result finish(pid_t child, int from) {
  Result out;
  char piece[4096];
  for (;;) {
    const ssize_t n = read(from, piece, sizeof piece);
    if (n <= 0) break;  // a terminal ends with EIO
    out.text.append(piece, static_cast<size_t>(n));
  }
  close(from);
  int status = 0;
  waitpid(child, &status, 0);
  out.status = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  return out;
}

/// Runs `work` in a child process whose standard error is a pipe.
Result in_pipe(const std::function<void()>& work) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    work();
    _exit(0);
  }
  close(ends[1]);
  return finish(child, ends[0]);
}

/// The same with a terminal of so many columns.
Result in_terminal(int width, const std::function<void()>& work, bool no_colour = false) {
  int master = -1, slave = -1;
  winsize size{};
  size.ws_col = static_cast<unsigned short>(width);
  size.ws_row = 24;
  EXPECT_EQ(openpty(&master, &slave, nullptr, nullptr, &size), 0);
  const pid_t child = fork();
  if (child == 0) {
    setenv("TERM", "xterm", 1);
    no_colour ? setenv("NO_COLOR", "1", 1) : unsetenv("NO_COLOR");
    dup2(slave, STDERR_FILENO);
    close(master);
    close(slave);
    work();
    _exit(0);
  }
  close(slave);
  return finish(child, master);
}

void say_everything(const LogSettings& settings) {
  set_log(settings);
  note("a note");
  inform("some news");
  warn("a warning");
  report_error(Error(Code::data, "bad line", "a.txt:3", "delete it"));
}

constexpr const char* kLoud = "warning: a warning\ndata: bad line (a.txt:3)\nhint: delete it\n";

TEST(Log, SpeaksAsLoudAsAsked) {
  EXPECT_EQ(in_pipe([] { say_everything({}); }).text, std::string("some news\n") + kLoud);
  EXPECT_EQ(in_pipe([] { say_everything({.verbosity = Verbosity::quiet}); }).text, kLoud);
  EXPECT_EQ(in_pipe([] { say_everything({.verbosity = Verbosity::verbose}); }).text,
            std::string("a note\nsome news\n") + kLoud);
}

TEST(Log, WritesJsonLines) {
  const Result out = in_pipe([] {
    say_everything({.json = true});
    warn("q\"\n\xFC");
    LiveLine live(0);
    live.show("step 1");
  });
  std::vector<nlohmann::json> lines;
  std::istringstream text(out.text);
  for (std::string line; std::getline(text, line);) lines.push_back(nlohmann::json::parse(line));
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_EQ(lines[0]["level"], "info");
  EXPECT_EQ(lines[0]["message"], "some news");
  EXPECT_TRUE(std::regex_match(lines[0]["time"].get<std::string>(), std::regex(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)")));
  EXPECT_EQ(lines[2]["level"], "error");
  EXPECT_EQ(lines[2]["code"], "data");
  EXPECT_EQ(lines[2]["where"], "a.txt:3");
  EXPECT_EQ(lines[2]["hint"], "delete it");
  EXPECT_EQ(lines[3]["message"], "q\"\n?");
  EXPECT_EQ(lines[4]["level"], "progress");
  EXPECT_EQ(lines[4]["message"], "step 1");
}

TEST(Log, IsColouredOnlyOnATerminalThatLikesIt) {
  const auto work = [] { say_everything({}); };
  const auto plain = [](const std::string& text) { return text.find('\x1b') == std::string::npos; };
  EXPECT_FALSE(plain(in_terminal(80, work).text));
  EXPECT_TRUE(plain(in_terminal(80, work, true).text));
  EXPECT_TRUE(plain(in_terminal(80, [] { say_everything({.colour = false}); }).text));
  EXPECT_TRUE(plain(in_terminal(80, [] {
                      setenv("TERM", "dumb", 1);
                      say_everything({});
                    }).text));
  EXPECT_TRUE(plain(in_pipe(work).text));
}

TEST(Log, DefusesControlCharacters) {
  EXPECT_EQ(in_pipe([] { warn("a\x1b[2Jb"); }).text, "warning: a?[2Jb\n");
}

TEST(Log, AlsoGoesToAFile) {
  const std::string path = testing::TempDir() + "etude log " + std::to_string(getpid());
  std::filesystem::remove(path);
  in_pipe([&] {
    set_log({.verbosity = Verbosity::quiet, .file = path});
    note("a note");
    warn("a warning");
    set_log_file("");
    warn("not there");
  });
  const std::string text = file::read(path);
  EXPECT_TRUE(std::regex_match(text, std::regex("\\S+Z a note\n\\S+Z warning: a warning\n"))) << text;
  std::filesystem::remove(path);
  EXPECT_THROW(set_log_file(path + "/no/such/place"), Error);
}

TEST(Log, ClosedPipeStopsNothing) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    dup2(ends[1], STDERR_FILENO);
    dup2(ends[1], STDOUT_FILENO);
    set_log({});
    inform("nobody listens");
    (void)!write(STDOUT_FILENO, "x", 1);
    _exit(7);
  }
  close(ends[0]);
  close(ends[1]);
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status)) << "ended by signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

TEST(Log, ClosedStreamsGiveNoNumberAway) {
  const std::string path = testing::TempDir() + "etude closed " + std::to_string(getpid());
  for (int first = 0; first <= 2; ++first) {
    const pid_t child = fork();
    if (child == 0) {
      for (int fd = first; fd <= 2; ++fd) close(fd);
      set_log({});
      file::Writer writer(path, file::Writer::Mode::create);
      writer.write("content");
      warn("this must not land in the file");
      LiveLine(0).show("nor this");
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_EQ(WEXITSTATUS(status), 0);
    EXPECT_EQ(file::read(path), "content");
  }
  std::filesystem::remove(path);
}

TEST(LiveLine, IsPlainAndRareInAPipe) {
  const Result out = in_pipe([] {
    LiveLine live(3600);
    for (int i = 1; i <= 100; ++i) live.show("step " + std::to_string(i));
    live.finish();
    live.finish();
  });
  EXPECT_EQ(out.text, "step 1\nstep 100\n");
  EXPECT_EQ(in_pipe([] {
              LiveLine live(0);
              live.show("a");
              live.show("b");
              live.finish();
            }).text,
            "a\nb\n");
  EXPECT_EQ(in_pipe([] {
              LiveLine live(3600);
              live.show("a");
              live.show("b");
              live.finish("done");
            }).text,
            "a\ndone\n");
}

TEST(LiveLine, IsSilentWhenQuiet) {
  const auto work = [] {
    set_log({.verbosity = Verbosity::quiet});
    LiveLine live(0);
    live.show("a");
    live.finish("b");
  };
  EXPECT_EQ(in_pipe(work).text, "");
  EXPECT_EQ(in_terminal(80, work).text, "");
}

TEST(LiveLine, IsRedrawnAtMostTenTimesASecond) {
  const Result out = in_terminal(80, [] {
    LiveLine live;
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; std::chrono::steady_clock::now() - begin < std::chrono::milliseconds(550); ++i) {
      live.show("step " + std::to_string(i));
    }
    live.finish("the end");
  });
  size_t draws = 0;
  for (size_t p = out.text.find("\r\x1b[Kstep"); p != std::string::npos; p = out.text.find("\r\x1b[Kstep", p + 1))
    ++draws;
  EXPECT_GE(draws, 2u);
  EXPECT_LE(draws, 6u);
  EXPECT_TRUE(out.text.ends_with("\r\x1b[Kthe end\r\n")) << out.text;
}

TEST(LiveLine, FitsTheTerminal) {
  for (const int width : {10, 40, 200}) {
    const Result out = in_terminal(width, [] {
      LiveLine live;
      live.show("step 12/400 | loss 2.345 | \u6f22\u5b57 | 12.3 k tokens/s | wait 0.1 % | eta 3 min\nsecond line");
      std::_Exit(0);
    });
    ASSERT_TRUE(out.text.starts_with("\r\x1b[Kst")) << out.text;
    const std::string line = out.text.substr(4);
    EXPECT_LT(columns(line), width);
    EXPECT_EQ(line.find("second"), std::string::npos);
    if (width == 40) {
      EXPECT_GE(columns(line), 38);
    }
  }
}

TEST(LiveLine, MovesDownForMessages) {
  const Result out = in_terminal(80, [] {
    set_log({});
    LiveLine live;
    live.show("step 1");
    inform("news");
    live.finish();
    inform("later");
  });
  EXPECT_EQ(out.text, "\r\x1b[Kstep 1\r\x1b[Knews\r\nstep 1\r\x1b[Kstep 1\r\nlater\r\n");
}

TEST(LiveLine, EndsItsLineWhenUnwound) {
  const Result out = in_terminal(80, [] {
    try {
      LiveLine live;
      live.show("step 1");
      throw Error(Code::numeric, "not finite");
    } catch (const Error&) {
      inform("stopped");
    }
  });
  EXPECT_EQ(out.text, "\r\x1b[Kstep 1\r\x1b[Kstep 1\r\nstopped\r\n");
}

TEST(Log, ThreadsDontMixTheirLines) {
  const Result out = in_pipe([] {
    std::vector<std::thread> threads;
    threads.reserve(4);
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([t] {
        for (int i = 0; i < 200; ++i) inform(std::string(20, static_cast<char>('a' + t)));
      });
    }
    for (auto& thread : threads) thread.join();
  });
  std::istringstream text(out.text);
  int lines = 0;
  for (std::string line; std::getline(text, line); ++lines) {
    ASSERT_EQ(line, std::string(20, line[0]));
  }
  EXPECT_EQ(lines, 800);
}

}  // namespace
}  // namespace etude::log_test
