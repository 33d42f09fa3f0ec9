// The registry of thunks and the map of loaded modules.
//
// Thunks are registered before main, one by one, while modules are being loaded; look-ups happen for every task. The
// registry is therefore a hash map guarded by a shared mutex, with the last look-up remembered per thread.

#include <troupe/callable.hpp>

#include <algorithm>
#include <dlfcn.h>
#include <link.h>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>

namespace troupe {

namespace {

struct Module {
  std::uint32_t id = 0;
  std::uintptr_t base = 0;
  std::string name;
  std::vector<std::pair<std::uintptr_t, std::uintptr_t>> code;  // executable ranges [first, last)

  bool contains_code(std::uintptr_t address) const {
    return std::ranges::any_of(code,
                               [&](const auto& range) { return address >= range.first && address < range.second; });
  }
};

std::uint32_t module_id(std::string_view file_name) {
  if (file_name.empty()) return 0;
  file_name.remove_prefix(file_name.find_last_of('/') + 1);
  std::uint32_t hash = 2166136261U;  // FNV-1a
  for (const char c : file_name) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  return hash == 0 ? 1 : hash;
}

int add_module(dl_phdr_info* info, std::size_t, void* modules) {
  Module module{.id = module_id(info->dlpi_name), .base = info->dlpi_addr, .name = info->dlpi_name, .code = {}};
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& segment = info->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0) continue;
    const std::uintptr_t first = info->dlpi_addr + segment.p_vaddr;
    module.code.emplace_back(first, first + segment.p_memsz);
  }
  static_cast<std::vector<Module>*>(modules)->push_back(std::move(module));
  return 0;
}

struct Registry {
  struct Entry {
    ThunkKind kind;
    std::string (*name)();
  };
  std::shared_mutex mutex;
  std::unordered_map<std::uintptr_t, Entry> thunks;
  std::vector<Module> modules;
  std::map<std::string, AnyFunction, std::less<>> names;

  void load_modules() {
    modules.clear();
    ::dl_iterate_phdr(add_module, &modules);
  }
  template <class Predicate>
  const Module* find_module(Predicate matches) const {
    const auto found = std::ranges::find_if(modules, matches);
    return found == modules.end() ? nullptr : &*found;
  }
};

// Constructed on first use: thunks are registered from static initializers in any order. Never destroyed: worker
// processes may still look things up while static objects are torn down.
Registry& registry() {
  static auto* instance = new Registry;
  return *instance;
}

std::uintptr_t address_of(AnyFunction function) { return reinterpret_cast<std::uintptr_t>(function); }

std::string describe(CodeRef ref) {
  return "offset " + std::to_string(ref.offset) + " of " +
         (ref.module == 0 ? "the program" : "module " + std::to_string(ref.module));
}

// The module that `matches`, after a second look at what is loaded if need be. The copy stays valid without the lock.
template <class Predicate>
std::optional<Module> module_where(Predicate matches) {
  Registry& all = registry();
  {
    const std::shared_lock lock{all.mutex};
    if (const Module* found = all.find_module(matches)) return *found;
  }
  const std::unique_lock lock{all.mutex};
  all.load_modules();
  if (const Module* found = all.find_module(matches)) return *found;
  return std::nullopt;
}

}  // namespace

void detail::load_modules() {
  Registry& all = registry();
  const std::unique_lock lock{all.mutex};
  all.load_modules();
}

namespace {

std::uintptr_t resolve(CodeRef ref) {
  const auto module = module_where([&](const Module& candidate) { return candidate.id == ref.module; });
  if (!module)
    throw CodecError("a callable lies at " + describe(ref) +
                     ", which this process has not loaded: load the library before the Runtime starts");
  const std::uintptr_t address = module->base + ref.offset;
  if (!module->contains_code(address))
    throw CodecError("a callable is said to lie at " + describe(ref) +
                     ", where there is no code: are both processes "
                     "of the same build?");
  return address;
}

}  // namespace

bool register_thunk(ThunkKind kind, AnyFunction thunk, std::string (*name)()) {
  Registry& all = registry();
  const std::unique_lock lock{all.mutex};
  all.thunks.insert_or_assign(address_of(thunk), Registry::Entry{kind, name});
  return true;
}

CodeRef code_ref(AnyFunction function) {
  thread_local AnyFunction last_function = nullptr;
  thread_local CodeRef last_ref;
  if (function == last_function && function != nullptr) return last_ref;
  const auto module =
      module_where([&](const Module& candidate) { return candidate.contains_code(address_of(function)); });
  if (!module) throw ValueError("a callable's address lies in no loaded module");
  last_ref = {.offset = address_of(function) - module->base, .module = module->id};
  last_function = function;
  return last_ref;
}

AnyFunction find_thunk(ThunkKind kind, CodeRef ref) {
  struct Found {
    ThunkKind kind;
    CodeRef ref;
    AnyFunction thunk;
  };
  thread_local Found last{ThunkKind::task, {}, nullptr};
  if (last.thunk != nullptr && last.kind == kind && last.ref == ref) return last.thunk;
  const std::uintptr_t address = resolve(ref);
  Registry& all = registry();
  const std::shared_lock lock{all.mutex};
  const auto found = all.thunks.find(address);
  if (found == all.thunks.end() || found->second.kind != kind)
    throw CodecError("no callable is registered at " + describe(ref) + ": are both processes of the same build?");
  last = {kind, ref, reinterpret_cast<AnyFunction>(address)};
  return last.thunk;
}

AnyFunction find_function(CodeRef ref) {
  thread_local CodeRef last_ref;
  thread_local AnyFunction last_function = nullptr;
  if (last_function != nullptr && last_ref == ref) return last_function;
  last_function = reinterpret_cast<AnyFunction>(resolve(ref));
  last_ref = ref;
  return last_function;
}

std::string thunk_name(CodeRef ref) {
  const auto module = module_where([&](const Module& candidate) { return candidate.id == ref.module; });
  if (!module) return "unknown task";
  Registry& all = registry();
  std::string (*name)() = nullptr;
  {
    const std::shared_lock lock{all.mutex};
    const auto found = all.thunks.find(module->base + ref.offset);
    if (found != all.thunks.end()) name = found->second.name;
  }
  return name == nullptr ? "unknown task" : name();
}

void encode_code_ref(CodeRef ref, wire::Value::Builder out) {
  if (ref.module == 0) return out.setUint64(ref.offset);
  auto parts = out.initUint64s(2);
  parts.set(0, ref.module);
  parts.set(1, ref.offset);
}

CodeRef decode_code_ref(wire::Value::Reader in) {
  if (in.isUint64()) return {.offset = in.getUint64(), .module = 0};
  if (in.isUint64s() && in.getUint64s().size() == 2 && in.getUint64s()[0] <= UINT32_MAX)
    return {.offset = in.getUint64s()[1], .module = static_cast<std::uint32_t>(in.getUint64s()[0])};
  throw CodecError("expected a function's address in a module");
}

void register_task_name(std::string name, AnyFunction function) {
  Registry& all = registry();
  const std::unique_lock lock{all.mutex};
  const auto [entry, inserted] = all.names.emplace(std::move(name), function);
  if (!inserted && entry->second != function)
    throw ValueError("task name \"" + entry->first + "\" is taken by another function");
}

std::string function_name(AnyFunction function) {
  Registry& all = registry();
  {
    const std::shared_lock lock{all.mutex};
    for (const auto& [name, registered] : all.names)
      if (registered == function) return name;
  }
  Dl_info info{};
  if (::dladdr(reinterpret_cast<void*>(function), &info) == 0 || info.dli_sname == nullptr ||
      info.dli_saddr != reinterpret_cast<void*>(function))
    return {};
  return demangle(info.dli_sname);
}

AnyFunction find_task(std::string_view name) {
  Registry& all = registry();
  const std::shared_lock lock{all.mutex};
  const auto found = all.names.find(name);
  return found == all.names.end() ? nullptr : found->second;
}

}  // namespace troupe
