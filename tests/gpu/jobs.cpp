#include "gpu/jobs.hpp"

#include <fmt/format.h>

#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <list>
#include <memory>
#include <optional>
#include <stdexcept>
#include <system_error>

#include "base/atomic_file.hpp"

namespace sprnn::test {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

CaseResult run_case(const Case& one) {
  try {
    return one.run();
  } catch (const std::exception& error) {
    const std::string what = error.what();
    return {0, 0, what.empty() ? "threw" : what};
  }
}

// A result on its way between processes.
struct Packet {
  double error, bound;
  std::array<char, 16384> note;  // cut if longer; ends with a zero
};

// A process that runs cases which it is told by index.
class Worker {
 public:
  explicit Worker(const std::vector<Case>& cases) {
    std::array<int, 2> sockets{};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets.data()) != 0)
      throw std::system_error(errno, std::generic_category(), "socketpair");
    socket_ = std::make_unique<Descriptor>(sockets[0]);
    const Descriptor other_end(sockets[1]);
    id_ = fork();
    if (id_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
    if (id_ == 0) work(cases, other_end.get());
  }
  // Between two cases there is nothing to end in order.
  ~Worker() {
    if (id_ > 0) kill(id_, SIGKILL);
    (void)wait();
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void start(std::size_t index) {
    index_ = index;
    begin_ = Clock::now();
    // Should it have died already, result() says so.
    (void)send(socket_->get(), &index, sizeof index, MSG_NOSIGNAL);
  }
  // Of the case started; empty while it runs.
  [[nodiscard]] std::optional<CaseResult> result(double limit) {
    Packet packet;
    const ssize_t got = recv(socket_->get(), &packet, sizeof packet, MSG_DONTWAIT);
    if (got == sizeof packet) return CaseResult{packet.error, packet.bound, packet.note.data()};
    if (got == 0 || errno != EAGAIN) return CaseResult{0, 0, "its process " + ending(wait())};
    if (seconds() < limit) return std::nullopt;
    return CaseResult{0, 0, fmt::format("hung: given up after {} s", limit)};
  }
  [[nodiscard]] std::size_t index() const { return index_; }
  [[nodiscard]] double seconds() const { return seconds_since(begin_); }
  [[nodiscard]] int socket() const { return socket_->get(); }

 private:
  [[noreturn]] static void work(const std::vector<Case>& cases, int socket) noexcept {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (std::size_t index = 0; recv(socket, &index, sizeof index, 0) == sizeof index;) {
      const CaseResult result = run_case(cases[index]);
      Packet packet{result.error, result.bound, {}};
      result.note.copy(packet.note.data(), packet.note.size() - 1);
      (void)send(socket, &packet, sizeof packet, 0);
    }
    _exit(0);
  }
  // Until it has ended; its exit status.
  int wait() {
    int status = 0;
    if (id_ > 0) waitpid(id_, &status, 0);
    id_ = 0;
    return status;
  }
  static std::string ending(int status) {
    if (!WIFSIGNALED(status)) return fmt::format("ended with status {}", WEXITSTATUS(status));
    return fmt::format("was killed by signal {} ({})", WTERMSIG(status), strsignal(WTERMSIG(status)));
  }

  std::unique_ptr<Descriptor> socket_;
  pid_t id_ = 0;  // 0: there is none any more
  std::size_t index_ = 0;
  Clock::time_point begin_;
};

// Until one of them says something, or for a moment: limits pass without a word.
void wait_for_any(const std::list<Worker>& workers) {
  std::vector<pollfd> sockets;
  for (const Worker& worker : workers) sockets.push_back({worker.socket(), POLLIN, 0});
  poll(sockets.data(), sockets.size(), 100);
}

void run_in_processes(const std::vector<Case>& cases, bool alone, std::size_t jobs, double limit,
                      const Report& report) {
  std::list<std::size_t> todo;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    if (cases[i].alone == alone) todo.push_back(i);
  }
  const auto start = [&](Worker& worker) {
    worker.start(todo.front());
    todo.pop_front();
  };
  std::list<Worker> workers;
  while (!workers.empty() || !todo.empty()) {
    while (workers.size() < jobs && !todo.empty()) start(workers.emplace_back(cases));
    wait_for_any(workers);
    std::erase_if(workers, [&](Worker& worker) {
      const std::optional<CaseResult> result = worker.result(limit);
      if (!result) return false;
      report(worker.index(), *result, worker.seconds());
      // What has failed may have left a context in which everything fails.
      if (!result->passed() || todo.empty()) return true;
      start(worker);
      return false;
    });
  }
}

}  // namespace

void run_cases(const std::vector<Case>& cases, int jobs, double limit, const Report& report) {
  if (jobs > 0) {
    run_in_processes(cases, false, static_cast<std::size_t>(jobs), limit, report);
    run_in_processes(cases, true, 1, limit, report);
    return;
  }
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const auto begin = Clock::now();
    const CaseResult result = run_case(cases[i]);
    report(i, result, seconds_since(begin));
  }
}

}  // namespace sprnn::test
