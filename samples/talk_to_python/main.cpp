// Shows a Listener with a Python program at the other end: multiprocessing's handshake and frames, and bytes both ways.
// Run: talk_to_python (needs python3)
// Prints what either program says. Indented lines are Python's.

#include <troupe/error.hpp>
#include <troupe/listener.hpp>
#include <troupe/process.hpp>
#include <troupe/runtime.hpp>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <span>
#include <string>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;

void say(const std::string& text) { std::cout << text << std::endl; }

/// Becomes client.py. The key goes through the environment, where other users do not see it.
void run_client(int port, const std::string& key) {
  ::setenv("TROUPE_SAMPLE_KEY", key.c_str(), 1);
  const std::string number = std::to_string(port);
  ::execlp("python3", "python3", CLIENT_PY, number.c_str(), nullptr);
  std::exit(127);
}

troupe::Process start_client(const troupe::Listener& listener, const std::string& key) {
  troupe::Process client{run_client, int{listener.address().port()}, key};
  client.start();
  return client;
}

/// Talks with a client that knows the key. Bytes are what both languages understand; these are doubles as in memory.
void ask_for_the_median(troupe::Connection connection) {
  connection.send_bytes("median");
  const std::vector<double> numbers{2.5, 8, 1, 4, 3};
  connection.send_bytes(std::as_bytes(std::span(numbers)));
  double median = 0;
  connection.recv_bytes_into(std::as_writable_bytes(std::span(&median, 1)));
  say("the median is " + std::to_string(median));
  connection.send_bytes("bye");
}

}  // namespace

int main(int argc, char** argv) {
  const troupe::Runtime runtime{argc, argv};
  troupe::Listener listener{{"localhost", 0}, {.authkey = "a secret of both"}};

  say("a client that knows the key:");
  const troupe::Process friendly = start_client(listener, "a secret of both");
  ask_for_the_median(listener.accept(30s));
  friendly.join();
  say("its exit code: " + std::to_string(*friendly.exitcode()));

  say("a client that does not:");
  const troupe::Process stranger = start_client(listener, "guessed");
  std::string outcome = "was let in";
  try {
    listener.accept(30s);
  } catch (const troupe::AuthenticationError&) {
    outcome = "was sent away";
  }
  stranger.join();
  say("it " + outcome + ", its exit code: " + std::to_string(*stranger.exitcode()));
}
