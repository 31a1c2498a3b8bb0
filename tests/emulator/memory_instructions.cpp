// Loads, stores, atomics, fences, and what clusters have.
#include <algorithm>
#include <string>

#include "emulator/handlers.hpp"
#include "emulator/lanes.hpp"

namespace sprnn::emulator {

namespace {

std::size_t at(int lane) { return static_cast<std::size_t>(lane); }

std::uint64_t address_of(Machine& machine, Warp& warp, const Operand& operand, int lane) {
  return machine.read(warp, operand)[at(lane)] + static_cast<std::uint64_t>(operand.offset);
}

std::uint64_t read_bytes(const std::byte* from, int bytes) {
  std::uint64_t value = 0;
  std::memcpy(&value, from, at(bytes));
  return value;
}

bool is_signed(const Operation& operation) { return operation.instruction->words.back().front() == 's'; }

// A narrow signed value fills its 32-bit register.
std::uint64_t extended(std::uint64_t value, const Operation& operation) {
  if (!is_signed(operation) || operation.bytes > 2) return value;
  const int unused = 64 - 8 * operation.bytes;
  return static_cast<std::uint32_t>(static_cast<std::int64_t>(value << unused) >> unused);
}

const std::vector<Operand>& parts_of(const Operand& operand, std::vector<Operand>& one) {
  if (!operand.vector.empty()) return operand.vector;
  one = {operand};
  return one;
}

// In a ring in shared memory, whose words others store, the mbarrier orders plain loads after them: those
// never meet a plain store.
bool is_traced(const Operation& operation, std::uint64_t address) {
  if (operation.space == Space::generic) address -= Machine::shared_window;
  return (operation.space == Space::shared || operation.space == Space::generic) && !operation.strong &&
         address >> Machine::rank_shift == 0;
}

void load(Machine& machine, Warp& warp, const Operation& operation, std::uint32_t mask) {
  std::vector<Operand> one;
  const std::vector<Operand>& to = parts_of(operation.operand(0), one);
  const Operand& from = operation.operand(1);
  // A register may be of the address and of the value.
  Lanes addresses;
  for_each(mask, [&](int lane) { addresses[at(lane)] = address_of(machine, warp, from, lane); });
  const int whole = operation.bytes * operation.count;
  for_each(mask, [&](int lane) {
    const std::uint64_t address = addresses[at(lane)];
    const std::byte* bytes = nullptr;
    if (operation.space == Space::param) {
      if (address + at(whole) > machine.launch().parameters.size())
        machine.fault(warp, lane, operation, "behind the parameters");
      bytes = machine.launch().parameters.data() + address;
    } else {
      if (operation.space != Space::shared) machine.settle_at(*warp.cta, address, whole);
      std::byte* const found = machine.locate(warp, lane, operation.space, address, whole, operation);
      if (is_traced(operation, address)) machine.trace(warp, lane, found, whole, false, operation);
      bytes = found;
    }
    if (operation.bytes == 16) {
      Operand upper = to[0];
      ++upper.index;
      Machine::write(warp, to[0])[lane] = read_bytes(bytes, 8);
      Machine::write(warp, upper)[lane] = read_bytes(bytes + 8, 8);
      return;
    }
    for (int i = 0; i < operation.count; ++i) {
      if (to[at(i)].kind == Operand::Kind::none) continue;
      Machine::write(warp, to[at(i)])[lane] =
          extended(read_bytes(bytes + i * operation.bytes, operation.bytes), operation);
    }
  });
}

// To another CTA's shared memory, or what others poll: visible later.
void store_late(Machine& machine, Warp& warp, const Operation& operation, int lane, std::uint64_t address,
                Pending store) {
  store.bytes = operation.bytes;
  std::byte* const to = machine.locate(warp, lane, operation.space, address, operation.bytes, operation);
  if (operation.space == Space::shared) {
    store.to = &machine.cta_of(warp, address, operation);
    store.address = static_cast<std::uint64_t>(to - store.to->shared.data());
  } else {
    store.address = address;
  }
  machine.delay(warp, lane, store);
}

void store(Machine& machine, Warp& warp, const Operation& operation, std::uint32_t mask) {
  std::vector<Operand> one;
  const std::vector<Operand>& from = parts_of(operation.operand(1), one);
  const Operand& to = operation.operand(0);
  const int whole = operation.bytes * operation.count;
  if (operation.strong && operation.instruction->has("release")) machine.release(warp, mask);
  for_each(mask, [&](int lane) {
    const std::uint64_t address = address_of(machine, warp, to, lane);
    std::byte* const bytes = machine.locate(warp, lane, operation.space, address, whole, operation);
    // What the CTA itself reads it sees in order: of its own shared memory all.
    if (operation.delayed && !(operation.space == Space::shared && address >> Machine::rank_shift == 0)) {
      for (int i = 0; i < operation.count; ++i) {
        Pending late;
        late.value = machine.read(warp, from[at(i)])[lane];
        if (operation.bytes == 16) {
          Operand upper = from[at(i)];
          ++upper.index;
          late.second = machine.read(warp, upper)[lane];
        }
        store_late(machine, warp, operation, lane, address + at(i * operation.bytes), late);
      }
      return;
    }
    if (operation.space != Space::shared) machine.settle_at(*warp.cta, address, whole);
    if (is_traced(operation, address)) machine.trace(warp, lane, bytes, whole, true, operation);
    for (int i = 0; i < operation.count; ++i) {
      const std::uint64_t value = machine.read(warp, from[at(i)])[lane];
      std::memcpy(bytes + i * operation.bytes, &value, at(operation.bytes));
    }
  });
}

// st.async [to], value, [mbarrier]: the mbarrier of the same CTA counts the bytes when they are there.
void store_counted(Machine& machine, Warp& warp, const Operation& operation, std::uint32_t mask) {
  for_each(mask, [&](int lane) {
    const std::uint64_t to = address_of(machine, warp, operation.operand(0), lane),
                        counter = address_of(machine, warp, operation.operand(2), lane);
    if (to >> Machine::rank_shift != counter >> Machine::rank_shift)
      machine.fault(warp, lane, operation, "an mbarrier of another CTA");
    Pending late;
    late.value = machine.read(warp, operation.operand(1))[lane];
    late.counter = machine.locate(warp, lane, Space::shared, counter, 8, operation) -
                   machine.cta_of(warp, counter, operation).shared.data();
    store_late(machine, warp, operation, lane, to, late);
  });
}

// atom d, [a], b (, c) and red [a], b. What is released is visible before it.
void update(Machine& machine, Warp& warp, const Operation& operation, std::uint32_t mask) {
  const bool is_red = operation.instruction->words.front() == "red";
  const std::size_t first = is_red ? 0 : 1;
  const Instruction& i = *operation.instruction;
  if (i.has("release") || i.has("acq_rel")) machine.release(warp, mask);
  for_each(mask, [&](int lane) {
    const std::uint64_t address = address_of(machine, warp, operation.operand(first), lane);
    machine.settle_at(*warp.cta, address, operation.bytes);
    std::byte* const bytes = machine.locate(warp, lane, operation.space, address, operation.bytes, operation);
    const std::uint64_t old = read_bytes(bytes, operation.bytes),
                        unused = at(64 - 8 * operation.bytes),  // bits, which a negative constant fills
        b = machine.read(warp, operation.operand(first + 1))[lane] << unused >> unused;
    std::uint64_t value = old;
    if (i.has("add"))
      value = old + b;
    else if (i.has("or"))
      value = old | b;
    else if (i.has("exch"))
      value = b;
    else if (i.has("max"))
      value = std::max(old, b);
    else if (i.has("cas"))
      value = old == b ? machine.read(warp, operation.operand(first + 2))[lane] : old;
    else
      machine.fault(warp, lane, operation, "an unknown atomic");
    std::memcpy(bytes, &value, at(operation.bytes));
    if (!is_red && operation.operand(0).kind == Operand::Kind::reg)
      Machine::write(warp, operation.operand(0))[lane] = old;
  });
}

void fence(Machine& machine, Warp& warp, const Operation& operation, std::uint32_t mask) {
  if (operation.instruction->has("cta")) return;  // what other CTAs see is not ordered
  if (operation.instruction->has("acq_rel") || operation.instruction->has("sc") ||
      operation.instruction->words.front() == "membar")
    machine.release(warp, mask);
}

// mapa: an address in shared memory, of the cluster's CTA of that rank.
void map_to_rank(Machine& machine, Warp& warp, const Operation& operation, std::uint32_t mask) {
  const std::uint64_t* const address = machine.read(warp, operation.operand(1));
  const std::uint64_t* const rank = machine.read(warp, operation.operand(2));
  std::uint64_t* const to = Machine::write(warp, operation.operand(0));
  for_each(mask, [&](int lane) {
    to[lane] = (address[lane] & ones(Machine::rank_shift)) | (rank[lane] + 1) << Machine::rank_shift;
  });
}

// An mbarrier: bytes still to come, arrivals that lack and that a phase has, and the phase's parity.
struct Counter {
  std::int32_t bytes = 0;
  std::uint16_t missing = 0;
  std::uint16_t arrivals : 15 = 0, parity : 1 = 0;

  void complete_if_due() {
    if (bytes != 0 || missing != 0) return;
    parity = static_cast<std::uint16_t>(parity ^ 1U) & 1U;
    missing = arrivals;
  }
};
static_assert(sizeof(Counter) == 8);

template <class Change>
void change_counter(std::byte* at, Change&& change) {
  Counter counter;
  std::memcpy(&counter, at, sizeof counter);
  change(counter);
  std::memcpy(at, &counter, sizeof counter);
}

void count(Machine& machine, Warp& warp, const Operation& operation, std::uint32_t mask) {
  const Instruction& i = *operation.instruction;
  if (i.has("init")) {
    for_each(mask, [&](int lane) {
      const auto arrivals = static_cast<std::uint16_t>(machine.read(warp, operation.operand(1))[lane]);
      std::byte* const bytes = machine.locate(
          warp, lane, Space::shared, address_of(machine, warp, operation.operand(0), lane), 8, operation);
      change_counter(bytes, [&](Counter& counter) {
        counter = Counter{};
        counter.missing = arrivals;
        counter.arrivals = arrivals & 0x7FFFU;
      });
    });
  } else if (i.has("expect_tx")) {  // mbarrier.arrive.expect_tx _, [a], bytes
    for_each(mask, [&](int lane) {
      const auto coming = static_cast<std::int32_t>(machine.read(warp, operation.operand(2))[lane]);
      std::byte* const bytes = machine.locate(
          warp, lane, Space::shared, address_of(machine, warp, operation.operand(1), lane), 8, operation);
      change_counter(bytes, [&](Counter& counter) {
        if (counter.missing == 0) machine.fault(warp, lane, operation, "an arrival too many");
        counter.bytes += coming;
        --counter.missing;
        counter.complete_if_due();
      });
    });
  } else if (i.has("try_wait") || i.has("test_wait")) {  // p, [a], parity: whether that phase has ended
    for_each(mask, [&](int lane) {
      const std::uint64_t parity = machine.read(warp, operation.operand(2))[lane];
      std::byte* const bytes = machine.locate(
          warp, lane, Space::shared, address_of(machine, warp, operation.operand(1), lane), 8, operation);
      bool ended = false;
      change_counter(bytes, [&](Counter& counter) { ended = counter.parity != (parity & 1); });
      Machine::write(warp, operation.operand(0))[lane] = ended ? 1 : 0;
    });
  } else {
    machine.fault(warp, std::countr_zero(mask), operation, "an unknown operation of an mbarrier");
  }
}

}  // namespace

void Machine::complete_bytes(Cta& of, std::uint64_t counter, std::int64_t bytes) {
  change_counter(of.shared.data() + counter, [&](Counter& c) {
    c.bytes += static_cast<std::int32_t>(bytes);
    c.complete_if_due();
  });
}

Handler find_memory_handler(const Instruction& i) {
  const std::string& name = i.words.front();
  if (name == "ld") return load;
  if (name == "st") return i.has("async") ? store_counted : store;
  if (name == "atom" || name == "red") return update;
  if (name == "fence" || name == "membar") return fence;
  if (name == "mapa") return map_to_rank;
  if (name == "mbarrier") return count;
  return nullptr;
}

}  // namespace sprnn::emulator
