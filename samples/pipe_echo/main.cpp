// Shows a Pipe: values and bytes to another process and back, several ends at once, and what the end looks like.
// Run: pipe_echo
// Prints a paragraph per step.

#include <troupe/error.hpp>
#include <troupe/pipe.hpp>
#include <troupe/process.hpp>
#include <troupe/runtime.hpp>
#include <troupe/wait.hpp>

#include <algorithm>
#include <cctype>
#include <iostream>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace {

using troupe::Connection;
using troupe::Pipe;

void say(const std::string& text) { std::cout << text << std::endl; }

/// The other process: sends back in capitals whatever it receives, until nobody is left to receive from.
void echo(Connection connection) {
  try {
    for (;;) {
      auto text = connection.recv<std::string>();
      std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
      connection.send(text);
    }
  } catch (const troupe::EOFError&) {
  }
}

void texts_and_back() {
  say("a text to another process and back:");
  auto [mine, theirs] = Pipe();
  troupe::Process process{echo, std::move(theirs)};  // the end goes to the process
  process.start();
  for (const char* text : {"hello", "pipe"}) {
    mine.send(text);
    say("sent " + std::string(text) + ", received " + mine.recv<std::string>());
  }
  mine.close();  // the other process sees the end, and returns
  process.join();
  say("exit code " + std::to_string(*process.exitcode()));
}

void values_and_bytes() {
  say("values of any type that can travel, and bytes:");
  auto [reader, writer] = Pipe(troupe::Duplex::no);
  writer.send(std::map<std::string, std::vector<int>>{{"primes", {2, 3, 5, 7}}});
  writer.send_bytes("the middle of these bytes", 4, 6);
  const auto value = reader.recv<std::map<std::string, std::vector<int>>>();
  say("primes: " + std::to_string(value.at("primes").size()));
  const auto bytes = reader.recv_bytes();
  say("bytes: " + std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  say(reader.poll() ? "there is more" : "there is no more");
}

void send_one(Connection connection, int number) { connection.send(number); }

void the_first_of_several() {
  say("three processes, whoever is first:");
  std::vector<Connection> readers;
  std::vector<troupe::Process> processes;
  for (int number = 1; number <= 3; ++number) {
    auto [reader, writer] = Pipe(troupe::Duplex::no);
    processes.emplace_back(send_one, std::move(writer), number).start();
    readers.push_back(std::move(reader));
  }
  while (!readers.empty()) {
    for (Connection* ready : troupe::wait(readers)) {
      say("  process " + std::to_string(ready->recv<int>()) + " has sent its number");
      ready->close();
    }
    std::erase_if(readers, [](const Connection& reader) { return reader.closed(); });
  }
}

void a_connection_in_a_message() {
  say("an end can be sent as well:");
  auto [control, their_control] = Pipe();
  troupe::Process process{
      [](Connection connection) { connection.recv<Connection>().send("over the end that you sent me"); },
      std::move(their_control)};
  process.start();
  auto [reader, writer] = Pipe(troupe::Duplex::no);
  control.send(writer);
  writer.close();
  say("received " + reader.recv<std::string>());
}

void a_killed_process() {
  say("a process that is killed is the end, at once:");
  auto [mine, theirs] = Pipe();
  troupe::Process process{echo, std::move(theirs)};
  process.start();
  process.kill();
  try {
    mine.recv<std::string>();
  } catch (const troupe::EOFError& error) {
    say(std::string("receiving: ") + error.what());
  }
  try {
    mine.send("is anybody there?");
  } catch (const troupe::OSError& error) {
    say(std::string("sending: ") + error.what());
  }
}

}  // namespace

int main(int argc, char** argv) {
  const troupe::Runtime runtime{argc, argv};
  texts_and_back();
  values_and_bytes();
  the_first_of_several();
  a_connection_in_a_message();
  a_killed_process();
}
