@0xa94c6e1f07d3b582;
# What a pool and its workers say to each other. One Task answers with exactly one Result.

using Cxx = import "/capnp/c++.capnp";
using Value = import "value.capnp".Value;
using Error = import "value.capnp".Error;
$Cxx.namespace("troupe::wire");

struct Task {
  # Written by the submitting thread, copied into a worker's ring by the supervisor.
  id @0 :UInt64;            # unique in its pool, rising in the order of submission; 0: the initializer
  thunk @1 :UInt64;         # offset of the typed thunk in its module; the worker checks it against its registry
  module @2 :UInt32;        # which module: 0 the program itself, else the hash of a shared library's file name
  union {
    call @3 :List(Value);   # arguments of one call; the callable's own state first if it has any
    chunk @4 :Chunk;        # many calls of the same callable
    stop @5 :Void;          # no task: the worker ends once it reads this
  }
  name @6 :Text;            # what the user calls it; empty: by what it calls
  deadline @7 :UInt64;      # nanoseconds of the monotonic clock by which it must have ended; 0: none
}

struct Chunk {
  # Items of one map, starmap or imap chunk.
  state @0 :Value;          # the callable's state; none if it has none
  items @1 :Value;          # a list, packed where the items are arithmetic; tuples for starmap
}

struct Result {
  # Written by the worker into its own ring. Which task it answers, and how long that ran, is in the frame's note.
  union {
    value @0 :Value;        # what the call returned; for a chunk the list of results in order
    failure @1 :Error;      # what it threw; for a chunk the first error, the rest of the chunk was not run
  }
}
