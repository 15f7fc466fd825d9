#pragma once
// Message catalogues of GNU gettext (.mo): texts with their translations. Layout: "GNU gettext utilities", section
// 10.3.

#include <string>
#include <string_view>
#include <vector>

namespace etude {

struct Message {
  std::string context;                    ///< tells equal sources apart; mostly empty
  std::string source;                     ///< in the program's language, mostly English
  std::string plural;                     ///< of the source; empty for a message without
  std::vector<std::string> translations;  ///< one, or one for each form of the plural
};

/// The messages in the order of the file, without its header. Errors: Code::data at "PLACE: byte N".
std::vector<Message> read_mo(std::string_view bytes, const std::string& place);

}  // namespace etude
