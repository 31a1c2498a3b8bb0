#include "cli/signals.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <initializer_list>

#include "sprnn/temporary_files.hpp"

namespace sprnn::cli {

namespace {

extern "C" void end_as_by_signal(int signal) {
  sprnn::remove_temporary_files();
  std::raise(signal);  // SA_RESETHAND has put the default action back
}

}  // namespace

void keep_standard_streams() {
  // Opened the wrong way round, so that using the stream still fails instead of losing data silently.
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(stream, F_GETFD) < 0 && errno == EBADF)
      static_cast<void>(::open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY));
  }
}

void remove_temporaries_on_signals() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGXCPU, SIGXFSZ}) {
    struct sigaction action {};
    if (::sigaction(signal, nullptr, &action) != 0 || action.sa_handler == SIG_IGN)
      continue;  // as under nohup
    action = {};
    action.sa_handler = end_as_by_signal;
    action.sa_flags = static_cast<int>(SA_RESETHAND | SA_NODEFER);
    ::sigaction(signal, &action, nullptr);
  }
}

}  // namespace sprnn::cli
