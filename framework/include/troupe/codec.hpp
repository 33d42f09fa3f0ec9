#pragma once

/// \file
/// Turns C++ values into what travels between processes (schemas/value.capnp) and back.
///
///     troupe::encode(std::vector<double>{1, 2, 3}, task.initCall(1)[0]);
///     auto items = troupe::decode<std::span<const double>>(task.getCall()[0]);   // looks into the message
///
/// | C++ | on the wire |
/// |---|---|
/// | bool, integers up to 64 bits, float, double, enumerations | bool, int64, uint64, float64 |
/// | std::string, std::string_view, const char*, std::filesystem::path | text |
/// | vector, array, span of std::byte or unsigned char | data |
/// | vector, deque, list, array, set, unordered_set (multi too), span | packed list of numbers, else list |
/// | map, unordered_map (multi too) | map |
/// | pair, tuple, std::complex | packed list where all are one kind of number, else list |
/// | optional, unique_ptr, shared_ptr | none or the value |
/// | variant | list of index and value |
/// | chrono durations and time points | duration |
/// | aggregates; classes with TROUPE_FIELDS (fields.hpp) | struct, by position; by name |
/// | generated Cap'n Proto structs: Typed<Struct>, Struct::Reader | message |
/// | Dynamic (dynamic.hpp) | whatever it holds |
/// | std::exception_ptr (failure.hpp) | error |
/// | anything else | specialize Codec |
///
/// std::string_view, const char*, std::span<const number> and Struct::Reader decode to views into the message.

#include <troupe/codec_aggregate.hpp>
#include <troupe/codec_container.hpp>
#include <troupe/codec_core.hpp>
#include <troupe/codec_list.hpp>
#include <troupe/codec_scalar.hpp>
