// Layout of the memfd: a page with the control block, the words (eight bytes for each sixteen of data), the data. All
// three begin at pages; the words are mostly untouched and take no memory then.

#include <troupe/error.hpp>
#include <troupe/shared_arena.hpp>

#include "stored_memory.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <exception>
#include <span>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace troupe {

namespace {

// A word is, from the highest bit: serial 24, messages 20, users 20.
constexpr unsigned serial_shift = 40;
constexpr unsigned messages_shift = 20;
constexpr std::uint64_t one_user = 1;
constexpr std::uint64_t one_message = std::uint64_t{1} << messages_shift;

std::uint64_t serial_of(std::uint64_t word) { return word >> serial_shift; }
std::uint64_t messages_of(std::uint64_t word) { return (word >> messages_shift) & max_block_users; }
std::uint64_t users_of(std::uint64_t word) { return word & max_block_users; }
std::uint64_t unused_word(std::uint32_t serial) { return std::uint64_t{serial} << serial_shift; }

std::size_t words_bytes(std::size_t bytes) {
  return round_to_pages(bytes / shared_block_alignment * sizeof(std::uint64_t));
}
std::size_t file_bytes(std::size_t bytes) { return memory_page_bytes + words_bytes(bytes) + bytes; }

/// Takes one `unit` off the count that `count_of` reads, if the block is there and counts any; what the word was then.
/// 0: nothing was taken off.
std::uint64_t take_off(std::atomic<std::uint64_t>& word, std::uint32_t serial, std::uint64_t (*count_of)(std::uint64_t),
                       std::uint64_t unit) noexcept {
  std::uint64_t before = word.load(std::memory_order_acquire);
  do {
    if (serial_of(before) != serial || count_of(before) == 0) return 0;
  } while (!word.compare_exchange_weak(before, before - unit, std::memory_order_acq_rel));
  return before;
}

// Gives back the whole pages in between.
void punch_file(int file, std::size_t begin, std::size_t end) noexcept {
  begin = round_to_pages(begin);
  end = end / memory_page_bytes * memory_page_bytes;
  if (begin >= end) return;
  // What the system does not take back now it takes when the last descriptor is closed.
  give_memory_back(file, begin, end - begin);
}

/// Where the word of `offset` lies in the file, and where the data do that begin there.
std::size_t word_place(std::size_t offset) {
  return memory_page_bytes + offset / shared_block_alignment * sizeof(std::uint64_t);
}
std::size_t data_place(std::size_t arena_size, std::size_t offset) {
  return memory_page_bytes + words_bytes(arena_size) + offset;
}

/// Ends the block if nobody uses it and no message is on its way with it; returns whether it has ended.
bool end_unused(std::atomic<std::uint64_t>& word, std::uint32_t serial) noexcept {
  std::uint64_t expected = unused_word(serial);
  return word.compare_exchange_strong(expected, 0, std::memory_order_acq_rel);
}

/// One user less. Ends the block if that was the last one and nobody else will (`is_orphaned`); returns whether it has.
template <class IsOrphaned>
bool take_off_user(std::atomic<std::uint64_t>& word, std::uint32_t serial, IsOrphaned is_orphaned) noexcept {
  const std::uint64_t before = take_off(word, serial, users_of, one_user);
  return before == unused_word(serial) + one_user && is_orphaned() && end_unused(word, serial);
}

[[noreturn]] void fail_count(const char* what) {
  throw RuntimeError(std::string("a block of shared memory has too many ") + what +
                     ": more than a million; send it less often at once");
}

}  // namespace

struct SharedArena::Control {
  std::uint64_t mark;
  std::uint64_t bytes;
  std::atomic<std::uint32_t> retired;
  std::atomic<std::uint32_t> orphaned;
};

SharedArena::SharedArena(std::size_t bytes) : ticket_(new_ticket()) {
  if (bytes > max_shared_arena_bytes)
    throw OSError(ENOMEM, "making " + std::to_string(bytes) + " bytes of shared memory");
  file_ = create_memory_file("troupe-heap", file_bytes(bytes));
  map(bytes);
  back_with_memory(0, 0, 0);
  control_->bytes = bytes;
  control_->mark = right_mark;
  const int number = file_.get();
  store::hold(ticket_, {&number, 1});
}

SharedArena* SharedArena::open(Ticket ticket) {
  auto descriptors = store::take_hold(ticket);
  return new SharedArena(ticket, std::move(descriptors.at(0)));
}

SharedArena::SharedArena(Ticket ticket, FileDescriptor file) : ticket_(ticket), file_(std::move(file)) {
  struct stat status{};
  if (::fstat(file_.get(), &status) != 0) throw OSError(errno, "looking at shared memory");
  const auto size = static_cast<std::size_t>(status.st_size);
  Control head{};
  if (mark_of(file_.get()) != right_mark || ::pread(file_.get(), &head, sizeof head, 0) != ssize_t{sizeof head} ||
      head.bytes > max_shared_arena_bytes || file_bytes(head.bytes) != size)
    throw CodecError("a handle of shared memory names something else");
  map(head.bytes);
}

SharedArena::~SharedArena() {
  try {
    if (ticket_ != 0) store::let_go(ticket_);
  } catch (const std::exception&) {
    // Without a Runtime or a nursery nobody holds anything any more.
  }
}

void SharedArena::map(std::size_t bytes) {
  memory_ = Mapping{file_.get(), 0, file_bytes(bytes), Mapping::Access::read_write, "shared memory"};
  control_ = reinterpret_cast<Control*>(memory_.data());
  words_ = reinterpret_cast<Word*>(memory_.data() + memory_page_bytes);
  data_ = memory_.data() + data_place(bytes, 0);
  bytes_ = bytes;
}

void SharedArena::back_with_memory(std::size_t offset, std::size_t begin, std::size_t end) {
  const auto get = [&](std::size_t from, std::size_t to) {
    if (const int error = troupe::back_with_memory(file_.get(), from, to - from); error != 0)
      throw OSError(error, "getting " + std::to_string(end - begin) + " bytes of shared memory");
  };
  if (end == 0) return get(0, memory_page_bytes);
  get(word_place(offset), word_place(offset) + sizeof(Word));
  if (begin < end) get(data_place(bytes_, begin), data_place(bytes_, end));
}

void SharedArena::punch(std::size_t begin, std::size_t end) const noexcept { punch_file(file_.get(), begin, end); }

void SharedArena::begin_block(std::size_t offset, std::uint32_t serial) noexcept {
  word(offset).store(unused_word(serial) + one_user, std::memory_order_release);
}

bool SharedArena::end_block(std::size_t offset, std::uint32_t serial) noexcept {
  return end_unused(word(offset), serial);
}

void SharedArena::retire() noexcept {
  control_->retired.store(1, std::memory_order_release);
  punch(memory_page_bytes, file_bytes(bytes_));
}

void SharedArena::set_orphaned() noexcept { control_->orphaned.store(1, std::memory_order_release); }

// The words are read in pieces, and only where there is memory behind them.
bool SharedArena::has_messages(int file) noexcept {
  Control control{};
  if (::pread(file, &control, sizeof control, 0) != static_cast<ssize_t>(sizeof control)) return false;
  if (control.retired != 0 || control.bytes > max_shared_arena_bytes) return false;
  const auto end = static_cast<off_t>(data_place(control.bytes, 0));
  std::array<std::uint64_t, 1024> piece{};
  off_t at = ::lseek(file, memory_page_bytes, SEEK_DATA);
  while (at >= 0 && at < end) {
    const auto wanted = std::min<std::size_t>(sizeof piece, static_cast<std::size_t>(end - at));
    const ssize_t size = ::pread(file, piece.data(), wanted, at);
    if (size <= 0) return false;
    for (const std::uint64_t word : std::span{piece}.first(static_cast<std::size_t>(size) / sizeof(std::uint64_t)))
      if (messages_of(word) > 0) return true;
    at = ::lseek(file, at + size, SEEK_DATA);
  }
  return false;
}

// Maps the one word; the nursery has no use for the rest.
void SharedArena::drop_user_of_dead(int file, std::uint64_t offset, std::uint64_t serial,
                                    std::uint64_t bytes) noexcept {
  Control control{};
  if (mark_of(file) != right_mark || ::pread(file, &control, sizeof control, 0) != ssize_t{sizeof control}) return;
  if (control.retired != 0 || control.bytes > max_shared_arena_bytes || !fits(control.bytes, offset, bytes)) return;
  const std::size_t place = word_place(offset);
  try {
    const Mapping page{file, place / memory_page_bytes * memory_page_bytes, memory_page_bytes,
                       Mapping::Access::read_write, "crossing out a dead process"};
    Word& counts = *reinterpret_cast<Word*>(page.data() + place % memory_page_bytes);
    if (take_off_user(counts, static_cast<std::uint32_t>(serial), [&] { return control.orphaned != 0; }))
      punch_file(file, data_place(control.bytes, offset), data_place(control.bytes, offset + bytes));
  } catch (const OSError&) {
    // No address space: the block stays taken until its maker ends.
  }
}

bool SharedArena::is_retired() const noexcept { return control_->retired.load(std::memory_order_acquire) != 0; }

bool SharedArena::add_user(std::size_t offset, std::uint32_t serial, bool from_message) {
  Word& counts = word(offset);
  std::uint64_t before = counts.load(std::memory_order_acquire);
  for (;;) {
    if (serial == 0 || serial_of(before) != serial) return false;
    if (users_of(before) == max_block_users) fail_count("users");
    std::uint64_t after = before + one_user;
    if (from_message && messages_of(before) > 0) after -= one_message;
    if (counts.compare_exchange_weak(before, after, std::memory_order_acq_rel)) return true;
  }
}

bool SharedArena::add_message(std::size_t offset, std::uint32_t serial) {
  Word& counts = word(offset);
  std::uint64_t before = counts.load(std::memory_order_acquire);
  for (;;) {
    if (serial == 0 || serial_of(before) != serial) return false;
    if (messages_of(before) == max_block_users) fail_count("messages on their way");
    if (counts.compare_exchange_weak(before, before + one_message, std::memory_order_acq_rel)) return true;
  }
}

void SharedArena::drop_message(std::size_t offset, std::uint32_t serial) noexcept {
  take_off(word(offset), serial, messages_of, one_message);
}

void SharedArena::drop_user(std::size_t offset, std::uint32_t serial, std::size_t bytes) noexcept {
  const auto is_orphaned = [&] { return control_->orphaned.load(std::memory_order_acquire) != 0; };
  if (take_off_user(word(offset), serial, is_orphaned))
    punch(data_place(bytes_, offset), data_place(bytes_, offset + bytes));
}

}  // namespace troupe
