#pragma once
// For tests of reading texts.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "etude/base/testing.h"
#include "etude/data/corpus/bytes.h"
#include "etude/data/corpus/document.h"

namespace etude::corpus {

inline std::unique_ptr<Bytes> in_memory(std::string_view bytes, size_t piece = 7) {
  return std::make_unique<MemoryBytes>(bytes, "here", piece);
}

/// All that a reader gives.
inline std::vector<Document> all_of(DocumentReader& reader) {
  std::vector<Document> documents;
  for (Document document; reader.next(document);) documents.push_back(document);
  return documents;
}

inline std::vector<std::string> texts_of(DocumentReader& reader) {
  std::vector<std::string> texts;
  for (const Document& document : all_of(reader)) texts.push_back(document.text);
  return texts;
}

/// A text that must be refused, and what must be said.
struct Hostile {
  std::string content, message, place, hint;
};

template <class Read>
void refuse_all(const std::vector<Hostile>& all, const Read& read) {
  EXPECT_GE(all.size(), 20u);
  for (const Hostile& one : all) {
    SCOPED_TRACE(one.content.substr(0, 200));
    expect_error([&] { read(one.content); }, Code::data, one.message, one.place, one.hint);
  }
}

/// How many bytes of memory this process has had at most since this was made, beyond what it had then.
class PeakMemory {
 public:
  PeakMemory() {
    std::ofstream("/proc/self/clear_refs") << "5";  // the peak is now
    begin_ = read("VmRSS:");
  }
  /// 0 under AddressSanitizer, which keeps what is freed.
  int64_t grown() const {
#ifdef __SANITIZE_ADDRESS__
    return 0;
#else
    return read("VmHWM:") - begin_;
#endif
  }

 private:
  static int64_t read(const std::string& key) {
    std::ifstream status("/proc/self/status");
    for (std::string word; status >> word;) {
      int64_t kilobytes = 0;
      if (word == key && status >> kilobytes) return kilobytes * 1024;
    }
    return 0;
  }
  int64_t begin_ = 0;
};

/// Endless bytes that are made as they are asked for: `times` copies of a block.
class RepeatedBytes : public Bytes {
 public:
  RepeatedBytes(std::string head, std::string block, int64_t times, std::string tail)
      : head_(std::move(head)), block_(std::move(block)), tail_(std::move(tail)), times_(times) {}
  std::string_view next() override {
    const int64_t turn = turn_++;
    if (turn == 0) return head_;
    if (turn <= times_) return block_;
    return turn == times_ + 1 ? std::string_view(tail_) : std::string_view();
  }
  const std::string& name() const override { return name_; }

 private:
  std::string head_, block_, tail_, name_ = "here";
  int64_t times_, turn_ = head_.empty() ? 1 : 0;
};

}  // namespace etude::corpus
