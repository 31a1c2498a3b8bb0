#include "emulator/ptx.hpp"

#include <algorithm>
#include <bit>
#include <cctype>
#include <charconv>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace sprnn::emulator {

namespace {

[[noreturn]] void refuse(std::string_view what, std::string_view text) {
  throw std::runtime_error("PTX: " + std::string(what) + " in `" + std::string(text) + "`");
}

std::string without_comments(std::string_view ptx) {
  std::string text;
  for (std::size_t i = 0; i < ptx.size(); ++i) {
    if (ptx.substr(i, 2) == "//") i = std::min(ptx.find('\n', i), ptx.size() - 1);
    if (ptx[i] != '\0') text += ptx[i];
  }
  return text;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())) != 0) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) text.remove_suffix(1);
  return text;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  int depth = 0;
  std::size_t begin = 0;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    if (i == text.size() || (text[i] == separator && depth == 0)) {
      if (const std::string_view part = trimmed(text.substr(begin, i - begin)); !part.empty())
        parts.push_back(part);
      begin = i + 1;
    } else if (text[i] == '{' || text[i] == '[') {
      ++depth;
    } else if (text[i] == '}' || text[i] == ']') {
      --depth;
    }
  }
  return parts;
}

std::uint64_t number(std::string_view text) {
  const std::string_view whole = text;
  if (text.find('.') != text.npos) return std::bit_cast<std::uint32_t>(std::stof(std::string(text)));
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  int base = 10;
  if (text.starts_with("0x") || text.starts_with("0f") || text.starts_with("0d") || text.starts_with("0F") ||
      text.starts_with("0D")) {
    base = 16;
    text.remove_prefix(2);
  }
  if (text.ends_with('U')) text.remove_suffix(1);
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) refuse("no number", whole);
  return negative ? 0 - value : value;
}

const std::map<std::string_view, Special> specials = {
    {"%tid.x", Special::tid},     {"%ntid.x", Special::ntid},
    {"%ctaid.x", Special::ctaid}, {"%nctaid.x", Special::nctaid},
    {"%laneid", Special::laneid}, {"%smid", Special::smid},
    {"%nsmid", Special::nsmid},   {"%clock", Special::clock},
    {"%clock64", Special::clock}, {"%globaltimer", Special::globaltimer}};

class KernelParser {
 public:
  KernelParser(std::string_view name, std::string_view parameters) {
    kernel_.name = name;
    for (const std::string_view parameter : split(parameters, ',')) declare_parameter(parameter);
  }

  Kernel parse(std::string_view body) {
    scopes_.emplace_back();
    while (!(body = trimmed(body)).empty()) {
      if (body.front() == '{') {
        scopes_.emplace_back();
        body.remove_prefix(1);
      } else if (body.front() == '}') {
        scopes_.pop_back();
        body.remove_prefix(1);
      } else if (const std::size_t end = body.find_first_of(":; \t\n");
                 end != body.npos && body[end] == ':' && body.substr(end, 2) != "::") {
        const std::string_view label = body.substr(0, end);
        if (!labels_.emplace(label, static_cast<int>(kernel_.instructions.size())).second)
          refuse("a label twice", label);
        body.remove_prefix(end + 1);
      } else {
        const std::size_t stop = body.find(';');
        if (stop == body.npos) refuse("no ;", body.substr(0, 80));
        statement(trimmed(body.substr(0, stop)));
        body.remove_prefix(stop + 1);
      }
    }
    for (auto& [instruction, label] : branches_) {
      const auto found = labels_.find(label);
      if (found == labels_.end()) refuse("unknown label", label);
      kernel_.instructions[static_cast<std::size_t>(instruction)].target = found->second;
    }
    kernel_.dynamic_shared_at = (kernel_.static_shared + 15) / 16 * 16;
    return std::move(kernel_);
  }

 private:
  // ".param .align 8 .b8 name[392]", ".param .u64 name"
  void declare_parameter(std::string_view text) {
    const auto [name, bytes, align] = declared(text);
    kernel_.parameter_bytes = (kernel_.parameter_bytes + align - 1) / align * align;
    addresses_[name] = kernel_.parameter_bytes;
    kernel_.parameters.push_back({kernel_.parameter_bytes, bytes});
    kernel_.parameter_bytes += bytes;
  }

  struct Declared {
    std::string name;
    std::size_t bytes = 0, align = 1;
  };
  static Declared declared(std::string_view text) {
    Declared of;
    std::size_t align = 0;
    bool of_pointee = false;  // what ".ptr .align 1" says
    const std::vector<std::string_view> words = split(text, ' ');
    for (std::size_t i = 0; i < words.size(); ++i) {
      of_pointee |= words[i] == ".ptr";
      if (words[i] == ".align" && !of_pointee) align = number(words[i + 1]);
      if (words[i].starts_with('.') && bytes_of(words[i].substr(1)) > 0)
        of.bytes = static_cast<std::size_t>(bytes_of(words[i].substr(1)));
    }
    of.align = align > 0 ? align : of.bytes;
    std::string_view name = words.back();
    // The brackets were kept together with the name.
    if (const std::size_t bracket = name.find('['); bracket != name.npos) {
      const std::string_view count = name.substr(bracket + 1, name.size() - bracket - 2);
      of.bytes *= count.empty() ? 0 : number(count);
      name = name.substr(0, bracket);
    }
    of.name = name;
    return of;
  }

  void statement(std::string_view text) {
    if (text.empty() || text.starts_with(".pragma") || text.starts_with(".loc")) return;
    if (text.starts_with(".reg")) return declare_registers(text);
    if (text.starts_with(".shared")) {
      const Declared of = declared(text);
      kernel_.static_shared =
          static_cast<std::uint32_t>((kernel_.static_shared + of.align - 1) / of.align * of.align);
      addresses_[of.name] = shared_begin + kernel_.static_shared;
      kernel_.static_shared += static_cast<std::uint32_t>(of.bytes);
      return;
    }
    if (text.starts_with(".local")) {
      const Declared of = declared(text);
      addresses_[of.name] = kernel_.local_bytes;
      kernel_.local_bytes += static_cast<std::uint32_t>((of.bytes + 15) / 16 * 16);
      return;
    }
    if (text.front() == '.') refuse("unknown directive", text);
    Instruction instruction;
    instruction.text = text;
    if (text.front() == '@') {
      const std::size_t end = text.find_first_of(" \t");
      std::string_view guard = text.substr(1, end - 1);
      if (guard.front() == '!') {
        instruction.guard_negated = true;
        guard.remove_prefix(1);
      }
      instruction.guard = reg(guard);
      text = trimmed(text.substr(end));
    }
    const std::size_t end = std::min(text.find_first_of(" \t\n"), text.size());
    std::string_view opcode = text.substr(0, end);
    while (!opcode.empty()) {
      const std::size_t dot = std::min(opcode.find('.'), opcode.size());
      if (dot > 0) instruction.words.emplace_back(opcode.substr(0, dot));
      opcode.remove_prefix(std::min(dot + 1, opcode.size()));
    }
    const std::string_view rest = trimmed(text.substr(end));
    if (instruction.words.front() == "bra") {
      branches_.emplace_back(static_cast<int>(kernel_.instructions.size()), std::string(rest));
    } else {
      for (const std::string_view part : split(rest, ',')) instruction.operands.push_back(operand(part));
    }
    kernel_.instructions.push_back(std::move(instruction));
  }

  // ".reg .b32 %r<100>", ".reg .b16 a, b"; a .b128 takes two.
  void declare_registers(std::string_view text) {
    text = trimmed(text.substr(4));
    const std::size_t end = text.find_first_of(" \t");
    const int slots = bytes_of(text.substr(1, end - 1)) == 16 ? 2 : 1;
    for (const std::string_view name : split(text.substr(end), ',')) {
      if (const std::size_t bracket = name.find('<'); bracket != name.npos) {
        const auto count = static_cast<int>(number(name.substr(bracket + 1, name.size() - bracket - 2)));
        families_[std::string(name.substr(0, bracket))] = kernel_.registers;
        kernel_.registers += count * slots;
      } else {
        scopes_.back()[std::string(name)] = kernel_.registers;
        kernel_.registers += slots;
      }
    }
  }

  int find_reg(std::string_view name) const {
    for (std::size_t i = scopes_.size(); i-- > 0;) {
      if (const auto found = scopes_[i].find(std::string(name)); found != scopes_[i].end())
        return found->second;
    }
    const std::size_t digits = name.find_last_not_of("0123456789") + 1;
    if (digits == 0 || digits >= name.size()) return -1;
    const auto family = families_.find(std::string(name.substr(0, digits)));
    return family == families_.end() ? -1 : family->second + static_cast<int>(number(name.substr(digits)));
  }
  int reg(std::string_view name) const {
    const int found = find_reg(name);
    if (found < 0) refuse("unknown register", name);
    return found;
  }

  Operand constant(std::uint64_t value) {
    kernel_.constants.push_back(value);
    Operand of;
    of.kind = Operand::Kind::constant;
    of.index = static_cast<int>(kernel_.constants.size()) - 1;
    return of;
  }

  Operand operand(std::string_view text) {
    Operand of;
    if (text == "_") return of;
    if (text.front() == '{') {
      for (const std::string_view part : split(text.substr(1, text.size() - 2), ','))
        of.vector.push_back(operand(part));
      return of;
    }
    if (text.front() == '[') {
      const std::string_view inner = text.substr(1, text.size() - 2);
      const std::size_t plus = inner.find('+');
      of = operand(trimmed(inner.substr(0, plus)));
      if (plus != inner.npos) of.offset = static_cast<std::int64_t>(number(trimmed(inner.substr(plus + 1))));
      return of;
    }
    if (const std::size_t bar = text.find('|'); bar != text.npos) {
      of.vector = {operand(text.substr(0, bar)), operand(text.substr(bar + 1))};
      return of;
    }
    if (const auto special = specials.find(text); special != specials.end()) {
      of.kind = Operand::Kind::special;
      of.index = static_cast<int>(special->second);
      return of;
    }
    if (text.front() == '!') {
      of = operand(text.substr(1));
      of.negated = true;
      return of;
    }
    if (const int found = find_reg(text); found >= 0) {
      of.kind = Operand::Kind::reg;
      of.index = found;
      return of;
    }
    if (std::isdigit(static_cast<unsigned char>(text.front())) != 0 || text.front() == '-')
      return constant(number(text));
    if (const auto address = addresses_.find(std::string(text)); address != addresses_.end())
      return constant(address->second);
    // The one extern array: launch-time shared memory, behind what the kernel declares itself.
    if (text == "memory" || text == "tile") {
      of.kind = Operand::Kind::special;
      of.index = static_cast<int>(Special::dynamic_shared);
      return of;
    }
    refuse("unknown operand", text);
  }

  Kernel kernel_;
  std::vector<std::map<std::string, int>> scopes_;  // of single registers
  std::map<std::string, int> families_;             // "%r": its first
  std::map<std::string, std::uint64_t> addresses_;
  std::map<std::string, int> labels_;
  std::vector<std::pair<int, std::string>> branches_;
};

}  // namespace

int bytes_of(std::string_view type) {
  static const std::map<std::string_view, int> sizes = {
      {"pred", 1}, {"b8", 1},  {"u8", 1},  {"s8", 1},    {"b16", 2},   {"u16", 2},    {"s16", 2},
      {"b32", 4},  {"u32", 4}, {"s32", 4}, {"f32", 4},   {"f16x2", 4}, {"bf16x2", 4}, {"b64", 8},
      {"u64", 8},  {"s64", 8}, {"f64", 8}, {"b128", 16}, {"f16", 2},   {"bf16", 2}};
  const auto found = sizes.find(type);
  return found == sizes.end() ? 0 : found->second;
}

std::map<std::string, std::shared_ptr<const Kernel>> parse(std::string_view ptx) {
  const std::string text = without_comments(ptx);
  std::map<std::string, std::shared_ptr<const Kernel>> kernels;
  constexpr std::string_view entry = ".entry";
  for (std::size_t at = text.find(entry); at != text.npos; at = text.find(entry, at)) {
    at += entry.size();
    const std::size_t open = text.find('(', at), close = text.find(')', open), begin = text.find('{', close);
    const std::string_view name = trimmed(std::string_view(text).substr(at, open - at));
    std::size_t end = begin + 1;
    for (int depth = 1; depth > 0; ++end) {
      if (end >= text.size()) refuse("unbalanced braces", name);
      depth += text[end] == '{' ? 1 : text[end] == '}' ? -1 : 0;
    }
    KernelParser parser(name, std::string_view(text).substr(open + 1, close - open - 1));
    kernels[std::string(name)] = std::make_shared<const Kernel>(
        parser.parse(std::string_view(text).substr(begin + 1, end - begin - 2)));
    at = end;
  }
  return kernels;
}

}  // namespace sprnn::emulator
