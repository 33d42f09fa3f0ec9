// Layout of the memfd: the ReturnTable, then the blocks. Blocks take a power of two of address
// range and live where they were first put; memory is attached to the part that is really used.

#include <troupe/arena.hpp>
#include <troupe/error.hpp>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <utility>

namespace troupe {

namespace {

constexpr std::size_t smallest_class = 16 * 1024;

ReturnTable* returned_table(const Mapping& mapping) { return reinterpret_cast<ReturnTable*>(mapping.data()); }

}  // namespace

Arena::Arena(const std::string& name, std::size_t max_blocks)
    : file_(create_memory_file(name, arena_bytes)), max_blocks_(max_blocks) {
  map(name);
}

Arena::Arena(FileDescriptor file) : file_(std::move(file)) { map("an arena"); }

void Arena::map(const std::string& name) {
  memory_ = Mapping{file_.get(), 0, arena_bytes, Mapping::Access::read_write, name};
  returned_ = returned_table(memory_);
  end_ = arena_table_bytes;
}

Arena::Block Arena::allocate(std::size_t bytes, bool zeroed) {
  const std::lock_guard lock{mutex_};
  collect_returned();
  Place place = take_place(std::max(smallest_class, std::bit_ceil(bytes)));
  try {
    back_with_memory(place, bytes);
  } catch (...) {
    free_place(place);
    throw;
  }
  if (free_tickets_.empty()) {
    free_tickets_.push_back(static_cast<std::uint32_t>(out_.size()));
    out_.emplace_back();
  }
  const std::uint32_t ticket = free_tickets_.back();
  free_tickets_.pop_back();
  std::byte* data = memory_.data() + place.offset;
  if (zeroed && place.dirty_bytes > 0) std::memset(data, 0, std::min(place.dirty_bytes, bytes));
  place.dirty_bytes = std::max(place.dirty_bytes, bytes);
  out_[ticket] = place;
  ++num_out_;
  returned_->mark.store(ReturnTable::right_mark, std::memory_order_relaxed);
  returned_->num_given.fetch_add(1, std::memory_order_relaxed);
  return {.data = data,
          .bytes = bytes,
          .segment = {.offset = place.offset, .words = bytes / sizeof(std::uint64_t), .ticket = ticket}};
}

void Arena::release(std::uint64_t ticket) noexcept {
  const std::lock_guard lock{mutex_};
  if (ticket >= out_.size() || out_[ticket].size_class == 0) return;
  free_place(std::exchange(out_[ticket], Place{}));
  free_tickets_.push_back(static_cast<std::uint32_t>(ticket));
  --num_out_;
  returned_->num_given.fetch_sub(1, std::memory_order_relaxed);
}

std::size_t Arena::num_blocks_out() const {
  const std::lock_guard lock{mutex_};
  return num_out_;
}

bool Arena::has_blocks_out(int file) noexcept {
  struct {
    std::uint64_t mark;
    std::uint32_t num_given;
    std::uint32_t num_returned;
  } head{};
  return ::pread(file, &head, sizeof head, 0) == static_cast<ssize_t>(sizeof head) &&
         head.num_given != head.num_returned;
}

Arena::Place Arena::take_place(std::size_t size_class) {
  if (num_out_ >= max_blocks_)
    throw Full("an arena has " + std::to_string(num_out_) + " large messages out: read or drop results first");
  if (auto& places = free_[size_class]; !places.empty()) {
    const Place place = places.back();
    places.pop_back();
    free_backed_bytes_ -= place.backed_bytes;
    return place;
  }
  if (size_class > arena_bytes - end_ && num_out_ == 0) start_over();
  if (size_class > arena_bytes - end_)
    throw Full("an arena's address range of " + std::to_string(arena_bytes) + " bytes is used up, with " +
               std::to_string(num_out_) + " large messages out: read or drop results first");
  const Place place{.offset = end_, .size_class = size_class, .backed_bytes = 0, .dirty_bytes = 0};
  end_ += size_class;
  return place;
}

// Asks for memory before it is touched: running out is an error here, and would be SIGBUS later.
void Arena::back_with_memory(Place& place, std::size_t bytes) {
  const std::size_t wanted = round_to_pages(bytes);
  if (wanted <= place.backed_bytes) return;
  const auto get_memory = [&] {
    return troupe::back_with_memory(file_.get(), place.offset + place.backed_bytes, wanted - place.backed_bytes);
  };
  int error = get_memory();
  if (error != 0 && free_backed_bytes_ > 0) {
    give_free_memory_back();
    error = get_memory();
  }
  if (error != 0) throw OSError(error, "getting " + std::to_string(bytes) + " bytes of shared memory for a message");
  place.backed_bytes = wanted;
}

void Arena::give_memory_back(Place& place) noexcept {
  if (place.backed_bytes > 0 && troupe::give_memory_back(file_.get(), place.offset, place.backed_bytes) == 0) {
    place.backed_bytes = 0;
    place.dirty_bytes = 0;
  }
}

void Arena::give_free_memory_back() noexcept {
  free_backed_bytes_ = 0;
  for (auto& [size_class, places] : free_) {
    for (Place& place : places) {
      give_memory_back(place);
      free_backed_bytes_ += place.backed_bytes;
    }
  }
}

void Arena::free_place(Place place) noexcept {
  if (free_backed_bytes_ + place.backed_bytes > arena_keep_bytes) give_memory_back(place);
  free_backed_bytes_ += place.backed_bytes;
  free_[place.size_class].push_back(place);
}

// Blocks keep their sizes; when none is out, the range may be cut up anew.
void Arena::start_over() noexcept {
  give_free_memory_back();
  if (free_backed_bytes_ > 0) return;
  free_.clear();
  end_ = arena_table_bytes;
}

void Arena::collect_returned() noexcept {
  const std::uint32_t count = returned_->count.load(std::memory_order_acquire);
  if (std::exchange(num_collected_, count) == count) return;
  for (std::size_t ticket = 0; ticket < out_.size(); ++ticket) {
    if (returned_->marks[ticket].load(std::memory_order_acquire) == 0) continue;
    returned_->marks[ticket].store(0, std::memory_order_relaxed);
    if (out_[ticket].size_class == 0) continue;
    free_place(std::exchange(out_[ticket], Place{}));
    free_tickets_.push_back(static_cast<std::uint32_t>(ticket));
    --num_out_;
  }
}

ArenaView::ArenaView(int file, bool may_release)
    : memory_(file, 0, arena_bytes, Mapping::Access::read_only, "an arena") {
  if (may_release) returned_map_ = Mapping{file, 0, arena_table_bytes, Mapping::Access::read_write, "an arena's table"};
}

std::span<const std::uint64_t> ArenaView::words(SegmentRef segment) const {
  if (segment.offset % sizeof(std::uint64_t) != 0 || segment.offset < arena_table_bytes ||
      segment.offset > arena_bytes || segment.words > (arena_bytes - segment.offset) / sizeof(std::uint64_t))
    throw CodecError("a message names memory outside its arena");
  return {reinterpret_cast<const std::uint64_t*>(memory_.data() + segment.offset), segment.words};
}

void ArenaView::release(std::uint64_t ticket) const noexcept {
  if (ticket >= max_arena_blocks) return;
  ReturnTable& table = *returned_table(returned_map_);
  table.marks[ticket].store(1, std::memory_order_release);
  table.count.fetch_add(1, std::memory_order_release);
}

}  // namespace troupe
