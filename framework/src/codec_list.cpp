#include <troupe/codec.hpp>
#include <troupe/message.hpp>

#include <capnp/any.h>

#include <cstring>
#include <optional>

namespace troupe::detail {

namespace {

/// From here on clearing the memory first costs more than saying that it need not be.
constexpr std::size_t large_bytes = 4096;

/// Clears the bytes between the end of a blob and the next word, because the memory may be fresh from a former message.
void clear_padding(std::byte* begin, std::size_t size, std::size_t with_terminator) {
  const std::size_t end = (with_terminator + 7) / 8 * 8;
  if (end > size) std::memset(begin + size, 0, end - size);
}

/// Lets large lists have memory that is not cleared first.
class MaybeUnzeroed {
 public:
  explicit MaybeUnzeroed(std::size_t bytes) {
    if (bytes >= large_bytes) unzeroed_.emplace();
  }

 private:
  std::optional<UnzeroedAllocation> unzeroed_;
};

std::byte* memory_of(const capnp::AnyList::Reader& list) {
  return const_cast<std::byte*>(reinterpret_cast<const std::byte*>(list.getRawBytes().begin()));
}

std::size_t bits_of(wire::Value::Which kind) {
  switch (kind) {
    case wire::Value::BOOLS: return 1;
    case wire::Value::DATA:
    case wire::Value::INT8S: return 8;
    case wire::Value::INT16S:
    case wire::Value::UINT16S: return 16;
    case wire::Value::INT32S:
    case wire::Value::UINT32S:
    case wire::Value::FLOAT32S: return 32;
    default: return 64;
  }
}

std::byte* init_list(wire::Value::Which kind, unsigned count, wire::Value::Builder out) {
  switch (kind) {
    case wire::Value::BOOLS: return memory_of(out.initBools(count).asReader());
    case wire::Value::INT8S: return memory_of(out.initInt8s(count).asReader());
    case wire::Value::INT16S: return memory_of(out.initInt16s(count).asReader());
    case wire::Value::INT32S: return memory_of(out.initInt32s(count).asReader());
    case wire::Value::INT64S: return memory_of(out.initInt64s(count).asReader());
    case wire::Value::UINT16S: return memory_of(out.initUint16s(count).asReader());
    case wire::Value::UINT32S: return memory_of(out.initUint32s(count).asReader());
    case wire::Value::UINT64S: return memory_of(out.initUint64s(count).asReader());
    case wire::Value::FLOAT32S: return memory_of(out.initFloat32s(count).asReader());
    case wire::Value::FLOAT64S: return memory_of(out.initFloat64s(count).asReader());
    default: return reinterpret_cast<std::byte*>(out.initData(count).begin());
  }
}

}  // namespace

std::byte* init_packed(wire::Value::Which kind, std::size_t count, wire::Value::Builder out) {
  check_list_size(count, "list");
  const std::size_t bytes = (count * bits_of(kind) + 7) / 8;
  const MaybeUnzeroed unzeroed(bytes);
  std::byte* memory = init_list(kind, static_cast<unsigned>(count), out);
  clear_padding(memory, bytes, bytes);
  return memory;
}

namespace {

PackedList packed_list(wire::Value::Which kind, const capnp::AnyList::Reader& list, capnp::ElementSize element) {
  // A list of structs may stand where a list of numbers is expected (schemas may grow so); its items are not side by
  // side, and no encoder of ours makes it.
  if (list.size() > 0 && list.getElementSize() != element) fail("a packed list whose items are no plain numbers");
  return {kind, reinterpret_cast<const std::byte*>(list.getRawBytes().begin()), list.size()};
}

}  // namespace

bool open_packed(wire::Value::Reader in, PackedList& out) {
  using capnp::ElementSize;
  switch (in.which()) {
    case wire::Value::DATA: {
      const auto data = in.getData();
      out = {wire::Value::DATA, reinterpret_cast<const std::byte*>(data.begin()), data.size()};
      return true;
    }
    case wire::Value::BOOLS: out = packed_list(in.which(), in.getBools(), ElementSize::BIT); return true;
    case wire::Value::INT8S: out = packed_list(in.which(), in.getInt8s(), ElementSize::BYTE); return true;
    case wire::Value::INT16S: out = packed_list(in.which(), in.getInt16s(), ElementSize::TWO_BYTES); return true;
    case wire::Value::INT32S: out = packed_list(in.which(), in.getInt32s(), ElementSize::FOUR_BYTES); return true;
    case wire::Value::INT64S: out = packed_list(in.which(), in.getInt64s(), ElementSize::EIGHT_BYTES); return true;
    case wire::Value::UINT16S: out = packed_list(in.which(), in.getUint16s(), ElementSize::TWO_BYTES); return true;
    case wire::Value::UINT32S: out = packed_list(in.which(), in.getUint32s(), ElementSize::FOUR_BYTES); return true;
    case wire::Value::UINT64S: out = packed_list(in.which(), in.getUint64s(), ElementSize::EIGHT_BYTES); return true;
    case wire::Value::FLOAT32S: out = packed_list(in.which(), in.getFloat32s(), ElementSize::FOUR_BYTES); return true;
    case wire::Value::FLOAT64S: out = packed_list(in.which(), in.getFloat64s(), ElementSize::EIGHT_BYTES); return true;
    default: return false;
  }
}

namespace {

template <class List>
List backed_list(List list) {
  if (list.size() == 0) return list;
  const auto first = capnp::AnyList::Reader(list).template as<capnp::List<capnp::AnyStruct>>()[0];
  if (first.getDataSection().size() == 0 && first.getPointerSection().size() == 0) {
    fail("a list claims " + std::to_string(list.size()) + " items and holds no bytes for them");
  }
  return list;
}

}  // namespace

Values backed(Values list) { return backed_list(list); }

Values open_list(wire::Value::Reader in, std::string_view expected) {
  if (!in.isList()) fail_shape(expected, in);
  return backed(in.getList());
}

capnp::List<wire::Entry>::Reader open_map(wire::Value::Reader in) { return backed_list(in.getMap()); }

struct PackedItem::Message {
  capnp::word scratch[16] = {};
  capnp::MallocMessageBuilder builder{kj::arrayPtr(scratch, 16)};
};

PackedItem::PackedItem(const PackedList& list, std::size_t index) : message_(std::make_unique<Message>()) {
  auto out = message_->builder.initRoot<wire::Value>();
  switch (list.kind) {
    case wire::Value::BOOLS: out.setBool(packed_at<bool>(list, index)); break;
    case wire::Value::DATA:
    case wire::Value::UINT16S:
    case wire::Value::UINT32S:
    case wire::Value::UINT64S: out.setUint64(packed_at<std::uint64_t>(list, index)); break;
    case wire::Value::FLOAT32S:
    case wire::Value::FLOAT64S: out.setFloat64(packed_at<double>(list, index)); break;
    default: out.setInt64(packed_at<std::int64_t>(list, index)); break;
  }
}

PackedItem::~PackedItem() = default;

wire::Value::Reader PackedItem::value() const { return message_->builder.getRoot<wire::Value>().asReader(); }

void write_text(std::string_view text, wire::Value::Builder out) {
  check_list_size(text.size() + 1, "text");
  const MaybeUnzeroed unzeroed(text.size());
  auto memory = out.initText(static_cast<unsigned>(text.size()));
  auto* begin = reinterpret_cast<std::byte*>(memory.begin());
  if (!text.empty()) std::memcpy(begin, text.data(), text.size());
  clear_padding(begin, text.size(), text.size() + 1);
}

std::string_view read_text(wire::Value::Reader in, std::string_view expected) {
  if (!in.isText()) fail_shape(expected, in);
  const auto text = in.getText();
  return {text.begin(), text.size()};
}

}  // namespace troupe::detail
