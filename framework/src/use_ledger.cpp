#include "use_ledger.hpp"

#include <troupe/error.hpp>
#include <troupe/runtime.hpp>

#include "stored_memory.hpp"

#include <atomic>
#include <exception>
#include <unistd.h>

namespace troupe {

namespace {

constexpr std::size_t max_places = std::size_t{1} << 18U;
constexpr std::size_t places_per_page = memory_page_bytes / sizeof(UseLedger::Use);
static_assert(memory_page_bytes % sizeof(UseLedger::Use) == 0);

std::atomic<UseLedger*> current_ledger{nullptr};

// The nursery may read it after this process was killed at any instruction.
void set_serial(UseLedger::Use& use, std::uint64_t serial) noexcept {
  std::atomic_ref{use.serial}.store(serial, std::memory_order_release);
}

}  // namespace

UseLedger& UseLedger::current() {
  UseLedger* known = current_ledger;
  if (known != nullptr && known->fork_depth_ == detail::fork_depth()) return *known;
  auto* fresh = new UseLedger{detail::fork_depth()};  // the parent's stays: what we inherited may be using it
  if (current_ledger.compare_exchange_strong(known, fresh)) return *fresh;
  delete fresh;
  return *known;
}

void UseLedger::open() {
  file_ = create_memory_file("nursery-ledger", max_places * sizeof(Use));
  memory_ =
      Mapping{file_.get(), 0, max_places * sizeof(Use), Mapping::Access::read_write, "the ledger of shared memory"};
  if (!back_with_memory(0)) throw OSError(ENOMEM, "getting memory for the ledger of shared memory");
  *reinterpret_cast<std::uint64_t*>(memory_.data()) = right_mark;
  const int number = file_.get();
  store::hold(new_ticket(), {&number, 1});
}

bool UseLedger::back_with_memory(std::size_t place) noexcept {
  if (place < num_backed_) return true;
  if (troupe::back_with_memory(file_.get(), num_backed_ * sizeof(Use), memory_page_bytes) != 0) return false;
  num_backed_ += places_per_page;
  return true;
}

std::size_t UseLedger::add(const Use& use) noexcept {
  const std::lock_guard lock{mutex_};
  try {
    if (!memory_.data()) open();
    if (free_.empty()) {
      if (num_places_ == max_places || !back_with_memory(num_places_)) return nowhere;
      free_.push_back(num_places_++);
    }
  } catch (const std::exception&) {
    memory_ = {};
    num_backed_ = 0;
    return nowhere;  // no Runtime, no nursery, no memory: if this process is killed now, its uses stay counted
  }
  const std::size_t place = free_.back();
  free_.pop_back();
  Use& written = reinterpret_cast<Use*>(memory_.data())[place];
  written.arena = use.arena;
  written.offset = use.offset;
  written.bytes = use.bytes;
  set_serial(written, use.serial);
  return place;
}

void UseLedger::remove(std::size_t place) noexcept {
  if (place == nowhere) return;
  const std::lock_guard lock{mutex_};
  set_serial(reinterpret_cast<Use*>(memory_.data())[place], 0);
  free_.push_back(place);
}

std::vector<UseLedger::Use> UseLedger::read(int file) {
  std::vector<Use> uses;
  if (mark_of(file) != right_mark) return uses;
  const off_t end = ::lseek(file, 0, SEEK_HOLE);
  std::vector<Use> page(places_per_page);
  for (off_t at = 0; at < end; at += static_cast<off_t>(memory_page_bytes)) {
    if (::pread(file, page.data(), memory_page_bytes, at) != static_cast<ssize_t>(memory_page_bytes)) break;
    for (std::size_t i = at == 0 ? 1 : 0; i < page.size(); ++i)
      if (page[i].serial != 0) uses.push_back(page[i]);
  }
  return uses;
}

}  // namespace troupe
