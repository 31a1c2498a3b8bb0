#include "model/safetensors.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_set>
#include <utility>

#include "base/quote.hpp"
#include "sprnn/error.hpp"

namespace sprnn::safetensors {

namespace {

using Json = nlohmann::ordered_json;

// Walks the header without building a document: nlohmann's own would keep the last of two equal keys
// silently, and nest as deep as the file likes.
class HeaderReader final : public nlohmann::json_sax<Json> {
 public:
  explicit HeaderReader(const std::string& file) : file_(file) {}

  Header take() { return std::move(header_); }

  bool start_object(std::size_t) override {
    if (place_ == Place::outside) {
      place_ = Place::header;
    } else if (place_ == Place::header_value && key_ == metadata_key) {
      place_ = Place::metadata;
    } else if (place_ == Place::header_value) {
      entry_ = Entry{};
      entry_.name = key_;
      has_dtype_ = has_shape_ = has_offsets_ = false;
      place_ = Place::tensor;
    } else {
      unexpected("an object");
    }
    return true;
  }

  bool end_object() override {
    switch (place_) {
      case Place::header:
        place_ = Place::done;
        break;
      case Place::metadata:
        place_ = Place::header;
        break;
      default:  // only a tensor's object is left
        finish_tensor();
        place_ = Place::header;
    }
    return true;
  }

  bool key(std::string& text) override {
    switch (place_) {
      case Place::header:
        if (!names_.insert(text).second) fail(fmt::format("{} occurs twice in the header", quote(text)));
        key_ = text;
        place_ = Place::header_value;
        break;
      case Place::metadata:
        if (header_.metadata.contains(text)) fail(fmt::format("metadata key {} occurs twice", quote(text)));
        key_ = text;
        place_ = Place::metadata_value;
        break;
      default:
        tensor_key(text);
    }
    return true;
  }

  bool string(std::string& text) override {
    if (place_ == Place::metadata_value) {
      header_.metadata.emplace(key_, text);
      place_ = Place::metadata;
    } else if (place_ == Place::dtype) {
      entry_.dtype = text;
      place_ = Place::tensor;
    } else {
      unexpected("a string");
    }
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ == Place::shape) {
      place_ = Place::shape_items;
    } else if (place_ == Place::offsets) {
      place_ = Place::offset_items;
    } else {
      unexpected("an array");
    }
    return true;
  }

  bool end_array() override {
    if (place_ == Place::offset_items) {
      if (offset_count_ != 2) {
        fail(fmt::format("tensor {}: data_offsets has {} numbers, expected 2", quote(entry_.name),
                         offset_count_));
      }
      if (entry_.begin > entry_.end) {
        fail(fmt::format("tensor {}: data_offsets [{}, {}] end before they begin", quote(entry_.name),
                         entry_.begin, entry_.end));
      }
    }
    place_ = Place::tensor;
    return true;
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ == Place::shape_items) {
      if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        fail(fmt::format("tensor {}: dimension {} is too large", quote(entry_.name), value));
      }
      entry_.shape.push_back(static_cast<std::int64_t>(value));
    } else if (place_ == Place::offset_items) {
      if (offset_count_ == 0) entry_.begin = value;
      if (offset_count_ == 1) entry_.end = value;
      ++offset_count_;
    } else {
      unexpected(fmt::format("the number {}", value));
    }
    return true;
  }

  bool number_integer(number_integer_t value) override {
    return unexpected(fmt::format("the number {}", value));
  }
  bool number_float(number_float_t, const std::string& text) override {
    return unexpected("the number " + quote(text));
  }
  bool null() override { return unexpected("null"); }
  bool boolean(bool value) override { return unexpected(value ? "true" : "false"); }
  bool binary(binary_t&) override { return unexpected("binary data"); }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    // Drops nlohmann's own prefix, "[json.exception.parse_error.101] ".
    std::string_view reason = error.what();
    if (const std::size_t bracket = reason.find("] "); bracket != std::string_view::npos) {
      reason.remove_prefix(bracket + 2);
    }
    fail(fmt::format("the header is not valid JSON at byte {}: {}", position, quote(reason)));
  }

 private:
  enum class Place {
    outside,
    header,
    header_value,
    metadata,
    metadata_value,
    tensor,
    dtype,
    shape,
    shape_items,
    offsets,
    offset_items,
    done
  };

  void tensor_key(const std::string& text) {
    const auto field = [&](bool& seen, Place place) {
      if (std::exchange(seen, true))
        fail(fmt::format("tensor {}: {} occurs twice", quote(entry_.name), text));
      place_ = place;
    };
    if (text == "dtype") return field(has_dtype_, Place::dtype);
    if (text == "shape") return field(has_shape_, Place::shape);
    if (text == "data_offsets") {
      offset_count_ = 0;
      return field(has_offsets_, Place::offsets);
    }
    fail(fmt::format("tensor {}: unknown field {}; expected dtype, shape and data_offsets",
                     quote(entry_.name), quote(text)));
  }

  void finish_tensor() {
    for (const auto& [seen, name] : {std::pair{has_dtype_, "dtype"}, std::pair{has_shape_, "shape"},
                                     std::pair{has_offsets_, "data_offsets"}}) {
      if (!seen) fail(fmt::format("tensor {}: {} is missing", quote(entry_.name), name));
    }
    header_.entries.push_back(std::move(entry_));
  }

  // Returns bool only so that the callbacks above can be one line.
  bool unexpected(const std::string& found) {
    switch (place_) {
      case Place::outside:
        fail(fmt::format("the header is {}, expected an object", found));
      case Place::header_value:
        fail(fmt::format("{} is {}, expected an object", quote(key_), found));
      case Place::metadata_value:
        fail(fmt::format("metadata {} is {}, expected a string", quote(key_), found));
      case Place::dtype:
        fail(fmt::format("tensor {}: dtype is {}, expected a string", quote(entry_.name), found));
      case Place::shape:
      case Place::shape_items:
        fail(fmt::format("tensor {}: shape holds {}, expected an array of non-negative integers",
                         quote(entry_.name), found));
      default:
        fail(fmt::format("tensor {}: data_offsets holds {}, expected two non-negative integers",
                         quote(entry_.name), found));
    }
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCode::format, fmt::format("{}: {}", quote(file_), what));
  }

  const std::string& file_;
  Header header_;
  Place place_ = Place::outside;
  std::string key_;  // of the header or of the metadata
  Entry entry_;      // being read
  bool has_dtype_ = false;
  bool has_shape_ = false;
  bool has_offsets_ = false;
  int offset_count_ = 0;
  std::unordered_set<std::string> names_;
};

std::optional<std::uint64_t> bits_per_element(std::string_view dtype) {
  static constexpr std::array<std::pair<std::string_view, std::uint64_t>, 24> known{{
      {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"BOOL", 8},        {"U8", 8},          {"I8", 8},
      {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
      {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
      {"F64", 64},    {"I64", 64},    {"U64", 64},    {"C64", 64},        {"C128", 128},      {"F128", 128},
  }};
  for (const auto& [name, bits] : known) {
    if (name == dtype) return bits;
  }
  return std::nullopt;
}

}  // namespace

Header parse_header(std::string_view json, const std::string& file) {
  const auto fail = [&](std::string_view what) {
    throw Error(ErrorCode::format, fmt::format("{}: the header {}", quote(file), what));
  };
  // nlohmann's parser skips a byte order mark and takes a zero byte for the end of the text.
  if (!json.starts_with('{')) fail("does not begin with '{': this is not a safetensors file");
  if (json.find('\0') != std::string_view::npos) fail("contains a zero byte");
  HeaderReader reader(file);
  Json::sax_parse(json, &reader);
  return reader.take();
}

void check_size(const std::string& name, const std::string& dtype, const std::vector<std::int64_t>& shape,
                std::uint64_t bytes) {
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorCode::format, fmt::format("tensor {}: {} of shape [{}] {}", quote(name), quote(dtype),
                                               fmt::join(shape, ", "), what));
  };
  std::uint64_t elements = 1;
  for (const std::int64_t dimension : shape) {
    if (dimension < 0) fail("has a negative dimension");
    if (__builtin_mul_overflow(elements, static_cast<std::uint64_t>(dimension), &elements)) {
      fail("has more elements than 64 bits count");
    }
  }
  const std::optional<std::uint64_t> bits = bits_per_element(dtype);
  if (!bits) {
    // A type that is younger than this list: its tensors pass through if their size can be right at all.
    for (const std::uint64_t size : {1U, 2U, 4U, 8U, 16U}) {
      std::uint64_t needed = 0;
      if (!__builtin_mul_overflow(elements, size, &needed) && needed == bytes) return;
    }
    fail(fmt::format("has {} bytes, which fits no element size", bytes));
  }
  std::uint64_t needed_bits = 0;
  if (__builtin_mul_overflow(elements, *bits, &needed_bits)) fail("has more bytes than 64 bits count");
  if (needed_bits % 8 != 0) fail("does not end at a byte");
  if (needed_bits / 8 != bytes) fail(fmt::format("needs {} bytes, has {}", needed_bits / 8, bytes));
}

std::string format_header(const Checkpoint& checkpoint) {
  std::unordered_set<std::string_view> names{metadata_key};
  for (const StoredTensor& tensor : checkpoint.tensors) {
    if (!names.insert(tensor.name).second) {
      throw Error(ErrorCode::invalid_argument, fmt::format("tensor name {} is taken", quote(tensor.name)));
    }
    try {
      check_size(tensor.name, tensor.dtype, tensor.shape, tensor.data.size());
    } catch (const Error& error) {
      throw Error(ErrorCode::invalid_argument, error.what());
    }
  }
  std::string json;
  try {
    // The tensors by hand: ordered_json finds a key in linear time.
    Json metadata = Json::object();
    if (!checkpoint.metadata.empty()) metadata[metadata_key] = checkpoint.metadata;
    json = metadata.dump();
    json.pop_back();
    std::size_t offset = 0;
    for (const StoredTensor& tensor : checkpoint.tensors) {
      if (json.size() > 1) json += ',';
      json += fmt::format(R"({}:{{"dtype":{},"shape":[{}],"data_offsets":[{},{}]}})",
                          Json(tensor.name).dump(), Json(tensor.dtype).dump(), fmt::join(tensor.shape, ","),
                          offset, offset + tensor.data.size());
      offset += tensor.data.size();
    }
  } catch (const nlohmann::json::exception&) {
    throw Error(ErrorCode::invalid_argument, "a tensor's name or the metadata is not UTF-8 text");
  }
  json += '}';
  json.append((8 - json.size() % 8) % 8, ' ');
  std::string header;
  for (std::size_t i = 0; i < length_bytes; ++i) header += static_cast<char>(json.size() >> (8 * i) & 0xFF);
  return header + json;
}

}  // namespace sprnn::safetensors
