#include <troupe/ref.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace troupe {
namespace {

class Animal : public Shared {
 public:
  explicit Animal(int& num_alive) : num_alive_(num_alive) { ++num_alive_; }

 protected:
  ~Animal() override { --num_alive_; }

 private:
  int& num_alive_;
};

class Dog final : public Animal {
 public:
  Dog(int& num_alive, int age) : Animal(num_alive), age_(age) {}
  int age() const { return age_; }

 private:
  int age_;
};

TEST(Ref, DestroysTheObjectWithItsLastOwner) {
  int num_alive = 0;
  {
    Ref<Dog> first = make_ref<Dog>(num_alive, 3);
    EXPECT_EQ(first->age(), 3);
    Ref<Dog> second = first;
    first = nullptr;
    EXPECT_FALSE(first);
    EXPECT_EQ(num_alive, 1);
    EXPECT_EQ((*second).age(), 3);
  }
  EXPECT_EQ(num_alive, 0);
}

TEST(Ref, MovingLeavesTheCountAlone) {
  int num_alive = 0;
  Ref<Dog> first = make_ref<Dog>(num_alive, 3);
  Ref<Dog> second = std::move(first);
  EXPECT_FALSE(first);
  EXPECT_EQ(num_alive, 1);
  auto& same = second;
  second = same;
  EXPECT_EQ(num_alive, 1);
  second = std::move(same);
  EXPECT_EQ(num_alive, 1);
  EXPECT_TRUE(second);
  second = make_ref<Dog>(num_alive, 4);
  EXPECT_EQ(num_alive, 1);
  EXPECT_EQ(second->age(), 4);
}

TEST(Ref, ConvertsToItsBaseAsPointersDo) {
  int num_alive = 0;
  const Ref<Dog> dog = make_ref<Dog>(num_alive, 3);
  Ref<Shared> shared = dog;
  EXPECT_EQ(shared.get(), dog.get());
  shared = make_ref<Dog>(num_alive, 4);
  EXPECT_EQ(num_alive, 2);
  static_assert(!std::is_convertible_v<Ref<Shared>, Ref<Dog>>);
}

TEST(Ref, GivesAndTakesOwnershipByHand) {
  int num_alive = 0;
  Dog* dog = make_ref<Dog>(num_alive, 3).release();
  EXPECT_EQ(num_alive, 1);
  {
    const Ref<Dog> one_more = Ref<Dog>::share(dog);
    EXPECT_EQ(num_alive, 1);
  }
  EXPECT_EQ(num_alive, 1);
  EXPECT_FALSE(Ref<Dog>::share(nullptr));
  Ref<Dog>::adopt(dog);
  EXPECT_EQ(num_alive, 0);
}

class Pooled final : public Shared {
 public:
  explicit Pooled(int& num_returned) : num_returned_(num_returned) {}

 private:
  void destroy() const noexcept override {
    ++num_returned_;
    delete this;
  }
  int& num_returned_;
};

TEST(Ref, LetsAClassDecideWhatBecomesOfItsMemory) {
  int num_returned = 0;
  make_ref<Pooled>(num_returned);
  EXPECT_EQ(num_returned, 1);
}

TEST(Ref, CountsRightOnManyThreads) {
  int num_alive = 0;
  Ref<Dog> dog = make_ref<Dog>(num_alive, 3);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([mine = dog] {
      for (int again = 0; again < 20'000; ++again) {
        Ref<Dog> copy = mine;
        const Ref<Animal> base = std::move(copy);
        EXPECT_TRUE(base);
      }
    });
  dog = nullptr;
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(num_alive, 0);
}

}  // namespace
}  // namespace troupe
