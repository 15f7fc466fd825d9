#include "etude/nn/encoder_options.h"

#include "etude/base/error.h"

namespace etude {

void check(const EncoderOptions& o, const Config& table) {
  if (o.dim % o.heads == 0) return;
  const Config* value = table.find("heads");
  throw Error(Code::config, "heads = " + std::to_string(o.heads) + " does not divide dim = " + std::to_string(o.dim),
              value && value->origin.kind != Origin::Kind::none ? value->origin.text() : "net encoder, heads",
              "each head is dim / heads wide: choose a divisor of " + std::to_string(o.dim));
}

}  // namespace etude
