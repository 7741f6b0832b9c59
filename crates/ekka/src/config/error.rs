//! Where a value came from, and what is wrong with it.

use std::fmt;
use std::path::PathBuf;

/// Where a value was given.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    /// A file; the line counts from 1, and is `None` where the file as a whole is meant.
    File {
        /// The path as it was given.
        path: PathBuf,
        /// The line.
        line: Option<u32>,
    },
    /// An environment variable, by its name.
    Env(String),
    /// `--set`
    Set,
    /// `--name`
    Name,
    /// [`ConfigBuilder`](super::ConfigBuilder)
    Builder,
    /// Nobody gave it: the default holds.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Env(name) => f.write_str(name),
            Self::Set => f.write_str("--set"),
            Self::Name => f.write_str("--name"),
            Self::Builder => f.write_str("builder"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One thing that is wrong: where, which key, what was found, and what is accepted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{place}: {text}")]
pub struct ConfigError {
    /// Where.
    pub place: Place,
    /// The key as it is called in `docs/configuration.md`, or as it was written where it is unknown. `None`: the line
    /// or the file has no key.
    pub key: Option<String>,
    /// What was found and what is accepted.
    pub text: String,
}

/// Everything that is wrong with a configuration, in the order of the places; never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// Wraps the errors in the order of their places; `None` where there are none.
    pub(crate) fn new(mut errors: Vec<ConfigError>) -> Option<Self> {
        errors.sort_by(|a, b| a.place.cmp(&b.place));
        errors.dedup();
        (!errors.is_empty()).then_some(Self(errors))
    }

    /// Each error.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a ConfigErrors {
    type Item = &'a ConfigError;
    type IntoIter = std::slice::Iter<'a, ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Something that the operator is to know, and that stops nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// Where.
    pub place: Place,
    /// What.
    pub text: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}
