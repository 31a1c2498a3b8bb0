#include "engines/cuda/kernel_cache.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <span>
#include <vector>

#include "base/atomic_file.hpp"
#include "base/sha256.hpp"
#include "sprnn/error.hpp"

namespace sprnn::cuda {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view extension = ".cubin";
constexpr std::size_t hash_digits = 64;
constexpr std::size_t max_image_bytes = std::size_t{64} << 20;

// A file is the hash, a newline and the image. The hash covers the key, so that a file under another's name
// is not taken for it.
std::string hash_of(const std::string& key, std::string_view image) {
  return sha256(fmt::format("{}\n{}", key, image));
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// "dir/" would follow a link that "dir" is.
fs::path without_trailing_slash(const fs::path& path) {
  return path.has_filename() ? path : path.parent_path();
}

}  // namespace

KernelCache::KernelCache(fs::path directory, std::int64_t limit_bytes)
    : directory_(without_trailing_slash(directory.lexically_normal())), limit_(limit_bytes) {
  if (directory_.empty()) return;
  std::error_code ignored;  // what could not be made is not safe either
  fs::create_directories(directory_.parent_path(), ignored);
  mkdir(directory_.c_str(), 0700);
  usable_ = is_safe();
}

bool KernelCache::is_safe() const {
  struct stat status {};
  return lstat(directory_.c_str(), &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == geteuid() &&
         (status.st_mode & 0077U) == 0;
}

fs::path KernelCache::file_of(const std::string& key) const {
  return directory_ / (key + std::string(extension));
}

std::optional<std::string> KernelCache::find(const std::string& key) const {
  if (!usable_ || !is_safe()) return std::nullopt;
  const fs::path path = file_of(key);
  std::error_code ignored;
  if (fs::symlink_status(path, ignored).type() != fs::file_type::regular) return std::nullopt;
  std::vector<std::byte> bytes;
  try {
    bytes = read_file(path, max_image_bytes);
  } catch (const Error&) {
    return std::nullopt;  // another process may just have made room
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.size() <= hash_digits + 1) return std::nullopt;
  std::string image(text.substr(hash_digits + 1));
  if (text.substr(0, hash_digits + 1) != hash_of(key, image) + "\n") {
    fs::remove(path, ignored);
    return std::nullopt;
  }
  fs::last_write_time(path, fs::file_time_type::clock::now(), ignored);  // used, so it stays
  return image;
}

void KernelCache::store(const std::string& key, const std::string& image) const {
  if (!usable_ || !is_safe()) return;
  try {
    const std::string content = hash_of(key, image) + "\n" + image;
    AtomicFile file(file_of(key));
    file.write(std::as_bytes(std::span(content)));
    file.commit();
    make_room();
  } catch (const Error&) {  // a full or read-only disk: the next process compiles again
  }
}

void KernelCache::make_room() const {
  struct Entry {
    fs::path path;
    std::int64_t bytes = 0;
    fs::file_time_type used;
  };
  std::vector<Entry> entries;
  std::int64_t total = 0;
  std::error_code error;
  // What cannot be read, or is gone meanwhile, is left alone.
  for (fs::directory_iterator file(directory_, error), end; !error && file != end; file.increment(error)) {
    if (file->path().extension() != extension) continue;
    std::error_code gone;
    Entry entry{file->path(), 0, file->last_write_time(gone)};
    if (!gone) entry.bytes = static_cast<std::int64_t>(file->file_size(gone));
    if (gone) continue;
    total += entry.bytes;
    entries.push_back(std::move(entry));
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.used < b.used; });
  for (const Entry& entry : entries) {
    if (total <= limit_) return;
    fs::remove(entry.path, error);
    total -= entry.bytes;
  }
}

fs::path cache_directory() {
  if (std::string chosen = variable("SPRNN_CACHE_DIR"); !chosen.empty()) return chosen;
  // The XDG base directory specification: a relative path is to be ignored.
  if (fs::path base = variable("XDG_CACHE_HOME"); base.is_absolute()) return base / "sprnn";
  if (fs::path home = variable("HOME"); home.is_absolute()) return home / ".cache" / "sprnn";
  return {};
}

}  // namespace sprnn::cuda
