#pragma once
// What recipes can name: nets, data sets, objectives, techniques, by their `kind`. Filled by the frame's own
// components and by register_<slug>() of each method's folder; passed around, never global.

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "etude/base/number_table.h"
#include "etude/base/options.h"
#include "etude/data/source.h"
#include "etude/nn/net.h"
#include "etude/train/stage.h"

namespace etude {

/// A named component of one family, with the rows of its options for `etude show` and the card.
template <class Made>
struct Maker {
  std::string help;
  std::vector<OptionInfo> options;
  std::function<Made(const Part&)> make;
  std::function<Part(const Part&)> complete;  ///< the part with every default written out
  /// Of a net that begins from stored weights: what they are. Read from them, so it may take a while. Else unset.
  std::function<DataCard(const Part&)> card = {};
  /// Of data: how many ids its tokenizer has, where one is chosen. Nothing of the data is read. Else unset.
  std::function<std::optional<int64_t>(const Part&)> vocabulary = {};
};

/// A data set opened twice: for training, for validation.
struct DataPair {
  std::shared_ptr<Dataset> train, validation;
};

/// Stands in where nothing can be measured: the table that a claim that is not shown refers to.
struct Simulation {
  std::string help;
  std::function<NumberTable(uint64_t seed)> run;
};

using NetMaker = Maker<std::shared_ptr<Net>>;
using DataMaker = Maker<DataPair>;
using ObjectiveMaker = Maker<std::shared_ptr<Objective>>;
using TechniqueMaker = Maker<std::shared_ptr<Technique>>;

class Registry {
 public:
  /// Errors: Code::internal when a kind is registered twice in a family.
  void net(const std::string& kind, NetMaker maker) { add(nets_, "net", kind, std::move(maker)); }
  void data(const std::string& kind, DataMaker maker) { add(data_, "data", kind, std::move(maker)); }
  void objective(const std::string& kind, ObjectiveMaker maker) {
    add(objectives_, "objective", kind, std::move(maker));
  }
  void technique(const std::string& kind, TechniqueMaker maker) {
    add(techniques_, "technique", kind, std::move(maker));
  }

  void simulation(const std::string& kind, Simulation simulation) {
    add(simulations_, "simulation", kind, std::move(simulation));
  }

  /// Registers a technique class T with options O, constructed as T(O).
  template <class T, class O>
  void technique(const std::string& kind, const std::string& help) {
    technique(kind,
              maker<std::shared_ptr<Technique>, O>("technique " + kind, help, construct<T, O>("technique " + kind)));
  }
  template <class T, class O>
  void objective(const std::string& kind, const std::string& help) {
    objective(kind,
              maker<std::shared_ptr<Objective>, O>("objective " + kind, help, construct<T, O>("objective " + kind)));
  }

  /// A maker whose parts have the options O. `where` names them in errors: "net decoder".
  template <class Made, class O>
  static Maker<Made> maker(const std::string& where, const std::string& help,
                           const std::function<Made(const Part&)>& make) {
    const auto complete = [where](const Part& part) {
      Part whole{write_options(read_part<O>(part, where))};
      whole.config.set("kind", Config(part.kind()));
      return whole;
    };
    return {help, describe_options<O>(), make, complete};
  }

  /// Errors (Code::config, with place and nearest kinds) when a kind is unknown.
  const NetMaker& net(const Part& part) const { return find(nets_, "net", part); }
  const DataMaker& data(const Part& part) const { return find(data_, "data", part); }
  const ObjectiveMaker& objective(const Part& part) const { return find(objectives_, "objective", part); }
  const TechniqueMaker& technique(const Part& part) const { return find(techniques_, "technique", part); }

  const std::map<std::string, TechniqueMaker>& techniques() const { return techniques_; }
  const std::map<std::string, ObjectiveMaker>& objectives() const { return objectives_; }
  const std::map<std::string, NetMaker>& nets() const { return nets_; }
  const std::map<std::string, DataMaker>& data_sets() const { return data_; }
  const std::map<std::string, Simulation>& simulations() const { return simulations_; }

  /// Options of a part without its key `kind`.
  template <class O>
  static O read_part(const Part& part, const std::string& where) {
    Config rest = part.config;
    rest.erase("kind");
    O options;
    read_options(rest, options, where);
    return options;
  }

 private:
  template <class T, class O>
  static auto construct(const std::string& where) {
    return [where](const Part& part) { return std::make_shared<T>(read_part<O>(part, where)); };
  }
  template <class M>
  static void add(std::map<std::string, M>& into, const char* family, const std::string& kind, M maker) {
    ETUDE_CHECK(into.emplace(kind, std::move(maker)).second,
                std::string("two ") + family + "s are called '" + kind + "'");
  }
  template <class M>
  static const M& find(const std::map<std::string, M>& in, const char* family, const Part& part) {
    const std::string kind = part.kind();
    if (auto it = in.find(kind); it != in.end()) return it->second;
    std::vector<std::string> known;
    for (const auto& [name, maker] : in) known.push_back(name);
    throw Error(Code::config, std::string("unknown ") + family + " '" + kind + "'",
                part.config.find("kind")->origin.text(), did_you_mean(kind, known, "known: " + join(known)));
  }
  static std::string join(const std::vector<std::string>& words);

  std::map<std::string, NetMaker> nets_;
  std::map<std::string, DataMaker> data_;
  std::map<std::string, ObjectiveMaker> objectives_;
  std::map<std::string, TechniqueMaker> techniques_;
  std::map<std::string, Simulation> simulations_;
};

/// The frame's own: nets decoder, gpt2, encoder, hugging_face, data text, objectives next_token, masked_token,
/// techniques data_parallel, ema, bf16.
void register_frame(Registry& registry);
/// A method that is built: its folder's name, and its register_<slug>().
struct BuiltMethod {
  std::string slug;
  void (*add)(Registry&);
};
/// Generated: one for each folder in methods/, by slug.
std::vector<BuiltMethod> built_methods();
/// What all of them register.
void register_methods(Registry& registry);

}  // namespace etude
