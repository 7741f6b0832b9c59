//! Standard output: tables, colour on a terminal, and a reader that goes away.

use std::io::{ErrorKind, IsTerminal, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Row, Table};

use crate::exit::Failure;

/// Prints a text as it is. A reader that has gone away wanted no more: that is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// The same, and says whether somebody still reads.
pub(crate) fn print_and_ask(text: &str) -> Result<bool, Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Prints one line of progress to standard error.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}"); // progress that nobody reads
}

/// Aligned columns under their names.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled).force_no_tty();
    table.set_header(Row::from(header.to_vec()));
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// How a word is to be seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Paint {
    Good,
    Warn,
    Bad,
    Strong,
}

/// Colours a word where standard output is a terminal and `NO_COLOR` is not set.
pub(crate) fn paint(word: &str, paint: Paint) -> String {
    let plain = !std::io::stdout().is_terminal() || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if plain {
        return word.to_owned();
    }
    let code = match paint {
        Paint::Good => 32,
        Paint::Warn => 33,
        Paint::Bad => 31,
        Paint::Strong => 1,
    };
    format!("\u{1b}[{code}m{word}\u{1b}[0m")
}

/// The colour of a member's status.
pub(crate) fn paint_of_status(status: &str) -> Paint {
    match status {
        "up" => Paint::Good,
        "down" | "gone" => Paint::Bad,
        _ => Paint::Warn,
    }
}

/// The beginning of an id, for people.
pub(crate) fn short(id: &str) -> String {
    // The random tail of a UUIDv7 tells ids apart; its head is the same for hours.
    match id.rsplit_once('-') {
        Some((_, tail)) if tail.len() > 4 => format!("…{}", &tail[tail.len() - 4..]),
        _ => id.to_owned(),
    }
}

/// How long ago a time of the contract is: `4 m 12 s`.
pub(crate) fn ago(time: &str) -> String {
    let Ok(then) = humantime::parse_rfc3339(time) else { return "?".into() };
    let seconds = std::time::SystemTime::now().duration_since(then).unwrap_or_default().as_secs();
    span(seconds)
}

fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} m {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// The time of day of a time of the contract, and its date where that is not today's.
pub(crate) fn clock(time: &str) -> String {
    let today = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    match (time.get(..10), time.get(11..19)) {
        (Some(date), Some(clock)) if today.starts_with(date) => clock.to_owned(),
        (Some(date), Some(clock)) => format!("{date} {clock}"),
        _ => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_and_have_no_trailing_blanks() {
        let text = table(&["NAME", "STATUS"], [vec!["ekka1@127.0.0.1".into(), "up".into()], vec!["b".into(), "down".into()]]);
        assert_eq!(text, "NAME             STATUS\nekka1@127.0.0.1  up\nb                down\n");
    }

    #[test]
    fn spans_are_said_in_two_units() {
        assert_eq!(span(12), "12 s");
        assert_eq!(span(252), "4 m 12 s");
        assert_eq!(span(7_260), "2 h 1 m");
        assert_eq!(span(90_000), "1 d 1 h");
    }

    #[test]
    fn short_ids_keep_the_tail_that_differs() {
        assert_eq!(short("01890000-0000-7000-8000-00000000abcd"), "…abcd");
        assert_eq!(short("x"), "x");
    }
}
