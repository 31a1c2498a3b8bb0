#include "pack/gather_order.hpp"

#include <algorithm>
#include <array>
#include <bit>

namespace sprnn::gather {

namespace {

using std::size_t;

// Colours the edges of a bipartite multigraph so that no two edges of a node share a colour, with as many
// colours as the highest degree (Koenig): here lanes, bank classes and slots. An edge takes a colour that
// is free at both ends; where there is none, a path of two alternating colours is swapped first.
//
// A surplus edge is one whose slot costs a further wavefront. They take the lowest colours, the others the
// highest, so that the surplus meets in few slots; paths that would scatter it are swapped last.
class EdgeColouring {
 public:
  EdgeColouring(size_t left, size_t right, size_t colours)
      : colours_(colours),
        words_((colours + 63) / 64),
        edge_at_((left + right) * colours, none),
        free_((left + right) * words_) {
    for (size_t i = 0; i < free_.size(); ++i) {
      const size_t count = std::min<size_t>(64, colours - i % words_ * 64);
      free_[i] = count == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1;
    }
  }

  // Both nodes must have had fewer edges than there are colours. Nodes count on from left to right. Surplus
  // edges come before all others.
  void add(size_t left, size_t right, bool surplus) {
    const size_t edge = edges_.size();
    edges_.push_back({left, right, surplus});
    const size_t colour = surplus ? lowest_common(left, right) : highest_common(left, right);
    set_both(edge, colour != none ? colour : make_common(left, right));
    if (surplus) surplus_colours_ = std::max(surplus_colours_, colour_of(left, edge) + 1);
  }

  // The edge of a node in a colour, or `none`.
  [[nodiscard]] size_t edge_at(size_t node, size_t colour) const {
    return edge_at_[node * colours_ + colour];
  }
  static constexpr size_t none = ~size_t{0};

 private:
  struct Edge {
    size_t left, right;
    bool surplus;
  };
  // More tries find a harmless path more often; beyond a few they gain nothing.
  static constexpr int max_tries = 8;

  [[nodiscard]] size_t lowest_common(size_t a, size_t b) const {
    for (size_t w = 0; w < words_; ++w) {
      const std::uint64_t both = free_[a * words_ + w] & free_[b * words_ + w];
      if (both != 0) return w * 64 + static_cast<size_t>(std::countr_zero(both));
    }
    return none;
  }

  [[nodiscard]] size_t highest_common(size_t a, size_t b) const {
    for (size_t w = words_; w-- > 0;) {
      const std::uint64_t both = free_[a * words_ + w] & free_[b * words_ + w];
      if (both != 0) return w * 64 + 63 - static_cast<size_t>(std::countl_zero(both));
    }
    return none;
  }

  [[nodiscard]] size_t next_free(size_t node, size_t from) const {
    while (from < colours_ && edge_at(node, from) != none) ++from;
    return from;
  }

  [[nodiscard]] size_t colour_of(size_t node, size_t edge) const {
    size_t colour = 0;
    while (edge_at(node, colour) != edge) ++colour;
    return colour;
  }

  // Frees a colour of `left` at `right` and returns it.
  size_t make_common(size_t left, size_t right) {
    size_t best_a = none, best_b = none, least = none;
    int tries = 0;
    for (size_t a = next_free(left, 0); a < colours_ && least != 0; a = next_free(left, a + 1)) {
      for (size_t b = next_free(right, 0); b < colours_ && least != 0; b = next_free(right, b + 1)) {
        if (++tries > max_tries) break;
        walk(right, a, b);
        const size_t harm = scattered(a, b);
        if (harm < least) {
          least = harm;
          best_a = a;
          best_b = b;
        }
      }
    }
    walk(right, best_a, best_b);
    swap_path(best_a, best_b);
    return best_a;
  }

  // From `node`, which uses colour a and not b, along edges of colours a, b, a, ... The path cannot come
  // back, nor reach a left node that is free of a.
  void walk(size_t node, size_t a, size_t b) {
    path_.clear();
    size_t wanted = a;
    for (size_t edge = edge_at(node, wanted); edge != none; edge = edge_at(node, wanted)) {
      path_.push_back(edge);
      node = edges_[edge].left == node ? edges_[edge].right : edges_[edge].left;
      wanted = wanted == a ? b : a;
    }
  }

  // Surplus edges of the path that a swap would take out of the surplus colours.
  [[nodiscard]] size_t scattered(size_t a, size_t b) const {
    size_t count = 0;
    for (size_t i = 0; i < path_.size(); ++i) {
      const size_t fresh = i % 2 == 0 ? b : a;
      if (edges_[path_[i]].surplus && fresh >= surplus_colours_) ++count;
    }
    return count;
  }

  void swap_path(size_t a, size_t b) {
    for (size_t i = 0; i < path_.size(); ++i) clear_both(path_[i], i % 2 == 0 ? a : b);
    for (size_t i = 0; i < path_.size(); ++i) set_both(path_[i], i % 2 == 0 ? b : a);
  }

  void set_both(size_t edge, size_t colour) {
    for (const size_t node : {edges_[edge].left, edges_[edge].right}) {
      edge_at_[node * colours_ + colour] = edge;
      free_[node * words_ + colour / 64] &= ~(std::uint64_t{1} << colour % 64);
    }
  }

  void clear_both(size_t edge, size_t colour) {
    for (const size_t node : {edges_[edge].left, edges_[edge].right}) {
      edge_at_[node * colours_ + colour] = none;
      free_[node * words_ + colour / 64] |= std::uint64_t{1} << colour % 64;
    }
  }

  size_t colours_, words_;
  size_t surplus_colours_ = 0;
  std::vector<size_t> edge_at_;
  std::vector<std::uint64_t> free_;
  std::vector<Edge> edges_;
  std::vector<size_t> path_;
};

// table[slot * 32 + lane]; a value of zero bits marks a place without a pair.
using Table = std::vector<Entry>;

// In the order of the columns: neighbours go to neighbouring lanes.
void deal_in_order(std::span<const std::vector<Entry>> rows, int lanes, Table& table) {
  for (size_t g = 0; g < rows.size(); ++g) {
    for (size_t i = 0; i < rows[g].size(); ++i) {
      const size_t width = static_cast<size_t>(lanes);
      table[i / width * warp_lanes + g * width + i % width] = rows[g][i];
    }
  }
}

// One phase's lanes, each with the pairs that it will take in some order.
void order_phase(std::span<const std::vector<Entry>> lane_pairs, size_t first_lane, int slots,
                 const Image& image, Table& table) {
  struct Edge {
    size_t lane;
    const Entry* pair;
  };
  const size_t lanes = lane_pairs.size();
  const size_t colours = static_cast<size_t>(slots);
  std::vector<std::vector<Edge>> classes(static_cast<size_t>(image.bank_classes()));
  for (size_t lane = 0; lane < lanes; ++lane) {
    for (const Entry& pair : lane_pairs[lane]) {
      classes[static_cast<size_t>(image.bank_class(pair.address))].push_back({lane, &pair});
    }
  }

  // A class with more pairs than slots must meet itself. Its surplus, taken from the lanes that have given
  // the least, is further nodes of the graph.
  size_t nodes = lanes;
  std::vector<size_t> given(lanes, 0);
  std::vector<size_t> first_node(classes.size());
  for (size_t c = 0; c < classes.size(); ++c) {
    std::vector<Edge>& edges = classes[c];
    first_node[c] = nodes;
    nodes += (edges.size() + colours - 1) / colours;
    if (edges.size() <= colours) continue;
    std::stable_sort(edges.begin(), edges.end(),
                     [&](const Edge& x, const Edge& y) { return given[x.lane] < given[y.lane]; });
    for (size_t i = 0; i < edges.size() - colours; ++i) ++given[edges[i].lane];
  }

  EdgeColouring colouring(lanes, nodes - lanes, colours);
  std::vector<const Entry*> pairs;
  for (const bool surplus : {true, false}) {
    for (size_t c = 0; c < classes.size(); ++c) {
      const std::vector<Edge>& edges = classes[c];
      const size_t extra = edges.size() > colours ? edges.size() - colours : 0;
      for (size_t i = surplus ? 0 : extra; i < (surplus ? extra : edges.size()); ++i) {
        const size_t node = first_node[c] + (surplus ? 1 + i / colours : 0);
        colouring.add(edges[i].lane, node, surplus);
        pairs.push_back(edges[i].pair);
      }
    }
  }
  for (size_t lane = 0; lane < lanes; ++lane) {
    for (size_t slot = 0; slot < colours; ++slot) {
      const size_t edge = colouring.edge_at(lane, slot);
      if (edge != EdgeColouring::none) table[slot * warp_lanes + first_lane + lane] = *pairs[edge];
    }
  }
}

void deal_by_bank(std::span<const std::vector<Entry>> rows, int lanes, int slots, const Image& image,
                  Table& table) {
  const size_t phase_lanes = static_cast<size_t>(image.phase_lanes());
  const size_t width = static_cast<size_t>(lanes);
  const size_t phases_a_row = std::max<size_t>(1, width / phase_lanes);
  const size_t lanes_in_phase = std::min(width, phase_lanes);
  std::vector<std::vector<Entry>> lane_pairs(warp_lanes);
  std::vector<Entry> sorted;
  for (size_t g = 0; g < rows.size(); ++g) {
    sorted = rows[g];
    std::stable_sort(sorted.begin(), sorted.end(), [&](const Entry& a, const Entry& b) {
      return image.bank_class(a.address) < image.bank_class(b.address);
    });
    // Each bank class is spread over the row's phases, then over a phase's lanes.
    for (size_t i = 0; i < sorted.size(); ++i) {
      const size_t lane = i % phases_a_row * lanes_in_phase + i / phases_a_row % lanes_in_phase;
      lane_pairs[g * width + lane].push_back(sorted[i]);
    }
  }
  for (size_t lane = 0; lane < warp_lanes; lane += phase_lanes) {
    order_phase(std::span(lane_pairs).subspan(lane, phase_lanes), lane, slots, image, table);
  }
}

}  // namespace

std::vector<Entry> arrange(std::span<const std::vector<Entry>> rows, int lanes, int slots, const Image& image,
                           bool bank_order) {
  Table table(static_cast<size_t>(slots) * warp_lanes);
  if (slots == 0) return table;
  if (bank_order) {
    deal_by_bank(rows, lanes, slots, image, table);
  } else {
    deal_in_order(rows, lanes, table);
  }
  for (size_t slot = 0; slot < table.size(); slot += warp_lanes) {
    pad(std::span(table).subspan(slot).first<warp_lanes>(), image);
  }
  return table;
}

void pad(std::span<Entry, warp_lanes> lanes, const Image& image) {
  const size_t phase_lanes = static_cast<size_t>(image.phase_lanes());
  for (size_t first = 0; first < lanes.size(); first += phase_lanes) {
    const std::span<Entry> phase = lanes.subspan(first, phase_lanes);
    std::array<bool, bank_row_bytes / 4> used{};
    for (const Entry& entry : phase) {
      if (entry.value != 0) used[static_cast<size_t>(image.bank_class(entry.address))] = true;
    }
    size_t next = 0;
    for (Entry& entry : phase) {
      if (entry.value != 0) continue;
      while (used[next]) ++next;
      entry.address = image.zero_word(static_cast<int>(next++));
    }
  }
}

int wavefronts(std::span<const std::int64_t> addresses, const Image& image) {
  const size_t phase_lanes = static_cast<size_t>(image.phase_lanes());
  int total = 0;
  for (size_t phase = 0; phase < addresses.size(); phase += phase_lanes) {
    std::array<int, bank_row_bytes / 4> count{};
    std::array<std::int64_t, warp_lanes> words{};
    size_t distinct = 0;
    int most = 0;
    for (size_t i = phase; i < phase + phase_lanes; ++i) {
      const std::int64_t word = addresses[i] / image.class_bytes();
      if (std::find(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(distinct), word) !=
          words.begin() + static_cast<std::ptrdiff_t>(distinct)) {
        continue;
      }
      words[distinct++] = word;
      most = std::max(most, ++count[static_cast<size_t>(image.bank_class(addresses[i]))]);
    }
    total += most;
  }
  return total;
}

}  // namespace sprnn::gather
