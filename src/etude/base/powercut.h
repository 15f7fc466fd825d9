#pragma once
// What a power cut would leave on the disk. While a power cut is armed, the journal notes every change
// that is not durable yet: bytes of a file until that file is fsynced, entries of a directory until that
// directory is. lose() takes all of them back, the last one first.
//
// Files are known by (device, inode) and directories by open descriptors, so that a file is found again
// under whatever name it has by then. Nothing is written to the disk before lose().

#include <sys/stat.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace etude::file {

class Journal {
 public:
  /// Before bytes are added to a file, or cut off behind `size`.
  void will_append(int fd);
  void will_truncate(int fd, off_t size);
  /// After the entry appeared.
  void created(const std::string& path) { added(path, false); }
  void made_directory(const std::string& path) { added(path, true); }
  /// Before the entry goes; forget_last() if it then stays.
  void will_remove(const std::string& path);
  void will_rename(const std::string& from, const std::string& to);
  void forget_last() { entries_.pop_back(); }
  /// After an fsync.
  void synced(int fd);
  void synced_directory(int fd);

  /// Undoes everything that is not durable.
  void lose();

 private:
  struct Directory {
    int fd;
  };
  /// What stood under a name: enough to put it back there.
  struct Stash {
    enum class Form { nothing, file, link, directory } form = Form::nothing;
    int fd = -1;  ///< file: open for reading
    mode_t mode = 0;
    std::string target;                    ///< link
    std::shared_ptr<Directory> directory;  ///< directory: the one that is gone
  };
  struct Entry {
    enum class Change { add_file, add_directory, remove, rename } change;
    std::shared_ptr<Directory> directory, to_directory;
    std::string name, to_name;
    Stash stash;                                       ///< what was removed or replaced
    std::vector<std::shared_ptr<Directory>> unsynced;  ///< durable when empty
  };
  /// The durable bytes of a file are its first `kept` ones, then `cut`.
  struct Content {
    int fd;
    off_t kept;
    std::string cut;
  };
  using Id = std::pair<dev_t, ino_t>;

  Content& content(int fd);
  void added(const std::string& path, bool directory);
  std::shared_ptr<Directory> directory(const std::string& path);
  Stash stash(const std::string& path);
  static void put_back(const Stash& stash, int directory, const std::string& name);
  static void undo(const Entry& entry);

  std::map<Id, Content> contents_;
  std::map<Id, std::shared_ptr<Directory>> directories_;
  std::vector<Entry> entries_;
};

}  // namespace etude::file
