//! Standard output: tables, colour on a terminal, and a reader that goes away.

use std::io::{ErrorKind, IsTerminal, Write};
use std::time::Duration;

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
    let header: Vec<String> = header.iter().map(ToString::to_string).collect();
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let wide = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| width(cell)).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(wide).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, wide) in row.iter().zip(&widths) {
            line += cell;
            line.extend(std::iter::repeat_n(' ', wide + 2 - width(cell)));
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// How many columns of a terminal a text takes, without what colours it.
fn width(text: &str) -> usize {
    let mut count = 0;
    let mut in_escape = false;
    for c in text.chars() {
        match c {
            '\u{1b}' => in_escape = true,
            'm' if in_escape => in_escape = false,
            _ if !in_escape => count += 1,
            _ => {}
        }
    }
    count
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

/// A time span as the admin interface takes it: whole milliseconds.
pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Microseconds as people read them.
pub(crate) fn in_millis(us: u64) -> String {
    format!("{}.{:03} ms", us / 1000, us % 1000)
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
        let text =
            table(&["NAME", "STATUS"], [vec!["ekka1@127.0.0.1".into(), "up".into()], vec!["b".into(), "down".into()]]);
        let up = "\u{1b}[32mup\u{1b}[0m".to_owned();
        let coloured = table(&["NAME", "STATUS", "X"], [vec!["a".into(), up.clone(), "1".into()]]);
        assert_eq!(coloured, format!("NAME  STATUS  X\na     {up}      1\n"));
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
