//! How values become bytes and come back, one pair of functions for each codec and type: for calls, and for tables.

pub(crate) mod json;
mod strict;
pub(crate) mod time;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// How values of one type are written and read. Errors are words.
pub(crate) struct Coding<T> {
    pub(crate) encode: fn(&T) -> Result<Vec<u8>, String>,
    pub(crate) decode: fn(&[u8]) -> Result<T, String>,
}

impl<T> Clone for Coding<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Coding<T> {}

impl<T: Serialize + DeserializeOwned> Coding<T> {
    pub(crate) const fn message_pack() -> Self {
        Self {
            encode: |value| rmp_serde::to_vec_named(value).map_err(|error| error.to_string()),
            decode: from_message_pack,
        }
    }

    pub(crate) const fn json() -> Self {
        Self {
            encode: |value| serde_json::to_vec(value).map_err(|error| error.to_string()),
            decode: |bytes| serde_json::from_slice(bytes).map_err(|error| error.to_string()),
        }
    }

    pub(crate) const fn postcard() -> Self {
        Self {
            encode: |value| postcard::to_allocvec(value).map_err(|error| error.to_string()),
            decode: |bytes| postcard::from_bytes(bytes).map_err(|error| error.to_string()),
        }
    }
}

impl Coding<Vec<u8>> {
    pub(crate) const fn raw() -> Self {
        Self { encode: |bytes| Ok(bytes.clone()), decode: |bytes| Ok(bytes.to_vec()) }
    }
}

/// How deep a value may be nested. JSON takes as much; without a bound bytes of a peer would use up the stack.
const DEPTH_MAX: usize = 128;

/// Reads `MessagePack`.
pub(crate) fn from_message_pack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
    reader.set_max_depth(DEPTH_MAX);
    T::deserialize(&mut reader).map_err(|error| error.to_string())
}

/// A whole number as values of a codec are; that of tables of counters.
pub(crate) fn number_as(codec: &str, number: i64) -> Vec<u8> {
    let encode = match codec {
        "json" => Coding::<i64>::json().encode,
        "postcard" => Coding::<i64>::postcard().encode,
        _ => Coding::<i64>::message_pack().encode,
    };
    encode(&number).expect("every codec has whole numbers")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Old {
        item: String,
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct New {
        item: String,
        #[serde(default)]
        count: u32,
    }

    #[test]
    fn an_added_field_is_tolerated_in_both_directions() {
        let (old, new) = (Coding::<Old>::message_pack(), Coding::<New>::message_pack());
        let written = (new.encode)(&New { item: "bolt".into(), count: 3 }).unwrap();
        assert_eq!((old.decode)(&written), Ok(Old { item: "bolt".into() }));
        let written = (old.encode)(&Old { item: "bolt".into() }).unwrap();
        assert_eq!((new.decode)(&written), Ok(New { item: "bolt".into(), count: 0 }));
    }

    #[test]
    fn a_value_that_is_nested_too_deep_is_none() {
        let nested = |depth: usize| [vec![0x91; depth], vec![0xc0]].concat();
        assert!(from_message_pack::<serde_json::Value>(&nested(100)).is_ok());
        for depth in [200, 1_000, 100_000] {
            let error = from_message_pack::<serde_json::Value>(&nested(depth)).unwrap_err();
            assert!(error.contains("depth"), "{error}");
        }
    }

    #[test]
    fn what_is_no_value_is_an_error_in_words() {
        assert!((Coding::<Old>::message_pack().decode)(&[0xc1]).is_err());
        assert!((Coding::<Old>::json().decode)(b"{}").unwrap_err().contains("item"));
        assert!((Coding::<Old>::postcard().decode)(&[9]).is_err());
        assert_eq!((Coding::raw().decode)(&[9]), Ok(vec![9]));
    }
}
