// Which function runs an instruction, and those by which the threads of a warp or a CTA meet.
#include <algorithm>
#include <string>

#include "emulator/handlers.hpp"
#include "emulator/lanes.hpp"

namespace sprnn::emulator {

namespace {

template <class Source>
void shuffle(Machine& machine, Warp& warp, const Operation& operation, std::uint32_t mask) {
  const Operand& destination = operation.operand(0);
  const Operand& to = destination.vector.empty() ? destination : destination.vector[0];
  Lanes value;  // as it was: the destination may be the same register
  std::copy_n(machine.read(warp, operation.operand(1)), lanes, value.begin());
  const std::uint64_t* const distance = machine.read(warp, operation.operand(2));
  const std::uint64_t* const clamp = machine.read(warp, operation.operand(3));
  for_each(mask, [&](int lane) {
    const int segment = static_cast<int>(clamp[lane] >> 8 & 31), bound = static_cast<int>(clamp[lane] & 31);
    const int most = (lane & segment) | (bound & ~segment), least = lane & segment;
    int source = Source{}(lane, static_cast<int>(distance[lane] & 31), segment, least);
    const bool inside = Source::up ? source >= most : source <= most;
    if (!inside) source = lane;
    if ((mask >> source & 1) == 0) source = lane;  // of a lane that takes no part the value is undefined
    Machine::write(warp, to)[lane] = value[static_cast<std::size_t>(source)];
    if (!destination.vector.empty()) Machine::write(warp, destination.vector[1])[lane] = inside ? 1 : 0;
  });
}
struct Down {
  static constexpr bool up = false;
  int operator()(int lane, int by, int, int) const { return lane + by; }
};
struct Up {
  static constexpr bool up = true;
  int operator()(int lane, int by, int, int) const { return lane - by; }
};
struct Butterfly {
  static constexpr bool up = false;
  int operator()(int lane, int by, int, int) const { return lane ^ by; }
};
struct Index {
  static constexpr bool up = false;
  int operator()(int, int by, int segment, int least) const { return least | (by & ~segment); }
};
Handler shuffle_of(const Instruction& i) {
  if (i.has("down")) return shuffle<Down>;
  if (i.has("up")) return shuffle<Up>;
  if (i.has("bfly")) return shuffle<Butterfly>;
  return shuffle<Index>;
}

// vote d, a, members: lanes that run it at once need not be members of the same vote.
void vote(Machine& machine, Warp& warp, const Operation& operation, std::uint32_t mask) {
  const std::uint64_t* const value = machine.read(warp, operation.operand(1));
  const std::uint64_t* const members = machine.read(warp, operation.operand(2));
  std::uint64_t* const to = Machine::write(warp, operation.operand(0));
  const bool any = operation.instruction->has("any"), all = operation.instruction->has("all");
  std::uint32_t set = 0;
  for_each(mask, [&](int lane) { set |= (value[lane] != 0 ? 1U : 0U) << lane; });
  for_each(mask, [&](int lane) {
    const auto own = static_cast<std::uint32_t>(members[lane]);
    const std::uint32_t ayes = set & own, votes = mask & own;
    to[lane] = any ? (ayes != 0 ? 1 : 0) : all ? (ayes == votes ? 1 : 0) : ayes;
  });
}

// bar.sync 0; bar.red.or.pred p, 0, q: the CTA's answer comes when all are there (Machine::release_barrier).
void arrive_at_barrier(Machine& machine, Warp& warp, const Operation& operation, std::uint32_t mask) {
  if (!operation.instruction->has("red")) return;
  const std::uint64_t* const value = machine.read(warp, operation.operand(2));
  for_each(mask, [&](int lane) { warp.cta->any |= value[lane] != 0; });
}

// bar.warp.sync: the lanes are there when it runs.
void pass_barrier_of_warp(Machine&, Warp& warp, const Operation&, std::uint32_t mask) {
  if ((mask | warp.exited) == ~0U) ++warp.epoch;
}

// Hints, and what the machine does itself: branches, exits and the wait for a cluster, which says that all
// have arrived.
void nothing(Machine&, Warp&, const Operation&, std::uint32_t) {}

void trap(Machine& machine, Warp& warp, const Operation& operation, std::uint32_t mask) {
  machine.fault(warp, std::countr_zero(mask), operation, "trap");
}

Handler find(const Instruction& i) {
  const std::string& name = i.words.front();
  // What changes a result and is not done here.
  if ((name != "cvt" && i.has("sat")) || i.has("relu")) return nullptr;
  if (name == "shfl") return shuffle_of(i);
  if (name == "vote") return vote;
  if (name == "bar") return i.has("warp") ? pass_barrier_of_warp : arrive_at_barrier;
  if (name == "barrier") return i.has("arrive") || i.has("wait") ? nothing : nullptr;
  if (name == "bra" || name == "ret" || name == "exit") return nothing;
  if (name == "createpolicy" || name == "prefetch" || name == "nanosleep") return nothing;
  if (name == "trap") return trap;
  for (const auto find_handler :
       {find_arithmetic_handler, find_conversion_handler, find_memory_handler, find_tensor_handler}) {
    if (const Handler handler = find_handler(i); handler != nullptr) return handler;
  }
  return nullptr;
}

}  // namespace

Operation prepare(const Instruction& instruction) {
  Operation operation;
  operation.instruction = &instruction;
  operation.run = find(instruction);
  if (operation.run == nullptr) throw Fault("the emulated GPU does not know `" + instruction.text + "`");
  const std::string& name = instruction.words.front();
  for (const std::string& word : instruction.words) {
    if (const int bytes = bytes_of(word); bytes > 0) operation.bytes = bytes;
    if (word == "v2") operation.count = 2;
    if (word == "v4") operation.count = 4;
    if (word.starts_with("shared")) operation.space = Space::shared;
    if (word == "global") operation.space = Space::global;
    if (word == "param") operation.space = Space::param;
    if (word == "local") operation.space = Space::local;
  }
  operation.delayed = name == "st" && (instruction.has("relaxed") || instruction.has("async"));
  for (const char* how : {"volatile", "relaxed", "acquire", "release", "async"})
    operation.strong |= instruction.has(how);
  using Kind = Operation::Kind;
  if (name == "bra") operation.kind = Kind::branch;
  if (name == "ret" || name == "exit") operation.kind = Kind::exit;
  if (name == "bar") operation.kind = instruction.has("warp") ? Kind::collective : Kind::barrier;
  if (name == "barrier" && instruction.has("wait")) operation.kind = Kind::cluster_barrier;
  if (name == "shfl" || name == "vote" || name == "mma" || name == "ldmatrix")
    operation.kind = Kind::collective;
  return operation;
}

}  // namespace sprnn::emulator
