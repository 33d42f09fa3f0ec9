#include "failure_registry.hpp"

#include <any>
#include <atomic>
#include <filesystem>
#include <functional>
#include <future>
#include <ios>
#include <iterator>
#include <memory>
#include <new>
#include <optional>
#include <system_error>
#include <typeinfo>
#include <variant>

namespace troupe {

namespace {

struct Standard {
  std::string_view name;
  detail::MakeException make;
};

template <class E>
std::exception_ptr from_text(const std::string& text, std::error_code, RemoteOrigin origin) {
  return detail::make_remote(E(text), text, std::move(origin));
}
template <class E>
std::exception_ptr from_nothing(const std::string& text, std::error_code, RemoteOrigin origin) {
  return detail::make_remote(E(), text, std::move(origin));
}
template <class E>
std::exception_ptr from_code(const std::string& text, std::error_code code, RemoteOrigin origin) {
  return detail::make_remote(E(text, code), text, std::move(origin));
}
std::exception_ptr from_system_code(const std::string& text, std::error_code code, RemoteOrigin origin) {
  return detail::make_remote(std::system_error(code), text, std::move(origin));
}
std::exception_ptr from_future_code(const std::string& text, std::error_code code, RemoteOrigin origin) {
  return detail::make_remote(std::future_error(static_cast<std::future_errc>(code.value())), text, std::move(origin));
}

constexpr Standard standard[] = {
    {"std::exception", from_nothing<std::exception>},
    {"std::runtime_error", from_text<std::runtime_error>},
    {"std::range_error", from_text<std::range_error>},
    {"std::overflow_error", from_text<std::overflow_error>},
    {"std::underflow_error", from_text<std::underflow_error>},
    {"std::logic_error", from_text<std::logic_error>},
    {"std::invalid_argument", from_text<std::invalid_argument>},
    {"std::domain_error", from_text<std::domain_error>},
    {"std::length_error", from_text<std::length_error>},
    {"std::out_of_range", from_text<std::out_of_range>},
    {"std::system_error", from_system_code},
    {"std::filesystem::filesystem_error", from_code<std::filesystem::filesystem_error>},
    {"std::ios_base::failure", from_code<std::ios_base::failure>},
    {"std::future_error", from_future_code},
    {"std::bad_alloc", from_nothing<std::bad_alloc>},
    {"std::bad_array_new_length", from_nothing<std::bad_array_new_length>},
    {"std::bad_cast", from_nothing<std::bad_cast>},
    {"std::bad_any_cast", from_nothing<std::bad_any_cast>},
    {"std::bad_typeid", from_nothing<std::bad_typeid>},
    {"std::bad_exception", from_nothing<std::bad_exception>},
    {"std::bad_function_call", from_nothing<std::bad_function_call>},
    {"std::bad_optional_access", from_nothing<std::bad_optional_access>},
    {"std::bad_variant_access", from_nothing<std::bad_variant_access>},
    {"std::bad_weak_ptr", from_nothing<std::bad_weak_ptr>},
};

/// One registration. They are never removed, so that readers need no lock and a forked child finds none held.
struct Registered {
  std::string type;
  std::string name;
  detail::MakeException make;
  const Registered* next;
};

constinit std::atomic<const Registered*> newest{nullptr};

const std::error_category* standard_category(std::string_view name) {
  for (const std::error_category* category :
       {&std::generic_category(), &std::system_category(), &std::iostream_category(), &std::future_category()}) {
    if (name == category->name()) return category;
  }
  return nullptr;
}

}  // namespace

void detail::add_exception(const std::type_info& type, const char* name, MakeException make) {
  std::string cxx_name = type_text(type);
  auto entry =
      std::make_unique<Registered>(Registered{cxx_name, name != nullptr ? name : cxx_name, make, newest.load()});
  while (!newest.compare_exchange_weak(entry->next, entry.get())) {
  }
  static_cast<void>(entry.release());  // owned by the list from here on
}

std::string exception_name(const std::string& type) {
  for (const Registered* entry = newest.load(); entry != nullptr; entry = entry->next) {
    if (entry->type == type) return entry->name;
  }
  return type;
}

detail::MakeException find_exception(std::string_view name) {
  for (const Registered* entry = newest.load(); entry != nullptr; entry = entry->next) {
    if (entry->name == name) return entry->make;
  }
  for (const Standard& entry : standard) {
    if (entry.name == name) return entry.make;
  }
  return nullptr;
}

bool is_standard_category(std::string_view name) { return standard_category(name) != nullptr; }

std::error_code make_code(int value, std::string_view category) {
  const std::error_category* found = standard_category(category);
  return {value, found != nullptr ? *found : std::generic_category()};
}

}  // namespace troupe
