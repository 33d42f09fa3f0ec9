#include <troupe/failure.hpp>

#include "codec_fixture.hpp"

#include <any>
#include <concepts>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <future>
#include <ios>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <typeinfo>
#include <unistd.h>
#include <variant>

using namespace troupe;
using namespace troupe::test;

namespace app {

struct Unregistered : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Registered : std::logic_error {
  explicit Registered(const std::string& text) : std::logic_error("registered: " + text) {}
};

struct Aliased : std::exception {
  explicit Aliased(std::string t) : text(std::move(t)) {}
  const char* what() const noexcept override { return text.c_str(); }
  std::string text;
};

struct OwnTimeout : TimeoutError {
  explicit OwnTimeout(const std::string& text) : TimeoutError(text) {}
};

struct OwnKept : ValueError {
  explicit OwnKept(const std::string& text) : ValueError(text) {}
};

struct Last final : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class OwnCategory : public std::error_category {
  const char* name() const noexcept override { return "own"; }
  std::string message(int) const override { return "own text"; }
};
const OwnCategory own_category;

}  // namespace app

namespace {

/// What arrives of the exception that `action` throws in task "square" of process "Worker-1".
template <class Action>
std::exception_ptr arrival(Action action) {
  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<wire::Error>();
  try {
    action();
  } catch (...) {
    encode_exception(std::current_exception(), "square", out, "Worker-1");
  }
  return decode_exception(out.asReader());
}

/// Throws `error` there; checks that it arrives as an E with the same text; returns it.
template <class E, class Thrown>
E expect_arrives_as(const Thrown& error) {
  try {
    std::rethrow_exception(arrival([&] { throw error; }));
  } catch (const E& arrived) {
    const RemoteOrigin* origin = remote_origin(arrived);
    EXPECT_NE(origin, nullptr);
    if (origin != nullptr) {
      EXPECT_EQ(origin->process, "Worker-1");
      EXPECT_EQ(origin->task, "square");
      EXPECT_EQ(origin->pid, ::getpid());
      EXPECT_EQ(origin->type, detail::type_text(typeid(Thrown)));
    }
    if constexpr (!std::is_same_v<E, RemoteError>) {
      EXPECT_STREQ(arrived.what(), error.what());
    }
    return arrived;
  } catch (...) {
    ADD_FAILURE() << "arrived as another class: " << describe_exception(std::current_exception());
  }
  throw std::logic_error("no such arrival");
}

template <class E>
class FailureStandard : public testing::Test {};
using WithText = testing::Types<std::runtime_error, std::range_error, std::overflow_error, std::underflow_error,
                                std::logic_error, std::invalid_argument, std::domain_error, std::length_error,
                                std::out_of_range, std::ios_base::failure>;
TYPED_TEST_SUITE(FailureStandard, WithText);

TYPED_TEST(FailureStandard, KeepsItsClassAndText) {
  expect_arrives_as<TypeParam>(TypeParam("the text, with \xC3\xBC"));
  expect_arrives_as<TypeParam>(TypeParam(""));
}

template <class E>
class FailureStandardPlain : public testing::Test {};
using WithoutText = testing::Types<std::exception, std::bad_alloc, std::bad_array_new_length, std::bad_cast,
                                   std::bad_any_cast, std::bad_typeid, std::bad_exception, std::bad_function_call,
                                   std::bad_optional_access, std::bad_variant_access, std::bad_weak_ptr>;
TYPED_TEST_SUITE(FailureStandardPlain, WithoutText);

TYPED_TEST(FailureStandardPlain, KeepsItsClass) { expect_arrives_as<TypeParam>(TypeParam()); }

template <class E>
class FailureOwn : public testing::Test {};
using Own =
    testing::Types<Error, ValueError, TypeError, AssertionError, RuntimeError, BrokenBarrierError, AttributeError,
                   IndexError, KeyError, EOFError, Empty, Full, ProcessError, TimeoutError, AuthenticationError,
                   BufferTooShort, RemoteError, CodecError, Cancelled, Quarantined, AbandonedError>;
TYPED_TEST_SUITE(FailureOwn, Own);

// Whoever catches a class of multiprocessing's here catches what is one of those there.
static_assert(std::derived_from<TimeoutError, ProcessError> && std::derived_from<AuthenticationError, ProcessError> &&
              std::derived_from<BufferTooShort, ProcessError> && std::derived_from<BrokenBarrierError, RuntimeError>);
static_assert(std::derived_from<CodecError, ValueError> && std::derived_from<AbandonedError, RuntimeError> &&
              std::derived_from<WorkerDied, ProcessError> && std::derived_from<Quarantined, ProcessError>);
static_assert(std::derived_from<Error, std::runtime_error>);

/// How many of these are an E as well, itself not counted.
template <class E, class... All>
constexpr std::size_t num_kin = (std::size_t{std::derived_from<All, E>} + ...) - 1;

// Multiprocessing's own: all are Errors, and except for the kinship above they can be told apart.
template <class... All>
constexpr bool are_apart = (std::derived_from<All, Error> && ...) && (num_kin<All, All...> + ...) == 4;
static_assert(are_apart<ValueError, TypeError, AssertionError, RuntimeError, AttributeError, IndexError, KeyError,
                        OSError, EOFError, Empty, Full, ProcessError, TimeoutError, AuthenticationError, BufferTooShort,
                        BrokenBarrierError, RemoteError>);

TYPED_TEST(FailureOwn, KeepsItsClassCodeAndKind) {
  const TypeParam error("pool \"x\" is closed");
  const auto arrived = expect_arrives_as<TypeParam>(error);
  EXPECT_EQ(typeid(arrived), typeid(error));
  EXPECT_STREQ(arrived.what(), error.what());
  EXPECT_EQ(arrived.code(), error.code());
  EXPECT_EQ(arrived.kind(), error.kind());
  const TypeParam odd("text", error.code(), ErrorKind::unimplemented);
  EXPECT_EQ(expect_arrives_as<TypeParam>(odd).kind(), ErrorKind::unimplemented);
}

}  // namespace

TEST(Failure, SystemErrorsKeepTheirCode) {
  const auto system =
      expect_arrives_as<std::system_error>(std::system_error(ENOENT, std::generic_category(), "open x"));
  EXPECT_EQ(system.code(), std::errc::no_such_file_or_directory);
  EXPECT_EQ(expect_arrives_as<std::system_error>(std::system_error(5, std::system_category())).code(),
            std::error_code(5, std::system_category()));
  const auto file = expect_arrives_as<std::filesystem::filesystem_error>(std::filesystem::filesystem_error(
      "cannot open", "/nope", std::make_error_code(std::errc::no_such_file_or_directory)));
  EXPECT_EQ(file.code(), std::errc::no_such_file_or_directory);
  const auto future = expect_arrives_as<std::future_error>(std::future_error(std::future_errc::broken_promise));
  EXPECT_EQ(future.code(), std::future_errc::broken_promise);
  // Nobody here knows what the code means over there.
  const auto foreign = expect_arrives_as<RemoteError>(std::system_error(3, app::own_category, "x"));
  EXPECT_NE(std::string(foreign.what()).find("std::system_error: x: own text"), std::string::npos) << foreign.what();
}

TEST(Failure, OSErrorsKeepErrno) {
  const auto arrived = expect_arrives_as<OSError>(OSError(EMFILE, "pipe for Process-3"));
  EXPECT_EQ(arrived.errno_value(), EMFILE);
  EXPECT_EQ(arrived.kind(), ErrorKind::overloaded);
}

TEST(Failure, WorkerDeathsKeepTheirFields) {
  const std::exception_ptr error =
      arrival([] { throw WorkerDied({.pid = 77, .exitcode = -9, .task = "cube", .attempts = 3}); });
  try {
    std::rethrow_exception(error);
  } catch (const WorkerDied& death) {
    EXPECT_EQ(death.pid(), 77);
    EXPECT_EQ(death.exitcode(), -9);
    EXPECT_EQ(death.task(), "cube");
    EXPECT_EQ(death.attempts(), 3U);
    EXPECT_STREQ(death.what(), WorkerDied({.pid = 77, .exitcode = -9, .task = "cube", .attempts = 3}).what());
  }
}

TEST(Failure, RegisteredClassesKeepTheirClass) {
  register_exception<app::Registered>();
  register_exception<app::Aliased>("aliased");
  register_exception<app::OwnKept>();
  register_exception<app::Last>();
  // Not decorated a second time.
  EXPECT_STREQ(expect_arrives_as<app::Registered>(app::Registered("x")).what(), "registered: registered: x");
  try {
    std::rethrow_exception(arrival([] { throw app::Registered("x"); }));
  } catch (const std::exception& error) {
    EXPECT_STREQ(error.what(), "registered: x");
  }
  try {
    std::rethrow_exception(arrival([] { throw app::Aliased("y"); }));
  } catch (const app::Aliased& error) {
    EXPECT_EQ(error.text, "y");
    ASSERT_NE(remote_origin(error), nullptr);
    EXPECT_EQ(remote_origin(error)->type, "aliased");
  }
  expect_arrives_as<app::OwnKept>(app::OwnKept("z"));
  EXPECT_THROW(std::rethrow_exception(arrival([] { throw app::Last("final"); })), app::Last);
}

TEST(Failure, UnknownClassesBecomeRemoteErrors) {
  const auto error = expect_arrives_as<RemoteError>(app::Unregistered("no luck"));
  EXPECT_EQ(std::string(error.what()),
            "app::Unregistered: no luck (in task square, process Worker-1, pid " + std::to_string(::getpid()) + ")");
  EXPECT_EQ(error.code(), ErrorCode::remote_error);
}

// A class of the user's under one of ours is at least that one.
TEST(Failure, UnknownClassesUnderOursBecomeOurs) { expect_arrives_as<TimeoutError>(app::OwnTimeout("late")); }

TEST(Failure, ThingsThatAreNoExceptionsBecomeRemoteErrors) {
  const auto text = [](auto action) {
    try {
      std::rethrow_exception(arrival(action));
    } catch (const RemoteError& error) {
      return std::string(error.what()).substr(0, std::string(error.what()).find(" (in task"));
    }
  };
  EXPECT_EQ(text([] { throw 42; }), "int: something that is no exception was thrown");
  EXPECT_EQ(text([] { throw "a literal"; }), "const char*: a literal");
  EXPECT_EQ(text([] { throw std::string("a string"); }), "std::string: a string");
  EXPECT_EQ(text([] { throw std::vector<int>{1}; }), "std::vector<int>: something that is no exception was thrown");
}

TEST(Failure, TheFirstOriginStays) {
  const auto first = arrival([] { throw std::out_of_range("index"); });
  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<wire::Error>();
  encode_exception(first, "other task", out, "Worker-2");
  try {
    std::rethrow_exception(decode_exception(out.asReader()));
  } catch (const std::out_of_range& error) {
    ASSERT_NE(remote_origin(error), nullptr);
    EXPECT_EQ(remote_origin(error)->process, "Worker-1");
    EXPECT_EQ(remote_origin(error)->task, "square");
    EXPECT_EQ(remote_origin(error)->type, "std::out_of_range");
    EXPECT_STREQ(error.what(), "index");
  }
  // A RemoteError does not collect a place at every border.
  const auto remote = arrival([] { throw app::Unregistered("x"); });
  const auto again = arrival([&] { std::rethrow_exception(remote); });
  EXPECT_EQ(describe_exception(again), describe_exception(remote));
}

TEST(Failure, ErrorsFromHereHaveNoOrigin) {
  EXPECT_EQ(remote_origin(std::runtime_error("x")), nullptr);
  EXPECT_EQ(remote_origin(ValueError("x")), nullptr);
}

// An error must fit wherever a result does.
TEST(Failure, HugeTextsAreCutWithANote) {
  std::string huge;
  while (huge.size() < 16 * 1024 * 1024) huge += "grün ";
  const auto error = arrival([&] { throw std::runtime_error(huge); });
  try {
    std::rethrow_exception(error);
  } catch (const std::runtime_error& arrived) {
    const std::string text = arrived.what();
    EXPECT_LE(text.size(), max_error_text_bytes);
    EXPECT_GT(text.size(), max_error_text_bytes - 100);
    EXPECT_TRUE(text.starts_with("grün grün "));
    EXPECT_TRUE(text.ends_with("... [cut, " + std::to_string(huge.size()) + " bytes in all]"));
  }
}

TEST(Failure, CausesOfNestedExceptionsAreTold) {
  const auto error = arrival([] {
    try {
      try {
        throw 5;
      } catch (...) {
        std::throw_with_nested(std::logic_error("inner"));
      }
    } catch (...) {
      std::throw_with_nested(std::runtime_error("outer"));
    }
  });
  try {
    std::rethrow_exception(error);
  } catch (const std::runtime_error& arrived) {
    EXPECT_STREQ(arrived.what(),
                 "outer (caused by std::logic_error: inner (caused by something that is no exception))");
  }
}

TEST(Failure, DescriptionsNameTypeAndText) {
  EXPECT_EQ(describe_exception(std::make_exception_ptr(ValueError("bad"))), "ValueError: bad");
  EXPECT_EQ(describe_exception(std::make_exception_ptr(std::out_of_range("far"))), "std::out_of_range: far");
  EXPECT_EQ(describe_exception(arrival([] { throw std::out_of_range("far"); })), "std::out_of_range: far");
  EXPECT_EQ(describe_exception(std::make_exception_ptr(42)), "int: something that is no exception was thrown");
  EXPECT_EQ(describe_exception(nullptr), "no exception: a null std::exception_ptr");
}

TEST(Failure, ExceptionsTravelAsValues) {
  EXPECT_EQ(round_trip(std::exception_ptr()), nullptr);
  const auto arrived = round_trip(std::make_exception_ptr(KeyError("no \"x\"")));
  EXPECT_EQ(describe_exception(arrived), "KeyError: no \"x\"");
  EXPECT_EQ(mismatch<std::exception_ptr>(3), "expected std::exception_ptr, found int64 3");
  EXPECT_EQ(mismatch<int>(arrived), "expected int (-2147483648..2147483647), found error \"no \"x\"\"");
}

TEST(Failure, CodesOfALaterVersionBecomeRemoteErrors) {
  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<wire::Error>();
  out.setCode(9999);
  out.setMessage("from the future");
  EXPECT_EQ(describe_exception(decode_exception(out.asReader())), "RemoteError: an exception: from the future");
  out.setCode(0);
  out.setType("N::T");
  EXPECT_EQ(describe_exception(decode_exception(out.asReader())), "RemoteError: N::T: from the future");
}

TEST(Failure, AnErrorThatCannotBeReadIsAnError) {
  capnp::word words[8] = {};
  auto* bytes = reinterpret_cast<unsigned char*>(words);
  bytes[4] = 2;      // two data words
  bytes[6] = 1;      // one pointer: the type
  bytes[24] = 0xFD;  // a list far outside of the message
  bytes[25] = 0xFF;
  bytes[28] = 0x02;
  const kj::ArrayPtr<const capnp::word> segments[] = {kj::arrayPtr(words, 8)};
  capnp::SegmentArrayMessageReader reader(segments);
  try {
    std::rethrow_exception(decode_exception(reader.getRoot<wire::Error>()));
  } catch (const CodecError& error) {
    EXPECT_EQ(std::string(error.what()).find("an error arrived that cannot be read: "), 0U) << error.what();
  }
}
