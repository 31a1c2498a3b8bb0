// Printing a GatherPlan, and reading it back.
#include <fmt/format.h>

#include <initializer_list>

#include "base/json.hpp"
#include "plan/strategy.hpp"

namespace sprnn {

std::string_view to_string(InputStorage storage) noexcept {
  return storage == InputStorage::csr ? "csr" : "dense";
}
std::string_view to_string(ExchangeWord word) noexcept { return word == ExchangeWord::tag ? "tag" : "stamp"; }

namespace gather {

namespace {

using nlohmann::json;

template <class Enum>
Enum enum_at(const json& object, const char* key, std::initializer_list<Enum> choices) {
  const std::string name = object.at(key).get<std::string>();
  for (const Enum choice : choices) {
    if (name == to_string(choice)) return choice;
  }
  throw Error(ErrorCode::format, fmt::format("gather plan: {} is '{}', which is not known", key, name));
}

// Passes are triples [registers, shared, l2].
json matrix_to_json(const GatherMatrix& matrix) {
  json passes = json::array();
  for (const RowPass& pass : matrix.passes) passes.push_back({pass.registers, pass.shared, pass.l2});
  return {{"units_a_cta", matrix.units_a_cta},
          {"lanes_a_row", matrix.lanes_a_row},
          {"offset_unit", matrix.offset_unit},
          {"half_sums", matrix.half_sums},
          {"passes", std::move(passes)}};
}

GatherMatrix matrix_from_json(const json& object) {
  GatherMatrix matrix;
  matrix.units_a_cta = integer_at<int>(object, "units_a_cta");
  matrix.lanes_a_row = integer_at<int>(object, "lanes_a_row");
  matrix.offset_unit = integer_at<int>(object, "offset_unit");
  matrix.half_sums = object.at("half_sums").get<bool>();
  for (const json& pass : object.at("passes")) {
    matrix.passes.push_back({to_integer<int>(pass.at(0), "passes.registers"),
                             to_integer<int>(pass.at(1), "passes.shared"),
                             to_integer<int>(pass.at(2), "passes.l2")});
  }
  return matrix;
}

std::string matrix_text(const GatherMatrix& matrix) {
  RowPass sum;
  for (const RowPass& pass : matrix.passes) {
    sum = {sum.registers + pass.registers, sum.shared + pass.shared, sum.l2 + pass.l2};
  }
  return fmt::format(
      "{} units a CTA, {} lanes a row, {} row pass{}, slots a lane: {} in registers, {} shared, {} L2",
      matrix.units_a_cta, matrix.lanes_a_row, matrix.passes.size(), matrix.passes.size() == 1 ? "" : "es",
      sum.registers, sum.shared, sum.l2);
}

}  // namespace

void to_json(json& out, const GatherPlan& plan) {
  out = {{"groups", plan.groups},
         {"group_batch", plan.group_batch},
         {"passes", plan.passes},
         {"ctas", plan.ctas},
         {"warps", plan.warps},
         {"word_bytes", plan.word_bytes},
         {"w_hh", matrix_to_json(plan.w_hh)},
         {"w_ih", to_string(plan.w_ih)},
         {"tile_steps", plan.tile_steps},
         {"exchange_word", to_string(plan.exchange_word)},
         {"poll_wait_cycles", plan.poll_wait_cycles},
         {"stamps", plan.stamps},
         {"bank_order", plan.bank_order},
         {"opaque_pairs", plan.opaque_pairs},
         {"fence", plan.fence},
         {"registers",
          {{"available", plan.registers.available},
           {"working", plan.registers.working},
           {"pairs", plan.registers.pairs}}},
         {"shared",
          {{"available", plan.shared.available},
           {"state", plan.shared.state},
           {"sums", plan.shared.sums},
           {"pairs", plan.shared.pairs}}}};
  if (plan.w_hr) out["w_hr"] = matrix_to_json(*plan.w_hr);
}

void from_json(const json& in, GatherPlan& plan) {
  plan = {};
  plan.groups = integer_at<int>(in, "groups");
  plan.group_batch = integer_at<int>(in, "group_batch");
  plan.passes = integer_at<int>(in, "passes");
  plan.ctas = integer_at<int>(in, "ctas");
  plan.warps = integer_at<int>(in, "warps");
  plan.word_bytes = integer_at<int>(in, "word_bytes");
  plan.w_hh = matrix_from_json(in.at("w_hh"));
  if (in.contains("w_hr")) plan.w_hr = matrix_from_json(in.at("w_hr"));
  plan.w_ih = enum_at(in, "w_ih", {InputStorage::dense, InputStorage::csr});
  plan.tile_steps = integer_at<int>(in, "tile_steps");
  plan.exchange_word = enum_at(in, "exchange_word", {ExchangeWord::stamp, ExchangeWord::tag});
  plan.poll_wait_cycles = integer_at<int>(in, "poll_wait_cycles");
  plan.stamps = in.at("stamps").get<bool>();
  plan.bank_order = in.at("bank_order").get<bool>();
  plan.opaque_pairs = in.at("opaque_pairs").get<bool>();
  plan.fence = in.at("fence").get<bool>();
  const json& registers = in.at("registers");
  plan.registers = {integer_at<int>(registers, "available"), integer_at<int>(registers, "working"),
                    integer_at<int>(registers, "pairs")};
  const json& shared = in.at("shared");
  plan.shared = {integer_at<std::int64_t>(shared, "available"), integer_at<std::int64_t>(shared, "state"),
                 integer_at<std::int64_t>(shared, "sums"), integer_at<std::int64_t>(shared, "pairs")};
}

std::string to_text(const GatherPlan& plan) {
  std::string text =
      fmt::format("gather: {} group{} of {} CTAs x {} warps, batch {} a group{}, {}-byte loads; {}",
                  plan.groups, plan.groups == 1 ? "" : "s", plan.ctas, plan.warps, plan.group_batch,
                  plan.passes == 1 ? "" : fmt::format(" in {} passes", plan.passes), plan.word_bytes,
                  matrix_text(plan.w_hh));
  if (plan.w_hr) text += "; projection: " + matrix_text(*plan.w_hr);
  text += fmt::format("; W_ih {}; {}, wait {} cycles{}{}{}; registers {} + {} of {}, shared {} of {} bytes",
                      to_string(plan.w_ih), plan.stamps ? to_string(plan.exchange_word) : "grid barrier",
                      plan.poll_wait_cycles, plan.bank_order ? ", bank order" : "",
                      plan.opaque_pairs ? ", opaque pairs" : "", plan.fence ? ", fence" : "",
                      plan.registers.working, plan.registers.pairs, plan.registers.available,
                      plan.shared.total(), plan.shared.available);
  return text;
}

}  // namespace gather

}  // namespace sprnn
