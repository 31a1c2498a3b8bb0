// Every hostile file of the fuzz corpus is refused with a message that names what is wrong with it, and
// every good one is read. tests/fuzz/make_hostile.py makes them.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "sprnn/checkpoint.hpp"
#include "sprnn/npy.hpp"
#include "support/expect_error.hpp"

namespace sprnn {
namespace {

namespace fs = std::filesystem;

// File name without "bad_" and ending -> what the message must contain, beside the file's name.
using Reasons = std::map<std::string, std::string>;

const Reasons safetensors_reasons = {
    {"data_trailing", "1 bytes after the last tensor"},
    {"data_truncated", "tensor 'a': data_offsets [0, 8] go past the end of the data, which has 5 bytes"},
    {"data_without_tensor", "1 bytes after the last tensor belong to no tensor"},
    {"dtype_missing", "tensor 'a': dtype is missing"},
    {"dtype_number", "tensor 'a': dtype is the number 32, expected a string"},
    {"dtype_unknown_odd_size", "tensor 'a': 'F24' of shape [2] has 6 bytes, which fits no element size"},
    {"duplicate_dtype", "tensor 'a': dtype occurs twice"},
    {"duplicate_escaped", "'a' occurs twice"},
    {"duplicate_metadata", "'__metadata__' occurs twice"},
    {"duplicate_metadata_key", "metadata key 'k' occurs twice"},
    {"duplicate_tensor", "'a' occurs twice"},
    {"empty", "has 0 bytes"},
    {"field_unknown", "tensor 'a': unknown field 'strides'"},
    {"half_byte", "tensor 'a': 'F4' of shape [3] does not end at a byte"},
    {"header_array", "does not begin with '{'"},
    {"header_byte_order_mark", "does not begin with '{'"},
    {"header_comment", "not valid JSON"},
    {"header_invalid_utf8", "invalid string: ill-formed UTF-8 byte"},
    {"header_length_huge", "claims 9223372036854775808 bytes"},
    {"header_length_lies", "claims 1000 bytes, but only"},
    {"header_length_over_limit", "claims 100000001 bytes, more than the format's limit of 100000000"},
    {"header_length_short", "not valid JSON"},
    {"header_length_zero", "does not begin with '{'"},
    {"header_truncated", "the file is truncated"},
    {"header_zero_byte", "zero byte"},
    {"json_truncated", "not valid JSON"},
    {"json_twice", "not valid JSON"},
    {"length_only", "claims 64 bytes, but only 0 follow"},
    {"metadata_array", "'__metadata__' is an array, expected an object"},
    {"metadata_null", "'__metadata__' is null, expected an object"},
    {"metadata_number", "metadata 'k' is the number 1, expected a string"},
    {"name_steers_terminal", "tensor 'a\\x1b[2J'"},
    {"nesting", "unknown field 'a'"},
    {"nesting_metadata", "metadata 'k' is an object, expected a string"},
    {"nesting_shape", "tensor 'a': shape holds an array"},
    {"not_json", "not valid JSON"},
    {"npy", "this is not a safetensors file"},
    {"offsets_hole", "tensor 'b': data_offsets [12, 20] leave a gap: the tensor before ends at 8"},
    {"offsets_hole_at_start", "tensor 'a': data_offsets [4, 12] leave a gap"},
    {"offsets_huge", "tensor 'a': data_offsets [0, 18446744073709551608] go past the end"},
    {"offsets_inside", "tensor 'b': data_offsets [8, 8] overlap"},
    {"offsets_missing", "tensor 'a': data_offsets is missing"},
    {"offsets_negative", "tensor 'a': data_offsets holds the number -8"},
    {"offsets_one", "tensor 'a': data_offsets has 1 numbers, expected 2"},
    {"offsets_overlap", "tensor 'b': data_offsets [4, 12] overlap the tensor before, which ends at 8"},
    {"offsets_past_end", "tensor 'a': data_offsets [0, 16] go past the end of the data, which has 8 bytes"},
    {"offsets_reversed", "tensor 'a': data_offsets [8, 0] end before they begin"},
    {"offsets_same", "data_offsets [0, 8] overlap"},
    {"offsets_three", "tensor 'a': data_offsets has 3 numbers, expected 2"},
    {"pickle",
     "python -c 'from safetensors.torch import save_file; import torch; "
     "save_file(torch.load(\"model.pt\", map_location=\"cpu\", weights_only=True), "
     "\"model.safetensors\")'"},
    {"pickle_short", "from safetensors.torch import save_file"},
    {"seven_bytes", "has 7 bytes, too few"},
    {"shape_bytes_overflow",
     "tensor 'a': 'F32' of shape [4611686018427387906] has more bytes than 64 bits count"},
    {"shape_fraction", "tensor 'a': shape holds the number '2.0'"},
    {"shape_missing", "tensor 'a': shape is missing"},
    {"shape_negative", "tensor 'a': shape holds the number -2"},
    {"shape_over_int64", "tensor 'a': dimension 9223372036854775808 is too large"},
    {"shape_over_uint64", "tensor 'a': shape holds the number '18446744073709551618'"},
    {"shape_product_overflow", "tensor 'a': 'F32' of shape [4294967296, 4294967296, 2] has more elements"},
    {"shape_scalar", "tensor 'a': shape holds the number 2, expected an array"},
    {"shape_string", "tensor 'a': shape holds a string"},
    {"shape_too_large", "tensor 'a': 'F32' of shape [3] needs 12 bytes, has 8"},
    {"shape_too_small", "tensor 'a': 'F32' of shape [1] needs 4 bytes, has 8"},
    {"tensor_is_string", "'a' is a string, expected an object"},
    {"zip", "from safetensors.torch import save_file"},
    {"zip_without_flags", "from safetensors.torch import save_file"},
};

const Reasons npy_reasons = {
    {"big_endian", "is big-endian (>f4)"},
    {"comma_missing", "expected ',' or '}'"},
    {"data_trailing", "shape (6) of '<f4' needs 24 bytes of data, the file has 25"},
    {"data_truncated", "shape (6) of '<f4' needs 24 bytes of data, the file has 23"},
    {"double_overflow", "element 1 is -1e+39, which float32 cannot hold"},
    {"dtype_complex", "has dtype '<c8', expected float16, float32 or float64"},
    {"dtype_longdouble", "has dtype '<f16'"},
    {"dtype_native", "has dtype '=f4'"},
    {"dtype_object", "has dtype '|O'"},
    {"dtype_structured", "is a structured array"},
    {"dtype_unsigned", "has dtype '<u4'"},
    {"empty", "does not begin with \\x93NUMPY"},
    {"header_code", "expected a dtype such as '<f4' in quotes"},
    {"header_cut", "expected"},
    {"header_escape", "an escape in"},
    {"header_followed", "something follows the dictionary"},
    {"header_length_huge", "claims 4294967295 bytes"},
    {"header_length_lies", "claims 60000 bytes"},
    {"header_not_a_dict", "expected '{'"},
    {"key_missing", "'fortran_order' is missing"},
    {"key_twice", "'shape' occurs twice"},
    {"key_unknown", "unknown key 'more'"},
    {"magic_only", "the version is missing"},
    {"order_fortran", "is in Fortran order"},
    {"order_number", "'fortran_order': expected True or False"},
    {"other_magic", "does not begin with \\x93NUMPY"},
    {"shape_bytes_overflow", "has more bytes than 64 bits count"},
    {"shape_fraction", "'shape': expected ',' or ')'"},
    {"shape_in_parentheses", "expected a tuple such as (5,)"},
    {"shape_negative", "'shape': expected a non-negative integer"},
    {"shape_number", "expected '('"},
    {"shape_over_int64", "is too large"},
    {"shape_overflow", "has more bytes than 64 bits count"},
    {"shape_rank", "more than 64 dimensions"},
    {"shape_too_large", "shape (7) of '<f4' needs 28 bytes of data, the file has 24"},
    {"version_0", ".npy version 0.0"},
    {"version_4", ".npy version 4.0, expected 1.0, 2.0 or 3.0"},
    {"version_only", "the header's length is missing"},
    {"zip", "is a zip archive (.npz)"},
};

template <class Read>
void check(const std::string& kind, const Reasons& reasons, Read read) {
  std::set<std::string> seen;
  for (const auto& entry : fs::directory_iterator(fs::path(FUZZ_CORPUS) / kind)) {
    const std::string name = entry.path().stem();
    SCOPED_TRACE(name);
    if (!name.starts_with("bad_")) {
      EXPECT_NO_THROW(read(entry.path()));
      continue;
    }
    const auto reason = reasons.find(name.substr(4));
    if (reason == reasons.end()) {
      ADD_FAILURE() << "no reason is listed";
      continue;
    }
    seen.insert(reason->first);
    EXPECT_ERROR(read(entry.path()), ErrorCode::format, name, reason->second);
  }
  EXPECT_EQ(seen.size(), reasons.size()) << "a file is missing";
}

TEST(Hostile, Safetensors) {
  check("safetensors", safetensors_reasons,
        [](const fs::path& path) { return load_checkpoint(path).tensors.size(); });
}

TEST(Hostile, Npy) {
  check("npy", npy_reasons, [](const fs::path& path) {
    const bool is_integer = path.stem().string().find("good_int") == 0;
    return is_integer ? load_npy_ints(path).values.size() : load_npy_floats(path).values.size();
  });
}

}  // namespace
}  // namespace sprnn
