@0xd2a5c0f3b8e17641;
# What a C++ argument or result looks like between two processes: one self-describing value.
# Written by the codec (troupe/codec.hpp) of the sender, read in place by the receiver.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::wire");

struct Value {
  # The sender picks the narrowest member that keeps the value exactly. A receiver that wants another
  # type gets an error naming expected and found, unless the conversion is exact; only float64 to float may round.
  union {
    none @0 :Void;                # void, std::monostate, an empty std::optional, a null pointer
    bool @1 :Bool;                # bool; a sequence of them: `bools`
    int64 @2 :Int64;              # every signed integer, enumerators by their underlying type
    uint64 @3 :UInt64;            # unsigned integers
    float64 @4 :Float64;          # float and double
    text @5 :Text;                # strings; UTF-8 by convention, not checked; may contain NUL bytes
    data @6 :Data;                # vectors, arrays and spans of std::byte or unsigned char
    list @7 :List(Value);         # sequences, sets, tuples whose elements are not packed below; a variant is the list
                                  # of index and value; an optional whose value may itself be none is a list of it
    map @8 :List(Entry);          # associative containers, in the sender's order; keys repeat in multimaps only
    struct @9 :Struct;            # aggregates and types with listed fields
    error @10 :Error;             # an exception as a value
    handle @11 :Handle;           # a troupe object that can be passed on
    message @12 :AnyPointer;      # a generated Cap'n Proto struct of the user's own schema
    # Packed lists: numbers and enumerators side by side, so that a vector costs its bytes and can be viewed in place.
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
    duration :group {             # std::chrono durations and time points (since their clock's epoch) of integers
      ticks @23 :Int64;
      unit @24 :Int32;            # > 0: seconds per tick; < 0: minus the ticks per second
    }
    floatDuration :group {        # durations of floating point numbers
      ticks @25 :Float64;
      unit @26 :Int32;            # as above
    }
  }
}

struct Entry {
  # One pair of a map.
  key @0 :Value;            # of any type that travels
  value @1 :Value;          # what the container has under that key
}

struct Struct {
  # Fields in declaration order. Receivers match them by position when `names` is empty, by name otherwise.
  type @0 :Text;            # the sender's name of the type, for error texts only
  names @1 :List(Text);     # empty for aggregates without a field list; otherwise as long as `fields`
  fields @2 :List(Value);   # one value each
}

struct Error {
  # An exception. `code` decides the type that the receiver throws; the texts are for people.
  code @0 :UInt32;          # troupe::ErrorCode; 0: not one of ours, see `type`
  type @1 :Text;            # the sender's C++ type name, demangled
  message @2 :Text;         # what()
  systemError @3 :Int32;    # errno of OSError, code of std::system_error, else 0
  process @4 :Text;         # name of the process where it arose, empty if unknown
  pid @5 :Int32;            # its process id, 0 if unknown
  task @6 :Text;            # name of the task it ended, empty outside tasks
  death @7 :Death;          # set for WorkerDied only
  category @8 :Text;        # name of the std::error_category of std::system_error, else empty
  kind @9 :UInt8;           # troupe::ErrorKind; 0: the usual one of `code`
}

struct Death {
  # How a worker ended while it ran a task.
  pid @0 :Int32;            # of the worker
  exitcode @1 :Int32;       # >= 0: exit status; < 0: minus the signal number
  attempts @2 :UInt32;      # how often the task had been started, this time included
  dumpedCore @3 :Bool;      # the kernel dumped its core
  peakResident @4 :UInt64;  # bytes; 0: unknown
  taskId @5 :UInt64;        # Task.id; its name is Error.task
  arguments @6 :Text;       # of the task, in short
  ranFor @7 :Int64;         # nanoseconds
  restarts @8 :UInt32;      # of that place in the pool, before this death
  reason @9 :Text;          # why the pool killed the worker; empty: it did not
}

struct Handle {
  # A troupe object reached through its address; the sender keeps it alive until the receiver has it.
  kind @0 :Text;            # "connection", "queue", ...
  address @1 :List(Value);  # what leads there, in parts as `kind` has them: tickets of the nursery, places, descriptors
}
