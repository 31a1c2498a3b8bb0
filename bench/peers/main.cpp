// sprnn-peer: a rival in a process of its own, so that neither side's threads disturb the other's. Started by
// the driver (process.cpp) with a socket as its standard input; of no use by hand.
#include <fmt/format.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <nlohmann/json.hpp>
#include <sstream>

#include "bench/peers/channel.hpp"
#include "sprnn/error.hpp"

namespace sprnn::bench {
namespace {

void serve(Channel& channel) {
  std::unique_ptr<Peer> peer;
  try {
    const Job job = receive_job(channel);
    peer = make_onednn(job.model, job.workload, job.peer.ends_with("bf16") ? DType::bf16 : DType::fp32);
  } catch (const Error& error) {
    channel.send(nlohmann::json{{"refused", error.what()}}.dump());
    return;
  }
  channel.send(
      nlohmann::json{{"version", peer->version()}, {"implementation", peer->implementation()}}.dump());
  for (;;) {
    std::istringstream command(channel.receive_text());
    std::string verb;
    command >> verb;
    if (verb == "output") {
      channel.send(peer->output());
      continue;
    }
    std::size_t length = 0, input_set = 0;
    command >> length >> input_set;
    const auto start = std::chrono::steady_clock::now();
    peer->run(length, input_set);
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
    channel.send(fmt::format("{}", took.count()));
  }
}

}  // namespace
}  // namespace sprnn::bench

int main() {
  // The driver decides when this process ends, also when it is interrupted or killed.
  std::signal(SIGINT, SIG_IGN);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  sprnn::bench::Channel channel(STDIN_FILENO);
  try {
    sprnn::bench::serve(channel);
  } catch (const sprnn::Error&) {
    // The driver has closed its end: the race is over.
  }
}
