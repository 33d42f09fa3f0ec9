// Shows what many processes do to one number: ten buyers, six tickets, first without a lock, then with one.
// Run: ticket_office
// Prints what becomes of the tickets. Indented lines come from the buyers, so their order is free.

#include <troupe/lock.hpp>
#include <troupe/process.hpp>
#include <troupe/runtime.hpp>
#include <troupe/shared_value.hpp>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;

constexpr int num_buyers = 10;
constexpr int num_tickets = 6;

/// How many tickets are left. Each look and each change is one step, but both together are two.
using Stock = troupe::Value<int>;

/// One write per line, so that lines of several processes do not mix.
void say(const std::string& text) { std::cout << text + '\n' << std::flush; }

/// Looks, and if there is a ticket left, prints it and notes one less.
bool buy(const Stock& stock) {
  const int left = stock.get();
  if (left == 0) return false;
  std::this_thread::sleep_for(100ms);  // the printer; meanwhile others look, too
  stock.set(left - 1);
  return true;
}

bool buy_with_lock(const Stock& stock, const troupe::Lock& lock) {
  const std::lock_guard guard{lock};
  return buy(stock);
}

/// Exit codes of buyers. 1 is that of a process that ends with an exception.
constexpr int has_ticket = 0;
constexpr int has_none = 3;

void careless_buyer(const Stock& stock) { std::exit(buy(stock) ? has_ticket : has_none); }

void buyer(int number, const Stock& stock, const troupe::Lock& lock) {
  const bool bought = buy_with_lock(stock, lock);
  say("  buyer " + std::to_string(number) + (bought ? " has a ticket" : " finds none left"));
  std::exit(bought ? has_ticket : has_none);
}

/// Waits for all buyers; returns how many have a ticket.
int count_tickets(const std::vector<troupe::Process>& buyers) {
  int sold = 0;
  for (const troupe::Process& each : buyers) {
    each.join();
    const int exitcode = each.exitcode().value();
    if (exitcode != has_ticket && exitcode != has_none)
      throw std::runtime_error(each.name() + " ended with " + troupe::describe_exitcode(exitcode));
    sold += exitcode == has_ticket ? 1 : 0;
  }
  return sold;
}

void without_lock() {
  say("ten buyers, six tickets, no lock:");
  const Stock stock{num_tickets};
  std::vector<troupe::Process> buyers;
  for (int i = 0; i < num_buyers; ++i) buyers.emplace_back(careless_buyer, stock).start();
  say(count_tickets(buyers) > num_tickets ? "oversold: more have a ticket than there were tickets"
                                          : "not oversold, by luck");
}

void with_lock() {
  say("ten buyers, six tickets, and a lock around looking and selling:");
  const Stock stock{num_tickets};
  const troupe::Lock lock;
  std::vector<troupe::Process> buyers;
  for (int i = 1; i <= num_buyers; ++i) buyers.emplace_back(buyer, i, stock, lock).start();
  const int sold = count_tickets(buyers);
  say("sold: " + std::to_string(sold) + ", left: " + std::to_string(stock.get()));
}

}  // namespace

int main(int argc, char** argv) {
  const troupe::Runtime runtime{argc, argv};
  try {
    without_lock();
    with_lock();
  } catch (const std::exception& error) {
    std::cerr << "ticket_office: " << error.what() << '\n';
    return 1;
  }
}
