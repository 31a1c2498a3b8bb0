// The driver's side of a peer: starts sprnn-peer, or peers/main.py, and drives it over a socket.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "bench/contestant.hpp"
#include "bench/peers/channel.hpp"

namespace sprnn::bench {

[[nodiscard]] const std::vector<std::string>& peer_names();           // the fp32 one first
[[nodiscard]] const std::vector<std::string>& python_peer_names();    // those of peers/main.py
inline constexpr const char* python_gpu_peer = "torch.nn fp16 cuda";  // also of peers/main.py

// Stopped by a signal whenever it is not its turn, so its threads cannot run, spin or be scheduled.
class PeerProcess final : public Contestant {
 public:
  // Awake. `python` is the interpreter for the peers written in Python. Throws Error(unsupported) if the peer
  // refuses the job.
  PeerProcess(const Job& job, int threads, const std::string& python = {});
  ~PeerProcess() override;

  double run(std::size_t length, std::size_t input_set) override;
  std::vector<float> output() override;
  void wake() override;
  void sleep() override;

  [[nodiscard]] const std::string& version() const noexcept { return version_; }
  [[nodiscard]] const std::string& implementation() const noexcept { return implementation_; }
  [[nodiscard]] pid_t pid() const noexcept { return process_.id; }

 private:
  // Kills and reaps on destruction.
  struct Process {
    pid_t id = -1;
    std::unique_ptr<Channel> channel;
    Process(const std::vector<std::string>& command, int threads);
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;
    ~Process();
  };

  // Sends (if there is anything to) and receives; a dead process is reported with what killed it.
  template <class Talk>
  auto talk(Talk&& with);

  Process process_;
  std::string version_, implementation_;
};

}  // namespace sprnn::bench
