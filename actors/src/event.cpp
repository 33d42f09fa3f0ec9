#include <troupe/event.hpp>

#include <troupe/error.hpp>

#include <sstream>
#include <utility>

namespace troupe {

namespace {

constexpr const char* handle_kind = "event";

}  // namespace

EventCell& Event::cell() const {
  if (!cell_) throw AssertionError("this event was moved from: use the one that it went to");
  return cell_.as<EventCell>();
}

std::string Event::to_string() const {
  std::ostringstream text;
  text << "<Event at " << static_cast<const void*>(&cell()) << (is_set() ? " set>" : " unset>");
  return std::move(text).str();
}

void Codec<Event>::encode(const Event& event, wire::Value::Builder out) { event.cell_.encode(out, handle_kind); }
Event Codec<Event>::decode(wire::Value::Reader in) {
  return Event{CellHandle::decode(in, handle_kind, {CellKind::event})};
}

}  // namespace troupe
