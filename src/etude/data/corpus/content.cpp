#include "etude/data/corpus/content.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/base/log.h"
#include "etude/base/mapped_file.h"
#include "etude/base/text.h"
#include "etude/data/corpus/cache_place.h"
#include "etude/data/corpus/errors.h"
#include "etude/data/corpus/token_file.h"
#include "etude/data/sets.h"

namespace etude::corpus {
namespace {

using nlohmann::json;

constexpr int64_t kRemembered = int64_t{8} << 20;  ///< bytes of a text from which on reading it again is worth avoiding
constexpr int64_t kShown = int64_t{256} << 20;     ///< bytes from which on people want to see that it goes on
constexpr int64_t kSettled = 2'000'000'000;        ///< nanoseconds after which a change changes the times of a file

int64_t now_ns() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

/// Reads the files of a text and takes their hash.
class Reading {
 public:
  Reading(const TextSource& source, int64_t total) : source_(source), total_(total) {}

  Content run() {
    for (const TextFile& file : source_.files) {
      if (file.format == TextFormat::tokens) {
        take_tokens(file);
      } else {
        take_text(file);
      }
    }
    if (!source_.is_tokens()) content_.largest = -1;
    content_.sha256 = hash_.hex();
    if (line_) line_->finish("read " + source_.path);
    return std::move(content_);
  }

 private:
  void begin_file(const TextFile& file, int64_t bytes) {
    hash_.add(file.name + "\n" + std::to_string(bytes) + "\n");
    content_.bytes += bytes;
  }

  void take_text(const TextFile& file) {
    FileBytes bytes(file.path);
    content_.stamps.push_back(bytes.stamp());
    std::string_view piece = bytes.next();
    // A byte order mark is no part of a plain text.
    const bool mark =
        file.format == TextFormat::plain && file.packing == Packing::none && piece.starts_with("\xef\xbb\xbf");
    if (mark) piece.remove_prefix(3);
    begin_file(file, bytes.size() - (mark ? 3 : 0));
    for (; !piece.empty() || bytes.given() < bytes.size(); piece = bytes.next()) add(piece);
  }

  void take_tokens(const TextFile& file) {
    content_.stamps.push_back(stamp_of(file.path));
    const file::Mapped mapped(file.path, file::Mapped::Access::sequential);
    const std::string_view bytes = mapped.bytes();
    const TokenRun run = token_run(bytes.substr(0, kTokenHead), static_cast<int64_t>(bytes.size()), file.path);
    begin_file(file, static_cast<int64_t>(bytes.size()));
    constexpr size_t kPiece = size_t{1} << 20;
    for (size_t at = 0; at < bytes.size(); at += kPiece) add(bytes.substr(at, kPiece));
    std::vector<int32_t> ids(kPiece);
    for (int64_t at = 0; at < run.count; at += static_cast<int64_t>(ids.size())) {
      const int64_t n = std::min(static_cast<int64_t>(ids.size()), run.count - at);
      read_tokens(bytes, run, at, n, int64_t{1} << 31, file.path, ids.data());
      content_.largest = std::max<int64_t>(content_.largest, *std::max_element(ids.begin(), ids.begin() + n));
    }
    mapped.require_whole();
  }

  void add(std::string_view piece) {
    hash_.add(piece);
    done_ += static_cast<int64_t>(piece.size());
    if (total_ < kShown) return;
    if (!line_) line_.emplace();
    line_->show("reading " + source_.path + ": " + rounded_number(static_cast<double>(done_) / 1e9, 3) + " of " +
                rounded_number(static_cast<double>(total_) / 1e9, 3) + " GB");
  }

  const TextSource& source_;
  int64_t total_, done_ = 0;
  file::Sha256 hash_;
  Content content_;
  std::optional<LiveLine> line_;
};

std::string entry_of(const TextSource& source) {
  const std::string folder = cache_folder("sources", "large texts are read twice in every run");
  if (folder.empty()) return "";
  std::error_code problem;
  const std::string whole = std::filesystem::absolute(source.path, problem).string();
  return folder + "/" + file::sha256(problem ? source.path : whole) + ".json";
}

json files_of(const TextSource& source, const std::vector<Stamp>& stamps) {
  json files = json::array();
  for (size_t i = 0; i < stamps.size(); ++i) {
    const Stamp& s = stamps[i];
    files.push_back({printable(source.files[i].name), file::sha256(source.files[i].name), s.device, s.inode, s.size,
                     s.modified_ns, s.changed_ns});
  }
  return files;
}

/// What an entry says, if it is about these files.
std::optional<Content> remembered(const std::string& entry, const TextSource& source,
                                  const std::vector<Stamp>& stamps) {
  try {
    if (entry.empty() || !file::exists(entry)) return std::nullopt;
    const json kept = json::parse(file::read(entry), nullptr, false);
    if (!kept.is_object() || kept.value("v", json()) != 1) return std::nullopt;
    if (kept.value("files", json()) != files_of(source, stamps)) return std::nullopt;
    const json sha256 = kept.value("sha256", json()), bytes = kept.value("bytes", json()),
               largest = kept.value("largest", json());
    if (!sha256.is_string() || sha256.get<std::string>().size() != 64) return std::nullopt;
    if (!bytes.is_number_integer() || !largest.is_number_integer()) return std::nullopt;
    return Content{sha256, bytes, largest, stamps};
  } catch (const Error& error) {
    note("'" + entry + "' is of no use: " + error.message());
    return std::nullopt;
  }
}

void remember(const std::string& entry, const TextSource& source, const Content& content, int64_t begun_ns) {
  if (entry.empty()) return;
  for (const Stamp& stamp : content.stamps) {
    if (std::max(stamp.modified_ns, stamp.changed_ns) > begun_ns - kSettled) return;
  }
  const json kept = {{"v", 1},
                     {"path", printable(source.path)},
                     {"files", files_of(source, content.stamps)},
                     {"sha256", content.sha256},
                     {"bytes", content.bytes},
                     {"largest", content.largest}};
  try {
    file::write_atomically(entry, kept.dump(1) + "\n");
  } catch (const Error& error) {
    note("the text is read again the next time: " + error.message());
  }
}

}  // namespace

Content content_of(const TextSource& source) {
  if (source.files.empty()) {
    const std::vector<DataCard> sets = data_sets();
    const auto card =
        std::find_if(sets.begin(), sets.end(), [&](const DataCard& c) { return c.name == source.builtin; });
    ETUDE_CHECK(card != sets.end(), "find_texts() finds built-in texts that there are");
    return {card->sha256, card->bytes, -1, {}};
  }
  const int64_t begun = now_ns();
  std::vector<Stamp> stamps;
  int64_t total = 0;
  for (const TextFile& file : source.files) {
    stamps.push_back(stamp_of(file.path));
    total += stamps.back().size;
  }
  const std::string entry = total >= kRemembered ? entry_of(source) : "";
  if (std::optional<Content> known = remembered(entry, source, stamps)) return *std::move(known);
  Content content = Reading(source, total).run();
  remember(entry, source, content, begun);
  return content;
}

void require_same(const TextSource& source, const Content& content) {
  for (size_t i = 0; i < source.files.size(); ++i) {
    const std::string& path = source.files[i].path;
    if (stamp_of(path) == content.stamps[i]) continue;
    throw refuse("the text changed while it was read", path, "let whoever writes it finish first");
  }
}

}  // namespace etude::corpus
