@0xe3b1907f5c2d4a68;
# How processes are started, and how their end is told. Two things need no message: that a worker is ready is a word in
# the memory of its slot (SlotControl::started), and what it logs goes to the standard error that it was started with,
# at the level in its Launch.

using Cxx = import "/capnp/c++.capnp";
using Value = import "value.capnp".Value;
$Cxx.namespace("troupe::wire");

struct NurseryRequest {
  # One datagram from a process to the nursery, descriptors beside it.
  union {
    start @0 :Start;        # answered by one NurseryReply
    adopt @1 :Void;         # descriptor 0: one end of a new connection, for a process that was forked; answered there
    preload @2 :Preload;    # answered by one NurseryReply once the function has run
    hold @3 :UInt64;        # ticket: the descriptors beside it are kept for as long as a process holds it; not answered
    takeHold @4 :UInt64;    # ticket: the sender holds it too; answered by one NurseryReply with the descriptors
    letGo @5 :UInt64;       # ticket: the sender holds it no longer; not answered
    deposit @6 :UInt64;     # ticket: the descriptors beside it are kept until they are withdrawn; not answered
    withdraw @7 :UInt64;    # ticket: answered by one NurseryReply with the descriptors, which are then forgotten
    name @8 :NameNote;      # what the sender does with a named block; answered by one NurseryReply if it is `making` or
                            # `opening`
    attach :group {         # a message that names `ticket` lies in what is under `carrier`; not answered
      carrier @9 :UInt64;
      ticket @10 :UInt64;
    }
  }
}

struct NameNote {
  # A process says what it does with a block of shared memory that has a name in /dev/shm, or with a Unix socket.
  name @0 :Text;            # without the leading slash, 1..255 bytes; of a socket, or its folder, the absolute path
  inode @1 :UInt64;         # of its file; not set for `opening`
  what @2 :What;            # what it does, or has done

  enum What {
    making @0;              # a file that will get the name; answered before it has it, so that no kill can come between;
                            # a socket has it already
    opening @1;             # the sender is about to open the name
    inheriting @2;          # the sender was forked from a process that has it open
    closing @3;             # the sender has it open no longer
    unlinking @4;           # the file has lost the name, or did not get it
  }
}

struct Start {
  # Descriptors beside it, in order: status socket (stays with the nursery), lifeline of the requester (read end),
  # working directory, then, as far as `launch` and the flags say, a memfd holding one Launch, standard output and
  # standard error, then those of `Launch.descriptors`.
  executable @0 :Text;      # only for spawn: the program to execute; empty: this one
  descriptors @1 :UInt32;   # how many descriptors of the launch follow the fixed ones
  spawn @2 :Bool;           # execute the program anew; else fork the nursery
  hasOutput @3 :Bool;       # the requester's standard output is open and comes along
  hasErrors @4 :Bool;       # the same for its standard error
  launch @5 :Data;          # one Launch as a flat message; empty: in a memfd, as it is large or the program is executed
}

struct Preload {
  # A function to run in the nursery, so that every process forked later starts with what it prepared.
  offset @0 :UInt64;        # where it lies in its module
  module @1 :UInt32;        # see Task.module
}

struct NurseryReply {
  union {
    pid @0 :Int32;          # the new process (its pidfd comes beside the datagram); 0 after other requests
    failure :group {
      errno @1 :Int32;      # the system's number for why
      step @2 :Text;        # what failed, as in "fork"
    }
    inode @3 :UInt64;       # after `opening`: of the file that has the name
  }
}

struct Launch {
  # Everything a new process needs to become what it was started as. Read once by that process.
  name @0 :Text;            # "Process-1", "Process-1:2", or the user's
  daemon @1 :Bool;          # its creator terminates it at its end instead of waiting for it; it may start no processes
  authkey @2 :Data;         # secret that its connections are opened with; the creator's unless set
  startMethod @3 :Text;     # "fork", "forkserver" or "spawn": how it was started, and its own default
  parentName @4 :Text;      # of the creator
  parentPid @5 :Int32;      # of the creator
  logLevel @6 :Int32;       # effective level of the creator's logger
  logToStderr @7 :Bool;     # the creator's logger writes to stderr
  executable @8 :Text;      # as set by set_executable; empty: the program itself
  descriptors @9 :UInt32;   # how many descriptors were handed over
  thunk @10 :UInt64;        # entry point: offset of a registered thunk in its module
  module @11 :UInt32;       # see Task.module
  arguments @12 :List(Value);   # state of the callable if it has any, then its arguments
  identity @13 :Text;       # place in the tree of processes, as in "1:2"; what its children's names are made of
  environment @14 :List(Text);  # "NAME=value" of the creator, ended by ""; empty: the same as the nursery's
  nurseryEnvironment @15 :UInt64;   # hash of the nursery's environment, for the new process to compare its own with
}

struct ExitReport {
  # What the nursery writes into the status socket of a process when that has ended.
  pid @0 :Int32;            # of the process that has ended
  exitcode @1 :Int32;       # >= 0: exit status; < 0: minus the signal number
  dumpedCore @2 :Bool;      # the kernel dumped its core
  peakResident @3 :UInt64;  # bytes; most memory that it, or a process it waited for, had in use
}
