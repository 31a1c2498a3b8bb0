// The bank-aware order: which lane takes which pair of a row, and when.
//
// Shared memory serves the lanes of a phase together (32 lanes at loads of up to 4 bytes, 16 at 8, 8 at 16)
// when their words fall into different banks. A row is a sum, so its pairs may come in any order: in each
// slot, the lanes of a phase should read words of different bank classes.
#pragma once

#include <span>
#include <vector>

#include "plan/gather_layout.hpp"

namespace sprnn::gather {

struct Entry {
  std::int64_t address = 0;  // of the word in a plane of the image
  std::uint32_t value = 0;   // bit pattern
};

// The pairs of one warp in one row pass, [slots][32 lanes]; rows[g] (at most lanes * slots entries, in the
// order of their columns) belongs to lanes g * lanes ... (g + 1) * lanes - 1. Places without a pair are
// padded.
[[nodiscard]] std::vector<Entry> arrange(std::span<const std::vector<Entry>> rows, int lanes, int slots,
                                         const Image& image, bool bank_order);

// Entries of value 0 are places without a pair: each reads a word that is always zero, of a bank class that
// its phase does not use. A phase has as many lanes as there are classes, so that there is one for each.
void pad(std::span<Entry, warp_lanes> lanes, const Image& image);

// Wavefronts that one load of each lane's address takes: over the phases, the most words of one bank class,
// where lanes that read the same word share it.
[[nodiscard]] int wavefronts(std::span<const std::int64_t> addresses, const Image& image);

}  // namespace sprnn::gather
