#include "sprnn/npy.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <bit>
#include <cmath>
#include <memory>
#include <span>

#include "base/atomic_file.hpp"
#include "base/quote.hpp"
#include "model/npy_header.hpp"
#include "sprnn/dtype.hpp"
#include "sprnn/error.hpp"

namespace sprnn {

namespace {

constexpr std::string_view magic = "\x93NUMPY";
constexpr std::size_t prelude_bytes = 8;  // the magic and two bytes of version

// A validated file: `data` has exactly the bytes that shape and item size ask for.
struct Parsed {
  npy::Header header;
  std::size_t item_bytes = 0;
  std::span<const std::byte> data;
};

std::uint64_t read_little_endian(std::span<const std::byte> bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) value |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
  return value;
}

class Reader {
 public:
  Reader(const std::vector<std::byte>& bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  // `kind` is NumPy's letter; `sizes` the item sizes taken; `expected` says so in words.
  Parsed parse(char kind, std::initializer_list<std::size_t> sizes, std::string_view expected) const {
    Parsed parsed;
    const std::size_t data_begin = read_header(parsed.header);
    parsed.item_bytes = check_dtype(parsed.header.descr, kind, sizes, expected);
    if (parsed.header.fortran_order) {
      fail("is in Fortran order, expected C order; in NumPy, save np.ascontiguousarray(x) instead");
    }
    parsed.data = std::span(bytes_).subspan(data_begin);
    check_size(parsed);
    return parsed;
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCode::format, fmt::format("{}: {}", quote(name_), what));
  }

 private:
  std::size_t read_header(npy::Header& header) const {
    const std::string_view text(reinterpret_cast<const char*>(bytes_.data()), bytes_.size());
    if (!text.starts_with(magic)) {
      if (text.starts_with("PK\x03\x04"))
        fail("is a zip archive (.npz); expected one array, as np.save writes");
      fail("is not a .npy file: it does not begin with \\x93NUMPY");
    }
    if (text.size() < prelude_bytes) fail("is truncated: the version is missing");
    const int major = std::to_integer<int>(bytes_[6]);
    const int minor = std::to_integer<int>(bytes_[7]);
    if (major < 1 || major > 3 || minor != 0) {
      fail(fmt::format(".npy version {}.{}, expected 1.0, 2.0 or 3.0", major, minor));
    }
    const std::size_t length_bytes = major == 1 ? 2 : 4;
    const std::size_t text_begin = prelude_bytes + length_bytes;
    if (text.size() < text_begin) fail("is truncated: the header's length is missing");
    const std::uint64_t length = read_little_endian(std::span(bytes_).subspan(prelude_bytes, length_bytes));
    if (length > text.size() - text_begin) {
      fail(fmt::format("is truncated: the header claims {} bytes, but only {} follow", length,
                       text.size() - text_begin));
    }
    header = npy::parse_header(text.substr(text_begin, length), name_);
    return text_begin + length;
  }

  std::size_t check_dtype(std::string_view descr, char kind, std::initializer_list<std::size_t> sizes,
                          std::string_view expected) const {
    for (const std::size_t size : sizes) {
      if (descr == fmt::format("<{}{}", kind, size)) return size;
      if (descr == fmt::format(">{}{}", kind, size)) {
        fail(fmt::format(
            "is big-endian ({}), expected little-endian; in NumPy, save x.astype('<{}{}') instead", descr,
            kind, size));
      }
    }
    fail(fmt::format("has dtype {}, expected {}; in NumPy, save x.astype('<{}{}') instead", quote(descr),
                     expected, kind, kind == 'f' ? 4 : 8));
  }

  void check_size(const Parsed& parsed) const {
    const auto& shape = parsed.header.shape;
    std::uint64_t needed = parsed.item_bytes;
    for (const std::int64_t dimension : shape) {
      if (__builtin_mul_overflow(needed, static_cast<std::uint64_t>(dimension), &needed)) {
        fail(fmt::format("shape ({}) has more bytes than 64 bits count", fmt::join(shape, ", ")));
      }
    }
    if (needed != parsed.data.size()) {
      fail(fmt::format("shape ({}) of {} needs {} bytes of data, the file has {}", fmt::join(shape, ", "),
                       quote(parsed.header.descr), needed, parsed.data.size()));
    }
  }

  const std::vector<std::byte>& bytes_;
  const std::string& name_;
};

float to_float(std::uint64_t bits, std::size_t item_bytes) {
  if (item_bytes == 2) return from_bits(DType::fp16, static_cast<std::uint32_t>(bits));
  if (item_bytes == 4) return std::bit_cast<float>(static_cast<std::uint32_t>(bits));
  return static_cast<float>(std::bit_cast<double>(bits));
}

}  // namespace

FloatArray load_npy_floats(const std::filesystem::path& path) {
  return parse_npy_floats(read_file(path), path.string());
}

FloatArray parse_npy_floats(const std::vector<std::byte>& bytes, const std::string& name) {
  const Reader reader(bytes, name);
  Parsed parsed = reader.parse('f', {2, 4, 8}, "float16, float32 or float64");
  FloatArray array;
  array.values.resize(parsed.data.size() / parsed.item_bytes);
  for (std::size_t i = 0; i < array.values.size(); ++i) {
    const std::uint64_t bits =
        read_little_endian(parsed.data.subspan(i * parsed.item_bytes, parsed.item_bytes));
    array.values[i] = to_float(bits, parsed.item_bytes);
    if (parsed.item_bytes == 8 && std::isinf(array.values[i]) && std::isfinite(std::bit_cast<double>(bits))) {
      reader.fail(fmt::format("element {} is {}, which float32 cannot hold", i, std::bit_cast<double>(bits)));
    }
  }
  array.shape = std::move(parsed.header.shape);
  return array;
}

IntArray load_npy_ints(const std::filesystem::path& path) {
  return parse_npy_ints(read_file(path), path.string());
}

IntArray parse_npy_ints(const std::vector<std::byte>& bytes, const std::string& name) {
  Parsed parsed = Reader(bytes, name).parse('i', {4, 8}, "int32 or int64");
  IntArray array;
  array.values.resize(parsed.data.size() / parsed.item_bytes);
  for (std::size_t i = 0; i < array.values.size(); ++i) {
    const std::uint64_t bits =
        read_little_endian(parsed.data.subspan(i * parsed.item_bytes, parsed.item_bytes));
    array.values[i] = parsed.item_bytes == 4 ? static_cast<std::int32_t>(static_cast<std::uint32_t>(bits))
                                             : static_cast<std::int64_t>(bits);
  }
  array.shape = std::move(parsed.header.shape);
  return array;
}

namespace {

void write_npy(AtomicFile& file, const FloatArray& array, const std::filesystem::path& path) {
  std::uint64_t elements = 1;
  for (const std::int64_t dimension : array.shape) {
    if (dimension < 0 || __builtin_mul_overflow(elements, static_cast<std::uint64_t>(dimension), &elements)) {
      elements = ~std::uint64_t{0};
      break;
    }
  }
  if (elements != array.values.size()) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("cannot save {}: shape ({}) does not fit {} values", quote(path.string()),
                            fmt::join(array.shape, ", "), array.values.size()));
  }
  std::string header = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}{}), }}",
                                   fmt::join(array.shape, ", "), array.shape.size() == 1 ? "," : "");
  // The data begins at a multiple of 64 bytes, and the header ends with a newline, as NumPy asks for.
  constexpr std::size_t text_begin = prelude_bytes + 2;
  header.append(63 - (text_begin + header.size()) % 64, ' ');
  header += '\n';
  std::string prelude = std::string(magic) + '\x01' + '\0';
  prelude += static_cast<char>(header.size() & 0xFF);
  prelude += static_cast<char>(header.size() >> 8);
  const std::string text = prelude + header;

  file.write(std::as_bytes(std::span(text)));
  static_assert(std::endian::native == std::endian::little, "the values are written as they are in memory");
  file.write(std::as_bytes(std::span(array.values)));
}

}  // namespace

void save_npy(const FloatArray& array, const std::filesystem::path& path) {
  const FloatArrayFile file{&array, path};
  save_npy(std::span(&file, 1));
}

void save_npy(std::span<const FloatArrayFile> files) {
  std::vector<std::unique_ptr<AtomicFile>> written;
  for (const FloatArrayFile& file : files) {
    written.push_back(std::make_unique<AtomicFile>(file.path));
    write_npy(*written.back(), *file.array, file.path);
  }
  for (const auto& file : written) file->flush();
  for (const auto& file : written) file->commit();
}

}  // namespace sprnn
