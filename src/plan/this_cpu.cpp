// What this machine's processor offers to this process.
#include <sched.h>
#include <unistd.h>

#include <algorithm>

#include "plan/cgroup_quota.hpp"
#include "sprnn/device.hpp"
#include "sprnn/engine.hpp"

namespace sprnn {

namespace {

int affinity_threads() {
  // The kernel's mask may be wider than cpu_set_t: grow until it fits.
  for (int cpus = 1024; cpus <= 1 << 20; cpus *= 2) {
    cpu_set_t* set = CPU_ALLOC(cpus);
    if (set == nullptr) break;
    const std::size_t bytes = CPU_ALLOC_SIZE(cpus);
    const bool ok = sched_getaffinity(0, bytes, set) == 0;
    const int count = ok ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (ok) return std::max(count, 1);
  }
  return static_cast<int>(std::max(sysconf(_SC_NPROCESSORS_ONLN), 1L));
}

std::int64_t cache_bytes(int name, std::int64_t otherwise) {
  const long bytes = sysconf(name);
  return bytes > 0 ? bytes : otherwise;
}

}  // namespace

Device this_cpu() {
  CpuDescription cpu;
  cpu.threads = threads_within_quota(affinity_threads());
  cpu.isa = cpu_isas().front();
  cpu.l1_bytes = cache_bytes(_SC_LEVEL1_DCACHE_SIZE, cpu.l1_bytes);
  cpu.l2_bytes = cache_bytes(_SC_LEVEL2_CACHE_SIZE, cpu.l2_bytes);
  cpu.l3_bytes = cache_bytes(_SC_LEVEL3_CACHE_SIZE, cpu.l3_bytes);
  return {"cpu", cpu};
}

}  // namespace sprnn
