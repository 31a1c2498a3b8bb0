#include "model/module_names.hpp"

#include <array>
#include <charconv>
#include <unordered_map>
#include <utility>

namespace sprnn {

namespace {

constexpr std::array<std::pair<std::string_view, ParameterKind>, 5> kinds{{
    {"weight_ih", ParameterKind::weight_ih},
    {"weight_hh", ParameterKind::weight_hh},
    {"bias_ih", ParameterKind::bias_ih},
    {"bias_hh", ParameterKind::bias_hh},
    {"weight_hr", ParameterKind::weight_hr},
}};

std::string_view base_name(ParameterKind kind) { return kinds[static_cast<std::size_t>(kind)].first; }

bool consume_suffix(std::string_view& text, std::string_view suffix) {
  if (!text.ends_with(suffix)) return false;
  text.remove_suffix(suffix.size());
  return true;
}

// "0", "12", but neither "" nor "01" nor anything beyond 9999.
std::optional<int> parse_layer(std::string_view digits) {
  if (digits.empty() || digits.size() > 4 || (digits.size() > 1 && digits.front() == '0'))
    return std::nullopt;
  int layer = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), layer);
  if (error != std::errc{} || end != digits.data() + digits.size() || layer < 0) return std::nullopt;
  return layer;
}

enum class Part { plain, original, mask };

struct ParsedName {
  std::string_view prefix;
  ParameterKey key;
  Part part = Part::plain;
  bool is_cell_name = false;
};

std::optional<ParsedName> parse_name(std::string_view name) {
  ParsedName parsed;
  const std::size_t dot = name.rfind('.');
  parsed.prefix = dot == std::string_view::npos ? std::string_view() : name.substr(0, dot + 1);
  std::string_view rest = name.substr(parsed.prefix.size());
  if (consume_suffix(rest, "_orig")) {
    parsed.part = Part::original;
  } else if (consume_suffix(rest, "_mask")) {
    parsed.part = Part::mask;
  }
  for (const auto& [base, kind] : kinds) {
    if (!rest.starts_with(base)) continue;
    parsed.key.kind = kind;
    rest.remove_prefix(base.size());
    if (rest.empty()) {  // no *Cell class has a projection
      parsed.is_cell_name = true;
      return kind == ParameterKind::weight_hr ? std::nullopt : std::optional(parsed);
    }
    if (!rest.starts_with("_l")) return std::nullopt;
    rest.remove_prefix(2);
    parsed.key.reverse = consume_suffix(rest, "_reverse");
    const std::optional<int> layer = parse_layer(rest);
    if (!layer) return std::nullopt;
    parsed.key.layer = *layer;
    return parsed;
  }
  return std::nullopt;
}

}  // namespace

std::string StoredModule::name(const ParameterKey& key) const {
  std::string full = prefix;
  full += base_name(key.kind);
  if (!has_cell_names) full += parameter_suffix(key.layer, key.reverse);
  return full;
}

std::vector<StoredModule> collect_modules(const Checkpoint& checkpoint) {
  std::vector<StoredModule> modules;
  std::unordered_map<std::string_view, std::size_t> index;
  for (std::size_t i = 0; i < checkpoint.tensors.size(); ++i) {
    const std::optional<ParsedName> parsed = parse_name(checkpoint.tensors[i].name);
    if (!parsed) continue;
    const auto [place, is_new] = index.try_emplace(parsed->prefix, modules.size());
    if (is_new) modules.push_back({std::string(parsed->prefix), {}, false, false});
    StoredModule& module = modules[place->second];
    (parsed->is_cell_name ? module.has_cell_names : module.has_layer_names) = true;
    StoredParameter& parameter = module.parameters[parsed->key];
    switch (parsed->part) {
      case Part::plain:
        parameter.plain = i;
        break;
      case Part::original:
        parameter.original = i;
        break;
      case Part::mask:
        parameter.mask = i;
        break;
    }
  }
  return modules;
}

}  // namespace sprnn
