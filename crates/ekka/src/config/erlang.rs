//! The `.config` style: Erlang terms.
use std::path::Path;

use super::error::{ConfigError, Notice, Place};
use super::raw::Entry;

/// Reads a file.
pub(crate) fn parse(path: &Path, _: &str, errors: &mut Vec<ConfigError>, _: &mut Vec<Notice>) -> Vec<Entry> {
    let place = Place::File { path: path.to_owned(), line: None };
    errors.push(ConfigError { place, key: None, text: "Erlang terms are not read yet; write a .conf file".to_owned() });
    Vec::new()
}
