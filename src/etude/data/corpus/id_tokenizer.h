#pragma once

#include <memory>

#include "etude/data/tokenizer.h"

namespace etude::corpus {

/// For token ids that came without their tokenizer: it knows how many there are, and writes id 17 as "<17>".
/// encode() fails with Code::data: it has no words. `document_end`: -1 for none.
std::shared_ptr<Tokenizer> id_tokenizer(int64_t vocabulary, int64_t document_end);

}  // namespace etude::corpus
