// What carries a value to another type or another register: cvt, mov and cvta.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "emulator/float16.hpp"
#include "emulator/handlers.hpp"
#include "emulator/lanes.hpp"

namespace sprnn::emulator {

namespace {

// The integer nearest to what is cut off, as a GPU does and C++ does not promise; 0 for a NaN.
template <class T>
T truncated(float a) {
  if (std::isnan(a)) return T{0};
  const double whole = std::trunc(static_cast<double>(a));
  if (whole <= static_cast<double>(std::numeric_limits<T>::min())) return std::numeric_limits<T>::min();
  if (whole >= static_cast<double>(std::numeric_limits<T>::max())) return std::numeric_limits<T>::max();
  return static_cast<T>(whole);
}

float saturated(float a) { return a > 0.0F ? std::min(a, 1.0F) : 0.0F; }  // 0 for a NaN

Handler float_to_float(const Instruction& i) {
  if (i.has("rni")) return each_lane<[](float a) { return std::nearbyint(a); }>;
  if (i.has("rzi")) return each_lane<[](float a) { return std::trunc(a); }>;
  if (i.has("rmi")) return each_lane<[](float a) { return std::floor(a); }>;
  if (i.has("sat")) return each_lane<saturated>;
  return nullptr;
}

Handler from_float(const Instruction& i, const std::string& to) {
  if (to == "f32") return float_to_float(i);
  if (to == "f16") return each_lane<[](float a) { return to_fp16(static_cast<double>(a)); }>;
  if (to == "f16x2") {
    return each_lane<[](float high, float low) {
      return static_cast<std::uint32_t>(to_fp16(static_cast<double>(high))) << 16 |
             to_fp16(static_cast<double>(low));
    }>;
  }
  if (to == "bf16x2") {
    return each_lane<[](float high, float low) {
      return static_cast<std::uint32_t>(to_bf16(high)) << 16 | to_bf16(low);
    }>;
  }
  return of_integers(to, [&]<class T>() -> Handler {
    if (i.has("rzi")) return each_lane<truncated<T>>;
    if (i.has("rni")) return each_lane<[](float a) { return truncated<T>(std::nearbyint(a)); }>;
    return nullptr;
  });
}

Handler conversion(const Instruction& i) {
  const std::string &to = i.words[i.words.size() - 2], &from = i.words.back();
  if (from == "f32") return from_float(i, to);
  if (from == "f16" && to == "f32") return each_lane<[](std::uint16_t a) { return from_fp16(a); }>;
  const auto from_integer = [&]<class From>() -> Handler {
    if (to == "f32") return each_lane<[](From a) { return static_cast<float>(a); }>;
    if (to == "u8") return each_lane<[](From a) { return static_cast<std::uint8_t>(a); }>;
    if (to == "s8") return each_lane<[](From a) { return static_cast<std::int8_t>(a); }>;
    return of_integers(
        to, []<class To>() -> Handler { return each_lane<[](From a) { return static_cast<To>(a); }>; });
  };
  if (from == "u8") return from_integer.template operator()<std::uint8_t>();
  if (from == "s8") return from_integer.template operator()<std::int8_t>();
  return of_integers(from, from_integer);
}

// mov, of vectors too: they are the parts of a wider value, the lowest first.
void move(Machine& machine, Warp& warp, const Operation& operation, std::uint32_t mask) {
  const Operand &to = operation.operand(0), &from = operation.operand(1);
  const auto bits = 8 * static_cast<std::size_t>(operation.bytes);
  // A register may be both of what is read and of what is written.
  Lanes values{};
  std::uint64_t* const value = values.data();
  if (from.vector.empty()) {
    std::copy_n(machine.read(warp, from), lanes, value);
  } else {
    const std::size_t width = bits / from.vector.size();
    for (std::size_t p = 0; p < from.vector.size(); ++p) {
      const std::uint64_t* const part = machine.read(warp, from.vector[p]);
      for_each(mask, [&](int lane) { value[lane] |= (part[lane] & ones(width)) << (p * width); });
    }
  }
  if (to.vector.empty()) {
    std::uint64_t* const whole = Machine::write(warp, to);
    for_each(mask, [&](int lane) { whole[lane] = value[lane] & ones(bits); });
    return;
  }
  const std::size_t width = bits / to.vector.size();
  for (std::size_t p = 0; p < to.vector.size(); ++p) {
    if (to.vector[p].kind == Operand::Kind::none) continue;
    std::uint64_t* const part = Machine::write(warp, to.vector[p]);
    for_each(mask, [&](int lane) { part[lane] = value[lane] >> (p * width) & ones(width); });
  }
}

// mov.b128: a value of 16 bytes is two registers that follow one another.
void move_two(Machine& machine, Warp& warp, const Operation& operation, std::uint32_t mask) {
  const auto halves = [](const Operand& of) {
    if (!of.vector.empty()) return of.vector;
    Operand upper = of;
    ++upper.index;
    return std::vector<Operand>{of, upper};
  };
  const std::vector<Operand> to = halves(operation.operand(0)), from = halves(operation.operand(1));
  for (std::size_t half = 0; half < 2; ++half) {
    const std::uint64_t* const value = machine.read(warp, from[half]);
    std::uint64_t* const own = Machine::write(warp, to[half]);
    for_each(mask, [&](int lane) { own[lane] = value[lane]; });
  }
}

// cvta to or from the generic addresses of shared memory; those of global memory are the same.
void convert_address(Machine& machine, Warp& warp, const Operation& operation, std::uint32_t mask) {
  const std::uint64_t* const from = machine.read(warp, operation.operand(1));
  std::uint64_t* const to = Machine::write(warp, operation.operand(0));
  const bool shared = operation.space == Space::shared, specific = operation.instruction->has("to");
  for_each(mask, [&](int lane) {
    to[lane] = !shared    ? from[lane]
               : specific ? from[lane] - Machine::shared_window
                          : from[lane] + Machine::shared_window;
  });
}

}  // namespace

Handler find_conversion_handler(const Instruction& i) {
  const std::string& name = i.words.front();
  if (name == "cvt") return conversion(i);
  if (name == "mov") return i.has("b128") ? move_two : move;
  if (name == "cvta") return convert_address;
  return nullptr;
}

}  // namespace sprnn::emulator
