//! One line of a watch, and what it changes.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::addresses::{Address, of_endpoints, of_slice};
use super::failure::Failure;
use super::list::Source;
use super::objects::{EndpointSlice, Endpoints, Meta, Metadata, NAME_MAX, Status, WatchEvent};
use super::speaker::Speaker;

/// What a line says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// An object is new, or another one than before.
    Put { object: String, addresses: Vec<Address>, version: String },
    /// An object is gone.
    Removed { object: String, version: String },
    /// All up to here has been told.
    Bookmark { version: String },
    /// A kind of event that later versions may have.
    Unknown,
}

/// Reads a line.
///
/// # Errors
/// The server ends the watch by it, or it is no event.
pub(super) fn read(server: &Speaker, source: Source, line: &[u8]) -> Result<Change, Failure> {
    let event: WatchEvent<Value> = parsed(server, serde_json::from_slice(line))?;
    match event.kind.as_str() {
        "ADDED" | "MODIFIED" => put(server, source, event.object),
        "DELETED" => {
            let (object, version) = named(server, parsed::<Meta>(server, from(event.object))?.metadata)?;
            Ok(Change::Removed { object, version })
        }
        "BOOKMARK" => {
            let meta: Meta = parsed(server, from(event.object))?;
            Ok(Change::Bookmark { version: versioned(server, meta.metadata.resource_version)? })
        }
        "ERROR" => Err(ended(server, &from(event.object).unwrap_or_default())),
        _ => Ok(Change::Unknown),
    }
}

fn put(server: &Speaker, source: Source, object: Value) -> Result<Change, Failure> {
    let (metadata, addresses) = match source {
        Source::Slices => {
            let mut slice: EndpointSlice = parsed(server, from(object))?;
            (std::mem::take(&mut slice.metadata), of_slice(slice))
        }
        Source::Endpoints => {
            let mut endpoints: Endpoints = parsed(server, from(object))?;
            (std::mem::take(&mut endpoints.metadata), of_endpoints(endpoints))
        }
    };
    let (object, version) = named(server, metadata)?;
    Ok(Change::Put { object, addresses, version })
}

/// Name and version, which each object of an API server has.
fn named(server: &Speaker, metadata: Metadata) -> Result<(String, String), Failure> {
    if metadata.name.is_empty() {
        return Err(Failure::Odd(format!("{server}: a line of the watch names no object")));
    }
    if metadata.name.len() > NAME_MAX {
        let why = format!("{server}: a line of the watch names an object with more than {NAME_MAX} bytes");
        return Err(Failure::Odd(why));
    }
    Ok((metadata.name, versioned(server, metadata.resource_version)?))
}

/// Without a version a watch could not go on from here.
fn versioned(server: &Speaker, version: String) -> Result<String, Failure> {
    if version.is_empty() {
        return Err(Failure::Odd(format!("{server}: a line of the watch has no resourceVersion")));
    }
    Ok(version)
}

fn from<T: DeserializeOwned>(object: Value) -> serde_json::Result<T> {
    serde_json::from_value(object)
}

fn parsed<T>(server: &Speaker, read: serde_json::Result<T>) -> Result<T, Failure> {
    read.map_err(|error| {
        Failure::Odd(format!("{server}: a line of the watch is not read: {}", server.words(&error.to_string())))
    })
}

/// A watch whose beginning is too old ends with 410 in a line, under status 200.
fn ended(server: &Speaker, status: &Status) -> Failure {
    let said = server.words(&status.message);
    match status.code {
        410 => {
            Failure::Gone(format!("{server}: the watch began too far back (410 Gone: {said}): the list begins anew"))
        }
        code => Failure::Unreachable(format!("{server} ended the watch ({code}: {said})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Change, Failure> {
        read(&Speaker::new("https://api".into(), Some("secret".into())), Source::Slices, text.as_bytes())
    }

    #[test]
    fn lines_say_what_changed() {
        let added = line(
            r#"{"type": "ADDED", "object": {"metadata": {"name": "ekka-x", "resourceVersion": "7"},
                "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": false}}]}}"#,
        );
        let Ok(Change::Put { object, addresses, version }) = added else { panic!("{added:?}") };
        assert_eq!((object.as_str(), version.as_str(), addresses.len(), addresses[0].ready), ("ekka-x", "7", 1, false));
        let deleted =
            line(r#"{"type": "DELETED", "object": {"metadata": {"name": "ekka-x", "resourceVersion": "8"}}}"#);
        assert_eq!(deleted, Ok(Change::Removed { object: "ekka-x".into(), version: "8".into() }));
        let bookmark = line(r#"{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}}"#);
        assert_eq!(bookmark, Ok(Change::Bookmark { version: "9".into() }));
        assert_eq!(line(r#"{"type": "LATER", "object": null}"#), Ok(Change::Unknown));
    }

    #[test]
    fn an_error_line_of_410_begins_the_list_anew() {
        let gone = line(r#"{"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old: 1 (9)"}}"#);
        assert!(matches!(&gone, Err(Failure::Gone(text)) if text.contains("too old: 1 (9)")), "{gone:?}");
        assert!(matches!(line(r#"{"type": "ERROR", "object": null}"#), Err(Failure::Unreachable(_))));
        assert!(matches!(line("{"), Err(Failure::Odd(_))));
    }

    #[test]
    fn a_token_in_a_line_is_not_shown() {
        for text in [r#"{"type": "ERROR", "object": {"code": 500, "message": "who is secret?"}}"#, r#""secret""#] {
            let said = line(text).expect_err(text).to_string();
            assert!(said.contains("(the token)") && !said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn what_is_no_object_of_an_api_server_ends_the_watch() {
        for kind in ["ADDED", "MODIFIED", "DELETED", "BOOKMARK"] {
            for object in ["{}", r#"{"metadata": {"name": "ekka-x"}}"#] {
                let read = line(&format!(r#"{{"type": "{kind}", "object": {object}}}"#));
                assert!(matches!(read, Err(Failure::Odd(_))), "{kind} {object}: {read:?}");
            }
        }
    }

    #[test]
    fn an_object_whose_name_is_too_long_ends_the_watch() {
        for kind in ["ADDED", "MODIFIED", "DELETED"] {
            let named = |bytes: usize| {
                let metadata = format!(r#"{{"name": "{}", "resourceVersion": "7"}}"#, "x".repeat(bytes));
                line(&format!(r#"{{"type": "{kind}", "object": {{"metadata": {metadata}}}}}"#))
            };
            assert!(named(NAME_MAX).is_ok() && matches!(named(NAME_MAX + 1), Err(Failure::Odd(_))), "{kind}");
        }
    }
}
