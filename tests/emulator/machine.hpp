// Runs a PTX kernel on the host, all CTAs side by side, a warp's few instructions at a time in random order.
//
// What a GPU only rarely shows is made likely. Warps are scheduled at random, lanes that diverge run one
// behind the other, and relaxed stores to what other CTAs read become visible late and in any order that the
// PTX memory model allows two addresses. Shared memory begins as rubbish. An access outside of any allocation
// is a fault, and so is a barrier that not all can reach.
#pragma once

#include <bit>
#include <cstddef>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <vector>

#include "emulator/memory.hpp"
#include "emulator/ptx.hpp"

namespace sprnn::emulator {

struct Launch {
  std::shared_ptr<const Kernel> kernel;
  unsigned blocks = 1, threads = 1;
  unsigned cluster = 1;      // CTAs of a cluster
  bool cooperative = false;  // else a CTA may run after another has ended
  std::uint32_t shared_bytes = 0;
  std::vector<std::byte> parameters;
};

// SplitMix64: fast, and the same everywhere.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t operator()() {
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }

 private:
  std::uint64_t state_;
};

class Fault : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Throws Fault, which says where.
void run(const Launch& launch, Memory& memory, std::uint64_t seed);

// The rest is what instructions work on (handlers.hpp).

class Machine;
struct Warp;
struct Operation;
// Of the lanes of `mask`, at least one.
using Handler = void (*)(Machine&, Warp&, const Operation&, std::uint32_t mask);

// An instruction, ready to run.
struct Operation {
  const Instruction* instruction = nullptr;
  Handler run = nullptr;
  enum class Kind { plain, branch, exit, collective, barrier, cluster_barrier } kind = Kind::plain;
  int bytes = 0;  // of its type
  int count = 1;  // elements of a vector
  Space space = Space::generic;
  bool strong = false;   // volatile, relaxed, acquiring or async
  bool delayed = false;  // a store that other CTAs may see late
  const Operand& operand(std::size_t i) const { return instruction->operands[i]; }
};

struct Cta;

struct Warp {
  Cta* cta = nullptr;
  int index = 0;  // within the CTA
  std::vector<Lanes> registers;
  std::array<int, lanes> pc{};
  std::uint32_t epoch = 1;  // barriers of all its lanes so far
  std::uint32_t exited = 0, at_barrier = 0, at_cluster_barrier = 0;
  std::vector<std::vector<std::byte>> local;  // of each lane
  [[nodiscard]] std::uint32_t runnable() const { return ~(exited | at_barrier | at_cluster_barrier); }
};

// A store on its way: to global memory, or to a CTA's shared memory.
struct Pending {
  std::uint64_t address = 0;
  Cta* to = nullptr;
  std::uint64_t value = 0;
  int bytes = 0;
  std::uint64_t second = 0;                             // of 16 bytes the upper half
  std::int64_t counter = -1;                            // of an mbarrier in `to`, that counts the bytes
  std::uint32_t thread = 0, epoch = 0, warp_epoch = 0;  // who stored it, and when
};

// Who accessed two bytes of shared memory last, by what orders nothing itself: no atomic, volatile or async
// access.
struct Trace {
  std::uint32_t write_epoch = 0, write_warp_epoch = 0, writer = 0;   // of the CTA, of its warp; a thread
  std::uint32_t read_epoch = 0, read_warps = 0;                      // of all warps that read in that epoch
  std::uint32_t read_warp = 0, read_warp_epoch = 0, read_lanes = 0;  // of the last one its lanes
};

struct Cta {
  unsigned index = 0, rank = 0, cluster = 0;
  unsigned sm = 0;
  std::vector<std::byte> shared;
  std::vector<std::unique_ptr<Warp>> warps;
  std::vector<Trace> traces;  // of every two bytes of `shared`
  std::uint32_t epoch = 1;    // barriers of all its threads so far
  std::vector<Pending> pending;
  bool any = false;  // bar.red.or so far
};

class Machine {
 public:
  Machine(const Launch& launch, Memory& memory, std::uint64_t seed);
  void run();

  [[nodiscard]] const Launch& launch() const { return launch_; }

  // The value of an operand in all lanes. It lasts until the fourth that is no register is asked for.
  const std::uint64_t* read(Warp& warp, const Operand& operand) {
    const auto index = static_cast<std::size_t>(operand.index);
    if (operand.kind == Operand::Kind::reg && !operand.negated) return warp.registers[index].data();
    if (operand.kind == Operand::Kind::constant) return constants_[index].data();
    return compute(warp, operand);
  }
  static std::uint64_t* write(Warp& warp, const Operand& operand) {
    return warp.registers[static_cast<std::size_t>(operand.index)].data();
  }

  // Where `bytes` at an address are, in the host's memory. A fault if they are nowhere.
  std::byte* locate(Warp& warp, int lane, Space space, std::uint64_t address, int bytes,
                    const Operation& operation);
  Cta& cta_of(Warp& warp, std::uint64_t shared_address, const Operation& operation);

  // A plain access to the CTA's own shared memory: a fault if another thread has accessed it with no barrier
  // between and one of the two writes.
  void trace(Warp& warp, int lane, const std::byte* at, int bytes, bool writes, const Operation& operation);

  void delay(Warp& from, int lane, Pending store);
  void settle(Cta& from);  // all of its stores become visible
  // Those that the lanes of `mask` have made, or that a barrier puts before what they do now: what they
  // release.
  void release(Warp& by, std::uint32_t mask);
  void settle_at(Cta& from, std::uint64_t address, int bytes);
  void complete_bytes(Cta& of, std::uint64_t counter, std::int64_t bytes);

  [[noreturn]] void fault(const Warp& warp, int lane, const Operation& operation,
                          const std::string& what) const;

  static constexpr std::uint64_t shared_window = std::uint64_t{1} << 56;  // of generic addresses
  static constexpr int rank_shift = 24;                                   // of addresses in a cluster

 private:
  const std::uint64_t* compute(Warp& warp, const Operand& operand);
  void run_some(unsigned first, unsigned count);
  void run_warp(Warp& warp, int most);
  // Picks lanes at one instruction that can run: 0 if there are none.
  std::uint32_t select(Warp& warp, int& pc);
  [[nodiscard]] std::uint32_t missing(Warp& warp, const Operation& operation, std::uint32_t mask);
  void release_barrier(Cta& cta);
  void release_cluster(unsigned cluster);
  void land(Cta& from, std::size_t index);

  const Launch& launch_;
  Memory& memory_;
  Random random_;
  std::vector<Operation> operations_;
  std::vector<Lanes> constants_;
  std::vector<std::unique_ptr<Cta>> ctas_;  // that run now
  std::uint64_t executed_ = 0, warps_ = 1;  // of the CTAs that run now
  std::array<Lanes, 4> scratch_{};
  std::size_t next_scratch_ = 0;
};

// Finds what runs an instruction; throws Fault for one that is not known.
[[nodiscard]] Operation prepare(const Instruction& instruction);

}  // namespace sprnn::emulator
