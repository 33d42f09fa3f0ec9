// A library whose loading calls its program.

extern "C" void troupe_test_while_loading();

namespace {
[[maybe_unused]] const bool called = (troupe_test_while_loading(), true);
}
