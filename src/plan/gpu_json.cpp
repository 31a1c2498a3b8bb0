#include "plan/gpu_json.hpp"

#include <fmt/format.h>

#include <array>
#include <initializer_list>

#include "base/json.hpp"

namespace sprnn {

namespace {

constexpr std::array strategies = {GpuStrategy::gather, GpuStrategy::dense_mma, GpuStrategy::sparse_mma,
                                   GpuStrategy::vector_mma};

}  // namespace

std::string_view to_string(GpuStrategy strategy) noexcept {
  switch (strategy) {
    case GpuStrategy::dense_mma:
      return "dense-mma";
    case GpuStrategy::sparse_mma:
      return "sparse-mma";
    case GpuStrategy::vector_mma:
      return "vector-mma";
    default:
      return "gather";
  }
}

GpuStrategy parse_gpu_strategy(std::string_view name) {
  for (const GpuStrategy strategy : strategies) {
    if (name == to_string(strategy)) return strategy;
  }
  throw Error(ErrorCode::invalid_argument,
              fmt::format("strategy {}: expected gather, dense-mma, sparse-mma or vector-mma", quote(name)));
}

std::string_view to_string(InputStorage storage) noexcept {
  return storage == InputStorage::csr ? "csr" : "dense";
}
std::string_view to_string(ExchangeWord word) noexcept { return word == ExchangeWord::tag ? "tag" : "stamp"; }

namespace gpu {

namespace {

using nlohmann::json;

template <class Enum>
Enum enum_at(const json& object, const char* key, std::initializer_list<Enum> choices) {
  const std::string name = value_at<std::string>(object, key);
  for (const Enum choice : choices) {
    if (name == to_string(choice)) return choice;
  }
  throw Error(ErrorCode::format, fmt::format("GPU plan: {} is '{}', which is not known", key, name));
}

}  // namespace

void to_json(json& out, const GpuPlan& plan) {
  out = {{"groups", plan.groups},
         {"group_batch", plan.group_batch},
         {"passes", plan.passes},
         {"ctas", plan.ctas},
         {"warps", plan.warps},
         {"w_ih", to_string(plan.w_ih)},
         {"tile_steps", plan.tile_steps},
         {"exchange_word", to_string(plan.exchange_word)},
         {"poll_wait_cycles", plan.poll_wait_cycles},
         {"stamps", plan.stamps},
         {"fence", plan.fence},
         {"in_cluster", plan.in_cluster},
         {"registers",
          {{"available", plan.registers.available},
           {"working", plan.registers.working},
           {"weights", plan.registers.weights}}},
         {"shared",
          {{"available", plan.shared.available},
           {"state", plan.shared.state},
           {"ring", plan.shared.ring},
           {"sums", plan.shared.sums},
           {"weights", plan.shared.weights}}}};
}

void from_json(const json& in, GpuPlan& plan) {
  plan = {};
  plan.groups = value_at<int>(in, "groups");
  plan.group_batch = value_at<int>(in, "group_batch");
  plan.passes = value_at<int>(in, "passes");
  plan.ctas = value_at<int>(in, "ctas");
  plan.warps = value_at<int>(in, "warps");
  plan.w_ih = enum_at(in, "w_ih", {InputStorage::dense, InputStorage::csr});
  plan.tile_steps = value_at<int>(in, "tile_steps");
  plan.exchange_word = enum_at(in, "exchange_word", {ExchangeWord::stamp, ExchangeWord::tag});
  plan.poll_wait_cycles = value_at<int>(in, "poll_wait_cycles");
  plan.stamps = value_at<bool>(in, "stamps");
  plan.fence = value_at<bool>(in, "fence");
  plan.in_cluster = value_at<bool>(in, "in_cluster");
  const json& registers = in.at("registers");
  plan.registers = {value_at<int>(registers, "available"), value_at<int>(registers, "working"),
                    value_at<int>(registers, "weights")};
  const json& shared = in.at("shared");
  plan.shared = {value_at<std::int64_t>(shared, "available"), value_at<std::int64_t>(shared, "state"),
                 value_at<std::int64_t>(shared, "ring"), value_at<std::int64_t>(shared, "sums"),
                 value_at<std::int64_t>(shared, "weights")};
}

std::string groups_text(const GpuPlan& plan) {
  return fmt::format("{} group{} of {} CTAs x {} warps, batch {} a group{}", plan.groups,
                     plan.groups == 1 ? "" : "s", plan.ctas, plan.warps, plan.group_batch,
                     plan.passes == 1 ? "" : fmt::format(" in {} passes", plan.passes));
}

std::string exchange_text(const GpuPlan& plan, bool counted) {
  const std::string fence = plan.fence ? ", fence" : "";
  if (counted) return fmt::format("W_ih {}; in a cluster, words counted{}", to_string(plan.w_ih), fence);
  return fmt::format(
      "W_ih {}; {}{}, wait {}{}", to_string(plan.w_ih), plan.in_cluster ? "in a cluster by " : "",
      plan.stamps ? to_string(plan.exchange_word) : "grid barrier",
      plan.poll_wait_cycles == tuned_poll_wait ? "measured by the session"
                                               : fmt::format("{} cycles", plan.poll_wait_cycles),
      fence);
}

std::string budgets_text(const GpuPlan& plan) {
  return fmt::format("registers {} + {} of {}, shared {} of {} bytes", plan.registers.working,
                     plan.registers.weights, plan.registers.available, plan.shared.total(),
                     plan.shared.available);
}

}  // namespace gpu

}  // namespace sprnn
