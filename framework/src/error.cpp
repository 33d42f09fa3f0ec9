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
    case ErrorCode::quarantined: return "Quarantined";
    case ErrorCode::abandoned_error: return "AbandonedError";
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

std::string time_text(std::chrono::nanoseconds time) {
  if (time < std::chrono::milliseconds{1}) return std::to_string(time.count() / 1000) + " us";
  if (time < std::chrono::seconds{10}) return std::to_string(time.count() / 1'000'000) + " ms";
  return std::to_string(time.count() / 1'000'000'000) + " s";
}

}  // namespace

OSError::OSError(int errno_value, const std::string& attempted)
    : OSError(Complete{}, errno_value,
              attempted + ": " + std::generic_category().message(errno_value) + " (errno " +
                  std::to_string(errno_value) + ")") {}

OSError::OSError(Complete, int errno_value, const std::string& text)
    : Error(text, ErrorCode::os_error, kind_of_errno(errno_value)), errno_value_(errno_value) {}

OSError OSError::from_text(int errno_value, const std::string& text) { return {Complete{}, errno_value, text}; }

std::string describe(const DeathRecord& death) {
  std::string text = "worker " + std::to_string(death.pid) + " ended with " + describe_exitcode(death.exitcode);
  if (death.dumped_core) text += ", core dumped,";
  if (!death.task.empty()) {
    text += " while it ran " + death.task;
    if (!death.arguments.empty()) text += " " + death.arguments;
    if (death.ran_for.count() > 0) text += " for " + time_text(death.ran_for);
    text += " (attempt " + std::to_string(death.attempts) + ")";
  }
  if (death.peak_resident_bytes > 0)
    text += ", with at most " + std::to_string(death.peak_resident_bytes >> 20U) + " MiB in use";
  if (!death.reason.empty()) text += "; the pool killed it: " + death.reason;
  return text;
}

WorkerDied::WorkerDied(DeathRecord death, const std::string& text)
    : ProcessError(text.empty() ? describe(death) : text, ErrorCode::worker_died, ErrorKind::failed),
      death_(std::move(death)) {}

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
