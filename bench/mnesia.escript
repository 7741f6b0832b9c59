#!/usr/bin/env escript
%%! +Bd

%% The peer of `ekka bench table`: Mnesia over three real Erlang nodes on loopback, of which one works.
%% Prints one JSON object a run. `--help` lists the options, bench/README.md says what is measured.
%%
%% This process only steers, through the standard input of each node, and is no node itself. Whatever ends it closes
%% those inputs, at which the nodes end too, and a shell that waits for the same removes their files.

-module(mnesia_bench).
-mode(compile).
-export([main/1, create/2, fill/2, measure/6, holds/1, size/0, digest/0, memory/0]).

-define(TABLE, bench_rows).
-define(MODES, [dirty_write, sync_dirty, transaction, dirty_read, transaction_read, memory]).
-define(BOOT_MS, 30000).
-define(SETTLE_MS, 120000).
%% A value begins with its writer, run and number, so that each is written once only.
-define(VALUE_MIN, 16).
-define(NO_LIMIT, (1 bsl 58)).

main(Args) ->
    %% What nodes print is for people; standard output has the figures only.
    group_leader(whereis(standard_error), self()),
    ok = os:set_signal(sigterm, default),
    case parse(Args) of
        help ->
            io:put_chars(user, help()),
            halt(0);
        {error, Text} ->
            io:format("mnesia.escript: ~ts~n", [Text]),
            halt(2);
        {ok, Options} ->
            halt(try run(Options) catch
                throw:{failed, Text} -> io:format("mnesia.escript: ~ts~n", [Text]), 1;
                Class:Reason:Stack -> io:format("mnesia.escript: ~tp~n", [{Class, Reason, Stack}]), 1
            end)
    end.

%% Options.

help() ->
    "Usage: escript bench/mnesia.escript --mode MODE [OPTIONS]\n\n"
    "  --mode MODE       " ++ modes() ++ "\n"
    "  --writers N       processes on one node that write or read (default 1)\n"
    "  --rows N          rows of the table, filled before the run (default 10000)\n"
    "  --value-bytes N   bytes of a value, 16 or more (default 100)\n"
    "  --seconds S       for how long (default 2)\n"
    "  --ops N           how many operations in all, instead of --seconds\n"
    "  --storage KIND    ram or disc: ram_copies or disc_copies (default ram)\n"
    "  --dir FOLDER      below which the nodes keep their files (default: the folder for temporary files)\n"
    "  --json            one JSON object instead of text\n".

modes() ->
    lists:flatten(lists:join(", ", [atom_to_list(Mode) || Mode <- ?MODES])).

parse(Args) ->
    Defaults = #{writers => 1, rows => 10000, value_bytes => 100, storage => ram, dir => temporary(), json => false},
    try check(parse(Args, Defaults)) catch throw:Known -> Known end.

parse([], Options) -> Options;
parse(["--help" | _], _) -> throw(help);
parse(["--json" | Rest], Options) -> parse(Rest, Options#{json => true});
parse(["--mode", Text | Rest], Options) -> parse(Rest, Options#{mode => one_of("--mode", Text, ?MODES)});
parse(["--storage", Text | Rest], Options) -> parse(Rest, Options#{storage => one_of("--storage", Text, [ram, disc])});
parse(["--dir", Text | Rest], Options) ->
    filelib:is_dir(Text) orelse refuse("--dir ~ts: is no folder; accepted is a folder that exists", [Text]),
    parse(Rest, Options#{dir => filename:absname(Text)});
parse(["--writers", Text | Rest], Options) -> parse(Rest, Options#{writers => whole("--writers", Text, 1, 10000)});
parse(["--rows", Text | Rest], Options) -> parse(Rest, Options#{rows => whole("--rows", Text, 1, 100000000)});
parse(["--value-bytes", Text | Rest], Options) ->
    parse(Rest, Options#{value_bytes => whole("--value-bytes", Text, ?VALUE_MIN, 16 bsl 20)});
parse(["--seconds", Text | Rest], Options) -> parse(Rest, Options#{seconds => seconds(Text)});
parse(["--ops", Text | Rest], Options) -> parse(Rest, Options#{ops => whole("--ops", Text, 1, ?NO_LIMIT)});
parse([Known], _) when Known =:= "--mode"; Known =:= "--storage"; Known =:= "--dir"; Known =:= "--writers";
                       Known =:= "--rows"; Known =:= "--value-bytes"; Known =:= "--seconds"; Known =:= "--ops" ->
    refuse("~ts: its value is missing", [Known]);
parse([Text | _], _) ->
    refuse("~ts: unknown; accepted are --mode, --writers, --rows, --value-bytes, --seconds, --ops, --storage, --dir, "
           "--json and --help", [Text]).

check(Options) ->
    is_map_key(mode, Options) orelse refuse("--mode is missing; accepted are ~ts", [modes()]),
    is_map_key(seconds, Options) andalso is_map_key(ops, Options)
        andalso refuse("--seconds and --ops: only one of the two is accepted", []),
    #{writers := Writers, rows := Rows} = Options,
    %% Each writer has rows of its own; two on one row would overwrite what proves that a replica is complete.
    Writers =< Rows orelse refuse("--writers ~b: accepted are at most as many as --rows, here ~b", [Writers, Rows]),
    case Options of
        #{ops := Ops} when Ops < Writers -> refuse("--ops ~b: accepted are at least as many as --writers, here ~b",
                                                   [Ops, Writers]);
        #{ops := _} -> {ok, Options};
        _ -> {ok, maps:merge(#{seconds => 2.0}, Options)}
    end.

one_of(Name, Text, Known) ->
    case [Value || Value <- Known, atom_to_list(Value) =:= Text] of
        [Value] -> Value;
        [] -> refuse("~ts ~ts: unknown; accepted are ~ts",
                     [Name, Text, lists:join(", ", [atom_to_list(Value) || Value <- Known])])
    end.

whole(Name, Text, Least, Most) ->
    try list_to_integer(Text) of
        Value when Value >= Least, Value =< Most -> Value;
        _ -> refuse("~ts ~ts: accepted is a whole number from ~b to ~b", [Name, Text, Least, Most])
    catch error:badarg -> refuse("~ts ~ts: accepted is a whole number from ~b to ~b", [Name, Text, Least, Most])
    end.

seconds(Text) ->
    Number = case string:to_float(Text) of
        {Float, ""} -> Float;
        _ -> case string:to_integer(Text) of {Integer, ""} -> float(Integer); _ -> 0.0 end
    end,
    case Number >= 0.1 andalso Number =< 3600.0 of
        true -> Number;
        false -> refuse("--seconds ~ts: accepted is a number from 0.1 to 3600", [Text])
    end.

temporary() ->
    os:getenv("TMPDIR", "/tmp").

-spec refuse(string(), list()) -> no_return().
refuse(Format, Values) -> throw({error, io_lib:format(Format, Values)}).

-spec fail(string(), list()) -> no_return().
fail(Format, Values) -> throw({failed, io_lib:format(Format, Values)}).

%% Steering: starts the nodes, has them work, and ends whatever it started.

run(Options) ->
    is_list(code:lib_dir(mnesia)) orelse fail("Mnesia is not installed (Debian: apt-get install erlang-mnesia)", []),
    Tag = binary_to_list(binary:encode_hex(random(6))),
    Folder = filename:join(maps:get(dir, Options), "ekka-bench-mnesia-" ++ Tag),
    Cleaner = start_cleaner(Folder),
    try
        ok = file:make_dir(Folder),
        poll(fun epmd_answers/0, 5000) orelse fail("epmd does not start (Debian: apt-get install erlang-base)", []),
        with_nodes([a, b, c], Tag, Folder, [], fun(Nodes) -> work(Nodes, Folder, Options) end)
    after
        stop_cleaner(Cleaner)
    end,
    0.

%% Erlang's `crypto` is another Debian package.
random(Bytes) ->
    {ok, File} = file:open("/dev/urandom", [read, raw, binary]),
    {ok, Random} = file:read(File, Bytes),
    ok = file:close(File),
    Random.

with_nodes([], _, _, Nodes, Work) ->
    try Work(lists:reverse(Nodes))
    after
        %% That the others go is no news for the last ones.
        [catch on(Peer, logger, set_primary_config, [level, none]) || {Peer, _} <- Nodes]
    end;
with_nodes([Letter | Rest], Tag, Folder, Nodes, Work) ->
    {Peer, Node} = start(Letter, Tag, Folder),
    Pid = peer:call(Peer, os, getpid, []),
    try with_nodes(Rest, Tag, Folder, [{Peer, Node} | Nodes], Work)
    after stop(Peer, Pid)
    end.

start(Letter, Tag, Folder) ->
    Own = filename:join(Folder, atom_to_list(Letter)),
    Options = #{
        name => list_to_atom("ekka_bench_" ++ atom_to_list(Letter) ++ "_" ++ Tag),
        host => "127.0.0.1",
        longnames => true,
        connection => standard_io,
        wait_boot => ?BOOT_MS,
        args => ["+Bd", "-setcookie", "ekka_bench_" ++ Tag, "-start_epmd", "false",
                 "-kernel", "inet_dist_use_interface", "{127,0,0,1}", "-mnesia", "dir", io_lib:format("~tp", [Own])]
    },
    case peer:start(Options#{args := [lists:flatten(Arg) || Arg <- maps:get(args, Options)]}) of
        {ok, Peer, Node} -> {Peer, Node};
        {error, Reason} -> fail("node ~p does not start: ~tp", [Letter, Reason])
    end.

stop(Peer, Pid) ->
    catch peer:stop(Peer),
    case poll(fun() -> not filelib:is_dir("/proc/" ++ Pid) end, 5000) of
        true -> ok;
        false -> os:cmd("kill -KILL " ++ Pid)
    end.

%% Removes the files, and ends the port mapper if none ran before: when told to, or after this process has ended.
start_cleaner(Folder) ->
    Epmd = case epmd_answers() of true -> ""; false -> "epmd -address 127.0.0.1 2>/dev/null & epmd=$!; " end,
    Script = "trap '' INT; " ++ Epmd ++ "trap '' TERM; read _ || sleep 2; "
             "if [ \"$epmd\" ]; then kill \"$epmd\"; wait; fi; rm -rf -- \"$1\"",
    Args = ["-c", Script, "sh", Folder],
    open_port({spawn_executable, "/bin/sh"}, [{args, Args}, {env, [{"epmd", false}]}, exit_status]).

stop_cleaner(Port) ->
    port_command(Port, "end\n"),
    receive {Port, {exit_status, _}} -> ok after 10000 -> fail("the files of the nodes are not removed", []) end.

epmd_answers() ->
    case erl_epmd:names({127, 0, 0, 1}) of {ok, _} -> true; {error, _} -> false end.

poll(Condition, Ms) ->
    poll_until(Condition, erlang:monotonic_time(millisecond) + Ms).

poll_until(Condition, End) ->
    case Condition() of
        true -> true;
        false ->
            case erlang:monotonic_time(millisecond) > End of
                true -> false;
                false -> timer:sleep(1), poll_until(Condition, End)
            end
    end.

work(Nodes, Folder, Options) ->
    #{mode := Mode, writers := Writers, rows := Rows, value_bytes := Bytes, storage := Storage} = Options,
    Program = program(Folder),
    Load = [mnesia_bench, "mnesia.escript", Program],
    [{module, mnesia_bench} = on(Peer, code, load_binary, Load) || {Peer, _} <- Nodes],
    [{First, _} | _] = Nodes,
    Names = [Name || {_, Name} <- Nodes],
    [on(First, erpc, call, [Name, erlang, node, []]) || Name <- Names],
    prepare(Storage, Nodes),
    ok = on(First, mnesia_bench, create, [Storage, Names]),
    Before = [on(Peer, mnesia_bench, memory, []) || {Peer, _} <- Nodes],
    settle(Nodes, on(First, mnesia_bench, fill, [Rows, Bytes])),
    case Mode of
        memory -> print_memory(Nodes, Before, Options);
        _ ->
            {WarmSeconds, WarmOps, Seconds, Ops} = case Options of
                #{ops := All} -> {3600.0, max(Writers, All div 5), 3600.0, All};
                #{seconds := S} -> {S / 5, ?NO_LIMIT, S, ?NO_LIMIT}
            end,
            Measure = fun(Run, For, Most) ->
                on(First, mnesia_bench, measure, [Mode, Writers, Bytes, Run, For, Most])
            end,
            {_, _, _, WarmLast} = Measure(1, WarmSeconds, WarmOps),
            settle(Nodes, WarmLast),
            {Done, Nanos, Percentiles, Last} = Measure(2, Seconds, Ops),
            Settle = settle(Nodes, Last),
            print(Options, Done, Nanos / 1.0e9, Settle, Percentiles)
    end.

%% A schema on disc would have Mnesia keep a log for tables in memory too.
prepare(disc, [{First, _} | _] = Nodes) ->
    ok = on(First, mnesia, create_schema, [[Name || {_, Name} <- Nodes]]),
    [ok = on(Peer, mnesia, start, []) || {Peer, _} <- Nodes];
prepare(ram, [{First, _} | Others] = Nodes) ->
    [ok = on(Peer, mnesia, start, []) || {Peer, _} <- Nodes],
    {ok, _} = on(First, mnesia, change_config, [extra_db_nodes, [Name || {_, Name} <- Others]]).

%% Waits until each replica has the last write of every writer, as many rows as the others, and then the same rows.
%% Gives the seconds until then. Comparing all rows is not counted unless it finds a difference.
settle(Nodes, Last) ->
    Begun = erlang:monotonic_time(nanosecond),
    settle(Nodes, Last, Begun).

settle(Nodes, Last, Begun) ->
    Complete = fun() ->
        lists:all(fun({Peer, _}) -> on(Peer, mnesia_bench, holds, [Last]) end, Nodes)
            andalso alike([on(Peer, mnesia_bench, size, []) || {Peer, _} <- Nodes])
    end,
    poll(Complete, ?SETTLE_MS) orelse fail("the replicas are not complete ~b ms after the last write", [?SETTLE_MS]),
    Elapsed = erlang:monotonic_time(nanosecond) - Begun,
    case alike([on(Peer, mnesia_bench, digest, []) || {Peer, _} <- Nodes]) of
        true -> Elapsed / 1.0e9;
        false when Elapsed < ?SETTLE_MS * 1000000 -> settle(Nodes, Last, Begun);
        false -> fail("the replicas have different rows ~b ms after the last write", [?SETTLE_MS])
    end.

alike([First | Others]) ->
    lists:all(fun(Other) -> Other =:= First end, Others).

on(Peer, Module, Function, Args) ->
    peer:call(Peer, Module, Function, Args, infinity).

%% This file as a module, for the nodes: what is measured is compiled, not interpreted.
program(Folder) ->
    {ok, Text} = file:read_file(escript:script_name()),
    [_, Source] = binary:split(Text, <<"\n">>),
    File = filename:join(Folder, "mnesia_bench.erl"),
    ok = file:write_file(File, Source),
    {ok, mnesia_bench, Program} = compile:file(File, [binary]),
    Program.

%% On the nodes from here on.

create(Storage, Names) ->
    Copies = case Storage of ram -> ram_copies; disc -> disc_copies end,
    {atomic, ok} = mnesia:create_table(?TABLE, [{type, set}, {Copies, Names}, {attributes, [key, value]}]),
    ok.

%% Makes the keys, in an order that only looks random, and all rows. Gives the last row.
fill(Rows, Bytes) ->
    Numbers = lists:sort([{erlang:phash2({order, N}), N} || N <- lists:seq(1, Rows)]),
    Keys = list_to_tuple([<<"row:", (erlang:phash2(N)):32, N:64>> || {_, N} <- Numbers]),
    persistent_term:put(?TABLE, Keys),
    Pad = binary:copy(<<"v">>, Bytes - ?VALUE_MIN),
    Row = fun(N) -> {?TABLE, element(N, Keys), value(0, 0, N, Pad)} end,
    [{atomic, ok} = mnesia:transaction(fun() -> lists:foreach(fun(N) -> ok = mnesia:write(Row(N)) end, Part) end)
     || Part <- parts(1, Rows)],
    {_, Key, Value} = Row(Rows),
    [{Key, Value}].

parts(From, To) when From > To -> [];
parts(From, To) -> [lists:seq(From, min(To, From + 999)) | parts(From + 1000, To)].

value(Writer, Run, Number, Pad) ->
    <<Writer:32, Run:32, Number:64, Pad/binary>>.

%% Gives the operations done, the nanoseconds from the first to the last, their percentiles in microseconds, and the
%% last row of each writer.
measure(Mode, Writers, Bytes, Run, Seconds, Ops) ->
    Self = self(),
    Pad = binary:copy(<<"w">>, Bytes - ?VALUE_MIN),
    Shares = [Ops div Writers + (case W =< Ops rem Writers of true -> 1; false -> 0 end) || W <- lists:seq(1, Writers)],
    Pids = [spawn_link(fun() ->
                receive {begin_until, End} -> Self ! {self(), writer(Mode, Writer, Writers, Run, Pad, Share, End)} end
            end) || {Writer, Share} <- lists:zip(lists:seq(1, Writers), Shares)],
    Begun = erlang:monotonic_time(nanosecond),
    [Pid ! {begin_until, Begun + round(Seconds * 1.0e9)} || Pid <- Pids],
    Results = [receive {Pid, Result} -> Result end || Pid <- Pids],
    Elapsed = erlang:monotonic_time(nanosecond) - Begun,
    Sorted = list_to_tuple(lists:sort(lists:append([Times || {_, Times, _} <- Results]))),
    At = fun(Percent) -> element(max(1, tuple_size(Sorted) * Percent div 100), Sorted) / 1000 end,
    Done = lists:sum([Count || {Count, _, _} <- Results]),
    {Done, Elapsed, {At(50), At(99)}, lists:append([Last || {_, _, Last} <- Results])}.

%% One writer walks over rows of its own, again and again: its last row tells that a replica has all the earlier ones.
writer(Mode, Writer, Writers, Run, Pad, Share, End) ->
    Keys = persistent_term:get(?TABLE),
    {Done, At, Times} = steps({Mode, Writer, Writers, Run, Pad, Keys, every(Mode)}, 0, Writer, Share, End, []),
    Last = case is_write(Mode) of
        true -> [{element(At, Keys), value(Writer, Run, Done, Pad)}];
        false -> []
    end,
    {Done, Times, Last}.

%% Reading the clock costs as much as a tenth of the quickest operations, so of those one in sixteen is timed.
every(Mode) when Mode =:= dirty_read; Mode =:= dirty_write -> 16;
every(_) -> 1.

is_write(Mode) -> Mode =/= dirty_read andalso Mode =/= transaction_read.

steps({_, _, _, _, _, _, Every} = Work, Done, At, Left, End, Times) ->
    Begun = erlang:monotonic_time(nanosecond),
    step(Work, Done + 1, At),
    Now = erlang:monotonic_time(nanosecond),
    More = min(Every - 1, Left - 1),
    Last = more(Work, Done + 1, At, More),
    All = [Now - Begun | Times],
    case Left - 1 - More of
        Rest when Rest > 0, Now < End -> steps(Work, Done + 1 + More, next(Work, Last), Rest, End, All);
        _ -> {Done + 1 + More, Last, All}
    end.

more(_, _, At, 0) -> At;
more(Work, Done, At, Count) ->
    Next = next(Work, At),
    step(Work, Done + 1, Next),
    more(Work, Done + 1, Next, Count - 1).

next({_, Writer, Writers, _, _, Keys, _}, At) ->
    case At + Writers of
        Next when Next =< tuple_size(Keys) -> Next;
        _ -> Writer
    end.

step({Mode, Writer, _, Run, Pad, Keys, _}, Number, At) ->
    Key = element(At, Keys),
    case Mode of
        dirty_read -> [{_, _, _}] = mnesia:dirty_read(?TABLE, Key);
        transaction_read -> {atomic, [{_, _, _}]} = mnesia:transaction(fun() -> mnesia:read(?TABLE, Key) end);
        dirty_write -> ok = mnesia:dirty_write({?TABLE, Key, value(Writer, Run, Number, Pad)});
        sync_dirty ->
            Row = {?TABLE, Key, value(Writer, Run, Number, Pad)},
            ok = mnesia:sync_dirty(fun() -> mnesia:write(Row) end);
        transaction ->
            Row = {?TABLE, Key, value(Writer, Run, Number, Pad)},
            {atomic, ok} = mnesia:transaction(fun() -> mnesia:write(Row) end)
    end.

%% Of this node's own replica.

holds(Rows) ->
    lists:all(fun({Key, Value}) -> ets:lookup(?TABLE, Key) =:= [{?TABLE, Key, Value}] end, Rows).

size() ->
    ets:info(?TABLE, size).

digest() ->
    ets:foldl(fun(Row, Sum) -> Sum + erlang:phash2(Row, 1 bsl 32) end, 0, ?TABLE).

%% Words of the table as Mnesia counts them, without values above 64 bytes, which lie apart as binaries; bytes of all
%% binaries; bytes that the process has in memory.
memory() ->
    [erlang:garbage_collect(Pid) || Pid <- processes()],
    {ok, Status} = file:read_file("/proc/self/status"),
    {match, [Resident]} = re:run(Status, "VmRSS:\\s*(\\d+) kB", [{capture, all_but_first, list}]),
    Words = try mnesia:table_info(?TABLE, memory) catch exit:_ -> 0 end,
    {Words, Words * erlang:system_info(wordsize), erlang:memory(binary), list_to_integer(Resident) * 1024}.

%% Printing.

print(#{mode := Mode, writers := Writers, rows := Rows, value_bytes := Bytes, storage := Storage, json := Json},
      Done, Working, Settle, {P50, P99}) ->
    Settled = case is_write(Mode) of true -> Settle; false -> 0.0 end,
    Seconds = Working + Settled,
    Format = case Json of
        true -> "{\"bench\": \"mnesia\", \"mode\": \"~ts\", \"storage\": \"~ts\", \"writers\": ~b, \"rows\": ~b, "
                "\"value_bytes\": ~b, \"ops\": ~b, \"seconds\": ~.3f, \"ops_per_s\": ~.1f, \"p50_us\": ~.2f, "
                "\"p99_us\": ~.2f, \"settle_s\": ~.4f}~n";
        false -> "~ts in ~ts, ~b writers, ~b rows, values of ~b bytes: ~b operations in ~.3f s, ~.1f /s, "
                 "p50 ~.2f us, p99 ~.2f us, ~.4f s of it until all replicas were complete~n"
    end,
    io:format(user, Format, [Mode, Storage, Writers, Rows, Bytes, Done, Seconds, Done / Seconds, P50, P99, Settled]).

print_memory(Nodes, Before, #{rows := Rows, value_bytes := Bytes, storage := Storage, json := Json}) ->
    After = [on(Peer, mnesia_bench, memory, []) || {Peer, _} <- Nodes],
    Each = fun(Column) ->
        [(element(Column, Later) - element(Column, Earlier)) / Rows || {Earlier, Later} <- lists:zip(Before, After)]
    end,
    List = fun(Column) -> lists:join(", ", [io_lib:format("~.1f", [Value]) || Value <- Each(Column)]) end,
    Format = case Json of
        true -> "{\"bench\": \"mnesia\", \"mode\": \"memory\", \"storage\": \"~ts\", \"rows\": ~b, "
                "\"value_bytes\": ~b, \"table_words_per_row\": [~ts], \"table_bytes_per_row\": [~ts], "
                "\"binary_bytes_per_row\": [~ts], \"resident_bytes_per_row\": [~ts]}~n";
        false -> "memory in ~ts, ~b rows, values of ~b bytes, on each node for a row: table ~ts words, ~ts bytes; "
                 "binaries ~ts bytes; resident ~ts bytes~n"
    end,
    io:format(user, Format, [Storage, Rows, Bytes, List(1), List(2), List(3), List(4)]).
