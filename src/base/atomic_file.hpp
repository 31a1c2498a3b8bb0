// Reading whole files, and writing them such that a file is either its old self or complete.
#pragma once

#include <cstddef>
#include <filesystem>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace sprnn {

// Closes what open() gave, which may be its -1.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor();
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const noexcept { return fd_; }

 private:
  int fd_;
};

// A regular file or a pipe, read from front to back. Failures throw Error(io) that names the path and the
// operating system's reason.
class InputFile {
 public:
  // Of the file no more than `limit` bytes will be asked for: Error(out_of_memory) if they do not fit.
  explicit InputFile(const std::filesystem::path& path,
                     std::size_t limit = std::numeric_limits<std::size_t>::max());
  // When it was opened; nothing for a pipe.
  [[nodiscard]] std::optional<std::size_t> size() const noexcept { return size_; }
  // The next `most` bytes; fewer only where the file ends.
  [[nodiscard]] std::vector<std::byte> read(std::size_t most);

 private:
  std::filesystem::path path_;
  Descriptor file_;
  std::optional<std::size_t> size_;
};

// The first `limit` bytes of a file.
[[nodiscard]] std::vector<std::byte> read_file(const std::filesystem::path& path,
                                               std::size_t limit = std::numeric_limits<std::size_t>::max());

// Writes a temporary file in the same directory; commit() flushes it to the disk and renames it. Without
// commit the destructor removes it. An existing file keeps its permissions, a symbolic link stays a link.
// Pipes, devices and /dev/stdout are written straight through. Failures throw Error(io).
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  // Of several files all or none are written if each is flushed before the first is committed.
  void flush();
  void commit();

 private:
  void create_temporary();
  void copy_permissions() const;
  void discard() noexcept;
  [[noreturn]] void fail(const char* what) const;  // takes the reason from errno

  std::filesystem::path path_;       // as the caller named it: for messages
  std::filesystem::path target_;     // absolute, symbolic links resolved
  std::filesystem::path temporary_;  // empty: written straight through
  int fd_ = -1;
  int slot_ = -1;  // in the registry of live temporaries
};

}  // namespace sprnn
