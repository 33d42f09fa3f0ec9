#include <troupe/failure.hpp>
#include <troupe/runtime.hpp>

#include "failure_registry.hpp"

#include <algorithm>
#include <cxxabi.h>
#include <future>
#include <optional>
#include <system_error>
#include <unistd.h>

namespace troupe {

namespace {

constexpr std::size_t max_name_bytes = 1024;
constexpr int max_causes = 8;

/// All that travels of an exception, gathered while it is caught.
struct Facts {
  ErrorCode code = ErrorCode::foreign;
  std::optional<ErrorKind> kind;
  std::string type;  // C++ name, without what detail::Remote adds
  std::string text;  // what() and causes, not longer than max_error_text_bytes
  std::error_code system_error;
  std::optional<RemoteOrigin> origin;
  std::optional<WorkerDied> death;
};

/// At most `limit` bytes of `text`, cut between characters, with a note when cut.
std::string bounded(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return std::string(text);
  const std::string note = "... [cut, " + std::to_string(text.size()) + " bytes in all]";
  std::size_t end = limit - std::min(limit, note.size());
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  return std::string(text.substr(0, end)) + note;
}

/// The name of a thrown class; of E itself for what std::throw_with_nested makes of it.
std::string class_name(const std::type_info& type) {
  std::string name = detail::type_text(type);
  constexpr std::string_view nested = "std::_Nested_exception<";
  if (name.starts_with(nested) && name.ends_with('>')) {
    name = name.substr(nested.size(), name.size() - nested.size() - 1);
  }
  return name;
}

/// " (caused by std::runtime_error: text)" for every nested exception below `error`.
std::string causes(const std::exception& error, int depth = 0) {
  try {
    std::rethrow_if_nested(error);
  } catch (const std::exception& cause) {
    std::string text = " (caused by " + class_name(typeid(cause)) + ": " + bounded(cause.what(), max_error_text_bytes);
    if (depth < max_causes) text += causes(cause, depth + 1);
    return text + ')';
  } catch (...) {
    return " (caused by something that is no exception)";
  }
  return {};
}

void read_exception(const std::exception& error, Facts& facts) {
  const char* what = error.what();
  facts.type = class_name(typeid(error));
  facts.text = bounded(what != nullptr ? what : "", max_error_text_bytes);
  if (const std::string nested = causes(error); !nested.empty()) {
    facts.text = bounded(facts.text + nested, max_error_text_bytes);
  }
  if (const RemoteOrigin* origin = remote_origin(error)) {
    facts.origin = *origin;
    if (dynamic_cast<const Error*>(&error) == nullptr) facts.type = origin->type;
  }
  if (const auto* own = dynamic_cast<const Error*>(&error)) {
    facts.code = own->code();
    facts.kind = own->kind();
    if (const auto* os = dynamic_cast<const OSError*>(own)) {
      facts.system_error = {os->errno_value(), std::generic_category()};
    }
    if (const auto* death = dynamic_cast<const WorkerDied*>(own)) facts.death = *death;
  } else if (const auto* system = dynamic_cast<const std::system_error*>(&error)) {
    facts.system_error = system->code();
  } else if (const auto* future = dynamic_cast<const std::future_error*>(&error)) {
    facts.system_error = future->code();
  }
}

Facts facts_of(const std::exception_ptr& error) {
  Facts facts;
  if (error == nullptr) {
    facts.type = "no exception";
    facts.text = "a null std::exception_ptr";
    return facts;
  }
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& thrown) {
    read_exception(thrown, facts);
  } catch (const char* thrown) {
    facts.type = "const char*";
    facts.text = bounded(thrown != nullptr ? thrown : "", max_error_text_bytes);
  } catch (const std::string& thrown) {
    facts.type = "std::string";
    facts.text = bounded(thrown, max_error_text_bytes);
  } catch (...) {
    const std::type_info* type = abi::__cxa_current_exception_type();
    facts.type = type != nullptr ? class_name(*type) : "an unknown type";
    facts.text = "something that is no exception was thrown";
  }
  return facts;
}

/// The name of this process, empty where no Runtime gave it one.
std::string this_name() {
  try {
    return this_process::name();
  } catch (const Error&) {
    return {};
  }
}

}  // namespace

std::string detail::exception_name_of(const std::type_info& type) { return exception_name(class_name(type)); }

const RemoteOrigin* remote_origin(const std::exception& error) noexcept {
  if (const auto* mark = dynamic_cast<const detail::RemoteMark*>(&error)) return &mark->origin();
  const auto* own = dynamic_cast<const Error*>(&error);
  return own != nullptr && own->origin() ? &*own->origin() : nullptr;
}

std::string describe_exception(const std::exception_ptr& error) {
  const Facts facts = facts_of(error);
  constexpr std::string_view ours = "troupe::";
  const std::string_view type = facts.type;
  return std::string(type.starts_with(ours) ? type.substr(ours.size()) : type) + ": " + facts.text;
}

void encode_death(const DeathRecord& death, wire::Death::Builder out) {
  out.setPid(death.pid);
  out.setExitcode(death.exitcode);
  out.setAttempts(death.attempts);
  out.setDumpedCore(death.dumped_core);
  out.setPeakResident(death.peak_resident_bytes);
  out.setTaskId(death.task_id);
  out.setArguments(bounded(death.arguments, max_name_bytes));
  out.setRanFor(death.ran_for.count());
  out.setRestarts(death.restarts);
  out.setReason(bounded(death.reason, max_name_bytes));
}

DeathRecord decode_death(wire::Death::Reader in) {
  return {.pid = in.getPid(),
          .exitcode = in.getExitcode(),
          .dumped_core = in.getDumpedCore(),
          .peak_resident_bytes = in.getPeakResident(),
          .task = {},
          .task_id = in.getTaskId(),
          .arguments = std::string(in.getArguments().begin(), in.getArguments().size()),
          .ran_for = std::chrono::nanoseconds(in.getRanFor()),
          .attempts = in.getAttempts(),
          .restarts = in.getRestarts(),
          .reason = std::string(in.getReason().begin(), in.getReason().size())};
}

void encode_exception(std::exception_ptr error, std::string_view task, wire::Error::Builder out,
                      std::string_view process) {
  const Facts facts = facts_of(error);
  const auto text = [](std::string_view source, std::size_t limit) {
    const std::string kept = bounded(source, limit);
    return kj::heapString(kept.data(), kept.size());
  };
  out.setCode(static_cast<std::uint32_t>(facts.code));
  out.setKind(static_cast<std::uint8_t>(facts.kind.value_or(ErrorKind{})));
  out.setType(text(exception_name(facts.origin ? facts.origin->type : facts.type), max_name_bytes));
  out.setMessage(text(facts.text, max_error_text_bytes));
  out.setSystemError(facts.system_error.value());
  if (facts.system_error.value() != 0) out.setCategory(text(facts.system_error.category().name(), max_name_bytes));
  if (facts.origin) {
    out.setProcess(text(facts.origin->process, max_name_bytes));
    out.setPid(facts.origin->pid);
    out.setTask(text(facts.origin->task, max_name_bytes));
  } else {
    out.setProcess(text(process.empty() ? this_name() : std::string(process), max_name_bytes));
    out.setPid(::getpid());
    out.setTask(text(task, max_name_bytes));
  }
  if (facts.death) {
    encode_death(facts.death->record(), out.initDeath());
    out.setTask(text(facts.death->task(), max_name_bytes));
  }
}

namespace {

std::string string_of(capnp::Text::Reader text) { return std::string(text.begin(), text.size()); }

/// "(in task square, process Worker-2, pid 77)"; empty if nothing is known.
std::string place(const RemoteOrigin& origin) {
  std::string text;
  const auto add = [&](const char* what, const std::string& value) {
    if (!value.empty()) text += (text.empty() ? " (in " : ", ") + std::string(what) + value;
  };
  add("task ", origin.task);
  add("process ", origin.process);
  if (origin.pid > 0) add("pid ", std::to_string(origin.pid));
  return text.empty() ? text : text + ')';
}

template <class E>
std::exception_ptr own(E error, const RemoteOrigin& origin) {
  error.set_origin(origin);
  return std::make_exception_ptr(std::move(error));
}

/// One of error.hpp's classes; null if the code is none of this version's.
std::exception_ptr decode_own(wire::Error::Reader in, const std::string& text, const RemoteOrigin& origin) {
  const auto code = static_cast<ErrorCode>(in.getCode());
  const bool has_kind = in.getKind() >= 1 && in.getKind() <= 4;
  const auto make = [&]<class E>(std::type_identity<E>) {
    E error(text);
    if (has_kind) error = E(text, code, static_cast<ErrorKind>(in.getKind()));
    return own(std::move(error), origin);
  };
  switch (code) {
    case ErrorCode::foreign: return nullptr;
    case ErrorCode::error: return make(std::type_identity<Error>{});
    case ErrorCode::value_error: return make(std::type_identity<ValueError>{});
    case ErrorCode::type_error: return make(std::type_identity<TypeError>{});
    case ErrorCode::assertion_error: return make(std::type_identity<AssertionError>{});
    case ErrorCode::runtime_error: return make(std::type_identity<RuntimeError>{});
    case ErrorCode::os_error: return own(OSError::from_text(in.getSystemError(), text), origin);
    case ErrorCode::eof_error: return make(std::type_identity<EOFError>{});
    case ErrorCode::empty: return make(std::type_identity<Empty>{});
    case ErrorCode::full: return make(std::type_identity<Full>{});
    case ErrorCode::process_error: return make(std::type_identity<ProcessError>{});
    case ErrorCode::timeout_error: return make(std::type_identity<TimeoutError>{});
    case ErrorCode::authentication_error: return make(std::type_identity<AuthenticationError>{});
    case ErrorCode::buffer_too_short: return make(std::type_identity<BufferTooShort>{});
    case ErrorCode::broken_barrier_error: return make(std::type_identity<BrokenBarrierError>{});
    case ErrorCode::remote_error: return make(std::type_identity<RemoteError>{});
    case ErrorCode::worker_died: {
      DeathRecord death = decode_death(in.getDeath());
      death.task = origin.task;
      return own(WorkerDied(std::move(death), text), origin);
    }
    case ErrorCode::codec_error: return make(std::type_identity<CodecError>{});
    case ErrorCode::cancelled: return make(std::type_identity<Cancelled>{});
    case ErrorCode::attribute_error: return make(std::type_identity<AttributeError>{});
    case ErrorCode::index_error: return make(std::type_identity<IndexError>{});
    case ErrorCode::key_error: return make(std::type_identity<KeyError>{});
    case ErrorCode::quarantined: return make(std::type_identity<Quarantined>{});
    case ErrorCode::abandoned_error: return make(std::type_identity<AbandonedError>{});
  }
  return nullptr;
}

std::exception_ptr decode_unchecked(wire::Error::Reader in) {
  const RemoteOrigin origin{.type = string_of(in.getType()),
                            .process = string_of(in.getProcess()),
                            .pid = in.getPid(),
                            .task = string_of(in.getTask())};
  const std::string text = string_of(in.getMessage());
  const std::string category = string_of(in.getCategory());
  // A code of somebody's own category cannot be rebuilt; the class without it would say something else.
  if (category.empty() || is_standard_category(category)) {
    if (const auto make = find_exception(origin.type)) {
      return make(text, make_code(in.getSystemError(), category), origin);
    }
  }
  if (auto error = decode_own(in, text, origin)) return error;
  const std::string type = origin.type.empty() ? "an exception" : origin.type;
  return own(RemoteError(type + ": " + text + place(origin)), origin);
}

}  // namespace

std::exception_ptr decode_exception(wire::Error::Reader in) {
  try {
    return decode_unchecked(in);
  } catch (const kj::Exception& error) {
    return std::make_exception_ptr(
        CodecError(std::string("an error arrived that cannot be read: ") + error.getDescription().cStr()));
  } catch (...) {
    return std::current_exception();
  }
}

}  // namespace troupe
