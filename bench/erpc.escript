#!/usr/bin/env escript
%%! -name ekka_bench@127.0.0.1 -setcookie ekka_bench_cookie

%% The peer of `ekka bench rpc`: erpc:call between three Erlang nodes, of which one calls another.
%% Prints the same JSON: {"bench": "erpc", "rows": [...]}. Argument: milliseconds of each measurement.

-mode(compile).

main(Args) ->
    Ms = case Args of [Text] -> list_to_integer(Text); [] -> 2000 end,
    Nodes = [start(Name) || Name <- [ekka_bench_b, ekka_bench_c]],
    [{_, Target} | _] = Nodes,
    Cases = [{16, 1}, {16, 64}, {1024, 1}, {1024, 64}],
    Rows = [row(Target, Bytes, Callers, Ms) || {Bytes, Callers} <- Cases],
    io:format("{\"bench\": \"erpc\", \"rows\": [~s]}~n", [lists:join(", ", Rows)]),
    [peer:stop(Pid) || {Pid, _} <- Nodes],
    ok.

start(Name) ->
    Options = #{name => Name, host => "127.0.0.1", longnames => true,
                args => ["-setcookie", "ekka_bench_cookie"]},
    {ok, Pid, Node} = peer:start_link(Options),
    pong = net_adm:ping(Node),
    {Pid, Node}.

row(Target, Bytes, Callers, Ms) ->
    _ = measure(Target, Bytes, Callers, Ms div 5),
    {Calls, Elapsed, Times} = measure(Target, Bytes, Callers, Ms),
    Sorted = list_to_tuple(lists:sort(Times)),
    At = fun(Percent) -> element(max(1, tuple_size(Sorted) * Percent div 100), Sorted) end,
    io_lib:format("{\"bytes\": ~b, \"callers\": ~b, \"calls\": ~b, \"calls_per_s\": ~.1f, "
                  "\"p50_us\": ~b, \"p99_us\": ~b}",
                  [Bytes, Callers, Calls, Calls * 1.0e6 / Elapsed, At(50), At(99)]).

measure(Target, Bytes, Callers, Ms) ->
    Self = self(),
    Payload = binary:copy(<<16#5a>>, Bytes),
    Begun = erlang:monotonic_time(microsecond),
    End = Begun + Ms * 1000,
    Pids = [spawn_link(fun() -> Self ! {self(), call(Target, Payload, Begun, End, [])} end)
            || _ <- lists:seq(1, Callers)],
    Times = lists:append([receive {Pid, T} -> T end || Pid <- Pids]),
    {length(Times), erlang:monotonic_time(microsecond) - Begun, Times}.

call(Target, Payload, Last, End, Times) when Last < End ->
    %% `hd` of a list of one gives the payload back: the cheapest echo that there is.
    Payload = erpc:call(Target, erlang, hd, [[Payload]]),
    Now = erlang:monotonic_time(microsecond),
    call(Target, Payload, Now, End, [Now - Last | Times]);
call(_, _, _, _, Times) ->
    Times.
