// How long each SM's atomics take to memory of each line: tells the two sides of the L2 apart, since an atomic goes to
// the side where its line is at home. (Loads do not tell: each side keeps copies of what its SMs read.)
#include "types.cuh"

// lines: [line_count], `stride` words apart, zero; cycles [CTA][line_count]; sm [CTA], then how many SMs have names. One
// CTA an SM.
extern "C" __global__ void time_lines(u32* lines, int stride, int line_count, u32* cycles, u32* sm) {
  if (threadIdx.x != 0) return;
  sm[blockIdx.x] = sm_id();
  if (blockIdx.x == 0) sm[gridDim.x] = sm_ids();
  for (int i = 0; i < line_count; ++i) {
    const int line = (i + blockIdx.x) % line_count;  // not all at the same
    u32 least = ~0u;
    for (int n = 0; n < 6; ++n) {
      // The branch on what was loaded keeps the second look at the clock behind it.
      u32 taken;
      asm volatile(
          "{\n.reg .u32 before, after, found;\n.reg .pred never;\n"
          "mov.u32 before, %%clock;\n"
          "atom.relaxed.gpu.global.or.b32 found, [%1], 0;\n"
          "setp.ne.u32 never, found, 0;\n@never trap;\n"
          "mov.u32 after, %%clock;\nsub.u32 %0, after, before;\n}"
          : "=r"(taken)
          : "l"(lines + static_cast<i64>(line) * stride)
          : "memory");
      if (n > 0 && taken < least) least = taken;  // the first also fetches the line
    }
    cycles[static_cast<i64>(blockIdx.x) * line_count + line] = least;
  }
}
