#include <troupe/callable.hpp>
#include <troupe/error.hpp>
#include <troupe/failure.hpp>
#include <troupe/task_call.hpp>

#include <gmock/gmock.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <map>
#include <numeric>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <unistd.h>
#include <vector>

namespace troupe {
namespace {

using testing::AllOf;
using testing::HasSubstr;

int square(int x) { return x * x; }
int difference(int a, int b) noexcept { return a - b; }
void nothing() {}
std::string greet(const std::string& greeting, std::string_view name) { return greeting + ", " + std::string(name); }
std::string_view first_word(std::string_view text) { return text.substr(0, text.find(' ')); }
double sum(std::span<const double> values) { return std::accumulate(values.begin(), values.end(), 0.0); }
const std::string& shouted(const std::string& text) {
  thread_local std::string result;
  result = text + "!";
  return result;
}
[[noreturn]] int fail(int) { throw std::out_of_range("no such number"); }
int never_called_through_troupe(int x) { return x; }

struct Scale {
  double factor;
  std::map<std::string, double> offsets;
  double operator()(const std::string& name, double value) const { return factor * value + offsets.at(name); }
};

struct Overloaded {
  int operator()(int x) const { return x + 1; }
  std::string operator()(const std::string& text) const { return text + "1"; }
};

AnyFunction any(auto* function) { return reinterpret_cast<AnyFunction>(function); }

/// What a submitter and a worker do with one task, in one process.
class Task {
 public:
  template <class F, class... Args>
  void call(const F& callable, const Args&... arguments) {
    encode_call(request_, 1, callable, arguments...);
  }
  template <class Item, bool Star, class F, class Items>
  void chunk(const F& callable, const Items& items) {
    encode_chunk<Item, Star>(request_, 1, callable, items.begin(), items.size());
  }

  wire::Task::Builder request() { return request_.getRoot<wire::Task>(); }
  CodeRef thunk() { return {.offset = request().getThunk(), .module = request().getModule()}; }
  /// Runs it as a worker does, and returns the message with its result.
  MessageReader run() {
    result_words_.fill(0);
    MessageWriter message{result_words_, arena_};
    auto result = message.initRoot<wire::Result>();
    try {
      reinterpret_cast<TaskThunk>(find_thunk(ThunkKind::task, thunk()))(request().asReader(), result);
    } catch (...) {
      encode_exception(std::current_exception(), "the task", result.initFailure());
    }
    const auto words = message.first_words();
    segments_ = message.take_segments();
    return {words, segments_, &view_};
  }
  template <class T>
  T result() {
    MessageReader reader = run();
    return decode_result<T>(reader);
  }

 private:
  Arena arena_{"arena"};
  ArenaView view_{arena_.file(), true};
  std::array<std::uint64_t, 1024> request_words_{};
  std::array<std::uint64_t, 1024> result_words_{};
  MessageWriter request_{request_words_, arena_};
  std::vector<SegmentRef> segments_;
};

template <class F, class... Args>
auto called(const F& callable, const Args&... arguments) {
  Task task;
  task.call(callable, arguments...);
  return task.template result<call_result_t<F, Args...>>();
}

template <class Error, class Action>
std::string error_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return {};
}

TEST(Callable, FunctionsTravel) {
  EXPECT_EQ(called(&square, 7), 49);
  EXPECT_EQ(called(&difference, 7, 9), -2);
  EXPECT_EQ(called(&greet, std::string("Hello"), std::string("world")), "Hello, world");
  called(&nothing);
  EXPECT_EQ(called(&first_word, std::string("one two")), "one");
  EXPECT_EQ(called(&shouted, std::string("hey")), "hey!");
}

TEST(Callable, ArgumentsConvertAsInADirectCall) {
  EXPECT_EQ(called(&square, short{7}), 49);
  EXPECT_EQ(called(&greet, "Hello", "world"), "Hello, world");
  EXPECT_EQ(called(&sum, std::vector<double>{1, 2, 3.5}), 6.5);
  EXPECT_EQ(called([](std::optional<int> x) { return x.value_or(5); }, std::nullopt), 5);
  EXPECT_EQ(called([](long a, double b) { return static_cast<double>(a) + b; }, 1, 2), 3.0);
}

TEST(Callable, LambdasWithoutCapturesTravel) {
  EXPECT_EQ(called([] { return 5; }), 5);
  EXPECT_EQ(called([](int x) noexcept { return x + 1; }, 5), 6);
  EXPECT_EQ(called([](const auto& x) { return x + x; }, std::string("ab")), "abab");
  EXPECT_EQ(called([](auto... x) { return (x + ...); }, 1, 2, 3), 6);
}

TEST(Callable, FunctionObjectsTravelWithTheirFields) {
  EXPECT_EQ(called(Scale{2.5, {{"a", 1.0}, {"b", 2.0}}}, "b", 4.0), 12.0);
  EXPECT_EQ(called(Overloaded{}, 4), 5);
  EXPECT_EQ(called(Overloaded{}, std::string("x")), "x1");
  EXPECT_EQ(called(std::plus<>{}, 4, 5), 9);
  EXPECT_EQ(called(std::plus<int>{}, 4, 5), 9);
}

TEST(Callable, BoundArgumentsTravel) {
  EXPECT_EQ(called(troupe::bind(difference, 10), 3), 7);
  EXPECT_EQ(called(troupe::bind(&difference, 10, 4)), 6);
  EXPECT_EQ(called(troupe::bind(troupe::bind(difference, 10), 3)), 7);
  EXPECT_EQ(called(troupe::bind(Scale{2.0, {{"a", 1.0}}}, std::string("a")), 4.0), 9.0);
  EXPECT_EQ(
      called(troupe::bind([](const std::vector<int>& list, std::size_t i) { return list[i]; }, std::vector{4, 5, 6}),
             1),
      5);
  EXPECT_EQ(called(troupe::bind(greet, "Hello"), "world"), "Hello, world");
  EXPECT_EQ(called(troupe::bind(square), 3), 9);
  const auto by_hand = troupe::bind(difference, 10);
  EXPECT_EQ(by_hand(3), 7);
}

TEST(Callable, ExceptionsComeBack) {
  EXPECT_THAT(error_of<std::out_of_range>([] { called(&fail, 1); }), HasSubstr("no such number"));
}

TEST(Callable, ChunksCallForEveryItem) {
  const std::vector<int> items{1, 2, 3};
  std::vector<int> results;
  Task task;
  task.chunk<int, false>(&square, items);
  MessageReader answer = task.run();
  decode_chunk_result(answer, results);
  EXPECT_THAT(results, testing::ElementsAre(1, 4, 9));
  Task star_task;
  star_task.chunk<std::tuple<int, int>, true>(&difference, std::vector<std::tuple<int, int>>{{5, 2}, {2, 5}});
  MessageReader star_answer = star_task.run();
  decode_chunk_result(star_answer, results);
  EXPECT_THAT(results, testing::ElementsAre(1, 4, 9, 3, -3));
  std::vector<int> none;
  Task failing_task;
  failing_task.chunk<int, false>(&fail, items);
  MessageReader failure = failing_task.run();
  EXPECT_THROW(decode_chunk_result(failure, none), std::out_of_range);
}

// Side by side there and back: a chunk of numbers costs their bytes and a few words.
TEST(Callable, ChunksOfNumbersTravelPacked) {
  std::vector<int> items(1000);
  std::iota(items.begin(), items.end(), 0);
  Task task;
  task.chunk<int, false>(&square, items);
  constexpr std::uint64_t most_words = 1000 * sizeof(int) / sizeof(std::uint64_t) + 32;
  const wire::Task::Reader request = task.request();
  EXPECT_TRUE(request.getChunk().getItems().isInt32s());
  EXPECT_LE(request.totalSize().wordCount, most_words);
  MessageReader answer = task.run();
  const auto result = answer.root<wire::Result>();
  EXPECT_TRUE(result.getValue().isInt32s());
  EXPECT_LE(result.totalSize().wordCount, most_words);
}

// Offsets instead of addresses: another process has the program at another place.
TEST(CodeRef, NamesAPlaceInAModule) {
  const CodeRef here = code_ref(any(&square));
  EXPECT_EQ(here.module, 0U);
  EXPECT_EQ(find_function(here), any(&square));
  const CodeRef in_library = code_ref(any(&::getpid));
  EXPECT_NE(in_library.module, 0U);
  EXPECT_EQ(find_function(in_library), any(&::getpid));
  EXPECT_EQ(code_ref(any(&square)), here);
  static int data = 0;
  EXPECT_THROW(code_ref(reinterpret_cast<AnyFunction>(&data)), ValueError);
  EXPECT_THROW(code_ref(nullptr), ValueError);
}

TEST(CodeRef, WrongOnesAreErrorsThatNameThem) {
  const auto find = [](CodeRef ref) { return error_of<CodecError>([&] { find_function(ref); }); };
  EXPECT_THAT(find({.offset = 16, .module = 12345}),
              AllOf(HasSubstr("offset 16 of module 12345"), HasSubstr("load the library before the Runtime starts")));
  EXPECT_THAT(find({.offset = 0, .module = 0}), HasSubstr("offset 0 of the program, where there is no code"));
  for (const std::uint64_t offset : {std::uint64_t{1} << 40U, ~std::uint64_t{0}, ~std::uint64_t{0} - 4096})
    EXPECT_THAT(find({.offset = offset, .module = 0}), HasSubstr("where there is no code"));
}

TEST(CodeRef, TravelsAsAValue) {
  capnp::MallocMessageBuilder message;
  for (const CodeRef ref : {CodeRef{123, 0}, CodeRef{123, 7}, CodeRef{~std::uint64_t{0}, ~std::uint32_t{0}}}) {
    encode_code_ref(ref, message.initRoot<wire::Value>());
    EXPECT_EQ(decode_code_ref(message.getRoot<wire::Value>()), ref);
  }
  const auto decode_wrong = [&] { decode_code_ref(message.getRoot<wire::Value>()); };
  encode(std::string("a text"), message.initRoot<wire::Value>());
  EXPECT_THROW(decode_wrong(), CodecError);
  encode(-5, message.initRoot<wire::Value>());
  EXPECT_THROW(decode_wrong(), CodecError);
  encode(std::vector<std::uint64_t>{1, 2, 3}, message.initRoot<wire::Value>());
  EXPECT_THROW(decode_wrong(), CodecError);
  encode(std::vector<std::uint64_t>{std::uint64_t{1} << 32U, 5}, message.initRoot<wire::Value>());
  EXPECT_THROW(decode_wrong(), CodecError);
}

// Never jumped to blindly: what is called was registered by this program for this use.
TEST(Thunk, IsFoundOnlyWhereOneOfItsKindIsRegistered) {
  Task task;
  task.call(&square, 7);
  const CodeRef good = task.thunk();
  EXPECT_NE(find_thunk(ThunkKind::task, good), nullptr);
  const auto find = [](ThunkKind kind, CodeRef ref) { return error_of<CodecError>([&] { find_thunk(kind, ref); }); };
  EXPECT_THAT(find(ThunkKind::process_entry, good), HasSubstr("no callable is registered at offset"));
  EXPECT_THAT(find(ThunkKind::task, {.offset = good.offset + 1, .module = 0}), HasSubstr("no callable is registered"));
  EXPECT_THAT(find(ThunkKind::task, code_ref(any(&never_called_through_troupe))),
              HasSubstr("are both processes of the same build?"));
  EXPECT_THAT(find(ThunkKind::task, code_ref(any(&::getpid))), HasSubstr("no callable is registered"));
  EXPECT_THAT(find(ThunkKind::task, {.offset = good.offset, .module = 99}), HasSubstr("module 99"));
  EXPECT_NE(find_thunk(ThunkKind::task, good), nullptr);
}

TEST(Thunk, RefusesTasksThatDoNotFitIt) {
  Task task;
  task.call(&square, 7);
  auto request = task.request();
  const auto run = [&] { return error_of<CodecError>([&] { task.result<int>(); }); };
  request.initCall(3);
  EXPECT_THAT(run(), HasSubstr("a task has 3 arguments, its callable takes 2"));
  auto arguments = request.initCall(2);
  encode_callable(&square, arguments[0]);
  encode(std::string("seven"), arguments[1]);
  EXPECT_THAT(run(), HasSubstr("text \"seven\""));
  encode(7, arguments[1]);
  encode(std::string("square"), arguments[0]);
  EXPECT_THAT(run(), HasSubstr("expected a function's address"));
  encode_code_ref({.offset = 1, .module = 0}, arguments[0]);
  EXPECT_THAT(run(), HasSubstr("where there is no code"));
}

TEST(Thunk, HasAReadableName) {
  Task task;
  task.call(Scale{1.0, {}}, "a", 4.0);
  EXPECT_THAT(thunk_name(task.thunk()), HasSubstr("Scale"));
  EXPECT_EQ(thunk_name({.offset = 1, .module = 0}), "unknown task");
  EXPECT_EQ(thunk_name({.offset = 1, .module = 1}), "unknown task");
}

TEST(TaskName, NamesAFunctionForThoseWhoKnowNoAddresses) {
  EXPECT_EQ(find_task("squaring"), nullptr);
  register_task("squaring", square);
  register_task("squaring", square);  // again is harmless
  EXPECT_EQ(find_task("squaring"), any(&square));
  EXPECT_EQ(function_name(any(&square)), "squaring");
  EXPECT_EQ(callable_name(&square), "squaring");
  EXPECT_THAT(error_of<ValueError>([] { register_task("squaring", difference); }),
              HasSubstr("task name \"squaring\" is taken by another function"));
  EXPECT_EQ(find_task("squaring"), any(&square));
  EXPECT_THAT(callable_name(Scale{}), HasSubstr("Scale"));
}

TEST(Callable, IsFoundByManyThreadsAtOnce) {
  std::vector<std::thread> threads;
  for (int id = 0; id < 4; ++id)
    threads.emplace_back([id] {
      for (int i = 0; i < 500; ++i) {
        ASSERT_EQ(find_function(code_ref(any(&square))), any(&square));
        ASSERT_EQ(find_function(code_ref(any(&difference))), any(&difference));
        ASSERT_THROW(find_function({.offset = 1, .module = 77}), CodecError);
        register_task("task " + std::to_string(id) + "." + std::to_string(i), square);
        ASSERT_EQ(find_task("task " + std::to_string(id) + ".0"), any(&square));
      }
    });
  for (auto& thread : threads) thread.join();
}

static_assert(PortableCallable<int (*)(int)>);
static_assert(PortableCallable<int (*)(int) noexcept>);
static_assert(PortableCallable<Scale>);
static_assert(PortableCallable<decltype([](int x) { return x; })>);
static_assert(PortableCallable<decltype(troupe::bind(square, 1))>);
static_assert(!PortableCallable<std::function<int(int)>>);
static_assert(!PortableCallable<int (std::string::*)()>);
static_assert(!PortableCallable<int*>);
static_assert(!PortableCallable<int>);

}  // namespace
}  // namespace troupe
