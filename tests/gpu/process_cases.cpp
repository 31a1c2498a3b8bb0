// Other processes: a second one on the same GPU, and the list of ways through the kernel under
// compute-sanitizer's four tools.
#include <fmt/format.h>

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <stdexcept>

#include "gpu/run_model.hpp"

namespace sprnn::test {

namespace {

std::string this_program() { return std::filesystem::read_symlink("/proc/self/exe").string(); }

struct Ended {
  int status = 0;
  std::string output;
};

Ended run_process(const std::string& command) {
  FILE* const pipe = popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error("cannot start: " + command);
  Ended ended;
  std::array<char, 4096> buffer;
  for (std::size_t n = 0; (n = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;)
    ended.output.append(buffer.data(), n);
  const int status = pclose(pipe);
  ended.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return ended;
}

std::string tail(const std::string& text) {
  return text.size() < 1500 ? text : text.substr(text.size() - 1500);
}

// Two processes: time slices of the GPU, which no deadline may count as waiting.
CaseResult second_process() {
  const Model model =
      random_model({.cell = lstm_cell(), .dtype = DType::fp16, .input = 16, .hidden = 1024, .density = 0.1});
  const Inputs inputs = random_inputs(model, 200, 4, 3);
  const auto session = cuda_session(pack_for(model, test_gpu(), 4), 4);
  const Output alone = run_on_host(*session, inputs);
  auto other = std::async(std::launch::async, [] {
    return run_process(fmt::format("timeout 100 '{}' --only '256 steps, batch 3'", this_program()));
  });
  std::string note;
  int rounds = 0;
  while (other.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    if (note.empty()) note = difference(alone, run_on_host(*session, inputs));
    ++rounds;
  }
  const Ended ended = other.get();
  if (ended.status != 0)
    return {0, 0, fmt::format("the other process: {}, {}", ended.status, tail(ended.output))};
  if (rounds < 10) return {0, 0, fmt::format("only {} runs beside the other process", rounds)};
  return {0, 0, note};
}

std::string sanitizer() {
  for (const char* folder : {"/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer", "/opt/cuda/bin"}) {
    const std::string path = std::string(folder) + "/compute-sanitizer";
    if (std::filesystem::exists(path)) return path;
  }
  return "compute-sanitizer";  // from PATH
}

// A sanitizer makes a poll thousands of times slower; its own limit ends what hangs.
CaseResult sanitize(const char* tool, const char* group) {
  const Ended ended = run_process(
      fmt::format("SPRNN_DEADLINE=200 timeout 240 '{}' --tool {} --error-exitcode 86 '{}' --only 'path {}:'",
                  sanitizer(), tool, this_program(), group));
  const std::string summary =
      std::string_view(tool) == "racecheck" ? "RACECHECK SUMMARY: " : "ERROR SUMMARY: ";
  const std::size_t at = ended.output.rfind(summary);
  if (at == std::string::npos)
    return {0, 0, fmt::format("no summary of {} (status {}): {}", tool, ended.status, tail(ended.output))};
  const double errors = std::strtod(ended.output.c_str() + at + summary.size(), nullptr);
  if (ended.output.find(" passed, 0 failed") == std::string::npos || ended.status != 0)
    return {errors, 0, fmt::format("status {}: {}", ended.status, tail(ended.output))};
  return {errors, 0, ""};
}

}  // namespace

void add_process_cases(std::vector<Case>& cases) {
  // Alone: it counts its runs beside the one other process.
  cases.push_back({"a second process on the same GPU", second_process, true});
  for (const char* tool : {"memcheck", "racecheck", "initcheck", "synccheck"}) {
    for (const char* group : {"cells", "exchange", "places", "mma", "cluster", "input", "dense"}) {
      // initcheck does not see what cuBLASLt writes (README.md).
      if (std::string_view(tool) == "initcheck" && std::string_view(group) == "dense") continue;
      // racecheck does not end: it follows each poll of shared memory (README.md).
      if (std::string_view(tool) == "racecheck" && std::string_view(group) == "cluster") continue;
      cases.push_back({fmt::format("compute-sanitizer {}, paths: {}", tool, group),
                       [tool, group] { return sanitize(tool, group); }});
    }
  }
}

}  // namespace sprnn::test
