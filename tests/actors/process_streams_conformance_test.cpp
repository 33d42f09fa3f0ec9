// The cases of CPython's _TestProcess about standard streams that cannot be written to, under their names and for every
// start method.

#include <troupe/file_descriptor.hpp>
#include <troupe/process.hpp>

#include "support/processes.hpp"
#include "support/start_methods.hpp"

#include <gtest/gtest.h>

#include <cstdio>
#include <fcntl.h>
#include <iostream>
#include <unistd.h>
#include <utility>

namespace {

using namespace troupe;
using namespace troupe::test;

class TestProcess : public EveryMethod {};

// Closes a standard descriptor, or makes it one that cannot be written to, while it lives.
class Broken {
 public:
  Broken(int number, bool closed) : number_(number), saved_(::fcntl(number, F_DUPFD_CLOEXEC, 3)) {
    std::fflush(nullptr);
    if (closed) {
      ::close(number);
    } else {
      const FileDescriptor unwritable{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
      ::dup2(unwritable.get(), number);
    }
  }
  ~Broken() {
    ::dup2(saved_, number_);
    ::close(saved_);
  }
  Broken(const Broken&) = delete;
  Broken& operator=(const Broken&) = delete;

 private:
  int number_;
  int saved_;
};

void print_and_report(const FileDescriptor& line) {
  std::cout << "out" << std::flush;
  std::cerr << "err";
  std::printf("out, buffered");
  send_text(line, "set");
}

// With the parent's stdout or stderr closed or broken a child still runs and ends with 0.
TEST_P(TestProcess, test_error_on_stdio_flush_1) {
  for (const int number : {STDOUT_FILENO, STDERR_FILENO}) {
    for (const bool closed : {true, false}) {
      auto [mine, theirs] = make_line();
      Process process{print_and_report, std::move(theirs)};
      {
        const Broken broken{number, closed};
        process.start();
        process.join();
      }
      EXPECT_EQ(process.exitcode(), 0);
      EXPECT_EQ(receive_text(mine), "set");
    }
  }
}

// The same when the child itself breaks them.
TEST_P(TestProcess, test_error_on_stdio_flush_2) {
  for (const int number : {STDOUT_FILENO, STDERR_FILENO}) {
    for (const bool closed : {true, false}) {
      auto [mine, theirs] = make_line();
      Process process{[](const FileDescriptor& line, int file, bool close) {
                        static const Broken broken{file, close};
                        print_and_report(line);
                      },
                      std::move(theirs), number, closed};
      process.start();
      process.join();
      EXPECT_EQ(process.exitcode(), 0);
      EXPECT_EQ(receive_text(mine), "set");
    }
  }
}

INSTANTIATE_TEST_SUITE_P(P, TestProcess, every_start_method, name_of_method);

}  // namespace
