// The container of .sprnn files; docs/format.md is its description.
#include <fmt/format.h>

#include <array>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <span>

#include "base/atomic_file.hpp"
#include "base/json.hpp"
#include "plan/plan_json.hpp"
#include "sprnn/error.hpp"
#include "sprnn/pack.hpp"

namespace sprnn {

namespace {

using nlohmann::json;

// Like PNG's: a text conversion of line ends or a cut eighth bit breaks it.
constexpr std::array<unsigned char, 8> magic = {0x93, 'S', 'P', 'R', 'N', 'N', '\r', '\n'};
constexpr std::uint32_t version = 1;
constexpr std::size_t preamble_bytes = 24;  // magic, version, zero, header length
constexpr std::size_t alignment = 64;
constexpr std::size_t max_sections = 64;  // of one direction

constexpr std::size_t aligned(std::size_t n) { return (n + alignment - 1) / alignment * alignment; }

static_assert(std::endian::native == std::endian::little, "files are little-endian and are read as they are");

struct Entry {
  std::string name;
  const std::byte* data;
  std::size_t bytes;
};

// Everything of a direction in the order of the file.
std::vector<Entry> entries_of(const PackedDirection& direction) {
  std::vector<Entry> entries;
  for (const Section& section : direction.sections) {
    entries.push_back({section.name(), section.data(), section.size()});
  }
  const auto floats = [&](const char* name, const std::vector<float>& values) {
    if (values.empty()) return;
    entries.push_back(
        {name, reinterpret_cast<const std::byte*>(values.data()), values.size() * sizeof(float)});
  };
  floats("b_ih", direction.b_ih);
  floats("b_hh", direction.b_hh);
  floats("peephole", direction.peephole);
  return entries;
}

json header_of(const Packed& packed) {
  json sections = json::array();
  for (const PackedDirection& direction : packed.directions) {
    json list = json::array();
    for (const Entry& entry : entries_of(direction))
      list.push_back({{"name", entry.name}, {"bytes", entry.bytes}});
    sections.push_back(list);
  }
  return {{"plan", to_value(packed.plan)}, {"sections", sections}};
}

class Reader {
 public:
  Reader(std::span<const std::byte> bytes, std::string name) : bytes_(bytes), name_(std::move(name)) {}

  Packed read() {
    try {
      const json header = read_header();
      Packed packed{plan_from_value(header.at("plan")), {}};
      for (const json& sections : header.at("sections"))
        packed.directions.push_back(read_direction(sections));
      if (offset_ != bytes_.size()) {
        fail(fmt::format("{} bytes after the last section", bytes_.size() - offset_));
      }
      validate(packed);
      check_rewritten(header, header_of(packed));
      return packed;
    } catch (const json::exception& e) {
      throw Error(ErrorCode::format, fmt::format("{}: header: {}{}", name_, e.what(), remedy()));
    } catch (const Error& e) {
      if (e.code() != ErrorCode::format) throw;
      throw Error(ErrorCode::format, fmt::format("{}: {}{}", name_, e.what(), remedy()));
    }
  }

 private:
  // What has this version's beginning is damaged, or of another build.
  [[nodiscard]] const char* remedy() const { return offset_ == 0 ? "" : "; pack the checkpoint again"; }

  json read_header() {
    if (bytes_.size() < preamble_bytes)
      fail(fmt::format("{} bytes is too short for a .sprnn file", bytes_.size()));
    if (std::memcmp(bytes_.data(), magic.data(), magic.size()) != 0) {
      fail("not a .sprnn file (its first bytes are others); `sprnn pack` makes one from a .safetensors file");
    }
    const auto found = read<std::uint32_t>(8);
    if (found != version) {
      fail(fmt::format("format version {}, this build reads version {}; pack the checkpoint again", found,
                       version));
    }
    offset_ = preamble_bytes;
    if (read<std::uint32_t>(12) != 0) fail("reserved bytes 12 to 15 are not zero");
    const auto length = read<std::uint64_t>(16);
    if (length > bytes_.size() - preamble_bytes) {
      fail(fmt::format("header of {} bytes in a file of {}: the file is cut short", length, bytes_.size()));
    }
    const auto* text = reinterpret_cast<const char*>(bytes_.data() + preamble_bytes);
    offset_ += static_cast<std::size_t>(length);
    try {
      return parse_json({text, static_cast<std::size_t>(length)});
    } catch (const std::exception& e) {  // nlohmann's or ours
      fail(fmt::format("header: {}", e.what()));
    }
  }

  PackedDirection read_direction(const json& list) {
    PackedDirection direction;
    if (!list.is_array() || list.size() > max_sections) {
      fail(fmt::format("header: sections of a direction: expected a list of at most {}", max_sections));
    }
    for (const json& entry : list) {
      const auto name = value_at<std::string>(entry, "name");
      const std::span<const std::byte> data = next(name, value_at<std::uint64_t>(entry, "bytes"));
      if (name == "b_ih") {
        direction.b_ih = floats(name, data);
      } else if (name == "b_hh") {
        direction.b_hh = floats(name, data);
      } else if (name == "peephole") {
        direction.peephole = floats(name, data);
      } else {
        Section& section = direction.sections.emplace_back(name, data.size());
        std::copy(data.begin(), data.end(), section.data());
      }
    }
    return direction;
  }

  std::span<const std::byte> next(const std::string& section, std::uint64_t length) {
    const std::size_t begin = aligned(offset_);
    if (begin > bytes_.size() || length > bytes_.size() - begin) {
      fail(fmt::format("section {} of {} bytes reaches past the end: the file is cut short", quote(section),
                       length));
    }
    for (std::size_t i = offset_; i < begin; ++i) {
      if (bytes_[i] != std::byte{0})
        fail(fmt::format("padding byte {} before section {} is not zero", i, quote(section)));
    }
    offset_ = begin + static_cast<std::size_t>(length);
    return bytes_.subspan(begin, static_cast<std::size_t>(length));
  }

  static std::vector<float> floats(const std::string& section, std::span<const std::byte> data) {
    if (data.size() % sizeof(float) != 0) {
      fail(fmt::format("section '{}': {} bytes, expected a multiple of {}", section, data.size(),
                       sizeof(float)));
    }
    std::vector<float> values(data.size() / sizeof(float));
    if (!values.empty()) std::memcpy(values.data(), data.data(), data.size());
    return values;
  }

  template <class T>
  T read(std::size_t at) const {
    T value;
    std::memcpy(&value, bytes_.data() + at, sizeof(T));
    return value;
  }

  // read() says of which file.
  [[noreturn]] static void fail(const std::string& message) { throw Error(ErrorCode::format, message); }

  std::span<const std::byte> bytes_;
  std::string name_;
  std::size_t offset_ = 0;
};

template <class T>
void append(std::vector<std::byte>& bytes, const T& value) {
  const auto* begin = reinterpret_cast<const std::byte*>(&value);
  bytes.insert(bytes.end(), begin, begin + sizeof(T));
}

std::vector<std::byte> file_bytes(const Packed& packed) {
  const std::string header = header_of(packed).dump();
  std::vector<std::byte> bytes;
  bytes.reserve(preamble_bytes + header.size() + static_cast<std::size_t>(packed.bytes()));
  append(bytes, magic);
  append(bytes, version);
  append(bytes, std::uint32_t{0});
  append(bytes, static_cast<std::uint64_t>(header.size()));
  const auto* text = reinterpret_cast<const std::byte*>(header.data());
  bytes.insert(bytes.end(), text, text + header.size());
  for (const PackedDirection& direction : packed.directions) {
    for (const Entry& entry : entries_of(direction)) {
      bytes.resize(aligned(bytes.size()));
      bytes.insert(bytes.end(), entry.data, entry.data + entry.bytes);
    }
  }
  return bytes;
}

}  // namespace

void save_packed(const Packed& packed, const std::filesystem::path& path) {
  AtomicFile file(path);
  file.write(file_bytes(packed));
  file.commit();
}

Packed load_packed(const std::filesystem::path& path) { return parse_packed(read_file(path), path.string()); }

Packed parse_packed(const std::vector<std::byte>& bytes, const std::string& name) {
  return Reader(bytes, name).read();
}

bool is_packed_file(const std::filesystem::path& path) {
  const std::vector<std::byte> begin = read_file(path, magic.size());
  return begin.size() == magic.size() && std::memcmp(begin.data(), magic.data(), magic.size()) == 0;
}

}  // namespace sprnn
