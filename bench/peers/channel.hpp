// What the driver and a peer's process say to each other over one socket: texts and arrays, each behind its
// length. The driver sends the job, the peer answers with a JSON object that has either "version" and
// "implementation" or "refused"; then each "run LENGTH INPUT" is answered by its microseconds and each
// "output" by an array. The end of the stream ends the peer.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bench/peers/peer.hpp"

namespace sprnn::bench {

class Channel {
 public:
  explicit Channel(int socket) noexcept : socket_(socket) {}  // owned
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;
  ~Channel();

  void send(const std::string& text);
  void send(std::span<const float> values);
  // Both throw Error(io) when the other side has gone.
  [[nodiscard]] std::string receive_text();
  [[nodiscard]] std::vector<float> receive_floats();

 private:
  void write_all(const void* data, std::size_t bytes);
  void read_all(void* data, std::size_t bytes);
  int socket_;
};

struct Job {
  std::string peer;  // a name of peer_names()
  Model model;
  Workload workload;
};

void send(Channel& channel, const Job& job);
[[nodiscard]] Job receive_job(Channel& channel);

}  // namespace sprnn::bench
