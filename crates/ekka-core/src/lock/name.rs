//! Names of locks.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::LOCK_NAME_MAX;

/// The name of a lock: 1 to [`LOCK_NAME_MAX`] bytes of UTF-8 without control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LockName(String);

/// Why a text names no lock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BadName {
    /// It has no characters.
    Empty,
    /// It has this many bytes.
    TooLong(usize),
    /// This character is in it.
    Control(char),
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "a lock's name is empty: it has 1 to {LOCK_NAME_MAX} bytes"),
            Self::TooLong(bytes) => write!(f, "a lock's name has {bytes} bytes: it has 1 to {LOCK_NAME_MAX}"),
            Self::Control(found) => write!(f, "a lock's name holds the control character {found:?}"),
        }
    }
}

impl core::error::Error for BadName {}

impl LockName {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for LockName {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        if text.is_empty() {
            return Err(BadName::Empty);
        }
        if text.len() > LOCK_NAME_MAX {
            return Err(BadName::TooLong(text.len()));
        }
        match text.chars().find(|c| c.is_control()) {
            Some(found) => Err(BadName::Control(found)),
            None => Ok(Self(text)),
        }
    }
}

impl core::str::FromStr for LockName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        Self::try_from(String::from(text))
    }
}

impl From<LockName> for String {
    fn from(name: LockName) -> Self {
        name.0
    }
}

impl fmt::Display for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_names_are_told_apart() {
        let parse = |text: &str| text.parse::<LockName>();
        assert_eq!(parse(""), Err(BadName::Empty));
        assert_eq!(parse(&"x".repeat(LOCK_NAME_MAX + 1)), Err(BadName::TooLong(LOCK_NAME_MAX + 1)));
        assert_eq!(parse("a\nb"), Err(BadName::Control('\n')));
        for good in ["billing", "täglich/2026-11-28", &"x".repeat(LOCK_NAME_MAX)] {
            assert_eq!(parse(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn a_bad_name_does_not_come_in_by_the_wire_either() {
        let bytes = postcard::to_allocvec("").unwrap();
        assert!(postcard::from_bytes::<LockName>(&bytes).is_err());
    }
}
