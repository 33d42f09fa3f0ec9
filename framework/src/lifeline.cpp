#include "lifeline.hpp"

#include <troupe/error.hpp>

#include "descriptors.hpp"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <string>
#include <unistd.h>

namespace troupe {

namespace {

// The write end of this process's pipe, for the handler that runs in forked processes. -1: none.
std::atomic<int> write_end_to_close{-1};

}  // namespace

int Lifeline::read_end() {
  if (!read_end_) {
    auto [reader, writer] = make_pipe("making the lifeline of this process");
    write_end_to_close = writer.get();
    write_end_ = std::move(writer);
    read_end_ = std::move(reader);
  }
  return read_end_.get();
}

bool is_lifeline_cut(int read_end) noexcept {
  char byte = 0;
  return ::read(read_end, &byte, 1) == 0;
}

FileDescriptor reopen_lifeline(int read_end) {
  const std::string path = "/proc/self/fd/" + std::to_string(read_end);
  FileDescriptor reopened = above_standard(FileDescriptor{::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)});
  if (!reopened) throw OSError(errno, "opening the lifeline to the parent process");
  return reopened;
}

FileDescriptor hold_lifeline(FileDescriptor reopened) {
  if (::fcntl(reopened.get(), F_SETOWN, ::getpid()) != 0 || ::fcntl(reopened.get(), F_SETSIG, SIGKILL) != 0 ||
      ::fcntl(reopened.get(), F_SETFL, O_NONBLOCK | O_ASYNC) != 0)
    throw OSError(errno, "holding the lifeline to the parent process");
  if (is_lifeline_cut(reopened.get())) {
    ::kill(::getpid(), SIGKILL);
    ::_exit(EXIT_FAILURE);
  }
  return reopened;
}

void close_inherited_lifeline() noexcept {
  const int write_end = write_end_to_close.exchange(-1);
  if (write_end >= 0) ::close(write_end);
}

}  // namespace troupe
