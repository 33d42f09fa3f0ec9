#pragma once

// What the tests of the pump share: something to watch, and waiting for the pump.

#include <troupe/error.hpp>
#include <troupe/file_descriptor.hpp>
#include <troupe/pump.hpp>

#include "../support/processes.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <fcntl.h>
#include <future>
#include <unistd.h>

namespace troupe::test {

/// One that never blocks.
struct Pipe {
  Pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) throw OSError(errno, "a pipe");
    read_end.reset(ends[0]);
    write_end.reset(ends[1]);
  }
  void write() const { EXPECT_EQ(::write(write_end.get(), "x", 1), 1); }
  bool read() const {
    char c = 0;
    return ::read(read_end.get(), &c, 1) == 1;
  }
  FileDescriptor read_end;
  FileDescriptor write_end;
};

/// Waits until the pump has run everything that it could run so far.
inline void let_pump_run() {
  std::promise<void> done;
  Pump::instance().run_soon([&] { done.set_value(); });
  ASSERT_EQ(done.get_future().wait_for(patience), std::future_status::ready);
}

}  // namespace troupe::test
