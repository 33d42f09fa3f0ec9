#include <troupe/error.hpp>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <cxxabi.h>
#include <memory>
#include <system_error>
#include <utility>

namespace troupe {

std::string_view to_string(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::foreign: return "Error";
    case ErrorCode::error: return "Error";
    case ErrorCode::value_error: return "ValueError";
    case ErrorCode::type_error: return "TypeError";
    case ErrorCode::assertion_error: return "AssertionError";
    case ErrorCode::runtime_error: return "RuntimeError";
    case ErrorCode::os_error: return "OSError";
    case ErrorCode::eof_error: return "EOFError";
    case ErrorCode::empty: return "Empty";
    case ErrorCode::full: return "Full";
    case ErrorCode::process_error: return "ProcessError";
    case ErrorCode::timeout_error: return "TimeoutError";
    case ErrorCode::authentication_error: return "AuthenticationError";
    case ErrorCode::buffer_too_short: return "BufferTooShort";
    case ErrorCode::broken_barrier_error: return "BrokenBarrierError";
    case ErrorCode::remote_error: return "RemoteError";
    case ErrorCode::worker_died: return "WorkerDied";
    case ErrorCode::codec_error: return "CodecError";
    case ErrorCode::cancelled: return "Cancelled";
    case ErrorCode::attribute_error: return "AttributeError";
    case ErrorCode::index_error: return "IndexError";
    case ErrorCode::key_error: return "KeyError";
  }
  return "Error";
}

Error::Error(const std::string& text, ErrorCode code, ErrorKind kind)
    : std::runtime_error(text), code_(code), kind_(kind) {}

namespace {

ErrorKind kind_of_errno(int value) {
  switch (value) {
    case EAGAIN:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case ENOSPC: return ErrorKind::overloaded;
    case EPIPE:
    case ECONNRESET:
    case ENOTCONN: return ErrorKind::disconnected;
    default: return ErrorKind::failed;
  }
}

std::string death_text(pid_t pid, int exitcode, const std::string& task, unsigned attempts) {
  std::string text = "worker process " + std::to_string(pid) + " ended with " + describe_exitcode(exitcode) +
                     " while it ran task " + task;
  if (attempts > 1) text += " (attempt " + std::to_string(attempts) + ")";
  return text;
}

}  // namespace

OSError::OSError(int errno_value, const std::string& attempted)
    : OSError(Complete{}, errno_value,
              attempted + ": " + std::generic_category().message(errno_value) + " (errno " +
                  std::to_string(errno_value) + ")") {}

OSError::OSError(Complete, int errno_value, const std::string& text)
    : Error(text, ErrorCode::os_error, kind_of_errno(errno_value)), errno_value_(errno_value) {}

OSError OSError::from_text(int errno_value, const std::string& text) { return {Complete{}, errno_value, text}; }

WorkerDied::WorkerDied(pid_t pid, int exitcode, const std::string& task, unsigned attempts, const std::string& text)
    : ProcessError(text.empty() ? death_text(pid, exitcode, task, attempts) : text, ErrorCode::worker_died,
                   ErrorKind::failed),
      pid_(pid),
      exitcode_(exitcode),
      task_(task),
      attempts_(attempts) {}

std::string signal_name(int number) {
  if (const char* name = ::sigabbrev_np(number)) return std::string("SIG") + name;
  return "signal " + std::to_string(number);
}

std::string describe_exitcode(int exitcode) {
  if (exitcode >= 0) return "exit code " + std::to_string(exitcode);
  return "signal " + std::to_string(-exitcode) + " (" + signal_name(-exitcode) + ")";
}

std::string demangle(const char* mangled) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name{abi::__cxa_demangle(mangled, nullptr, nullptr, &status), std::free};
  return status == 0 ? name.get() : mangled;
}

}  // namespace troupe
