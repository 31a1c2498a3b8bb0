// Compiled kernels kept on disk between processes: $SPRNN_CACHE_DIR, $XDG_CACHE_HOME/sprnn or ~/.cache/sprnn.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace sprnn::cuda {

// What is in it runs on the GPU, so the directory must be the caller's own, closed to everybody else and no
// symbolic link; else nothing is read from it or written to it. It is no error when the cache cannot be
// used: the kernel is compiled. Any number of processes may share it.
class KernelCache {
 public:
  static constexpr std::int64_t default_limit = std::int64_t{256} << 20;

  // Makes the directory (0700) if there is none.
  explicit KernelCache(std::filesystem::path directory, std::int64_t limit_bytes = default_limit);

  [[nodiscard]] bool usable() const noexcept { return usable_; }
  // The image that was stored under the key; nothing if there is none, or its hash is not that of its
  // content and key.
  [[nodiscard]] std::optional<std::string> find(const std::string& key) const;
  // When the limit is passed, those not used for longest go.
  void store(const std::string& key, const std::string& image) const;

 private:
  [[nodiscard]] bool is_safe() const;
  [[nodiscard]] std::filesystem::path file_of(const std::string& key) const;
  void make_room() const;

  std::filesystem::path directory_;
  std::int64_t limit_;
  bool usable_ = false;
};

// Where the environment says that the cache is; empty if it names no place.
[[nodiscard]] std::filesystem::path cache_directory();

}  // namespace sprnn::cuda
