//! A term as the text that the `.conf` style would have, by the kind of its key.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::term::{Node, Term};
use crate::config::kind::Kind;
use crate::config::value::{Value, clip};

/// What a bare integer counts where a duration is expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unit {
    Milliseconds,
    Seconds,
}

/// Converts a term; the error says what is accepted.
pub(super) fn value(kind: Kind, node: &Node, unit: Unit) -> Result<Value, String> {
    let refused = || format!("{} stands there; {}", words(&node.term), kind.accepts());
    if kind.is_list() {
        let items = match &node.term {
            Term::List(items) => items.iter().map(|item| item_text(kind, item)).collect::<Option<Vec<_>>>(),
            Term::Str(text) if text.is_empty() => Some(Vec::new()),
            _ => item_text(kind, node).map(|text| vec![text]),
        };
        return items.map(Value::List).ok_or_else(refused);
    }
    let text = match (kind, &node.term) {
        (Kind::Duration(_) | Kind::Switch { .. }, Term::Int(0)) => "0".to_owned(),
        (Kind::Duration(_) | Kind::Switch { .. }, Term::Int(n)) => match unit {
            Unit::Milliseconds => format!("{n}ms"),
            Unit::Seconds => format!("{n}s"),
        },
        (Kind::Size | Kind::SizeOrAuto, Term::Int(n)) => format!("{n}B"),
        (Kind::Ip | Kind::Multicast, Term::Tuple(items)) => address(items).ok_or_else(refused)?.to_string(),
        // The empty list is the empty string.
        (_, Term::List(items)) if items.is_empty() => String::new(),
        (_, term) => scalar(term).ok_or_else(refused)?,
    };
    Ok(Value::Text(text))
}

fn item_text(kind: Kind, node: &Node) -> Option<String> {
    match (kind, &node.term) {
        (Kind::Tags, Term::Tuple(items)) => match items.as_slice() {
            [key, text] => Some(format!("{}={}", scalar(&key.term)?, scalar(&text.term)?)),
            _ => None,
        },
        (Kind::SomeOf(_), term @ (Term::Atom(_) | Term::Str(_))) => scalar(term),
        (Kind::SomeOf(_), _) => None,
        (_, term) => scalar(term),
    }
}

fn scalar(term: &Term) -> Option<String> {
    match term {
        Term::Atom(text) | Term::Str(text) => Some(text.clone()),
        Term::Int(n) => Some(n.to_string()),
        Term::Float(_) | Term::Tuple(_) | Term::List(_) | Term::Map => None,
    }
}

/// `{127,0,0,1}` or eight numbers.
fn address(items: &[Node]) -> Option<IpAddr> {
    let number = |node: &Node| match node.term {
        Term::Int(n) => u16::try_from(n).ok(),
        Term::Atom(_) | Term::Str(_) | Term::Float(_) | Term::Tuple(_) | Term::List(_) | Term::Map => None,
    };
    let numbers = items.iter().map(number).collect::<Option<Vec<u16>>>()?;
    if let Ok(parts) = <[u16; 8]>::try_from(numbers.as_slice()) {
        return Some(Ipv6Addr::from(parts).into());
    }
    let bytes = numbers.into_iter().map(|n| u8::try_from(n).ok()).collect::<Option<Vec<u8>>>()?;
    <[u8; 4]>::try_from(bytes).ok().map(|bytes| Ipv4Addr::from(bytes).into())
}

fn words(term: &Term) -> String {
    match term {
        Term::Atom(text) | Term::Str(text) => format!("`{}`", clip(text)),
        Term::Int(n) => format!("`{n}`"),
        Term::Float(n) => format!("`{n}`"),
        Term::Tuple(_) => "a tuple".to_owned(),
        Term::List(_) => "a list with something else than single values".to_owned(),
        Term::Map => "a map".to_owned(),
    }
}
