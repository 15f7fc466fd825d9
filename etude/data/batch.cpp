#include "etude/data/batch.h"

#include "etude/base/torch_pch.h"

#include "etude/base/error.h"

namespace etude {

Batch Batch::rows(int64_t begin, int64_t end) const {
  Batch cut;
  for (const auto& [name, value] : x) cut.x[name] = value.narrow(0, begin, end - begin);
  cut.id_B = id_B.narrow(0, begin, end - begin);
  for (const auto& [name, inner] : part) cut.part[name] = inner.rows(begin, end);
  for (const auto& [name, strings] : text) cut.text[name] = {strings.begin() + begin, strings.begin() + end};
  return cut;
}

const Tensor& Batch::at(const std::string& name) const {
  auto it = x.find(name);
  if (it != x.end()) return it->second;
  std::string there;
  for (const auto& [key, value] : x) there += (there.empty() ? "" : ", ") + key;
  throw Error(Code::config, "the batch has no '" + name + "'", "batch", "it has: " + (there.empty() ? "nothing" : there) + "; choose a data set that gives what the objective needs");
}

Batch concatenate(const std::vector<Batch>& batches) {
  ETUDE_CHECK(!batches.empty(), "nothing to concatenate");
  Batch all = batches.front();
  for (size_t i = 1; i < batches.size(); ++i) {
    for (auto& [name, value] : all.x) value = torch::cat({value, batches[i].at(name)});
    all.id_B = torch::cat({all.id_B, batches[i].id_B});
    for (auto& [name, inner] : all.part) inner = concatenate({inner, batches[i].part.at(name)});
    for (auto& [name, strings] : all.text) strings.insert(strings.end(), batches[i].text.at(name).begin(), batches[i].text.at(name).end());
  }
  return all;
}

}  // namespace etude
