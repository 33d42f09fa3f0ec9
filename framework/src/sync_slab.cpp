#include <troupe/sync_slab.hpp>

#include "slab_registry.hpp"
#include "stored_memory.hpp"

#include <troupe/error.hpp>

#include <algorithm>
#include <string>
#include <sys/stat.h>

namespace troupe {

namespace {

// What a handle's address consists of.
constexpr unsigned num_parts = 3;

}  // namespace

CellHandle::CellHandle(std::shared_ptr<detail::CellRecord> record) noexcept
    : head_(record->slab ? record->slab->line(record->index) : reinterpret_cast<CellHead*>(record->local.get())),
      record_(std::move(record)) {}

CellHandle CellHandle::make(CellKind kind, std::size_t num_lines) {
  return CellHandle{detail::SlabRegistry::instance().make(kind, num_lines)};
}

CellHandle CellHandle::make_local(CellKind kind, std::size_t num_lines) {
  auto record = std::make_shared<detail::CellRecord>();
  record->local = std::make_unique<SlotLine[]>(num_lines);
  CellHandle handle{std::move(record)};
  handle.head().kind.store(kind);
  handle.head().lines.store(static_cast<std::uint16_t>(num_lines));
  return handle;
}

bool CellHandle::is_local() const noexcept { return record_ && record_->local != nullptr; }

void CellHandle::encode(wire::Value::Builder out, const char* kind) const {
  if (!record_) throw CodecError(std::string("this ") + kind + " was moved from and cannot be sent");
  if (is_local())
    throw CodecError(std::string("a ") + kind +
                     " of troupe::dummy is for threads and stays in its process; use the one of troupe");
  auto handle = out.initHandle();
  handle.setKind(kind);
  auto address = handle.initAddress(num_parts);
  address[0].setUint64(record_->slab->ticket);
  address[1].setUint64(record_->index);
  address[2].setUint64(record_->generation);
  record_->count_message();
  WrittenHandles::note(record_->slab->ticket, [record = record_] { record->drop_message(); });
}

CellHandle CellHandle::decode(wire::Value::Reader in, const char* kind, std::initializer_list<CellKind> kinds) {
  if (!in.isHandle() || in.getHandle().getKind() != kind) detail::fail_shape(kind, in);
  const auto address = in.getHandle().getAddress();
  if (address.size() != num_parts || !address[0].isUint64() || !address[1].isUint64() || !address[2].isUint64() ||
      address[1].getUint64() == 0 || address[1].getUint64() > max_cell_lines)
    detail::fail_shape(kind, in, "its address is damaged");
  CellHandle handle{detail::SlabRegistry::instance().find(
      address[0].getUint64(), static_cast<std::size_t>(address[1].getUint64()), address[2].getUint64())};
  const std::size_t lines = handle.head().lines.load();
  if (std::ranges::find(kinds, handle.head().kind.load()) == kinds.end() || lines == 0 ||
      lines + address[1].getUint64() > max_cell_lines + 1)
    detail::fail_shape(kind, in, "what its address names is something else");
  return handle;
}

bool detail::is_slab(int descriptor) noexcept {
  struct stat status{};
  return mark_of(descriptor) == SlabHead::right_mark && ::fstat(descriptor, &status) == 0 &&
         status.st_size == static_cast<off_t>(slab_bytes);
}

void recover_slab(int descriptor, pid_t dead) noexcept {
  if (!detail::is_slab(descriptor)) return;
  try {
    const Mapping memory{descriptor, 0, slab_bytes, Mapping::Access::read_write, "recovering locks"};
    recover_cells({memory.data(), memory.size_bytes()}, dead);
  } catch (const OSError&) {
    // No address space: what the dead process held stays held.
  }
}

std::size_t detail::num_own_lines() { return SlabRegistry::instance().num_own_lines(); }

}  // namespace troupe
