#include <nlohmann/json.hpp>

#include "etude/base/file.h"
#include "etude/base/text.h"
#include "etude/data/sets/converters.h"
#include "etude/data/sets/mo.h"

namespace etude::convert {
namespace {

/// What names a message: its source, or the hash of a long one.
std::string key_of(const Message& message) {
  constexpr size_t kLongest = 100;
  const std::string key = message.context.empty() ? message.source : message.context + "|" + message.source;
  return key.size() <= kLongest ? key : file::sha256(key).substr(0, 16);
}

}  // namespace

/// Members: ".../LANG/LC_MESSAGES/DOMAIN.mo". A message is a document, its text the translation. Fields: lang, domain,
/// source (English), context where there is one. Of several plural forms the first is taken. Sources that were
/// translated by themselves (names, mostly) are there too.
void message_catalogues(const MemberFiles& members, const SetDescription&, const Emit& emit) {
  for (const std::string& path : members_like(members, "**/*/LC_MESSAGES/*.mo")) {
    const size_t folder = path.find("/LC_MESSAGES/");
    const size_t lang_at = path.rfind('/', folder - 1) + 1;
    const std::string lang = path.substr(lang_at, folder - lang_at);
    const std::string domain = path.substr(folder + 13, path.size() - folder - 13 - 3);
    for (const Message& message : read_mo(members.read(path), path)) {
      if (trim(message.translations[0]).empty()) continue;
      nlohmann::json document = {{"id", lang + "/" + domain + "/" + key_of(message)},
                                 {"text", message.translations[0]},
                                 {"lang", lang},
                                 {"domain", domain},
                                 {"source", message.source}};
      if (!message.context.empty()) document["context"] = message.context;
      emit(document);
    }
  }
}

}  // namespace etude::convert
