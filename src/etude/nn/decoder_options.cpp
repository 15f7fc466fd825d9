#include "etude/nn/decoder_options.h"

#include "etude/base/error.h"
#include "etude/base/text.h"

namespace etude {

void check(const DecoderOptions& o, const Config& table) {
  const auto place = [&](const char* key) {
    const Config* value = table.find(key);
    return value && value->origin.kind != Origin::Kind::none ? value->origin.text()
                                                             : std::string("net decoder, ") + key;
  };
  const auto number = [](int64_t n) { return std::to_string(n); };
  if (o.head_dim == 0 && o.dim % o.heads != 0) {
    throw Error(Code::config, "heads = " + number(o.heads) + " does not divide dim = " + number(o.dim), place("heads"),
                "each head is dim / heads wide: choose a divisor of " + number(o.dim) + ", or set head_dim");
  }
  if (o.heads % o.kv_heads_or_default() != 0) {
    throw Error(
        Code::config, "kv_heads = " + number(o.kv_heads_or_default()) + " does not divide heads = " + number(o.heads),
        place("kv_heads"), "heads share keys and values in equal groups: choose a divisor of " + number(o.heads));
  }
  if (o.head_dim % 2 != 0) {
    throw Error(Code::config, "head_dim = " + number(o.head_dim) + " is odd", place("head_dim"),
                "rotary positions turn pairs: make it even");
  }
  if (o.head_dim_or_default() % 2 != 0) {
    throw Error(Code::config, "a head is dim / heads = " + number(o.dim / o.heads) + " wide, which is odd",
                place("heads"), "rotary positions turn pairs: make dim / heads even");
  }
  if (const auto* llama3 = o.rope_scaling.get<Llama3RopeScaling>();
      llama3 && llama3->high_freq_factor <= llama3->low_freq_factor) {
    throw Error(Code::config,
                "high_freq_factor = " + real_text(llama3->high_freq_factor) +
                    " is not above low_freq_factor = " + real_text(llama3->low_freq_factor),
                place("rope_scaling"), "Llama 3.1 has 4 and 1");
  }
}

}  // namespace etude
