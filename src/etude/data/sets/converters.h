#pragma once
// Converters: what a package holds, as documents. One for each kind of file, written against bytes alone: no file
// system, no LibTorch, so that each can be tested on a few lines and fuzzed by itself.
//
// Whatever comes out depends on the bytes that go in and on the set's options, never on locale, time or the order in
// which a disk lists its files.

#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "etude/data/sets/archive.h"
#include "etude/data/sets/description.h"

namespace etude {

/// The member files of a set by their path in the package, without a "/" before it
/// ("usr/share/games/fortunes/people"). They are read when asked for, and not kept.
class MemberFiles {
 public:
  virtual ~MemberFiles() = default;
  virtual const std::vector<std::string>& paths() const = 0;  ///< sorted by their bytes, each once
  /// Requires one of paths(). Errors: Code::io when it can't be read.
  virtual std::string read(const std::string& path) const = 0;
};

/// Members that stand in memory already: for tests, for fuzzing.
class MemberTexts : public MemberFiles {
 public:
  explicit MemberTexts(std::map<std::string, std::string> texts);
  const std::vector<std::string>& paths() const override { return paths_; }
  std::string read(const std::string& path) const override { return texts_.at(path); }

 private:
  std::map<std::string, std::string> texts_;
  std::vector<std::string> paths_;
};

/// Takes one document: an object with
///   `id`    a string that stays the same when other documents come or go ("Gen 1:1", "people/17", a headword);
///           unique within the set,
///   `text`  UTF-8, not empty, no NUL,
/// and the set's own fields (lang, book, section, label, speaker, ...), named in the set's `about`. What breaks this
/// is an error of Code::data naming the document.
using Emit = std::function<void(const nlohmann::json& document)>;

/// Calls `emit` once for each document, in an order that the bytes decide. Errors: Code::data naming the member (and
/// the line, verse or byte in it) for files that are not what the kind says; a set whose members don't hold a single
/// document is no concern of the converter: whoever calls it counts.
using Convert = void (*)(const MemberFiles& members, const SetDescription& set, const Emit& emit);

struct Converter {
  std::string_view kind;
  Convert convert;
};

/// Of a set's `kind`. Errors: Code::internal for a kind that there isn't.
const Converter& converter(std::string_view kind);
/// All of them, sorted by kind.
const std::vector<Converter>& converters();

// What converters share.

/// The members that a pattern matches (matches_glob() in description.h), in their order.
std::vector<std::string> members_like(const MemberFiles& members, std::string_view glob);
/// The error for a member that is not what its kind says: "WHAT", at "MEMBER" or "MEMBER:LINE".
[[noreturn]] void refuse_member(const std::string& member, const std::string& what, int64_t line = 0);
/// The bytes as UTF-8: as they are if they are UTF-8, else taken as ISO 8859-1.
std::string as_utf8(std::string bytes);
/// Without blanks at the ends, and with a single blank for each run of blanks and line ends.
std::string one_line(std::string_view text);

// One line for each kind; kind.cpp in converters/ defines it.

namespace convert {
void chess(const MemberFiles&, const SetDescription&, const Emit&);      ///< .olv (YAML) and .pgn problems
void debdesc(const MemberFiles&, const SetDescription&, const Emit&);    ///< Packages joined with Translation-*
void debtags(const MemberFiles&, const SetDescription&, const Emit&);    ///< the Tag fields of Packages
void dictd(const MemberFiles&, const SetDescription&, const Emit&);      ///< .index with .dict.dz
void fortunes(const MemberFiles&, const SetDescription&, const Emit&);   ///< records between lines "%"
void html(const MemberFiles&, const SetDescription&, const Emit&);       ///< pages of a book
void iso_codes(const MemberFiles&, const SetDescription&, const Emit&);  ///< JSON lists of codes
void mallard(const MemberFiles&, const SetDescription&, const Emit&);    ///< GNOME's help pages in XML
void manpages(const MemberFiles&, const SetDescription&, const Emit&);   ///< troff with man and mdoc macros
void markdown(const MemberFiles&, const SetDescription&, const Emit&);   ///< a file is a document
void message_catalogues(const MemberFiles&, const SetDescription&, const Emit&);  ///< gettext's .mo
void metamath(const MemberFiles&, const SetDescription&, const Emit&);            ///< .mm: theorems with their proofs
void plain_text(const MemberFiles&, const SetDescription&, const Emit&);          ///< a numbered section is a document
void r_data(const MemberFiles&, const SetDescription&, const Emit&);              ///< .rda, and .rdb with .rdx
void sword(const MemberFiles&, const SetDescription&, const Emit&);               ///< zText modules: verses
void talk_topics(const MemberFiles&, const SetDescription&, const Emit&);         ///< Cataclysm's dialogue graph
void time_zones(const MemberFiles&, const SetDescription&, const Emit&);          ///< zone.tab with iso3166.tab
void wml(const MemberFiles&, const SetDescription&, const Emit&);                 ///< Wesnoth's campaigns
void wordnet(const MemberFiles&, const SetDescription&, const Emit&);             ///< data.* of wndb(5)
void words(const MemberFiles&, const SetDescription&, const Emit&);               ///< a word in each line
}  // namespace convert

}  // namespace etude
