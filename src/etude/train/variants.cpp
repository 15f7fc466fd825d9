#include "etude/train/variants.h"

#include <map>
#include <utility>

#include "etude/base/error.h"
#include "etude/base/torch_pch.h"

namespace etude {

std::string variant_key(const std::string& variant, const std::string& parameter) {
  return kVariants + variant + "/" + parameter;
}

std::vector<Tensor> variant_values(Store& store, const std::string& variant, const Parameters& parameters) {
  std::vector<Tensor> values;
  for (const Parameter& p : parameters) values.push_back(store.tensor(variant_key(variant, p.name)));
  return values;
}

void add_variants(NamedTensors& nets, const NamedTensors& kept) {
  std::map<std::pair<std::string, std::string>, std::map<std::string, Tensor>> variants;  // by variant and net
  const size_t begin = std::string(kVariants).size();
  for (const auto& [key, value] : kept) {
    const size_t slash = key.find('/', begin), dot = key.find('.', slash);
    ETUDE_CHECK(key.starts_with(kVariants) && dot != std::string::npos, "'" + key + "' is no key of a variant");
    variants[{key.substr(begin, slash - begin), key.substr(slash + 1, dot - slash - 1)}][key.substr(dot + 1)] = value;
  }
  const NamedTensors own = nets;
  for (const auto& [of, values] : variants) {
    const auto& [variant, net] = of;
    for (const auto& [name, value] : own) {
      if (!name.starts_with(net + "/")) continue;
      const std::string rest = name.substr(net.size() + 1);
      const auto other = values.find(rest);
      nets.emplace_back(net + "@" + variant + "/" + rest,
                        other == values.end() ? value : other->second.to(value.scalar_type()));
    }
  }
}

}  // namespace etude
