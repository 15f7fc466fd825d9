#include "cli/ranks.h"

#include <sys/random.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/child.h"
#include "cli/commands.h"
#include "etude/base/file.h"
#include "etude/base/log.h"
#include "etude/base/text.h"
#include "etude/comm/coordinator.h"
#include "etude/comm/environment.h"
#include "etude/report/run_record.h"

namespace etude::cli {
namespace {

constexpr int64_t kMostRanks = 256, kMostRestarts = 1000;
constexpr double kShortestDeadline = 0.1, kLongestDeadline = 86400;
constexpr const char* kReport = "please report it with the command, the recipe and the ranks' messages";
constexpr int kSignals = 128;  ///< exit codes above are those of signals

std::string random_secret() {
  unsigned char bytes[32];
  if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
    throw Error(Code::io, "no random numbers for a secret can be had", "--nproc", "see dmesg");
  std::string text;
  for (const unsigned char byte : bytes) {
    char two[3];
    std::snprintf(two, sizeof two, "%02x", byte);
    text += two;
  }
  return text;
}

/// The command line of a rank: this one without --nproc, in JSON.
std::vector<std::string> words_of_a_rank(const Session& session) {
  std::vector<std::string> words;
  if (!session.json) words.push_back("--json");
  for (size_t i = 0; i < session.arguments.size(); ++i) {
    const std::string& word = session.arguments[i];
    if (word == "--nproc")
      ++i;
    else if (!word.starts_with("--nproc="))
      words.push_back(word);
  }
  return words;
}

bool left_in_order(int code) { return code == static_cast<int>(Code::interrupted); }
bool killed(int code) { return code > kSignals && !left_in_order(code); }

std::string ending(int code) {
  return killed(code) ? "killed by signal " + std::to_string(code - kSignals)
                      : "ended with exit code " + std::to_string(code);
}

/// Lines of a file that grows.
class Following {
 public:
  explicit Following(std::string path) : path_(std::move(path)) {}
  /// The whole lines since.
  std::vector<std::string> read() {
    std::ifstream in(path_, std::ios::binary);
    in.seekg(static_cast<std::streamoff>(at_));
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line) && !in.eof();) {
      at_ += line.size() + 1;
      lines.push_back(std::move(line));
    }
    return lines;
  }

 private:
  std::string path_;
  size_t at_ = 0;
};

struct Rank {
  explicit Rank(const std::string& file) : errors(file), messages(file) {}
  std::string errors;
  Following messages;
  std::unique_ptr<Child> child = {};
  nlohmann::json progress = {};  ///< what it said last
  int code = 0;                  ///< once there is no child any more
};

class Ranks {
 public:
  Ranks(const Recipe& recipe, const Session& session, const RankOptions& options, const RunSettings& settings)
      : recipe_(recipe),
        session_(session),
        directory_(run_directory(recipe, settings.out)),
        size_(static_cast<int>(options.nproc)),
        restarts_(options.restarts),
        result_before_(result_time()),
        address_(address_of(interface_from_environment())),
        secret_(random_secret()),
        coordinator_(size_, secret_, address_, deadline_from_environment()) {}

  int run() {
    catch_interrupts(kSaving);
    leave_with_parent();
    warn_of_few_cores();
    if (session_.json) tell_start(recipe_, directory_);
    start();
    attend();
    Outcome outcome;
    outcome.directory = directory_;
    outcome.finished = result_time() && result_time() != result_before_;
    if (outcome.finished) outcome.values = report::read_run(directory_).final;
    const Rank& most = most_telling();
    const bool saved =
        std::any_of(ranks_.begin(), ranks_.end(), [](const Rank& rank) { return left_in_order(rank.code); });
    if (!outcome.finished && (!saved || !(left_in_order(most.code) || killed(most.code)))) throw error_of(most);
    return tell_end(recipe_, outcome, session_);
  }

 private:
  /// When the result was written; --fresh may begin with one.
  std::optional<std::filesystem::file_time_type> result_time() const {
    std::error_code none;
    const auto time = std::filesystem::last_write_time(directory_ + "/result.json", none);
    return none ? std::nullopt : std::optional(time);
  }

  void warn_of_few_cores() const {
    const int64_t threads = recipe_.options.threads * size_, cores = available_cores();
    if (threads > cores)
      warn(std::to_string(size_) + " ranks of " + std::to_string(recipe_.options.threads) +
           (recipe_.options.threads == 1 ? " thread" : " threads") + " share " + std::to_string(cores) +
           (cores == 1 ? " core" : " cores"));
  }

  void start() {
    file::make_directories(directory_ + "/ranks");
    const std::vector<std::string> words = words_of_a_rank(session_);
    try {
      for (int r = 0; r < size_; ++r) {
        ranks_.emplace_back(directory_ + "/ranks/" + std::to_string(r) + ".txt");
        start(r, words);
      }
    } catch (const Error&) {
      // Those that have started would wait for the others.
      for (const Rank& rank : ranks_)
        if (rank.child) rank.child->end_now();
      throw;
    }
  }

  void start(int r, const std::vector<std::string>& words) {
    Rank& rank = ranks_[static_cast<size_t>(r)];
    const std::string number = std::to_string(r);
    rank.messages = Following(rank.errors);
    rank.child = std::make_unique<Child>(words, rank.errors,
                                         Child::Variables{{"RANK", number},
                                                          {"LOCAL_RANK", number},
                                                          {"WORLD_SIZE", std::to_string(size_)},
                                                          {"MASTER_ADDR", address_},
                                                          {"MASTER_PORT", std::to_string(coordinator_.port())},
                                                          {"TORCHELASTIC_USE_AGENT_STORE", ""},
                                                          {"ETUDE_SECRET", secret_},
                                                          {"ETUDE_COORDINATOR", "1"}},
                                         [this, r](const nlohmann::json& line) { hear(r, line); });
  }

  /// A rank that was killed comes back, if that was wished, while others are at work; without what is rehearsed.
  void start_again(int r) {
    if (restarts_ == 0 || interrupted() || !leading() || result_time() != result_before_) return;
    --restarts_;
    std::vector<std::string> words = words_of_a_rank(session_);
    const auto rehearsal = std::find(words.begin(), words.end(), "--inject");
    if (rehearsal != words.end()) words.erase(rehearsal, rehearsal + 2);
    std::erase_if(words, [](const std::string& word) { return word.starts_with("--inject="); });
    ranks_[static_cast<size_t>(r)].code = 0;
    gone_.clear();
    start(r, words);
  }

  void hear(int r, const nlohmann::json& line) {
    if (line.value("event", "") != "progress") return;
    ranks_[static_cast<size_t>(r)].progress = line;
    if (session_.json && &ranks_[static_cast<size_t>(r)] == leading()) std::cout << line.dump() << std::endl;
  }

  /// Until all have ended.
  void attend() {
    LiveLine live;
    bool passed_on = false;
    const Rank* before = nullptr;
    while (Rank* const lead = leading()) {
      // What it said while another led was the same.
      if (before && before != lead) lead->messages.read();
      before = lead;
      if (interrupted() && !passed_on) {
        passed_on = true;
        coordinator_.ask_to_leave();
        for (const Rank& rank : ranks_)
          if (rank.child) rank.child->interrupt();
      }
      for (size_t r = 0; r < ranks_.size(); ++r)
        if (ranks_[r].child)
          if (const auto code = ranks_[r].child->poll()) end(static_cast<int>(r), *code);
      pass_messages_on(*lead);
      if (!session_.json && lead->progress.is_object()) live.show(live_text(lead->progress) + " | " + who_is_there());
      std::vector<const Child*> running;
      for (const Rank& rank : ranks_)
        if (rank.child) running.push_back(rank.child.get());
      wait_for_any(running);
    }
    live.finish();
  }

  void end(int r, int code) {
    Rank& rank = ranks_[static_cast<size_t>(r)];
    rank.child.reset();
    rank.code = code;
    if (code == 0 || left_in_order(code)) return;
    coordinator_.left(r, ending(code));
    if (leading()) warn("rank " + std::to_string(r) + " " + ending(code) + "; its messages: " + rank.errors);
    gone_ += (gone_.empty() ? "" : ", ") + std::to_string(r) + " " + ending(code);
    if (killed(code)) start_again(r);
  }

  /// The lowest of those that live.
  Rank* leading() {
    for (Rank& rank : ranks_)
      if (rank.child) return &rank;
    return nullptr;
  }

  /// What the leading rank has to say; errors when it has ended.
  void pass_messages_on(Rank& lead) {
    for (const std::string& text : lead.messages.read()) {
      const auto message = nlohmann::json::parse(text, nullptr, false);
      if (!message.is_object()) continue;
      const std::string level = message.value("level", ""), said = message.value("message", "");
      if (level == "info") inform(said);
      if (level == "warning") warn(said);
    }
  }

  /// "4 ranks", "3 of 4 ranks (2 killed by signal 9)"
  std::string who_is_there() const {
    const auto there = std::count_if(ranks_.begin(), ranks_.end(),
                                     [](const Rank& rank) { return rank.code == 0 || left_in_order(rank.code); });
    const std::string all = std::to_string(size_) + " ranks";
    return gone_.empty() ? all : std::to_string(there) + " of " + all + " (" + gone_ + ")";
  }

  /// A rank's own error is the reason; that it missed another comes second, that it was killed, last.
  const Rank& most_telling() const {
    const auto weight = [](const Rank& rank) {
      if (rank.code == 0 || left_in_order(rank.code)) return 0;
      if (rank.code == kSignals + SIGKILL) return 1;
      if (killed(rank.code) || rank.code == static_cast<int>(Code::internal)) return 2;
      return rank.code == static_cast<int>(Code::comms) ? 3 : 4;
    };
    return *std::max_element(ranks_.begin(), ranks_.end(),
                             [&](const Rank& a, const Rank& b) { return weight(a) < weight(b); });
  }

  Error error_of(const Rank& rank) const {
    const std::string name = "rank " + std::to_string(&rank - ranks_.data());
    if (rank.code == 0) return Error(Code::internal, "all ranks ended, but there is no result", directory_, kReport);
    if (killed(rank.code))
      return Error(Code::comms, name + " was " + ending(rank.code), rank.errors,
                   "the same command goes on from the newest checkpoint");
    const Reported said = reported_error(rank.errors);
    return Error(static_cast<Code>(rank.code), name + ": " + said.message,
                 said.where.empty() ? rank.errors : said.where, said.hint.empty() ? kReport : said.hint);
  }

  const Recipe& recipe_;
  const Session& session_;
  std::string directory_;
  int size_;
  int64_t restarts_;
  std::optional<std::filesystem::file_time_type> result_before_;
  std::string address_;
  std::string secret_;
  Coordinator coordinator_;
  std::vector<Rank> ranks_;
  std::string gone_;  ///< "2 killed by signal 9, 3 ended with exit code 6"
};

}  // namespace

void add_rank_options(CLI::App& command, RankOptions& options) {
  command.add_option("--nproc", options.nproc, "processes of this machine that train together")
      ->capture_default_str()
      ->check(whole(1, kMostRanks));
  command
      .add_option("--interface", options.interface,
                  "network interface between ranks, by name or address; loopback if not given")
      ->check(not_empty());
  command
      .add_option("--restarts", options.restarts,
                  "with --nproc: ranks that are started again when they were killed, while others go on")
      ->capture_default_str()
      ->check(whole(0, kMostRestarts));
  command.add_option("--deadline", options.deadline, "seconds that a rank waits for another; 60 if not given")
      ->check(number(kShortestDeadline, kLongestDeadline));
}

void put_into_environment(const RankOptions& options) {
  if (!options.interface.empty()) setenv("ETUDE_INTERFACE", options.interface.c_str(), 1);
  if (options.deadline > 0) setenv("ETUDE_DEADLINE", plain_number(options.deadline).c_str(), 1);
}

int run_ranks(const Recipe& recipe, const Session& session, const RankOptions& options, const RunSettings& settings) {
  if (const auto joining = joining_from_environment())
    throw Error(Code::usage,
                "this process is rank " + std::to_string(joining->rank) + " of " + std::to_string(joining->size) +
                    " already (" + joining->starter + ")",
                "--nproc", "leave --nproc out where another program starts the ranks");
  drawn_rehearsal(static_cast<int>(options.nproc), recipe);  // says what is wrong with it once, not in each rank
  return Ranks(recipe, session, options, settings).run();
}

}  // namespace etude::cli
