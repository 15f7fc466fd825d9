// Any text through the tokenizers of tests/interop/fixtures/tokenizers.

#include <cstdint>
#include <cstdlib>

#include "etude/base/error.h"
#include "etude/data/tokenizers/testing_tokenizers.h"
#include "tests/fuzz/planted.h"

namespace {

struct Subject {
  std::shared_ptr<etude::Tokenizer> tokenizer;
  bool lossless;  ///< of byte level and without a normalizer
};

const std::vector<Subject>& subjects() {
  static const std::vector<Subject> all = [] {
    std::vector<Subject> made;
    for (const std::string& name : etude::tokenizer_fixture_names()) {
      made.push_back({etude::fixture_tokenizer(name), name == "gpt2" || name == "llama3"});
    }
    return made;
  }();
  return all;
}

void check(const Subject& subject, std::string_view text) {
  const etude::Encoding found = subject.tokenizer->encode_with_offsets(text);
  if (found.ids != subject.tokenizer->encode(text)) abort();
  for (size_t i = 0; i < found.ids.size(); ++i) {
    const auto& [begin, end] = found.offsets[i];
    if (begin < 0 || begin > end || end > static_cast<int64_t>(text.size())) abort();
  }
  const std::string decoded = subject.tokenizer->decode({found.ids.begin(), found.ids.end()});
  const bool has_special = text.find("<|") != std::string_view::npos;
  if (subject.lossless && !has_special && decoded != text) abort();
  planted(subject.lossless && found.ids.size() > 2 && found.ids[0] == found.ids[1] && found.ids[1] == found.ids[2]);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), std::min<size_t>(size, 4096));
  for (const Subject& subject : subjects()) {
    try {
      check(subject, text);
    } catch (const etude::Error&) {
    }
  }
  return 0;
}
