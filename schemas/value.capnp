@0xd2a5c0f3b8e17641;
# What a C++ argument or result looks like between two processes: one self-describing value.
# Written by the codec (troupe/codec.hpp) of the sender, read in place by the receiver.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::wire");

struct Value {
  # The sender picks the narrowest member that keeps the value exactly. A receiver that wants another
  # type gets an error naming expected and found, unless the conversion is exact.
  union {
    none @0 :Void;                # void, std::monostate, an empty std::optional, a null pointer
    bool @1 :Bool;
    int64 @2 :Int64;              # every signed integer, enumerators, durations (in their own tick)
    uint64 @3 :UInt64;            # unsigned integers
    float64 @4 :Float64;          # float and double
    text @5 :Text;                # strings; UTF-8 by convention, not checked; may contain NUL bytes
    data @6 :Data;                # byte vectors, spans of std::byte
    list @7 :List(Value);         # sequences, tuples, sets whose elements are not packed below
    map @8 :List(Entry);          # associative containers, in the sender's order; keys unique
    struct @9 :Struct;            # aggregates and types with listed fields
    error @10 :Error;             # an exception as a value
    handle @11 :Handle;           # a troupe object that can be passed on
    message @12 :AnyPointer;      # a generated Cap'n Proto struct of the user's own schema
    # Packed lists: arithmetic elements side by side, so that a vector costs its bytes and can be viewed in place.
    bools @13 :List(Bool);
    int8s @14 :List(Int8);
    int16s @15 :List(Int16);
    int32s @16 :List(Int32);
    int64s @17 :List(Int64);
    uint16s @18 :List(UInt16);
    uint32s @19 :List(UInt32);
    uint64s @20 :List(UInt64);
    float32s @21 :List(Float32);
    float64s @22 :List(Float64);
  }
}

struct Entry {
  # One pair of a map.
  key @0 :Value;
  value @1 :Value;
}

struct Struct {
  # Fields in declaration order. Receivers match them by position when `names` is empty, by name otherwise.
  type @0 :Text;            # the sender's name of the type, for error texts only
  names @1 :List(Text);     # empty for aggregates without a field list; otherwise as long as `fields`
  fields @2 :List(Value);
}

struct Error {
  # An exception. `code` decides the type that the receiver throws; the texts are for people.
  code @0 :UInt32;          # troupe::ErrorCode; 0: not one of ours, see `type`
  type @1 :Text;            # the sender's C++ type name, demangled
  message @2 :Text;         # what()
  systemError @3 :Int32;    # errno of OSError and std::system_error, else 0
  process @4 :Text;         # name of the process where it arose, empty if unknown
  pid @5 :Int32;            # its process id, 0 if unknown
  task @6 :Text;            # name of the task it ended, empty outside tasks
  death @7 :Death;          # set for WorkerDied only
}

struct Death {
  # How a worker ended while it ran a task.
  pid @0 :Int32;
  exitcode @1 :Int32;       # >= 0: exit status; < 0: minus the signal number
  attempts @2 :UInt32;      # how often the task had been started, this time included
}

struct Handle {
  # A troupe object reached through its address; the sender keeps it alive until the receiver has it.
  kind @0 :Text;            # "connection", "queue", ...
  address @1 :List(Value);
}
