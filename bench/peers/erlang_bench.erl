%% Runs one named row with Erlang and prints its figure, an empty object if it cannot do the row.
%% Workers are processes on nodes of their own, one operating-system process each, as troupe's workers are.
%% Usage: erl -noshell -sname NAME@localhost -pa FOLDER -s erlang_bench main -extra ROW
-module(erlang_bench).
-export([main/0, worker/0]).

main() ->
    [Row | _] = init:get_plain_arguments(),
    case measure(list_to_atom(Row)) of
        none -> io:format("{}~n");
        {Value, Unit} -> io:format("{\"name\": \"~s\", \"unit\": \"~s\", \"value\": ~w}~n", [Row, Unit, Value])
    end,
    [peer:stop(Node) || {node, Node} <- get_keys(started)],
    halt(0).

%% Does what it is asked to do, for ever.
worker() ->
    receive
        {From, square, X} -> From ! {done, X * X};
        {From, size, Data} -> From ! {done, byte_size(Data)}
    end,
    worker().

measure(pool_apply_hot) ->
    [Worker | _] = start_workers(2),
    Batch = 2000,
    {1.0e6 / rate(Batch, fun() -> repeat(Batch, fun() -> call(Worker, square, 3) end) end), "us"};
measure(pool_apply_parked) ->
    [Worker | _] = start_workers(2),
    Times = [begin timer:sleep(2), seconds_of(fun() -> call(Worker, square, 3) end) end || _ <- lists:seq(1, 200)],
    {median(Times) * 1.0e6, "us"};
measure(pool_async) ->
    {async_rate(2, 1, 50000), "tasks/s"};
measure(pool_async_4_submitters) ->
    {async_rate(2, 4, 50000), "tasks/s"};
measure(pool_async_16_workers) ->
    {async_rate(16, 1, 50000), "tasks/s"};
measure(pool_arg_64mib) ->
    [Worker | _] = start_workers(2),
    Data = binary:copy(<<7>>, 64 bsl 20),
    {rate(byte_size(Data), fun() -> call(Worker, size, Data) end) / 1.0e9, "GB/s"};
measure(_) ->
    none.

%% Messages per second when some processes send their share to the workers in turn and then collect the replies.
async_rate(NumWorkers, NumSubmitters, NumTasks) ->
    Workers = start_workers(NumWorkers),
    Share = NumTasks div NumSubmitters,
    Submit = fun() -> send(Workers, Workers, Share), repeat(Share, fun wait/0) end,
    rate(NumTasks, fun() ->
        Submitters = [spawn_monitor(Submit) || _ <- lists:seq(1, NumSubmitters)],
        [receive {'DOWN', Monitor, process, Pid, normal} -> ok end || {Pid, Monitor} <- Submitters]
    end).

send(_, _, 0) -> ok;
send([], All, N) -> send(All, All, N);
send([Worker | Rest], All, N) ->
    Worker ! {self(), square, N},
    send(Rest, All, N - 1).

%% The nodes end with this one; main stops them in good time, so that they do not disturb the next measurement.
start_workers(Count) ->
    Folder = filename:dirname(code:which(?MODULE)),
    Arguments = ["-pa", Folder, "-start_epmd", "false", "-connect_all", "false", "-kernel", "logger_level", "none"],
    Options = #{host => "localhost", args => Arguments},
    [begin
         {ok, Peer, Node} = peer:start(Options#{name => peer:random_name()}),
         put({node, Peer}, started),
         spawn(Node, ?MODULE, worker, [])
     end || _ <- lists:seq(1, Count)].

call(Worker, What, Argument) ->
    Worker ! {self(), What, Argument},
    wait().

wait() -> receive {done, Result} -> Result end.

repeat(0, _) -> ok;
repeat(N, Work) -> Work(), repeat(N - 1, Work).

%% Items per second: the median of some batches after one to warm up.
rate(NumItems, Work) ->
    Work(),
    NumItems / median([seconds_of(Work) || _ <- lists:seq(1, 5)]).

seconds_of(Work) ->
    {Microseconds, _} = timer:tc(Work),
    max(Microseconds, 1) / 1.0e6.

median(Values) ->
    lists:nth((length(Values) + 1) div 2, lists:sort(Values)).
