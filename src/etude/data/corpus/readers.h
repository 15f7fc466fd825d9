#pragma once
// Documents out of the bytes of one file. Memory: a piece of the file and the largest document or piece of one.

#include <memory>
#include <string>

#include "etude/data/corpus/bytes.h"
#include "etude/data/corpus/document.h"

namespace etude::corpus {

/// The largest line of JSON, row of a table: bytes.
inline constexpr size_t kMostLine = size_t{256} << 20;
/// A plain text comes in pieces of this many bytes (and up to as many, when it has no line end there).
inline constexpr size_t kTextPiece = size_t{4} << 20;

/// The whole file is one document, byte by byte, but for a byte order mark. Pieces of a text larger than `piece` end
/// behind a line end where there is one in their second half, else behind a character.
/// Errors: Code::data: empty, not UTF-8, NUL bytes. Required: piece >= 8.
std::unique_ptr<DocumentReader> plain_text(std::unique_ptr<Bytes> bytes, const std::string& name,
                                           size_t piece = kTextPiece);

/// JSON lines: a document is the string at `field` (json_field()) of the object on each line. Lines of blanks are
/// passed over; an empty string and null are documents without text. Errors: Code::data at "file:line" or
/// "file:line:column": what json_field() refuses, no such field (with the nearest ones), no line at all, not UTF-8, a
/// line of more than `most` bytes.
std::unique_ptr<DocumentReader> json_lines(std::unique_ptr<Bytes> bytes, const std::string& name,
                                           const std::string& field, size_t most = kMostLine);

/// A table with a line of names (RFC 4180, also with "\n" alone, and with tabs): a document is the cell of each row in
/// column `field`. A cell that begins with a quote goes to its closing quote, over line ends too; a doubled quote in it
/// is one; quotes elsewhere are characters. Lines without anything are passed over.
/// Errors: Code::data at "file:line" of the row's beginning: no such column (with the nearest ones), a name that is
/// there twice, rows with more or fewer cells than the first, a quote that is not closed or is followed by other
/// characters, not UTF-8, no rows, a row of more than `most` bytes.
std::unique_ptr<DocumentReader> delimited(std::unique_ptr<Bytes> bytes, const std::string& name,
                                          const std::string& field, char delimiter, size_t most = kMostLine);

}  // namespace etude::corpus
