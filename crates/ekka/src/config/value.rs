//! The grammar of single values: quotes, lists, flags, durations, sizes, addresses.
//!
//! Each function says in its error what is accepted; the key and the place are added by the caller.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ekka_core::id::NodeName;

/// A value as a front end gives it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Value {
    /// Text in which quotes and commas have their meaning.
    Written(String),
    /// Exactly this text.
    Text(String),
    /// Exactly these items.
    List(Vec<String>),
}

impl Value {
    /// The one value.
    pub(crate) fn text(&self) -> Result<String, String> {
        match self {
            Self::Written(text) if text.starts_with('"') => match quoted(text)? {
                (inner, "") => Ok(inner),
                (_, rest) => Err(format!("text after the closing quote: `{}`", clip(rest))),
            },
            Self::Written(text) | Self::Text(text) => Ok(text.clone()),
            Self::List(items) => match items.as_slice() {
                [one] => Ok(one.clone()),
                _ => Err(format!("{} items where one value is expected", items.len())),
            },
        }
    }

    /// The items of the list; empty text is the empty list.
    pub(crate) fn items(&self) -> Result<Vec<String>, String> {
        match self {
            Self::Written(text) if text.starts_with('"') => match quoted(text)? {
                (inner, "") => split_items(&inner),
                _ => split_items(text),
            },
            Self::Written(text) => split_items(text),
            Self::Text(text) => Ok(vec![text.clone()]),
            Self::List(items) => Ok(items.clone()),
        }
    }

    /// For people.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Written(text) | Self::Text(text) => clip(text),
            Self::List(items) => clip(&items.join(",")),
        }
    }
}

/// Cuts a text that would fill the screen.
pub(crate) fn clip(text: &str) -> String {
    const SHOWN_MAX: usize = 120;
    let clean: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    match clean.char_indices().nth(SHOWN_MAX) {
        Some((at, _)) => format!("{}…", &clean[..at]),
        None => clean,
    }
}

/// Reads a quoted text; gives what is inside, and what follows it with white space cut.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut inner = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((inner, text[at + 1..].trim())),
            '\\' => match chars.next() {
                Some((_, c @ ('"' | '\\'))) => inner.push(c),
                _ => return Err("a backslash in quotes stands before `\"` or `\\` only".to_owned()),
            },
            c => inner.push(c),
        }
    }
    Err("the closing quote is missing".to_owned())
}

fn split_items(text: &str) -> Result<Vec<String>, String> {
    let mut items = Vec::new();
    let mut rest = text.trim();
    if rest.is_empty() {
        return Ok(items);
    }
    loop {
        let (item, after) = if rest.starts_with('"') {
            let (inner, after) = quoted(rest)?;
            if !after.is_empty() && !after.starts_with(',') {
                return Err(format!("item {}: a comma must follow the closing quote", items.len() + 1));
            }
            (inner, after.strip_prefix(','))
        } else {
            match rest.split_once(',') {
                Some((item, after)) => (item.trim().to_owned(), Some(after)),
                None => (rest.trim().to_owned(), None),
            }
        };
        if item.is_empty() {
            return Err(format!("item {} of the list is empty", items.len() + 1));
        }
        items.push(item);
        match after {
            Some(after) => rest = after.trim(),
            None => return Ok(items),
        }
    }
}

/// `on`, `off`, `true`, `false`.
pub(crate) fn flag(text: &str) -> Result<bool, String> {
    match text {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err("write on, off, true or false".to_owned()),
    }
}

/// What is accepted as a duration, in words.
pub(crate) const DURATION_WORDS: &str = "write a duration such as 500ms, 30s, 1m30s or 24h (units ms, s, m, h, d)";

/// Longest duration: ten years. Sums with any clock stay far from overflow.
const DURATION_MAX: Duration = Duration::from_secs(3650 * 24 * 3600);

/// `500ms`, `30s`, `1m30s`: integers with units, the larger unit first.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(match text.parse::<u64>() {
            Ok(n) if n >= 1000 && n % 1000 == 0 => format!("{n} has no unit: {}s or {n}ms?", n / 1000),
            Ok(n) => format!("{n} has no unit: {n}s or {n}ms?"),
            Err(_) => DURATION_WORDS.to_owned(),
        });
    }
    let bad = || DURATION_WORDS.to_owned();
    let (mut rest, mut sum_ms, mut next_unit) = (text, 0u64, 0);
    while !rest.is_empty() || next_unit == 0 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let count: u64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = UNITS.iter().position(|(unit, _)| *unit == &rest[..letters]).ok_or_else(bad)?;
        if unit < next_unit {
            return Err(format!("units go from large to small, each once; {DURATION_WORDS}"));
        }
        next_unit = unit + 1;
        sum_ms = count.checked_mul(UNITS[unit].1).and_then(|ms| sum_ms.checked_add(ms)).ok_or_else(bad)?;
        rest = &rest[letters..];
    }
    let sum = Duration::from_millis(sum_ms);
    if sum > DURATION_MAX { Err("at most 3650d is accepted".to_owned()) } else { Ok(sum) }
}

/// A duration as the grammar writes it.
pub(crate) fn show_duration(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    let mut rest = ms;
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        // 24h is how people write a day and how the default is documented.
        let count = if unit == "d" && rest < 2 * size { 0 } else { rest / size };
        if count > 0 {
            out.push_str(&count.to_string());
            out.push_str(unit);
            rest -= count * size;
        }
    }
    out
}

/// What is accepted as a size, in words.
pub(crate) const SIZE_WORDS: &str = "write a size such as 512B, 16KB, 256MB or 1GB (1 KB is 1024 B)";

/// `512B`, `16KB`, `256MB`, `1GB`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let count: u64 = text[..digits].parse().map_err(|_| SIZE_WORDS.to_owned())?;
    let factor = match text[digits..].to_ascii_uppercase().as_str() {
        "" => return Err(format!("{count} has no unit: {count}B or {count}MB?")),
        "B" => 1,
        "KB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return Err(SIZE_WORDS.to_owned()),
    };
    // Half of what a u64 holds is 8 EiB; sums of two sizes cannot overflow.
    count.checked_mul(factor).filter(|n| *n <= u64::MAX / 2).ok_or_else(|| SIZE_WORDS.to_owned())
}

/// A size as the grammar writes it.
pub(crate) fn show_size(size: u64) -> String {
    for (unit, shift) in [("GB", 30), ("MB", 20), ("KB", 10)] {
        if size > 0 && size.trailing_zeros() >= shift {
            return format!("{}{unit}", size >> shift);
        }
    }
    format!("{size}B")
}

/// An integer between two bounds.
pub(crate) fn int(text: &str, min: u32, max: u32) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(n) if (min..=max).contains(&n) => Ok(n),
        _ => Err(format!("write a whole number from {min} to {max}")),
    }
}

/// A node name.
pub(crate) fn node_name(text: &str) -> Result<NodeName, String> {
    text.parse().map_err(|e: ekka_core::id::NameError| e.to_string())
}

/// An IP address.
pub(crate) fn ip(text: &str) -> Result<IpAddr, String> {
    let plain = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    plain.parse().map_err(|_| "write an IP address such as 10.0.0.1 or fd00::1".to_owned())
}

/// A multicast address.
pub(crate) fn multicast(text: &str) -> Result<IpAddr, String> {
    match ip(text) {
        Ok(ip) if ip.is_multicast() => Ok(ip),
        _ => Err("write a multicast address: 224.0.0.0 to 239.255.255.255, or ff00::/8".to_owned()),
    }
}

/// `address:port`, `:port`, or, where a default port is given, `address` alone.
pub(crate) fn socket(text: &str, default_port: Option<u16>) -> Result<SocketAddr, String> {
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return Ok(addr);
    }
    if let Some(port) = text.strip_prefix(':').and_then(|port| port.parse().ok()) {
        return Ok((Ipv4Addr::UNSPECIFIED, port).into());
    }
    match (ip(text), default_port) {
        (Ok(ip), Some(port)) => Ok((ip, port).into()),
        (Ok(_), None) => Err("the port is missing: write address:port, as in 127.0.0.1:8370".to_owned()),
        (Err(_), Some(_)) => Err("write address or address:port, as in 0.0.0.0, 10.0.0.1:4370 or [::]:4370".to_owned()),
        (Err(_), None) => Err("write address:port, as in 127.0.0.1:8370 or [::]:8370".to_owned()),
    }
}

/// The address of an HTTP server, `http://` added where no scheme is written, a last `/` cut.
pub(crate) fn url(text: &str) -> Result<String, String> {
    const WORDS: &str = "write http://host:port or https://host:port";
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let rest = full.strip_prefix("http://").or_else(|| full.strip_prefix("https://")).ok_or(WORDS)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains('@') {
        return Err(format!("a user or password does not belong in the address; {WORDS}"));
    }
    let (host, port) = match rest.strip_prefix('[') {
        Some(v6) => {
            let (host, after) = v6.split_once(']').ok_or(WORDS)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| WORDS)?;
            (host, if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or(WORDS)?) })
        }
        None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    let host_ok = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b));
    let port_ok = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    if host_ok && port_ok { Ok(full.strip_suffix('/').unwrap_or(&full).to_owned()) } else { Err(WORDS.to_owned()) }
}

/// The host in a text that [`url`] made.
pub(crate) fn url_host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    match rest.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None => rest.split(':').next().unwrap_or(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_take_units_and_nothing_else() {
        for (text, ms) in
            [("500ms", 500), ("30s", 30_000), ("1m30s", 90_000), ("24h", 86_400_000), ("1d2h3m4s5ms", 93_784_005)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(duration("60000").unwrap_err(), "60000 has no unit: 60s or 60000ms?");
        assert_eq!(duration("5").unwrap_err(), "5 has no unit: 5s or 5ms?");
        for text in ["", "s", "5x", "5 s", "-5s", "1.5s", "30s1m", "1s1s", "99999999999999999999s", "9999d", "5é"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_and_sizes_print_as_they_parse() {
        for text in ["500ms", "30s", "1m30s", "24h", "47h", "2d1h", "1h0s"] {
            let parsed = duration(text).unwrap();
            assert_eq!(duration(&show_duration(parsed)), Ok(parsed), "{text}");
        }
        assert_eq!(show_duration(Duration::from_secs(86_400)), "24h");
        for text in ["0B", "512B", "16KB", "256MB", "1GB", "1536KB"] {
            assert_eq!(show_size(size(text).unwrap()), text);
        }
        for text in ["", "KB", "1TB", "1", "99999999999GB", "1 KB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lists_cut_white_space_and_refuse_empty_items() {
        let items = |text: &str| Value::Written(text.to_owned()).items();
        assert_eq!(items("a , b,c"), Ok(vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]));
        assert_eq!(items(r#""a,b""#), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(items(r#""a", "b,c""#), Ok(vec!["a".to_owned(), "b,c".to_owned()]));
        assert_eq!(items(""), Ok(vec![]));
        assert_eq!(items("a,,b").unwrap_err(), "item 2 of the list is empty");
        assert_eq!(items("a,").unwrap_err(), "item 2 of the list is empty");
        assert!(items(r#""a"b"#).is_err());
    }

    #[test]
    fn quotes_take_two_escapes() {
        let text = |text: &str| Value::Written(text.to_owned()).text();
        assert_eq!(text(r#""a # \"b\" \\""#), Ok(r#"a # "b" \"#.to_owned()));
        for bad in [r#""a"#, r#""a\n""#, r#""a" b"#] {
            assert!(text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_of_servers_are_checked() {
        assert_eq!(url("10.0.0.1:2379"), Ok("http://10.0.0.1:2379".to_owned()));
        assert_eq!(url("https://[::1]:2379/"), Ok("https://[::1]:2379".to_owned()));
        assert_eq!(url_host("https://[::1]:2379"), "::1");
        assert_eq!(url_host("http://localhost"), "localhost");
        for bad in ["", "ftp://a", "http://", "http://a:0", "http://a:x", "http://u:p@a", "http://[::1", "http://a/b"] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }
}
