#pragma once
// Event files for TensorBoard, beside metrics.jsonl: the same values under the same names, by step and by the time of
// the clock on the wall. Nothing of Etude reads them.
//
//   events.out.tfevents.000001    what the first process of a run measured; .000002 that of the next one, ...
//
// A file is a list of records, all numbers little-endian:
//   length of the data (8 bytes), masked CRC-32C of these 8 bytes, the data, masked CRC-32C of the data
// The data are protocol buffers of TensorFlow's event.proto and summary.proto: first the version "brain.Event:2", then
// SessionLog START at the step after the one that the process goes on from - what older files have from there on was
// undone, and TensorBoard drops it -, then an event with a scalar for each value of a line of metrics.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "etude/base/file.h"

namespace etude {

/// CRC-32C (Castagnoli): polynomial 0x1EDC6F41 reflected, all ones before and after, as in RFC 3720.
uint32_t crc32c(std::string_view bytes);

/// Scalars by tag; seconds since 1970. Doubles are rounded to the float that the format has.
struct Scalars {
  double wall_time = 0;
  int64_t step = 0;
  std::map<std::string, double> values = {};
};

/// The records that a file begins with: the version, and START at a step.
std::string event_header(double wall_time, int64_t first_step);
std::string event_record(const Scalars& scalars);

/// The next event file of a directory. Written a record at a time and never synced: after a power cut the newest
/// records may be missing. Errors: Code::io.
class EventFile {
 public:
  /// `first_step`: the least that write() will be called with; what older files have from it on is undone.
  EventFile(const std::string& directory, int64_t first_step);
  void write(int64_t step, const std::map<std::string, double>& values);
  const std::string& path() const { return out_.path(); }

 private:
  file::Writer out_;
};

}  // namespace etude
