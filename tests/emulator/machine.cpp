#include "emulator/machine.hpp"

#include <algorithm>
#include <string>

namespace sprnn::emulator {

namespace {

constexpr std::uint64_t instruction_ns = 100;  // of a warp, while the others do as much
constexpr int longest_turn = 400;              // instructions
constexpr unsigned side_by_side = 4;           // CTAs of a launch that is not cooperative

std::uint32_t first_lane(std::uint32_t mask) { return static_cast<std::uint32_t>(std::countr_zero(mask)); }

}  // namespace

void run(const Launch& launch, Memory& memory, std::uint64_t seed) {
  memory.forget();
  Machine(launch, memory, seed).run();
}

Machine::Machine(const Launch& launch, Memory& memory, std::uint64_t seed)
    : launch_(launch), memory_(memory), random_(seed) {
  for (const Instruction& instruction : launch.kernel->instructions)
    operations_.push_back(prepare(instruction));
  for (const std::uint64_t value : launch.kernel->constants) constants_.emplace_back().fill(value);
}

void Machine::run() {
  const unsigned most = launch_.cooperative ? launch_.blocks : side_by_side;
  for (unsigned first = 0; first < launch_.blocks; first += most)
    run_some(first, std::min(most, launch_.blocks - first));
}

void Machine::run_some(unsigned first, unsigned count) {
  ctas_.clear();
  std::vector<Warp*> warps;
  for (unsigned i = first; i < first + count; ++i) {
    auto cta = std::make_unique<Cta>();
    cta->index = i;
    cta->cluster = i / launch_.cluster;
    cta->rank = i % launch_.cluster;
    cta->sm = i;
    cta->traces.resize((launch_.kernel->dynamic_shared_at + launch_.shared_bytes + 1) / 2);
    cta->shared.assign(launch_.kernel->dynamic_shared_at + launch_.shared_bytes, std::byte{0xDB});
    for (unsigned w = 0; w * lanes < launch_.threads; ++w) {
      auto warp = std::make_unique<Warp>();
      warp->cta = cta.get();
      warp->index = static_cast<int>(w);
      warp->registers.resize(static_cast<std::size_t>(launch_.kernel->registers));
      for (Lanes& reg : warp->registers) reg.fill(0xDBDBDBDBDBDBDBDB);
      warp->local.assign(launch_.kernel->local_bytes > 0 ? lanes : 0,
                         std::vector<std::byte>(launch_.kernel->local_bytes));
      if (const unsigned left = launch_.threads - w * lanes; left < lanes) warp->exited = ~0U << left;
      warps.push_back(warp.get());
      cta->warps.push_back(std::move(warp));
    }
    ctas_.push_back(std::move(cta));
  }
  warps_ = warps.size();
  int idle = 0;
  while (!warps.empty()) {
    const std::size_t pick = random_() % warps.size();
    Warp& warp = *warps[pick];
    const std::uint64_t before = executed_;
    run_warp(warp, 1 + static_cast<int>(random_() % longest_turn));
    // Also of a CTA that may have left: others wait for what it stored.
    for (Cta* const from : {warp.cta, ctas_[random_() % ctas_.size()].get()}) {
      for (std::size_t landing = random_() % (from->pending.size() + 1); landing > 0; --landing)
        land(*from, random_() % from->pending.size());
    }
    if (warp.exited == ~0U) {
      warps[pick] = warps.back();
      warps.pop_back();
    }
    idle = executed_ == before ? idle + 1 : 0;
    if (idle > 1000 && std::ranges::none_of(warps, [&](Warp* w) {
          int pc = 0;
          return select(*w, pc) != 0;
        })) {
      const Warp& stuck = *warps.front();
      const std::uint32_t waiting = stuck.at_barrier | stuck.at_cluster_barrier | stuck.runnable();
      const auto lane = first_lane(waiting);
      fault(stuck, static_cast<int>(lane), operations_[static_cast<std::size_t>(stuck.pc[lane])],
            "waits for ever: nothing can run");
    }
  }
  for (const auto& cta : ctas_) settle(*cta);
}

std::uint32_t Machine::missing(Warp& warp, const Operation& operation, std::uint32_t mask) {
  // bar.warp.sync mask; shfl, vote ..., mask: the last operand. mma and ldmatrix: all.
  const std::string& name = operation.instruction->words.front();
  std::uint32_t members = ~0U;
  if (name == "bar" || name == "shfl" || name == "vote") {
    members =
        static_cast<std::uint32_t>(read(warp, operation.instruction->operands.back())[first_lane(mask)]);
  }
  return members & ~warp.exited & ~mask;
}

std::uint32_t Machine::select(Warp& warp, int& pc) {
  std::uint32_t left = warp.runnable();
  while (left != 0) {
    // The lowest first, so that lanes meet again; sometimes others, so that none waits for ever.
    int next = INT32_MAX;
    if (random_() % 8 == 0) {
      std::uint32_t chosen = left;
      for (std::uint64_t skip = random_() % static_cast<unsigned>(std::popcount(left)); skip > 0; --skip)
        chosen &= chosen - 1;
      next = warp.pc[first_lane(chosen)];
    } else {
      for (std::uint32_t rest = left; rest != 0; rest &= rest - 1)
        next = std::min(next, warp.pc[first_lane(rest)]);
    }
    std::uint32_t mask = 0;
    for (std::uint32_t rest = left; rest != 0; rest &= rest - 1) {
      if (warp.pc[first_lane(rest)] == next) mask |= 1U << first_lane(rest);
    }
    const Operation& operation = operations_[static_cast<std::size_t>(next)];
    if (operation.kind != Operation::Kind::collective || missing(warp, operation, mask) == 0) {
      pc = next;
      return mask;
    }
    left &= ~mask;
  }
  return 0;
}

void Machine::run_warp(Warp& warp, int most) {
  using Kind = Operation::Kind;
  int pc = 0;
  std::uint32_t mask = select(warp, pc);
  const auto move_to = [&](std::uint32_t of, int to) {
    for (; of != 0; of &= of - 1) warp.pc[first_lane(of)] = to;
  };
  while (mask != 0 && most-- > 0) {
    const Operation& operation = operations_[static_cast<std::size_t>(pc)];
    std::uint32_t active = mask;
    if (const int guard = operation.instruction->guard; guard >= 0) {
      const Lanes& predicate = warp.registers[static_cast<std::size_t>(guard)];
      std::uint32_t set = 0;
      for (std::size_t lane = 0; lane < lanes; ++lane) set |= (predicate[lane] != 0 ? 1U : 0U) << lane;
      active &= operation.instruction->guard_negated ? ~set : set;
    }
    ++executed_;
    const bool waits = operation.kind == Kind::barrier || operation.kind == Kind::cluster_barrier;
    if (operation.kind != Kind::branch && active != 0) {
      if (waits) move_to(active, pc);  // it is passed when all have come
      operation.run(*this, warp, operation, active);
    }
    const bool leaves = operation.kind != Kind::plain && operation.kind != Kind::collective;
    const int next =
        operation.kind == Kind::branch && active == mask ? operation.instruction->target : pc + 1;
    const bool apart = leaves && (operation.kind != Kind::branch || (active != 0 && active != mask));
    // Lanes that are all there are go on together, and need not be looked for.
    if (!apart && mask == warp.runnable() &&
        (operations_[static_cast<std::size_t>(next)].kind != Kind::collective ||
         (mask | warp.exited) == ~0U)) {
      pc = next;
      continue;
    }
    if (!apart) {
      move_to(mask, next);
    } else if (operation.kind == Kind::branch) {
      move_to(active, operation.instruction->target);
      move_to(mask & ~active, pc + 1);
    } else {
      if (operation.kind == Kind::exit) warp.exited |= active;
      if (operation.kind == Kind::barrier) warp.at_barrier |= active;
      if (operation.kind == Kind::cluster_barrier) warp.at_cluster_barrier |= active;
      move_to(mask & ~active, pc + 1);
      // Nobody waits for lanes that have left.
      if (operation.kind != Kind::cluster_barrier) release_barrier(*warp.cta);
      if (operation.kind != Kind::barrier) release_cluster(warp.cta->cluster);
    }
    mask = select(warp, pc);
  }
  move_to(mask, pc);
}

void Machine::release_barrier(Cta& cta) {
  if (std::ranges::any_of(cta.warps, [](const auto& w) { return (w->exited | w->at_barrier) != ~0U; }))
    return;
  for (const auto& warp : cta.warps) {
    for (std::uint32_t rest = warp->at_barrier; rest != 0; rest &= rest - 1) {
      const auto lane = first_lane(rest);
      const Operation& operation = operations_[static_cast<std::size_t>(warp->pc[lane])];
      if (operation.instruction->has("red")) write(*warp, operation.operand(0))[lane] = cta.any ? 1 : 0;
      ++warp->pc[lane];
    }
    warp->at_barrier = 0;
  }
  cta.any = false;
  ++cta.epoch;
}

void Machine::release_cluster(unsigned cluster) {
  const auto in = [&](const auto& cta) { return cta->cluster == cluster; };
  for (const auto& cta : ctas_) {
    if (in(cta) && std::ranges::any_of(
                       cta->warps, [](const auto& w) { return (w->exited | w->at_cluster_barrier) != ~0U; }))
      return;
  }
  // Who has left has ordered nothing by that.
  const auto waits = [](const auto& w) { return w->at_cluster_barrier != 0; };
  if (std::ranges::none_of(
          ctas_, [&](const auto& cta) { return in(cta) && std::ranges::any_of(cta->warps, waits); }))
    return;
  for (const auto& cta : ctas_) {
    if (!in(cta)) continue;
    settle(*cta);
    ++cta->epoch;
    for (const auto& warp : cta->warps) {
      for (std::uint32_t rest = warp->at_cluster_barrier; rest != 0; rest &= rest - 1)
        ++warp->pc[first_lane(rest)];
      warp->at_cluster_barrier = 0;
    }
  }
}

const std::uint64_t* Machine::compute(Warp& warp, const Operand& operand) {
  Lanes& to = scratch_[next_scratch_++ % scratch_.size()];
  if (operand.kind == Operand::Kind::reg) {
    const Lanes& from = warp.registers[static_cast<std::size_t>(operand.index)];
    for (std::size_t lane = 0; lane < lanes; ++lane) to[lane] = from[lane] == 0 ? 1 : 0;
    return to.data();
  }
  const Cta& cta = *warp.cta;
  const auto value = [&](std::size_t lane) -> std::uint64_t {
    switch (static_cast<Special>(operand.index)) {
      case Special::tid:
        return static_cast<std::uint64_t>(warp.index * lanes) + lane;
      case Special::ntid:
        return launch_.threads;
      case Special::ctaid:
        return cta.index;
      case Special::nctaid:
        return launch_.blocks;
      case Special::laneid:
        return lane;
      case Special::smid:
        return cta.sm;
      case Special::nsmid:
        return 132;
      case Special::clock:
        return executed_;
      case Special::globaltimer:
        // Of the machine, not of the host, whose speed would decide over deadlines.
        return 1 + executed_ * instruction_ns / warps_;
      case Special::dynamic_shared:
        return shared_begin + launch_.kernel->dynamic_shared_at;
    }
    return 0;
  };
  for (std::size_t lane = 0; lane < lanes; ++lane) to[lane] = value(lane);
  return to.data();
}

Cta& Machine::cta_of(Warp& warp, std::uint64_t shared_address, const Operation& operation) {
  const std::uint64_t rank = shared_address >> rank_shift;
  if (rank == 0) return *warp.cta;
  const std::uint64_t index = warp.cta->index / launch_.cluster * launch_.cluster + rank - 1;
  if (rank > launch_.cluster) fault(warp, 0, operation, "a CTA that is not in the cluster");
  Cta& cta = *ctas_[index - ctas_.front()->index];
  if (std::ranges::all_of(cta.warps, [](const auto& w) { return w->exited == ~0U; }))
    fault(warp, 0, operation, "the memory of a CTA that has left");
  return cta;
}

std::byte* Machine::locate(Warp& warp, int lane, Space space, std::uint64_t address, int bytes,
                           const Operation& operation) {
  if (address % static_cast<std::uint64_t>(bytes) != 0)
    fault(warp, lane, operation, "misaligned: address " + std::to_string(address));
  if (space == Space::generic && address >= shared_window && address < 2 * shared_window) {
    space = Space::shared;
    address -= shared_window;
  }
  const auto size = static_cast<std::uint64_t>(bytes);
  if (space == Space::shared) {
    Cta& cta = cta_of(warp, address, operation);
    const std::uint64_t at = (address & ((1U << rank_shift) - 1)) - shared_begin;
    if (at + size > cta.shared.size() || at > cta.shared.size()) {
      fault(warp, lane, operation,
            "outside of shared memory: byte " + std::to_string(static_cast<std::int64_t>(at)) + " of " +
                std::to_string(cta.shared.size()));
    }
    return cta.shared.data() + at;
  }
  if (space == Space::local) {
    std::vector<std::byte>& own = warp.local.at(static_cast<std::size_t>(lane));
    if (address + size > own.size()) fault(warp, lane, operation, "outside of local memory");
    return own.data() + address;
  }
  if (!memory_.contains(address, size))
    fault(warp, lane, operation, "outside of any allocation: address " + std::to_string(address));
  return reinterpret_cast<std::byte*>(address);
}

void Machine::trace(Warp& warp, int lane, const std::byte* at, int bytes, bool writes,
                    const Operation& operation) {
  Cta& cta = *warp.cta;
  const auto first = static_cast<std::size_t>(at - cta.shared.data());
  const auto thread = static_cast<std::uint32_t>(warp.index * lanes + lane),
             own = static_cast<std::uint32_t>(warp.index);
  const auto refuse = [&](std::string_view what, std::uint32_t other) {
    fault(warp, lane, operation,
          "byte " + std::to_string(first) + " of shared memory is " + std::string(what) + " by thread " +
              std::to_string(other) + " too, with no barrier between");
  };
  for (std::size_t i = first / 2; i < (first + static_cast<std::size_t>(bytes) + 1) / 2; ++i) {
    Trace& trace = cta.traces[i];
    if (trace.write_epoch == cta.epoch && trace.writer != thread &&
        (trace.writer / lanes != own || trace.write_warp_epoch == warp.epoch)) {
      refuse("written", trace.writer);
    }
    const bool read_now = trace.read_epoch == cta.epoch;
    if (writes) {
      if (const std::uint32_t others = trace.read_warps & ~(1U << own); read_now && others != 0)
        refuse("read", first_lane(others) * lanes);
      if (const std::uint32_t others = trace.read_lanes & ~(1U << lane);
          read_now && trace.read_warp == own && trace.read_warp_epoch == warp.epoch && others != 0) {
        refuse("read", own * lanes + first_lane(others));
      }
      trace.write_epoch = cta.epoch;
      trace.write_warp_epoch = warp.epoch;
      trace.writer = thread;
    } else {
      if (!read_now) trace.read_warps = 0;
      if (!read_now || trace.read_warp != own || trace.read_warp_epoch != warp.epoch) trace.read_lanes = 0;
      trace.read_epoch = cta.epoch;
      trace.read_warps |= 1U << own;
      trace.read_warp = own;
      trace.read_warp_epoch = warp.epoch;
      trace.read_lanes |= 1U << lane;
    }
  }
}

// One of its stores, but no later one to the same place before an earlier one.
void Machine::land(Cta& from, std::size_t index) {
  for (std::size_t earlier = 0; earlier < index; ++earlier) {
    if (from.pending[earlier].address == from.pending[index].address &&
        from.pending[earlier].to == from.pending[index].to)
      index = earlier;
  }
  const Pending store = from.pending[index];
  from.pending.erase(from.pending.begin() + static_cast<std::ptrdiff_t>(index));
  std::byte* const to = store.to == nullptr ? reinterpret_cast<std::byte*>(store.address)
                                            : store.to->shared.data() + store.address;
  std::memcpy(to, &store.value, static_cast<std::size_t>(std::min(store.bytes, 8)));
  if (store.bytes == 16) std::memcpy(to + 8, &store.second, 8);
  if (store.counter >= 0) complete_bytes(*store.to, static_cast<std::uint64_t>(store.counter), -store.bytes);
}

void Machine::delay(Warp& from, int lane, Pending store) {
  store.thread = static_cast<std::uint32_t>(from.index * lanes + lane);
  store.epoch = from.cta->epoch;
  store.warp_epoch = from.epoch;
  from.cta->pending.push_back(store);
}

void Machine::release(Warp& by, std::uint32_t mask) {
  Cta& cta = *by.cta;
  const auto comes_before = [&](const Pending& store) {
    if (store.epoch < cta.epoch) return true;
    if (store.thread / lanes != static_cast<std::uint32_t>(by.index)) return false;
    return store.warp_epoch < by.epoch || (mask >> store.thread % lanes & 1) != 0;
  };
  for (auto found = cta.pending.begin(); found != cta.pending.end();) {
    if (!comes_before(*found)) {
      ++found;
      continue;
    }
    land(cta, static_cast<std::size_t>(found - cta.pending.begin()));
    found = cta.pending.begin();
  }
}

void Machine::settle(Cta& from) {
  while (!from.pending.empty()) land(from, 0);
}

void Machine::settle_at(Cta& from, std::uint64_t address, int bytes) {
  for (std::size_t i = 0; i < from.pending.size();) {
    const Pending& store = from.pending[i];
    const bool meets = store.to == nullptr && store.address < address + static_cast<std::uint64_t>(bytes) &&
                       address < store.address + static_cast<std::uint64_t>(store.bytes);
    if (meets) {
      land(from, i);
      i = 0;
    } else {
      ++i;
    }
  }
}

void Machine::fault(const Warp& warp, int lane, const Operation& operation, const std::string& what) const {
  const int pc = static_cast<int>(&operation - operations_.data());
  throw Fault(launch_.kernel->name + ", CTA " + std::to_string(warp.cta->index) + ", thread " +
              std::to_string(warp.index * lanes + lane) + ", instruction " + std::to_string(pc) + " `" +
              operation.instruction->text + "`: " + what);
}

}  // namespace sprnn::emulator
