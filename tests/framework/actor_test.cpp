#include <troupe/actor.hpp>
#include <troupe/child.hpp>
#include <troupe/error.hpp>
#include <troupe/file_descriptor.hpp>

#include "../support/forked.hpp"

#include <gmock/gmock.h>

#include <array>
#include <atomic>
#include <csignal>
#include <functional>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace troupe {
namespace {

using test::Forked;
using test::rounds;

/// An actor whose handler is a lambda.
class Scripted final : public Actor {
 public:
  explicit Scripted(std::function<void(Mail&)> handler) : handler_(std::move(handler)) {}
  void receive(Mail& mail) override { handler_(mail); }

 private:
  std::function<void(Mail&)> handler_;
};

ActorRef start(std::function<void(Mail&)> handler) { return ActorRef{std::make_unique<Scripted>(std::move(handler))}; }

Mail mail(std::int64_t number, Ref<Shared> object = {}) {
  return {.topic = 1, .number = number, .object = std::move(object)};
}

/// Counts how many of it are alive.
class Token final : public Shared {
 public:
  explicit Token(std::atomic<int>& num_alive) : num_alive_(num_alive) { ++num_alive_; }

 private:
  ~Token() override { --num_alive_; }
  std::atomic<int>& num_alive_;
};

TEST(Actor, HandlesMailOnThePostingThreadBeforePostReturns) {
  std::vector<std::int64_t> seen;
  const auto me = std::this_thread::get_id();
  const ActorRef actor = start([&](Mail& mail) {
    EXPECT_EQ(std::this_thread::get_id(), me);
    EXPECT_EQ(mail.topic, 1U);
    seen.push_back(mail.number);
  });
  EXPECT_TRUE(seen.empty());
  actor.post(mail(5));
  EXPECT_EQ(seen, (std::vector<std::int64_t>{5}));
  actor.post(mail(-6));
  EXPECT_EQ(seen, (std::vector<std::int64_t>{5, -6}));
}

// The counters are plain integers: only because the actor never runs on two threads at once are they exact.
TEST(Actor, RunsOnOneThreadAtATimeAndKeepsEachSendersOrder) {
  constexpr int num_senders = 4;
  const std::int64_t num_mails = rounds(50'000);
  std::int64_t count = 0;
  bool inside = false;
  bool in_order = true;
  std::array<std::int64_t, num_senders> last{};
  const ActorRef actor = start([&](Mail& mail) {
    in_order = in_order && !std::exchange(inside, true);
    auto& before = last[mail.topic];
    in_order = in_order && mail.number == before + 1;
    before = mail.number;
    ++count;
    inside = false;
  });
  std::vector<std::thread> senders;
  for (std::uint32_t sender = 0; sender < num_senders; ++sender)
    senders.emplace_back([&, sender] {
      for (std::int64_t number = 1; number <= num_mails; ++number)
        actor.post({.topic = sender, .number = number, .object = {}});
    });
  for (auto& sender : senders) sender.join();
  EXPECT_TRUE(in_order);
  EXPECT_EQ(count, num_senders * num_mails);
}

TEST(Actor, HandlesWhatItPostsToItselfAfterTheHandler) {
  std::vector<std::string> seen;
  ActorRef actor;
  actor = start([&](Mail& received) {
    seen.push_back("begin " + std::to_string(received.number));
    if (received.number < 3) actor.post(mail(received.number + 1));
    seen.push_back("end " + std::to_string(received.number));
  });
  actor.post(mail(2));
  EXPECT_THAT(seen, testing::ElementsAre("begin 2", "end 2", "begin 3", "end 3"));
}

TEST(Actor, TakesMailFromOtherActorsInTheOrderOfTheirPosts) {
  std::vector<std::int64_t> seen;
  const ActorRef last = start([&](Mail& mail) { seen.push_back(mail.number); });
  const ActorRef first = start([&](Mail& received) {
    for (int i = 0; i < 3; ++i) last.post(mail(received.number + i));
    EXPECT_TRUE(seen.empty() || seen.back() < received.number);  // its turn comes when we are done
  });
  first.post(mail(10));
  first.post(mail(20));
  EXPECT_THAT(seen, testing::ElementsAre(10, 11, 12, 20, 21, 22));
}

TEST(Actor, LongChainsOfPostsNeedNoStack) {
  std::int64_t count = 0;
  std::array<ActorRef, 2> actors;
  for (std::size_t i = 0; i < 2; ++i)
    actors[i] = start([&, i](Mail& received) {
      ++count;
      if (received.number > 0) actors[1 - i].post(mail(received.number - 1));
    });
  actors[0].post(mail(rounds(1'000'000)));
  EXPECT_EQ(count, rounds(1'000'000) + 1);
}

// A task that runs in a worker's handler waits for actors of its own.
TEST(Actor, UserCodeInAHandlerRunsOthersAtOnce) {
  std::vector<std::string> seen;
  const ActorRef other = start([&](Mail&) { seen.emplace_back("other"); });
  const ActorRef outer = start([&](Mail&) {
    {
      const UserCodeScope user_code;
      other.post(mail(1));
      seen.emplace_back("after user code's post");
    }
    other.post(mail(2));
    seen.emplace_back("after the handler's post");
  });
  outer.post(mail(1));
  EXPECT_EQ(seen, (std::vector<std::string>{"other", "after user code's post", "after the handler's post", "other"}));
}

TEST(Actor, ActorsThatPostToEachOtherFromManyThreadsNeitherLoseMailNorLockUp) {
  constexpr std::size_t num_actors = 3;
  const std::int64_t num_mails = rounds(10'000);
  std::array<std::int64_t, num_actors> counts{};
  std::array<ActorRef, num_actors> actors;
  for (std::size_t i = 0; i < num_actors; ++i)
    actors[i] = start([&, i](Mail& received) {
      ++counts[i];
      if (received.number > 0) actors[(i + 1) % num_actors].post(mail(received.number - 1));
    });
  std::vector<std::thread> threads;
  for (std::size_t id = 0; id < 4; ++id)
    threads.emplace_back([&, id] {
      for (std::int64_t i = 0; i < num_mails; ++i)
        actors[(id + static_cast<std::size_t>(i)) % num_actors].post(mail(4));
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(counts[0] + counts[1] + counts[2], 4 * num_mails * 5);
}

TEST(Actor, ReleasesTheObjectOfAMailOnceItIsHandledUnlessItIsTaken) {
  std::atomic<int> num_alive{0};
  Ref<Shared> taken;
  const ActorRef actor = start([&](Mail& mail) {
    EXPECT_TRUE(mail.object);
    if (mail.number == 1) taken = std::move(mail.object);
  });
  actor.post(mail(0, make_ref<Token>(num_alive)));
  EXPECT_EQ(num_alive, 0);
  actor.post(mail(1, make_ref<Token>(num_alive)));
  EXPECT_EQ(num_alive, 1);
  taken = nullptr;
  EXPECT_EQ(num_alive, 0);
}

TEST(Actor, EndsWithItsLastReference) {
  std::atomic<int> num_alive{0};
  ActorRef first = start([token = make_ref<Token>(num_alive)](Mail&) {});
  ActorRef second = first;
  EXPECT_EQ(first.id(), second.id());
  first = ActorRef{};
  EXPECT_FALSE(first);
  EXPECT_EQ(first.id(), 0U);
  EXPECT_EQ(num_alive, 1);
  auto& same = second;
  second = same;
  EXPECT_EQ(num_alive, 1);
  ActorRef third = std::move(second);
  EXPECT_EQ(num_alive, 1);
  std::thread{[&] { third = ActorRef{}; }}.join();
  EXPECT_EQ(num_alive, 0);
}

TEST(Actor, MayGiveUpItsOwnLastReferenceWhileItRuns) {
  std::atomic<int> num_alive{0};
  std::vector<std::int64_t> seen;
  ActorRef actor;
  actor = start([&, token = make_ref<Token>(num_alive)](Mail& received) {
    seen.push_back(received.number);
    if (received.number == 1) {
      actor.post(mail(2));
      actor = ActorRef{};
      EXPECT_EQ(num_alive, 1);
    }
  });
  const ActorRef& borrowed = actor;
  borrowed.post(mail(1));
  EXPECT_THAT(seen, testing::ElementsAre(1, 2));  // what was posted before is handled
  EXPECT_EQ(num_alive, 0);
}

TEST(Actor, MayPostToOthersWhileItIsDestroyed) {
  std::vector<std::int64_t> seen;
  const ActorRef heir = start([&](Mail& mail) { seen.push_back(mail.number); });
  struct LastWill {
    explicit LastWill(ActorRef to) : heir(std::move(to)) {}
    LastWill(const LastWill&) = delete;
    LastWill& operator=(const LastWill&) = delete;
    ~LastWill() { heir.post(mail(7)); }
    ActorRef heir;
  };
  {
    const ActorRef actor = start([will = std::make_shared<LastWill>(heir)](Mail&) {});
  }
  EXPECT_THAT(seen, testing::ElementsAre(7));
  ActorRef actor = start([will = std::make_shared<LastWill>(heir), &actor](Mail&) { actor = ActorRef{}; });
  const ActorRef& borrowed = actor;
  borrowed.post(mail(1));
  EXPECT_THAT(seen, testing::ElementsAre(7, 7));
}

TEST(Actor, ReferencesComeAndGoOnManyThreads) {
  std::atomic<int> num_alive{0};
  std::int64_t count = 0;
  {
    const ActorRef actor = start([&, token = make_ref<Token>(num_alive)](Mail&) { ++count; });
    std::vector<std::thread> threads;
    for (int id = 0; id < 4; ++id)
      threads.emplace_back([&num_alive, mine = actor] {
        for (int i = 0; i < rounds(5000); ++i) {
          ActorRef copy = mine;
          const ActorRef moved = std::move(copy);
          moved.post(mail(i, make_ref<Token>(num_alive)));
        }
      });
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(num_alive, 1);
    EXPECT_EQ(count, 4 * rounds(5000));
  }
  EXPECT_EQ(num_alive, 0);
}

TEST(Actor, HasAnIdOfItsOwn) {
  std::vector<ActorRef> actors;
  std::set<std::uint64_t> ids;
  for (int i = 0; i < 100; ++i) {
    actors.push_back(start([](Mail&) {}));
    ids.insert(actors.back().id());
  }
  EXPECT_EQ(ids.size(), actors.size());
  EXPECT_FALSE(ids.contains(0));
}

/// Runs `body` in a process of ours whose stderr goes to a file, and returns how it ended and what it said.
std::pair<int, std::string> report_of(const std::function<void()>& body) {
  const FileDescriptor file = create_memory_file("stderr", 0);
  const Child child = Child::launch({.name = "ending", .method = StartMethod::fork, .closure = [&] {
                                       ::dup2(file.get(), STDERR_FILENO);
                                       body();
                                     }});
  const int exitcode = child.wait(no_deadline).value_or(-1);
  std::string text(4096, '\0');
  text.resize(static_cast<std::size_t>(::pread(file.get(), text.data(), text.size(), 0)));
  return {exitcode, text};
}

// An actor's state cannot be trusted after an exception: the process ends, its parent sees how.
TEST(Actor, AnExceptionInAHandlerEndsTheProcessWithAReport) {
  const auto [exitcode, text] =
      report_of([] { start([](Mail&) { throw std::runtime_error("a queue without end"); }).post(mail(1)); });
  EXPECT_EQ(exitcode, -SIGABRT);
  EXPECT_THAT(text, testing::HasSubstr("troupe: an actor failed and cannot go on: a queue without end"));
  const auto [other_exitcode, other_text] = report_of([] { start([](Mail&) { throw 5; }).post(mail(1)); });
  EXPECT_EQ(other_exitcode, -SIGABRT);
  EXPECT_THAT(other_text, testing::HasSubstr("an exception of unknown type"));
}

TEST(Actor, NeedsARuntime) {
  Forked by_hand{[] { EXPECT_THROW(start([](Mail&) {}), AssertionError); }};
  EXPECT_EQ(by_hand.wait(), 0);
}

}  // namespace
}  // namespace troupe
