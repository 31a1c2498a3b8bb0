#include "sprnn/checkpoint.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <span>

#include "base/atomic_file.hpp"
#include "base/quote.hpp"
#include "model/safetensors.hpp"
#include "sprnn/error.hpp"

namespace sprnn {

namespace {

using safetensors::Entry;
using safetensors::Header;
using safetensors::length_bytes;

// The next so many bytes of a file, which has them.
using Next = std::function<std::vector<std::byte>(std::uint64_t)>;

std::uint64_t read_length(const std::vector<std::byte>& bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < length_bytes; ++i) value |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
  return value;
}

// PyTorch's own files: a zip archive since 1.6, before that a bare pickle (protocol 2 to 5).
bool looks_like_pickle(const std::vector<std::byte>& bytes) {
  const auto at = [&](std::size_t i) { return i < bytes.size() ? std::to_integer<int>(bytes[i]) : -1; };
  return (at(0) == 'P' && at(1) == 'K' && at(2) == 3 && at(3) == 4) ||
         (at(0) == 0x80 && at(1) >= 2 && at(1) <= 5);
}

[[noreturn]] void throw_pickle(const std::string& name) {
  throw Error(
      ErrorCode::format,
      fmt::format(
          "{}: this is a pickle or a zip archive (as torch.save writes), which is not read because it "
          "can hold code; convert it with: python -c 'from safetensors.torch import save_file; "
          "import torch; save_file(torch.load(\"model.pt\", map_location=\"cpu\", "
          "weights_only=True), \"model.safetensors\")'",
          quote(name)));
}

// Sorts the tensors by place; throws unless they cover the data without gap and overlap.
void check_layout(std::vector<Entry>& entries, std::uint64_t data_bytes, const std::string& file) {
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorCode::format, fmt::format("{}: {}", quote(file), what));
  };
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair{a.begin, a.end} < std::pair{b.begin, b.end};
  });
  std::uint64_t covered = 0;
  for (const Entry& entry : entries) {
    const std::string where =
        fmt::format("tensor {}: data_offsets [{}, {}]", quote(entry.name), entry.begin, entry.end);
    if (entry.end > data_bytes) {
      fail(fmt::format("{} go past the end of the data, which has {} bytes: the file is truncated or lies",
                       where, data_bytes));
    }
    if (entry.begin < covered)
      fail(fmt::format("{} overlap the tensor before, which ends at {}", where, covered));
    if (entry.begin > covered)
      fail(fmt::format("{} leave a gap: the tensor before ends at {}", where, covered));
    try {
      safetensors::check_size(entry.name, entry.dtype, entry.shape, entry.end - entry.begin);
    } catch (const Error& error) {
      fail(error.what());
    }
    covered = entry.end;
  }
  if (covered != data_bytes) {
    fail(fmt::format("{} bytes after the last tensor belong to no tensor", data_bytes - covered));
  }
}

// Each tensor is read into its place, so a large file is in memory once.
Checkpoint parse(std::uint64_t size, const Next& next, const std::string& name) {
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorCode::format, fmt::format("{}: {}", quote(name), what));
  };
  const std::vector<std::byte> begin = next(std::min<std::uint64_t>(size, length_bytes));
  if (size < length_bytes) {
    if (looks_like_pickle(begin)) throw_pickle(name);
    fail(fmt::format("has {} bytes, too few for a safetensors file", size));
  }
  const std::uint64_t header_bytes = read_length(begin);
  if (header_bytes > safetensors::max_header_bytes) {
    // Checked only here: a header of 640 bytes begins like a pickle, 80 02.
    if (looks_like_pickle(begin)) throw_pickle(name);
    fail(fmt::format(
        "the header claims {} bytes, more than the format's limit of {}: this is not a safetensors file",
        header_bytes, safetensors::max_header_bytes));
  }
  const std::vector<std::byte> text = next(std::min(header_bytes, size - length_bytes));
  // Zip archives without version and flags, as old torch.save writes: as a length, PK 03 04 is within the
  // limit.
  constexpr std::uint64_t plain_zip = 0x04034b50;
  if (header_bytes == plain_zip && !text.empty() && text.front() != std::byte{'{'}) throw_pickle(name);
  if (header_bytes > size - length_bytes) {
    fail(fmt::format(
        "the header claims {} bytes, but only {} follow: the file is truncated or is not a safetensors "
        "file",
        header_bytes, size - length_bytes));
  }
  Header header = safetensors::parse_header({reinterpret_cast<const char*>(text.data()), text.size()}, name);

  check_layout(header.entries, size - length_bytes - header_bytes, name);
  Checkpoint checkpoint;
  checkpoint.metadata = std::move(header.metadata);
  checkpoint.tensors.reserve(header.entries.size());
  for (Entry& entry : header.entries) {
    std::vector<std::byte> data = next(entry.end - entry.begin);
    checkpoint.tensors.push_back(
        {std::move(entry.name), std::move(entry.dtype), std::move(entry.shape), std::move(data)});
  }
  return checkpoint;
}

}  // namespace

const StoredTensor* Checkpoint::find(std::string_view name) const noexcept {
  const auto found = std::find_if(tensors.begin(), tensors.end(),
                                  [&](const StoredTensor& tensor) { return tensor.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

Checkpoint load_checkpoint(const std::filesystem::path& path) {
  const std::string name = path.string();
  InputFile file(path);
  if (!file.size()) return parse_checkpoint(file.read(std::numeric_limits<std::size_t>::max()), name);
  const Next next = [&](std::uint64_t bytes) {
    std::vector<std::byte> part = file.read(bytes);
    if (part.size() < bytes)
      throw Error(ErrorCode::io, fmt::format("{}: became shorter while it was read", quote(name)));
    return part;
  };
  return parse(*file.size(), next, name);
}

Checkpoint parse_checkpoint(const std::vector<std::byte>& bytes, const std::string& name) {
  std::span<const std::byte> rest = bytes;
  const Next next = [&](std::uint64_t count) {
    const std::span<const std::byte> part = rest.first(count);
    rest = rest.subspan(count);
    return std::vector<std::byte>(part.begin(), part.end());
  };
  return parse(bytes.size(), next, name);
}

void save_checkpoint(const Checkpoint& checkpoint, const std::filesystem::path& path) {
  std::string header;
  try {
    header = safetensors::format_header(checkpoint);
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("cannot save {}: {}", quote(path.string()), error.what()));
  }
  AtomicFile file(path);
  file.write(std::as_bytes(std::span(header)));
  for (const StoredTensor& tensor : checkpoint.tensors) file.write(tensor.data);
  file.commit();
}

}  // namespace sprnn
