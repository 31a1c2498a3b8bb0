#include "base/atomic_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <random>
#include <system_error>
#include <utility>

#include "base/memory.hpp"
#include "base/quote.hpp"
#include "base/temporary_registry.hpp"
#include "sprnn/error.hpp"

namespace sprnn {

namespace {

namespace fs = std::filesystem;

[[noreturn]] void throw_io(const fs::path& path, const char* what, int error) {
  throw Error(ErrorCode::io, fmt::format("{}: cannot {}: {}", quote(path.string()), what,
                                         std::system_category().message(error)));
}

int open_retrying(const fs::path& path, int flags, mode_t mode = 0) {
  int fd = -1;
  do {
    fd = open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

[[noreturn]] void throw_too_large(const fs::path& path, std::size_t bytes) {
  throw Error(ErrorCode::out_of_memory,
              fmt::format("{}: {} bytes do not fit into this machine's memory ({} bytes)",
                          quote(path.string()), bytes, physical_memory()));
}

// These name an open descriptor: replacing the file behind it would leave the descriptor's owner (a shell's
// `>>`, say) with the old one.
bool is_descriptor_path(const fs::path& path) {
  const std::string text = path.lexically_normal().string();
  return text == "/dev/stdout" || text == "/dev/stderr" || text.starts_with("/dev/fd/") ||
         text.starts_with("/proc/");
}

// Where a chain of symbolic links ends, whether or not there is a file.
fs::path follow_links(fs::path path, std::error_code& error) {
  constexpr int most_links = 40;  // as Linux itself
  for (int i = 0; i < most_links && fs::is_symlink(fs::symlink_status(path, error)); ++i) {
    path = path.parent_path() / fs::read_symlink(path, error);
    if (error) return path;
  }
  if (fs::is_symlink(fs::symlink_status(path, error))) {
    error = std::make_error_code(std::errc::too_many_symbolic_link_levels);
    return path;
  }
  return fs::absolute(path, error);
}

std::string random_name() {
  std::random_device device;
  return fmt::format(".sprnn-{:08x}{:08x}.tmp", device(), device());
}

}  // namespace

Descriptor::~Descriptor() {
  if (fd_ >= 0) close(fd_);
}

InputFile::InputFile(const fs::path& path, std::size_t limit)
    : path_(path), file_(open_retrying(path, O_RDONLY)) {
  if (file_.get() < 0) throw_io(path, "open for reading", errno);
  struct stat status {};
  if (fstat(file_.get(), &status) != 0) throw_io(path, "read", errno);
  if (S_ISDIR(status.st_mode)) throw_io(path, "read", EISDIR);
  if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)) {  // /dev/zero never ends
    throw Error(ErrorCode::io,
                fmt::format("{}: is a device; expected a file or a pipe", quote(path.string())));
  }
  if (S_ISREG(status.st_mode)) size_ = static_cast<std::size_t>(status.st_size);
  // Without this a sparse file of terabytes would be killed for memory instead of refused.
  if (size_ && std::min(*size_, limit) > physical_memory()) throw_too_large(path, *size_);
}

std::vector<std::byte> InputFile::read(std::size_t most) {
  // The size is only a hint: pipes have none, and files grow.
  const std::size_t hint = size_.value_or(0);
  std::vector<std::byte> bytes;
  std::size_t used = 0;
  try {
    bytes.resize(std::min(std::max<std::size_t>(hint + 1, 4096), most));
    while (used < most) {
      if (used == bytes.size()) bytes.resize(std::min(2 * used, most));
      const ssize_t got = ::read(file_.get(), bytes.data() + used, bytes.size() - used);
      if (got == 0) break;
      if (got > 0) {
        used += static_cast<std::size_t>(got);
      } else if (errno != EINTR) {
        throw_io(path_, "read", errno);
      }
    }
  } catch (const std::bad_alloc&) {
    throw_too_large(path_, std::max(hint, used));
  }
  bytes.resize(used);
  return bytes;
}

std::vector<std::byte> read_file(const fs::path& path, std::size_t limit) {
  return InputFile(path, limit).read(limit);
}

AtomicFile::AtomicFile(const fs::path& path) : path_(path) {
  if (path.empty()) {
    errno = ENOENT;
    fail("write");
  }
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (fs::is_directory(status)) {
    errno = EISDIR;
    fail("write");
  }
  if (is_descriptor_path(path) || (fs::exists(status) && !fs::is_regular_file(status))) {
    // Appending, so that a descriptor's file that already holds something keeps it.
    fd_ = open_retrying(path, O_WRONLY | O_APPEND);
    if (fd_ < 0) fail("open for writing");
    return;
  }
  target_ = fs::exists(status) ? fs::canonical(path, error) : follow_links(path, error);
  if (error) {
    errno = error.value();
    fail("write");
  }
  // Renaming would replace a read-only file without asking.
  if (fs::exists(status) && faccessat(AT_FDCWD, target_.c_str(), W_OK, AT_EACCESS) != 0) fail("write");
  create_temporary();
  try {
    if (fs::exists(status)) copy_permissions();
  } catch (...) {
    discard();
    throw;
  }
}

AtomicFile::~AtomicFile() { discard(); }

void AtomicFile::create_temporary() {
  do {
    temporary_ = target_.parent_path() / random_name();
    // Registered before it exists: a signal in between removes nothing.
    slot_ = register_temporary(temporary_.c_str());
    fd_ = open_retrying(temporary_, O_WRONLY | O_CREAT | O_EXCL, 0666);  // less the umask
    if (fd_ < 0) {
      unregister_temporary(slot_);
      slot_ = -1;
    }
  } while (fd_ < 0 && errno == EEXIST);
  if (fd_ < 0) {
    const int error = errno;
    temporary_.clear();
    errno = error;
    fail("create a file in its directory");
  }
}

void AtomicFile::copy_permissions() const {
  struct stat status {};
  if (stat(target_.c_str(), &status) != 0) fail("write");
  // Only root may give a file away; for everybody else the new file is the writer's, as with any rewrite.
  [[maybe_unused]] const int ignored = fchown(fd_, status.st_uid, status.st_gid);
  if (fchmod(fd_, status.st_mode & 0777U) != 0) fail("set the permissions of");
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    } else if (errno != EINTR) {
      fail("write");
    }
  }
}

void AtomicFile::flush() {
  // Late errors (a full disk on some file systems) come here, before the old file is replaced.
  if (!temporary_.empty() && fsync(fd_) != 0) fail("write");
}

void AtomicFile::commit() {
  if (temporary_.empty()) {
    const int fd = std::exchange(fd_, -1);
    if (close(fd) != 0 && errno != EINTR) fail("write");
    return;
  }
  flush();
  const int fd = std::exchange(fd_, -1);
  if (close(fd) != 0 && errno != EINTR) fail("write");
  if (rename(temporary_.c_str(), target_.c_str()) != 0) fail("replace");
  unregister_temporary(slot_);
  slot_ = -1;
  temporary_.clear();
  // The new name survives a power cut only once the directory is on the disk too; where a file system
  // cannot do that, nothing can be done about it.
  const Descriptor directory(open_retrying(target_.parent_path(), O_RDONLY | O_DIRECTORY));
  if (directory.get() >= 0) fsync(directory.get());
}

void AtomicFile::discard() noexcept {
  if (fd_ >= 0) close(std::exchange(fd_, -1));
  if (!temporary_.empty()) unlink(temporary_.c_str());
  unregister_temporary(slot_);
  slot_ = -1;
  temporary_.clear();
}

void AtomicFile::fail(const char* what) const { throw_io(path_, what, errno); }

}  // namespace sprnn
