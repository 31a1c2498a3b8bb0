#include "bench/peers/process.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "sprnn/error.hpp"

namespace sprnn::bench {
namespace {

namespace fs = std::filesystem;

// What runs a peer: beside the running program or in its sources, as built, or in libexec, as installed.
std::vector<std::string> command_of(const std::string& peer, const std::string& python) {
  const fs::path here = fs::read_symlink("/proc/self/exe").parent_path();
  const auto& python_peers = python_peer_names();
  if (peer == python_gpu_peer ||
      std::find(python_peers.begin(), python_peers.end(), peer) != python_peers.end()) {
    for (const fs::path& path :
         {here / "../../bench/peers/main.py", here / "../libexec/sprnn/peers/main.py"}) {
      if (access(path.c_str(), R_OK) == 0) return {python, path.lexically_normal().string()};
    }
    throw Error(
        ErrorCode::unsupported,
        fmt::format("its program bench/peers/main.py is not found from {}: use the program in build/bin",
                    here.string()));
  }
  for (const fs::path& path : {here / "sprnn-peer", here / "../libexec/sprnn/sprnn-peer"}) {
    if (access(path.c_str(), X_OK) == 0) return {path.string()};
  }
  throw Error(ErrorCode::unsupported,
              fmt::format("the program sprnn-peer, which runs it, is not in {}: build the target sprnn-peer",
                          here.string()));
}

// The user's environment, but as many OpenMP threads as we take and no text of oneDNN's among our output.
std::vector<std::string> peer_environment(int threads) {
  std::vector<std::string> result;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    const bool ours = text.starts_with("OMP_NUM_THREADS=") || text.starts_with("OMP_DYNAMIC=") ||
                      text.starts_with("OMP_THREAD_LIMIT=") || text.starts_with("DNNL_VERBOSE=") ||
                      text.starts_with("ONEDNN_VERBOSE=");
    if (!ours) result.emplace_back(text);
  }
  result.push_back(fmt::format("OMP_NUM_THREADS={}", threads));
  return result;
}

void require_comparable(const Model& model) {
  for (const Layer& layer : model.layers) {
    for (const Direction& direction : layer.directions) {
      const bool same = direction.cell == layer.directions.front().cell;
      if (same && direction.cell.is_standard() && direction.peephole.empty()) continue;
      throw Error(ErrorCode::unsupported,
                  fmt::format("compared on PyTorch's cells only, not on {}{}{}", to_string(direction.cell),
                              direction.peephole.empty() ? "" : " with peepholes",
                              same ? "" : " beside another cell in the same layer"));
    }
  }
}

std::string ending(int status) {
  if (WIFSIGNALED(status)) {
    return fmt::format("the peer's process was killed by signal {} ({})", WTERMSIG(status),
                       strsignal(WTERMSIG(status)));
  }
  return fmt::format("the peer's process ended early with status {}", WEXITSTATUS(status));
}

}  // namespace

const std::vector<std::string>& peer_names() {
  static const std::vector<std::string> names{"oneDNN fp32", "oneDNN bf16"};
  return names;
}

const std::vector<std::string>& python_peer_names() {
  static const std::vector<std::string> names{"torch.nn fp32", "onnxruntime fp32", "sprnn.torch fp32"};
  return names;
}

PeerProcess::Process::Process(const std::vector<std::string>& command, int threads) {
  std::array<int, 2> sockets{};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets.data()) != 0) {
    throw Error(ErrorCode::io, fmt::format("no socket for a peer's process: {}", std::strerror(errno)));
  }
  channel = std::make_unique<Channel>(sockets[0]);
  const Channel other_end(sockets[1]);  // closes ours once the child has its own
  auto environment = peer_environment(threads);
  std::vector<char*> variables;
  for (std::string& variable : environment) variables.push_back(variable.data());
  variables.push_back(nullptr);
  std::vector<std::string> words = command;
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, sockets[1], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
  const int failed =
      posix_spawnp(&id, arguments.front(), &actions, nullptr, arguments.data(), variables.data());
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) {
    id = -1;
    throw Error(ErrorCode::unsupported,
                fmt::format("{} does not start: {}", command.front(), std::strerror(failed)));
  }
}

PeerProcess::Process::~Process() {
  if (id < 0) return;
  kill(id, SIGKILL);
  while (waitpid(id, nullptr, 0) < 0 && errno == EINTR) {
  }
}

template <class Talk>
auto PeerProcess::talk(Talk&& with) {
  try {
    return with(*process_.channel);
  } catch (const Error&) {
    int status = 0;
    while (waitpid(process_.id, &status, 0) < 0 && errno == EINTR) {
    }
    process_.id = -1;  // reaped
    throw Error(ErrorCode::io, ending(status));
  }
}

PeerProcess::PeerProcess(const Job& job, int threads, const std::string& python)
    : process_((require_comparable(job.model), command_of(job.peer, python)), threads) {
  const auto answer = nlohmann::json::parse(talk([&](Channel& channel) {
    send(channel, job);
    return channel.receive_text();
  }));
  if (answer.contains("refused"))
    throw Error(ErrorCode::unsupported, answer.at("refused").get<std::string>());
  version_ = answer.at("version");
  implementation_ = answer.at("implementation");
}

PeerProcess::~PeerProcess() = default;

double PeerProcess::run(std::size_t length, std::size_t input_set) {
  return std::stod(talk([&](Channel& channel) {
    channel.send(fmt::format("run {} {}", length, input_set));
    return channel.receive_text();
  }));
}

std::vector<float> PeerProcess::output() {
  return talk([](Channel& channel) {
    channel.send(std::string("output"));
    return channel.receive_floats();
  });
}

void PeerProcess::wake() { kill(process_.id, SIGCONT); }

void PeerProcess::sleep() {
  kill(process_.id, SIGSTOP);
  int status = 0;
  pid_t changed = 0;
  while ((changed = waitpid(process_.id, &status, WUNTRACED)) < 0 && errno == EINTR) {
  }
  if (changed == process_.id && WIFSTOPPED(status)) return;
  process_.id = -1;  // reaped
  throw Error(ErrorCode::io, ending(status));
}

}  // namespace sprnn::bench
