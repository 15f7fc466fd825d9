// The adapter_config.json of an adapter, and what is written of it.

#include "etude/nn/peft_config.h"

#include <cstdint>
#include <cstdlib>

#include "etude/base/error.h"
#include "tests/fuzz/planted.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const etude::PeftConfig config = etude::parse_peft_config({reinterpret_cast<const char*>(data), size}, "fuzz");
    if (config.rank < 1 || config.dropout < 0 || config.dropout >= 1) abort();
    const etude::PeftConfig again = etude::parse_peft_config(etude::to_peft_config(config), "again");
    if (again.rank != config.rank || again.alpha != config.alpha || again.dropout != config.dropout ||
        again.rslora != config.rslora || again.fan_in_fan_out != config.fan_in_fan_out)
      abort();
    planted(config.rank > 8 || config.dropout > 0.2 || config.base.size() > 1);
  } catch (const etude::Error&) {
  }
  return 0;
}
