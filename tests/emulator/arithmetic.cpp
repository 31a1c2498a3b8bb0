// Integers, floats, bits, and comparisons of them.
#include <algorithm>
#include <cmath>
#include <string>
#include <type_traits>

#include "emulator/float16.hpp"
#include "emulator/handlers.hpp"
#include "emulator/lanes.hpp"

namespace sprnn::emulator {

namespace {

__extension__ using Signed128 = __int128;
__extension__ using Unsigned128 = unsigned __int128;

template <class T>
using Unsigned = std::make_unsigned_t<T>;
template <class T>
using Wide = std::conditional_t<
    sizeof(T) == 2, std::conditional_t<std::is_signed_v<T>, std::int32_t, std::uint32_t>,
    std::conditional_t<sizeof(T) == 4, std::conditional_t<std::is_signed_v<T>, std::int64_t, std::uint64_t>,
                       std::conditional_t<std::is_signed_v<T>, Signed128, Unsigned128>>>;

// As a GPU does, and C++ does not promise: integers wrap, and shifts may be by any number of bits.
template <class T>
T add(T a, T b) {
  if constexpr (std::is_floating_point_v<T>)
    return a + b;
  else
    return static_cast<T>(static_cast<Unsigned<T>>(a) + static_cast<Unsigned<T>>(b));
}
template <class T>
T subtract(T a, T b) {
  if constexpr (std::is_floating_point_v<T>)
    return a - b;
  else
    return static_cast<T>(static_cast<Unsigned<T>>(a) - static_cast<Unsigned<T>>(b));
}
template <class T>
T low_product(T a, T b) {
  return static_cast<T>(static_cast<std::uint64_t>(a) * static_cast<std::uint64_t>(b));
}
template <class T>
T high_product(T a, T b) {
  return static_cast<T>((static_cast<Wide<T>>(a) * b) >> (8 * sizeof(T)));
}
template <class T>
Wide<T> wide_product(T a, T b) {
  return static_cast<Wide<T>>(static_cast<Wide<T>>(a) * static_cast<Wide<T>>(b));
}
template <class T>
T shift_right(T a, std::uint32_t n) {
  if (n >= 8 * sizeof(T)) return std::is_signed_v<T> && a < 0 ? static_cast<T>(-1) : T{0};
  return static_cast<T>(a >> n);
}
template <class T>
T shift_left(T a, std::uint32_t n) {
  return n >= 8 * sizeof(T) ? T{0} : static_cast<T>(static_cast<std::uint64_t>(a) << n);
}

Handler addition(const Instruction& i) {
  if (i.has("cc")) return nullptr;
  return of_numbers(i.words.back(), []<class T>() -> Handler { return each_lane<add<T>>; });
}
Handler subtraction(const Instruction& i) {
  return of_numbers(i.words.back(), []<class T>() -> Handler { return each_lane<subtract<T>>; });
}

Handler multiplication(const Instruction& i) {
  if (i.words.back() == "f32") return each_lane<[](float a, float b) { return a * b; }>;
  return of_integers(i.words.back(), [&]<class T>() -> Handler {
    if constexpr (sizeof(T) > 1) {
      if (i.has("lo")) return each_lane<low_product<T>>;
      if (i.has("hi")) return each_lane<high_product<T>>;
      if constexpr (sizeof(T) < 8) {
        if (i.has("wide")) return each_lane<wide_product<T>>;
      }
    }
    return nullptr;
  });
}

// Both halves of a word.
std::uint32_t multiply_and_add_halves(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
  const auto half = [&](int shift) {
    const auto value = [&](std::uint32_t two) {
      return static_cast<double>(from_fp16(static_cast<std::uint16_t>(two >> shift)));
    };
    return static_cast<std::uint32_t>(to_fp16(value(a) * value(b) + value(c))) << shift;
  };
  return half(0) | half(16);
}

Handler multiplication_and_addition(const Instruction& i) {
  if (i.words.back() == "f32") return each_lane<[](float a, float b, float c) { return std::fma(a, b, c); }>;
  if (i.words.back() == "f64")
    return each_lane<[](double a, double b, double c) { return std::fma(a, b, c); }>;
  if (i.words.back() == "f16x2") return each_lane<multiply_and_add_halves>;
  return of_integers(i.words.back(), [&]<class T>() -> Handler {
    if (i.has("lo")) return each_lane<[](T a, T b, T c) { return add<T>(low_product(a, b), c); }>;
    if constexpr (sizeof(T) == 4 || sizeof(T) == 2) {
      if (i.has("wide"))
        return each_lane<[](T a, T b, Wide<T> c) { return add<Wide<T>>(wide_product(a, b), c); }>;
    }
    return nullptr;
  });
}

Handler division(const Instruction& i) {
  if (i.words.back() == "f32") return each_lane<[](float a, float b) { return a / b; }>;
  return of_integers(i.words.back(), [&]<class T>() -> Handler {
    if (i.has("rem")) return each_lane<[](T a, T b) { return static_cast<T>(a % b); }>;
    return each_lane<[](T a, T b) { return static_cast<T>(a / b); }>;
  });
}

// Of a NaN and a number the number.
Handler smaller(const Instruction& i) {
  return of_numbers(i.words.back(), []<class T>() -> Handler {
    if constexpr (std::is_floating_point_v<T>)
      return each_lane<[](T a, T b) { return std::isnan(a) ? b : std::isnan(b) ? a : std::fmin(a, b); }>;
    else
      return each_lane<[](T a, T b) { return std::min(a, b); }>;
  });
}
Handler larger(const Instruction& i) {
  return of_numbers(i.words.back(), []<class T>() -> Handler {
    if constexpr (std::is_floating_point_v<T>)
      return each_lane<[](T a, T b) { return std::isnan(a) ? b : std::isnan(b) ? a : std::fmax(a, b); }>;
    else
      return each_lane<[](T a, T b) { return std::max(a, b); }>;
  });
}

Handler negation(const Instruction& i) {
  return of_numbers(i.words.back(), []<class T>() -> Handler {
    if constexpr (std::is_floating_point_v<T>)
      return each_lane<[](T a) { return -a; }>;
    else
      return each_lane<[](T a) { return subtract(T{0}, a); }>;
  });
}
Handler magnitude(const Instruction& i) {
  return of_numbers(i.words.back(), []<class T>() -> Handler {
    if constexpr (std::is_floating_point_v<T>)
      return each_lane<[](T a) { return std::fabs(a); }>;
    else
      return each_lane<[](T a) { return a < 0 ? subtract(T{0}, a) : a; }>;
  });
}

Handler function_of_float(const Instruction& i) {
  const std::string& name = i.words.front();
  if (i.words.back() != "f32") return nullptr;
  if (name == "tanh") return each_lane<[](float a) { return std::tanh(a); }>;
  if (name == "ex2") return each_lane<[](float a) { return std::exp2(a); }>;
  if (name == "lg2") return each_lane<[](float a) { return std::log2(a); }>;
  if (name == "rcp") return each_lane<[](float a) { return 1.0F / a; }>;
  if (name == "sqrt") return each_lane<[](float a) { return std::sqrt(a); }>;
  if (name == "copysign") return each_lane<[](float sign, float a) { return std::copysign(a, sign); }>;
  return nullptr;
}

Handler logic(const Instruction& i) {
  return of_integers(i.words.back(), [&]<class T>() -> Handler {
    const std::string& name = i.words.front();
    if (name == "and") return each_lane<[](T a, T b) { return static_cast<T>(a & b); }>;
    if (name == "or") return each_lane<[](T a, T b) { return static_cast<T>(a | b); }>;
    if (name == "xor") return each_lane<[](T a, T b) { return static_cast<T>(a ^ b); }>;
    if constexpr (sizeof(T) == 1) return each_lane<[](T a) { return a == 0; }>;  // not of a predicate
    return each_lane<[](T a) { return static_cast<T>(~a); }>;
  });
}

// lop3: `table` has the result of every three bits.
std::uint32_t logic_of_three(std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t table) {
  std::uint32_t value = 0;
  for (int bit = 0; bit < 32; ++bit) {
    const std::uint32_t which = (a >> bit & 1) << 2 | (b >> bit & 1) << 1 | (c >> bit & 1);
    value |= (table >> which & 1) << bit;
  }
  return value;
}

Handler shift(const Instruction& i) {
  return of_integers(i.words.back(), [&]<class T>() -> Handler {
    if (i.words.front() == "shl") return each_lane<shift_left<T>>;
    return each_lane<shift_right<T>>;
  });
}

// shf: a half of 64 bits that are shifted.
template <bool left, bool wrap>
std::uint32_t funnel(std::uint32_t low, std::uint32_t high, std::uint32_t n) {
  const std::uint64_t both = std::uint64_t{high} << 32 | low;
  const std::uint32_t by = wrap ? n & 31 : std::min(n, 32U);
  return static_cast<std::uint32_t>(left ? (both << by) >> 32 : both >> by);
}
Handler funnel_shift(const Instruction& i) {
  if (i.has("l")) return i.has("wrap") ? each_lane<funnel<true, true>> : each_lane<funnel<true, false>>;
  return i.has("wrap") ? each_lane<funnel<false, true>> : each_lane<funnel<false, false>>;
}

// bfi and bfe take the lowest 8 bits of a position and of a length.
template <class T>
T insert_bits(T a, T b, std::uint8_t position, std::uint8_t length) {
  const T field = shift_left(static_cast<T>(ones(length)), position);
  return static_cast<T>((b & ~field) | (shift_left(a, position) & field));
}
template <class T>
T extract_bits(T a, std::uint8_t position, std::uint8_t length) {
  constexpr std::uint32_t bits = 8 * sizeof(T);
  const std::uint32_t unused = bits - std::min<std::uint32_t>(length, bits);
  return shift_right(shift_left(shift_right(a, position), unused), unused);
}
Handler bit_field(const Instruction& i) {
  return of_integers(i.words.back(), [&]<class T>() -> Handler {
    if (i.words.front() == "bfi") return each_lane<insert_bits<T>>;
    return each_lane<extract_bits<T>>;
  });
}

// prmt without a mode: a byte of a and b, or copies of its sign, for each of four selectors.
std::uint32_t permute(std::uint32_t a, std::uint32_t b, std::uint32_t selector) {
  const std::uint64_t both = std::uint64_t{b} << 32 | a;
  std::uint32_t value = 0;
  for (int i = 0; i < 4; ++i) {
    const std::uint32_t which = selector >> (4 * i);
    auto byte = static_cast<std::uint32_t>(both >> (8 * (which & 7)) & 0xFF);
    if ((which & 8) != 0) byte = (byte & 0x80) != 0 ? 0xFF : 0;
    value |= byte << (8 * i);
  }
  return value;
}

Handler selection(const Instruction& i) {
  return of_numbers(i.words.back(), []<class T>() -> Handler {
    return each_lane<[](T a, T b, std::uint64_t which) { return which != 0 ? a : b; }>;
  });
}

Handler comparison(const Instruction& i) {
  if (i.words.size() != 3) return nullptr;  // setp.lt.and ... has a predicate more
  const std::string& how = i.words[1];
  // GCC 12 takes a > outside of parentheses for the end of the template's arguments.
  return of_numbers(i.words.back(), [&]<class T>() -> Handler {
    if (how == "eq") return each_lane<[](T a, T b) { return a == b; }>;
    if (how == "ne") return each_lane<[](T a, T b) { return a < b || b < a; }>;
    if (how == "lt" || how == "lo") return each_lane<[](T a, T b) { return a < b; }>;
    if (how == "le" || how == "ls") return each_lane<[](T a, T b) { return a <= b; }>;
    if (how == "gt" || how == "hi") return each_lane<[](T a, T b) { return b < a; }>;
    if (how == "ge" || how == "hs") return each_lane<[](T a, T b) { return a >= b; }>;
    if constexpr (std::is_floating_point_v<T>) {
      if (how == "nan") return each_lane<[](T a, T b) { return std::isunordered(a, b); }>;
      if (how == "num") return each_lane<[](T a, T b) { return !std::isunordered(a, b); }>;
      if (how == "equ") return each_lane<[](T a, T b) { return a == b || std::isunordered(a, b); }>;
      if (how == "neu") return each_lane<[](T a, T b) { return a != b; }>;
      if (how == "ltu") return each_lane<[](T a, T b) { return !(a >= b); }>;
      if (how == "leu") return each_lane<[](T a, T b) { return !(a > b); }>;
      if (how == "gtu") return each_lane<[](T a, T b) { return !(a <= b); }>;
      if (how == "geu") return each_lane<[](T a, T b) { return !(a < b); }>;
    }
    return nullptr;
  });
}

}  // namespace

Handler find_arithmetic_handler(const Instruction& i) {
  const std::string& name = i.words.front();
  if (name == "add") return addition(i);
  if (name == "sub") return subtraction(i);
  if (name == "mul") return multiplication(i);
  if (name == "mad" || name == "fma") return multiplication_and_addition(i);
  if (name == "div" || name == "rem") return division(i);
  if (name == "min") return smaller(i);
  if (name == "max") return larger(i);
  if (name == "neg") return negation(i);
  if (name == "abs") return magnitude(i);
  if (name == "and" || name == "or" || name == "xor" || name == "not") return logic(i);
  if (name == "lop3") return each_lane<logic_of_three>;
  if (name == "shl" || name == "shr") return shift(i);
  if (name == "shf") return funnel_shift(i);
  if (name == "bfi" || name == "bfe") return bit_field(i);
  if (name == "prmt") return each_lane<permute>;
  if (name == "selp") return selection(i);
  if (name == "setp") return comparison(i);
  return function_of_float(i);
}

}  // namespace sprnn::emulator
