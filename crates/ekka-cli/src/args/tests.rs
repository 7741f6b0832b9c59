use super::*;

fn parsed(line: &str) -> Cli {
    parse(line.split(' ')).expect("parses").expect("is there")
}

#[test]
fn the_command_line_is_sound() {
    command().debug_assert();
}

#[test]
fn every_command_has_an_example() {
    for sub in command().get_subcommands() {
        let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
        let example = format!("Example: ekka {}", sub.get_name());
        assert!(help.contains(&example), "{} has no example: {help}", sub.get_name());
        assert!(sub.get_about().is_some(), "{} says not what it does", sub.get_name());
    }
}

#[test]
fn options_stand_before_or_after_the_words() {
    for line in ["ekka --json -n ekka1 status", "ekka status --json -n ekka1", "ekka -n ekka1 status --json"] {
        let cli = parsed(line);
        assert!(cli.global.json && matches!(cli.command, Command::Status), "{line}");
        assert_eq!(cli.global.pick.agent.as_deref(), Some("ekka1"), "{line}");
    }
}

#[test]
fn the_agent_that_is_meant_and_the_node_that_is_named_are_two() {
    let cli = parsed("ekka -n ekka1 join ekka@10.0.0.2");
    assert_eq!(cli.global.pick.agent.as_deref(), Some("ekka1"));
    assert!(matches!(cli.command, Command::Join { node, .. } if node == "ekka@10.0.0.2"));
    let cli = parsed("ekka force-leave ekka@10.0.0.3");
    assert_eq!(cli.global.pick.agent, None);
}

#[test]
fn the_words_of_the_contract_are_taken() {
    let lines = [
        "agent -c x.conf --name ekka1@127.0.0.1 --set a=b --set c=d --restored",
        "check -c x.conf",
        "discover -c x.conf",
        "keygen",
        "demo --json",
        "status",
        "members",
        "links",
        "events --last 3 --no-follow",
        "why d-00001f",
        "why",
        "cookie",
        "version",
        "form --plan",
        "join ekka@10.0.0.2 --no-wait",
        "leave --plan",
        "stop --plan",
        "drain --timeout 45s",
        "undrain",
        "force-leave ekka@10.0.0.3 --alive --plan",
        "force-leave ekka@10.0.0.3 --replace-with ekka@10.0.0.4 --timeout 5m",
        "join ekka@10.0.0.2 --absorb --plan",
        "recover --plan",
        "recover --accept-loss --timeout 2m",
        "reload",
        "health live",
        "health ready --for available --wait 1m",
        "health safe-to-stop",
        "rpc ping ekka@10.0.0.2 --count 3 --timeout 1s",
        "rpc call ekka@10.0.0.2 shop.price {\"item\":\"bolt\"} --json",
        "rpc call 3f9a02 ekka.info",
        "table create users --kind available --storage ram --type ordered_set --codec json",
        "table list --json",
        "table put users ada {\"admin\":true} --ack all --strict --ttl 1h --deadline 2s",
        "table get users ada",
        "table delete users ada --ack local",
        "table scan users --prefix a --limit 10",
        "table watch users --json",
        "table info users",
        "table drop users",
        "table export users rows.jsonl",
        "table import users rows.jsonl --ack all",
        "table verify",
        "table verify users --json",
        "backup nightly.backup",
        "backup --verify nightly.backup --json",
        "restore nightly.backup --plan",
        "restore nightly.backup --mode replace --no-wait",
        "losses --table users --json",
        "bench rpc --self-contained --for 1s --json",
        "bench rpc --self-contained --stopped-peer",
        "bench rpc ekka@10.0.0.2",
        "bench commit",
        "bench commit --self-contained --group volatile --for 1s --json",
        "bench count --n 3 --json",
        "bench table --self-contained --rows 1000 --value-bytes 10 --for 1s --json",
        "completions zsh",
        "man",
    ];
    for line in lines {
        parsed(&format!("ekka {line}"));
    }
}

#[test]
fn wrong_words_are_usage_errors_and_name_the_nearest() {
    let error = parse(["ekka", "membrs"]).expect_err("there is no such command");
    assert!(error.to_string().contains("'members'"), "{error}");
    for line in [
        "ekka",
        "ekka join",
        "ekka health",
        "ekka drain --timeout soon",
        "ekka drain --no-wait --timeout 1s",
        "ekka recover",
    ] {
        assert!(parse(line.split(' ')).is_err(), "{line}");
    }
}

#[test]
fn later_commands_are_known_with_any_words() {
    for line in ["ekka bundle x -- y", "ekka top --plan"] {
        let name = parse(line.split(' ')).expect("parses").expect_err("is not there yet");
        assert_eq!(Some(name.as_str()), line.split(' ').nth(1));
    }
}
