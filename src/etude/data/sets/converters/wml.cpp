#include "etude/data/sets/wml.h"

#include <nlohmann/json.hpp>

#include "etude/data/sets/converters.h"

namespace etude::convert {

/// Members: ".../campaigns/CAMPAIGN/....cfg". What is said at once is a document. Fields: campaign, file, event,
/// dialogue (an id that the turns of one event share; none outside of events), turn, speaker (none where a condition
/// chooses who speaks), options.
void wml(const MemberFiles& members, const SetDescription&, const Emit& emit) {
  constexpr std::string_view kFolder = "/campaigns/";
  for (const std::string& path : members_like(members, "**/campaigns/*/**.cfg")) {
    const size_t begin = path.find(kFolder) + kFolder.size();
    const std::string name = path.substr(begin, path.size() - 4 - begin);
    int number = 0;
    for (const WmlLine& line : read_wml_dialogue(as_utf8(members.read(path)), path)) {
      nlohmann::json document = {{"id", name + "#" + std::to_string(++number)},
                                 {"text", line.text},
                                 {"campaign", name.substr(0, name.find('/'))},
                                 {"file", name.substr(name.find('/') + 1)},
                                 {"turn", line.turn}};
      if (!line.event.empty()) document["event"] = line.event;
      if (line.dialogue > 0) document["dialogue"] = name + "#event" + std::to_string(line.dialogue);
      if (!line.speaker.empty()) document["speaker"] = line.speaker;
      if (!line.options.empty()) document["options"] = line.options;
      emit(document);
    }
  }
}

}  // namespace etude::convert
