#pragma once

/// \file
/// Every failure that troupe reports to its user. One hierarchy under troupe::Error, named as in Python's
/// multiprocessing; the kinship is that of its documentation: TimeoutError, AuthenticationError and BufferTooShort are
/// ProcessErrors, BrokenBarrierError is a RuntimeError. docs/semantics.md "Errors" has the table.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace troupe {

/// What the caller of a failed operation can do about it.
enum class ErrorKind : std::uint8_t {
  failed = 1,         ///< give up: repeating the call will fail again
  overloaded = 2,     ///< try later or slower
  disconnected = 3,   ///< the other side is gone: reconnect, then try again
  unimplemented = 4,  ///< the other side cannot do this: use another way
};

/// Names each class below on the wire. Numbers are appended, never reused, because they travel between processes.
enum class ErrorCode : std::uint32_t {
  foreign = 0,  ///< not one of ours: a standard or user exception, known by its type name only
  error = 1,
  value_error = 2,
  type_error = 3,
  assertion_error = 4,
  runtime_error = 5,
  os_error = 6,
  eof_error = 7,
  empty = 8,
  full = 9,
  process_error = 10,
  timeout_error = 11,
  authentication_error = 12,
  buffer_too_short = 13,
  broken_barrier_error = 14,
  remote_error = 15,
  worker_died = 16,
  codec_error = 17,
  cancelled = 18,
  attribute_error = 19,
  index_error = 20,
  key_error = 21,
  quarantined = 22,
  abandoned_error = 23,
};

/// The name of an error class, as in "TimeoutError". Thread: any. Errors: none; an unknown code reads "Error".
std::string_view to_string(ErrorCode code) noexcept;

/// Where an exception came from when it was thrown in another process.
struct RemoteOrigin {
  std::string type;     ///< C++ type name over there, demangled
  std::string process;  ///< name of the process, as in "Process-3"; empty if unknown
  pid_t pid = 0;        ///< its process id; 0 if unknown
  std::string task;     ///< name of the task that threw; empty outside tasks
};

/// The root of all failures reported by troupe. what() names the noun, its id and the remedy.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& text, ErrorCode code = ErrorCode::error, ErrorKind kind = ErrorKind::failed);

  /// Names this class on the wire and in log lines.
  ErrorCode code() const noexcept { return code_; }
  /// Answers: what can the caller do?
  ErrorKind kind() const noexcept { return kind_; }
  /// Set when the error arose in another process.
  const std::optional<RemoteOrigin>& origin() const noexcept { return origin_; }
  /// Records the process where the error arose. Used by the codec.
  void set_origin(RemoteOrigin origin) { origin_ = std::move(origin); }

 private:
  ErrorCode code_;
  ErrorKind kind_;
  std::optional<RemoteOrigin> origin_;
};

/// Defines one leaf of the hierarchy: class Name, derived from Base, travelling as ErrorCode::code.
#define TROUPE_DEFINE_ERROR(Name, Base, code_name, kind_name)                     \
  class Name : public Base {                                                      \
   public:                                                                        \
    explicit Name(const std::string& text, ErrorCode code = ErrorCode::code_name, \
                  ErrorKind kind = ErrorKind::kind_name)                          \
        : Base(text, code, kind) {}                                               \
  }

/// An argument has the right type and a wrong value, or the object is in the wrong state for this call.
TROUPE_DEFINE_ERROR(ValueError, Error, value_error, failed);
/// An argument has a wrong type that the compiler could not see.
TROUPE_DEFINE_ERROR(TypeError, Error, type_error, failed);
/// The program breaks a rule of the interface: a bug in the caller, as in starting a Process twice.
TROUPE_DEFINE_ERROR(AssertionError, Error, assertion_error, failed);
/// A failure that fits no other class.
TROUPE_DEFINE_ERROR(RuntimeError, Error, runtime_error, failed);
/// A party left the barrier before all arrived.
TROUPE_DEFINE_ERROR(BrokenBarrierError, RuntimeError, broken_barrier_error, failed);
/// The object has no such member.
TROUPE_DEFINE_ERROR(AttributeError, Error, attribute_error, failed);
/// An index is out of range.
TROUPE_DEFINE_ERROR(IndexError, Error, index_error, failed);
/// A mapping has no such key.
TROUPE_DEFINE_ERROR(KeyError, Error, key_error, failed);
/// The other end is closed and everything it had sent is read.
TROUPE_DEFINE_ERROR(EOFError, Error, eof_error, disconnected);
/// Nothing to get, now or within the timeout.
TROUPE_DEFINE_ERROR(Empty, Error, empty, overloaded);
/// No room to put, now or within the timeout.
TROUPE_DEFINE_ERROR(Full, Error, full, overloaded);
/// The parent of the process-related errors.
TROUPE_DEFINE_ERROR(ProcessError, Error, process_error, failed);
/// A wait ended at its deadline; what was waited for goes on.
TROUPE_DEFINE_ERROR(TimeoutError, ProcessError, timeout_error, overloaded);
/// The other side does not know the key.
TROUPE_DEFINE_ERROR(AuthenticationError, ProcessError, authentication_error, failed);
/// An exception of a type that is neither standard nor registered was thrown in another process; origin() names it.
TROUPE_DEFINE_ERROR(RemoteError, Error, remote_error, failed);
/// A message does not decode to the type asked for, or a value cannot be encoded: names expected and found.
TROUPE_DEFINE_ERROR(CodecError, ValueError, codec_error, failed);
/// The task will not run: its pool was terminated, or it was cancelled before it began.
TROUPE_DEFINE_ERROR(Cancelled, Error, cancelled, failed);
/// The task has killed so many workers that it is not tried again; what() lists the deaths.
TROUPE_DEFINE_ERROR(Quarantined, ProcessError, quarantined, failed);

/// The process that held the lock has died with it, and what it guards may be half changed.
TROUPE_DEFINE_ERROR(AbandonedError, RuntimeError, abandoned_error, failed);

#undef TROUPE_DEFINE_ERROR

/// A received message is longer than the buffer given for it. The message is taken from the connection, and is here.
class BufferTooShort : public ProcessError {
 public:
  explicit BufferTooShort(const std::string& text, ErrorCode code = ErrorCode::buffer_too_short,
                          ErrorKind kind = ErrorKind::failed)
      : ProcessError(text, code, kind) {}
  BufferTooShort(const std::string& text, std::vector<std::byte> message)
      : BufferTooShort(text) {
    message_ = std::make_shared<const std::vector<std::byte>>(std::move(message));
  }

  /// The whole message; empty when the error came from another process.
  std::span<const std::byte> message() const noexcept {
    return message_ ? std::span<const std::byte>(*message_) : std::span<const std::byte>();
  }

 private:
  std::shared_ptr<const std::vector<std::byte>> message_;  // exceptions are copied, and copying must not throw
};

/// A system call failed. errno_value() tells which way; text() holds the system's words and what was attempted.
class OSError : public Error {
 public:
  /// `attempted` names what failed, as in "fork for Process-3"; the system's text for `errno_value` is appended.
  OSError(int errno_value, const std::string& attempted);
  /// Rebuilds an error whose text is complete already. Used by the codec.
  static OSError from_text(int errno_value, const std::string& text);

  int errno_value() const noexcept { return errno_value_; }

 private:
  struct Complete {};
  OSError(Complete, int errno_value, const std::string& text);
  int errno_value_;
};

/// How a worker ended.
struct DeathRecord {
  pid_t pid = 0;
  int exitcode = 0;  ///< >= 0 the exit status, < 0 minus the signal number
  bool dumped_core = false;
  std::uint64_t peak_resident_bytes = 0;  ///< most memory that it had in use; 0: unknown
  std::string task = {};                  ///< name of the task that it ran, empty: none
  std::uint64_t task_id = 0;              ///< its number in the pool, 0: none
  std::string arguments = {};             ///< of the task, in short
  std::chrono::nanoseconds ran_for{0};    ///< how long the task had run
  unsigned attempts = 0;                  ///< how often the task had been begun, this time included
  unsigned restarts = 0;                  ///< how often the worker's place in the pool had been filled anew before
  std::string reason = {};                ///< why the pool killed it; empty: it did not
  bool operator==(const DeathRecord&) const = default;
};

/// "worker 4711 ended with signal 9 (SIGKILL) while it ran square #3 (7) for 12 ms, ...". Thread: any.
std::string describe(const DeathRecord& death);

/// The worker that ran the task ended before the task did. Only that task fails; the pool replaces the worker.
class WorkerDied : public ProcessError {
 public:
  /// `text`: what() says; empty: what the record tells.
  explicit WorkerDied(DeathRecord death, const std::string& text = "");

  const DeathRecord& record() const noexcept { return death_; }
  pid_t pid() const noexcept { return death_.pid; }
  int exitcode() const noexcept { return death_.exitcode; }
  const std::string& task() const noexcept { return death_.task; }
  unsigned attempts() const noexcept { return death_.attempts; }

 private:
  DeathRecord death_;
};

/// "exit code 3" or "signal 9 (SIGKILL)". Thread: any.
std::string describe_exitcode(int exitcode);
/// "SIGKILL" for 9; "signal 63" for numbers without a name. Thread: any.
std::string signal_name(int number);
/// The readable form of a compiler's type name. Thread: any. Errors: none; returns `mangled` where it is none.
std::string demangle(const char* mangled);

}  // namespace troupe
