#include "bench/peers/channel.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "sprnn/error.hpp"

namespace sprnn::bench {
namespace {

using nlohmann::json;

void send(Channel& channel, const Matrix& matrix) {
  channel.send(json{{"rows", matrix.rows}, {"cols", matrix.cols}}.dump());
  channel.send(matrix.values);
}

Matrix receive_matrix(Channel& channel) {
  const json header = json::parse(channel.receive_text());
  return {header.at("rows").get<std::int64_t>(), header.at("cols").get<std::int64_t>(),
          channel.receive_floats()};
}

}  // namespace

Channel::~Channel() { close(socket_); }

void Channel::write_all(const void* data, std::size_t bytes) {
  const char* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t done = ::send(socket_, at, bytes, MSG_NOSIGNAL);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) throw Error(ErrorCode::io, "the other side of a race has gone");
    at += done;
    bytes -= static_cast<std::size_t>(done);
  }
}

void Channel::read_all(void* data, std::size_t bytes) {
  char* at = static_cast<char*>(data);
  while (bytes > 0) {
    const ssize_t done = ::recv(socket_, at, bytes, 0);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) throw Error(ErrorCode::io, "the other side of a race has gone");
    at += done;
    bytes -= static_cast<std::size_t>(done);
  }
}

void Channel::send(const std::string& text) {
  const std::uint64_t size = text.size();
  write_all(&size, sizeof size);
  write_all(text.data(), text.size());
}

void Channel::send(std::span<const float> values) {
  const std::uint64_t size = values.size();
  write_all(&size, sizeof size);
  write_all(values.data(), values.size_bytes());
}

std::string Channel::receive_text() {
  std::uint64_t size = 0;
  read_all(&size, sizeof size);
  std::string text(size, '\0');
  read_all(text.data(), size);
  return text;
}

std::vector<float> Channel::receive_floats() {
  std::uint64_t size = 0;
  read_all(&size, sizeof size);
  std::vector<float> values(size);
  read_all(values.data(), size * sizeof(float));
  return values;
}

void send(Channel& channel, const Job& job) {
  const Model& model = job.model;
  channel.send(json{{"peer", job.peer},
                    {"dtype", to_string(model.dtype)},
                    {"input_size", model.input_size},
                    {"hidden_size", model.hidden_size},
                    {"projection_size", model.projection_size},
                    {"layers", model.num_layers()},
                    {"directions", model.num_directions()},
                    {"batch", job.workload.batch},
                    {"lengths", job.workload.lengths},
                    {"input_sets", job.workload.input_sets}}
                   .dump());
  for (const Layer& layer : model.layers) {
    for (const Direction& direction : layer.directions) {
      channel.send(json{{"cell", to_string(direction.cell)}, {"reverse", direction.reverse}}.dump());
      send(channel, direction.w_ih);
      send(channel, direction.w_hh);
      send(channel, direction.w_hr);
      channel.send(direction.b_ih);
      channel.send(direction.b_hh);
    }
  }
  channel.send(job.workload.x);
}

Job receive_job(Channel& channel) {
  const json header = json::parse(channel.receive_text());
  Job job;
  job.peer = header.at("peer");
  job.model.dtype = parse_dtype(header.at("dtype").get<std::string>());
  job.model.input_size = header.at("input_size");
  job.model.hidden_size = header.at("hidden_size");
  job.model.projection_size = header.at("projection_size");
  job.model.layers.resize(header.at("layers"));
  for (Layer& layer : job.model.layers) {
    layer.directions.resize(header.at("directions"));
    for (Direction& direction : layer.directions) {
      const json about = json::parse(channel.receive_text());
      direction.cell = parse_cell(about.at("cell").get<std::string>());
      direction.reverse = about.at("reverse");
      direction.w_ih = receive_matrix(channel);
      direction.w_hh = receive_matrix(channel);
      direction.w_hr = receive_matrix(channel);
      direction.b_ih = channel.receive_floats();
      direction.b_hh = channel.receive_floats();
    }
  }
  job.workload.batch = header.at("batch");
  job.workload.lengths = header.at("lengths").get<std::vector<std::int64_t>>();
  job.workload.input_sets = header.at("input_sets");
  job.workload.x = channel.receive_floats();
  return job;
}

}  // namespace sprnn::bench
