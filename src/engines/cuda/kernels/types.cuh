// Integer names, the three element types, and the memory operations that the exchange is made of.
// Compiled by NVRTC without any toolkit header.
#pragma once

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;
using i64 = long long;

constexpr int divide_up(int a, int b) { return (a + b - 1) / b; }
constexpr int round_up(int a, int multiple) { return divide_up(a, multiple) * multiple; }
constexpr int power_of_two_from(int n) { return n <= 1 ? 1 : 2 * power_of_two_from(divide_up(n, 2)); }
constexpr int at_least_one(int n) { return n > 0 ? n : 1; }

enum class Cell { tanh, relu, gru, lstm };
enum class Word { stamp, tag };  // of the exchange: ring.cuh

// An element type: its bits in the low end of a register (what is above them is not looked at), and its value in
// fp32; of 16-bit types also the one in the high end.
struct Fp16 {
  static constexpr int bytes = 2;
  static constexpr bool is_fp16 = true;
  static constexpr u32 sign = 0x8000, top_exponent_bit = 0x4000, exponent = 0x7C00, nan = 0x7FFF;
  __device__ static float decode(u32 bits) {
    float f;
    asm("{.reg .b16 a, b; mov.b32 {a, b}, %1; cvt.f32.f16 %0, a;}" : "=f"(f) : "r"(bits));
    return f;
  }
  __device__ static float decode_high(u32 bits) {
    float f;
    asm("{.reg .b16 a, b; mov.b32 {a, b}, %1; cvt.f32.f16 %0, b;}" : "=f"(f) : "r"(bits));
    return f;
  }
  __device__ static u32 encode(float f) {
    u32 bits;  // the conversion of two has a quarter of the latency of that of one
    asm("cvt.rn.f16x2.f32 %0, 0f00000000, %1;" : "=r"(bits) : "f"(f));
    return bits;
  }
};

struct Bf16 {
  static constexpr int bytes = 2;
  static constexpr bool is_fp16 = false;
  static constexpr u32 sign = 0x8000, top_exponent_bit = 0x4000, exponent = 0x7F80, nan = 0x7FFF;
  __device__ static float decode(u32 bits) { return __uint_as_float(bits << 16); }
  __device__ static float decode_high(u32 bits) { return __uint_as_float(bits & 0xFFFF0000); }
  __device__ static u32 encode(float f) {
    u32 bits;
    asm("cvt.rn.bf16x2.f32 %0, 0f00000000, %1;" : "=r"(bits) : "f"(f));
    return bits;
  }
};

struct Fp32 {
  static constexpr int bytes = 4;
  static constexpr bool is_fp16 = false;
  static constexpr u32 sign = 0x80000000, top_exponent_bit = 0x40000000, exponent = 0x7F800000, nan = 0x7FFFFFFF;
  __device__ static float decode(u32 bits) { return __uint_as_float(bits); }
  __device__ static u32 encode(float f) { return __float_as_uint(f); }
};

// Entry e of a word of one or more registers.
template <class Element>
__device__ __forceinline__ float entry_of(const u32* word, int e) {
  if constexpr (Element::bytes == 4) {
    return Element::decode(word[e]);
  } else {
    return e % 2 == 0 ? Element::decode(word[e / 2]) : Element::decode_high(word[e / 2]);
  }
}

template <class Element>
__device__ __forceinline__ void store_element(void* array, i64 index, u32 bits) {
  if constexpr (Element::bytes == 2) {
    static_cast<u16*>(array)[index] = static_cast<u16>(bits);
  } else {
    static_cast<u32*>(array)[index] = bits;
  }
}

// Shared memory by its address in a register: of a pointer to it the compiler asks anew, each time, in which part of a
// cluster the CTA runs, some 30 cycles before what waits for it.
__device__ __forceinline__ u32 shared_address(const void* p) {
  u32 address = static_cast<u32>(__cvta_generic_to_shared(p));
  asm volatile("" : "+r"(address));
  return address;
}
__device__ __forceinline__ void store_shared(u32 address, u32 v) {
  asm volatile("st.volatile.shared.u32 [%0], %1;" ::"r"(address), "r"(v) : "memory");
}
__device__ __forceinline__ u32 load_shared_word(u32 address) {
  u32 v;
  asm volatile("ld.volatile.shared.u32 %0, [%1];" : "=r"(v) : "r"(address) : "memory");
  return v;
}
__device__ __forceinline__ void store_shared(u32 address, u64 v) {
  asm volatile("st.shared.u64 [%0], %1;" ::"r"(address), "l"(v) : "memory");
}
__device__ __forceinline__ void store_shared(u32 address, u64 low, u64 high) {
  asm volatile("st.shared.v2.u64 [%0], {%1, %2};" ::"r"(address), "l"(low), "l"(high) : "memory");
}
__device__ __forceinline__ u32 load_shared_16(u32 address) {
  u16 v;
  asm volatile("ld.shared.u16 %0, [%1];" : "=h"(v) : "r"(address) : "memory");
  return v;
}
// The lower half.
__device__ __forceinline__ void store_shared_16(u32 address, u32 v) {
  asm volatile("st.shared.u16 [%0], %1;" ::"r"(address), "h"(static_cast<u16>(v)) : "memory");
}
__device__ __forceinline__ void store_shared(u32 address, float v) {
  asm volatile("st.shared.f32 [%0], %1;" ::"r"(address), "f"(v) : "memory");
}
__device__ __forceinline__ float load_shared(u32 address) {
  float v;
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(v) : "r"(address) : "memory");
  return v;
}
__device__ __forceinline__ float4 load_shared_4(u32 address) {
  float4 v;
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "r"(address) : "memory");
  return v;
}
// Of what never changes.
__device__ __forceinline__ uint4 load_shared_128(u32 address) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(address));
  return v;
}

// Relaxed, at the scope of the GPU: PTX ISA, "Memory Consistency Model". Each 64-bit element of the vector, and
// each .b128, is single-copy atomic.
struct Quad {
  u64 low = 0, high = 0;
};

__device__ __forceinline__ Quad load_relaxed_2x64(const u64* p) {
  Quad v;
  asm volatile("ld.relaxed.gpu.global.v2.u64 {%0, %1}, [%2];" : "=l"(v.low), "=l"(v.high) : "l"(p));
  return v;
}

__device__ __forceinline__ Quad load_relaxed_128(const u64* p) {
  Quad v;
  asm volatile("{.reg .b128 v; ld.relaxed.gpu.global.b128 v, [%2]; mov.b128 {%0, %1}, v;}"
               : "=l"(v.low), "=l"(v.high)
               : "l"(p));
  return v;
}

__device__ __forceinline__ void store_relaxed_64(u64* p, u64 v) {
  asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(p), "l"(v) : "memory");
}

__device__ __forceinline__ void store_relaxed_128(u64* p, Quad v) {
  asm volatile("{.reg .b128 v; mov.b128 v, {%1, %2}; st.relaxed.gpu.global.b128 [%0], v;}" ::"l"(p), "l"(v.low), "l"(v.high)
               : "memory");
}

__device__ __forceinline__ u32 load_relaxed_32(const u32* p) {
  u32 v;
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p));
  return v;
}

__device__ __forceinline__ u32 load_acquire_32(const u32* p) {
  u32 v;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
  return v;
}

__device__ __forceinline__ void add_release_32(u32* p, u32 v) {
  asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
}

__device__ __forceinline__ u32 sm_id() {
  u32 id;
  asm volatile("mov.u32 %0, %%smid;" : "=r"(id));
  return id;
}

// Every sm_id is less; it may be more than there are SMs.
__device__ __forceinline__ u32 sm_ids() {
  u32 count;
  asm volatile("mov.u32 %0, %%nsmid;" : "=r"(count));
  return count;
}

__device__ __forceinline__ u64 nanoseconds() {
  u64 t;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(t));
  return t;
}
