// A function of an instruction's inputs, made a handler that runs it in every lane.
#pragma once

#include <array>
#include <bit>
#include <cstring>
#include <string_view>
#include <utility>

#include "emulator/machine.hpp"

namespace sprnn::emulator {

// A register's lower bits as a T, and back.
template <class T>
T as(std::uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
template <class T>
std::uint64_t bits_of(T value) {
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}

constexpr std::uint64_t ones(std::size_t bits) {
  return bits >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1;
}

// Calls body(lane) for the lanes of `mask`.
template <class Body>
void for_each(std::uint32_t mask, Body&& body) {
  for (; mask != 0; mask &= mask - 1) body(std::countr_zero(mask));
}

template <auto f, class Result, class... Inputs>
void each_lane_of(Result (*)(Inputs...), Machine& machine, Warp& warp, const Operation& operation,
                  std::uint32_t mask) {
  const auto run = [&]<std::size_t... i>(std::index_sequence<i...>) {
    const std::array<const std::uint64_t*, sizeof...(i)> from{
        machine.read(warp, operation.operand(i + 1))...};
    std::uint64_t* const to = Machine::write(warp, operation.operand(0));
    for_each(mask, [&](int lane) { to[lane] = bits_of<Result>(f(as<Inputs>(from[i][lane])...)); });
  };
  run(std::index_sequence_for<Inputs...>{});
}

// A handler that gives every lane f of its inputs, which are of the types that f takes. A lambda without
// captures will do.
template <auto f>
void each_lane(Machine& machine, Warp& warp, const Operation& operation, std::uint32_t mask) {
  each_lane_of<f>(+f, machine, warp, operation, mask);
}

// Calls make.operator()<T>() with the C++ type of an instruction's.
template <class Make>
Handler of_integers(std::string_view type, Make&& make) {
  if (type == "u16" || type == "b16") return make.template operator()<std::uint16_t>();
  if (type == "s16") return make.template operator()<std::int16_t>();
  if (type == "u32" || type == "b32") return make.template operator()<std::uint32_t>();
  if (type == "s32") return make.template operator()<std::int32_t>();
  if (type == "u64" || type == "b64") return make.template operator()<std::uint64_t>();
  if (type == "s64") return make.template operator()<std::int64_t>();
  if (type == "pred") return make.template operator()<std::uint8_t>();
  return nullptr;
}
template <class Make>
Handler of_numbers(std::string_view type, Make&& make) {
  if (type == "f32") return make.template operator()<float>();
  if (type == "f64") return make.template operator()<double>();
  return of_integers(type, make);
}

}  // namespace sprnn::emulator
