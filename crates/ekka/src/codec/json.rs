//! Values whose types are not known, as JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ekka_core::rpc::Codec;
use ekka_core::schema::{MergeRule, Schema, Shape};
use serde::Deserialize;
use serde_json::{Value, json};

use super::strict::{Strict, has_long_number};

/// The codecs that JSON can be made into.
pub(crate) fn codec_of(word: &str) -> Option<Codec> {
    [Codec::MessagePack, Codec::Json, Codec::Raw].into_iter().find(|codec| codec.as_str() == word)
}

/// The bytes of a value.
///
/// # Errors
/// It cannot be written so, in words.
#[cfg(any(feature = "admin", test))]
pub(crate) fn encode(codec: Codec, value: &Value) -> Result<Vec<u8>, String> {
    match codec {
        Codec::MessagePack => rmp_serde::to_vec_named(value).map_err(|error| error.to_string()),
        Codec::Raw => match value {
            Value::Null => Ok(Vec::new()),
            Value::String(text) => Ok(text.clone().into_bytes()),
            value => match value.get("base64").and_then(Value::as_str) {
                Some(text) => STANDARD.decode(text).map_err(|error| error.to_string()),
                None => Err("write a text, or {\"base64\": \"…\"}".to_owned()),
            },
        },
        Codec::Json | Codec::Postcard => serde_json::to_vec(value).map_err(|error| error.to_string()),
    }
}

/// The value of bytes.
///
/// # Errors
/// They are none that can be said in JSON, in words.
#[cfg(any(feature = "admin", test))]
pub(crate) fn decode(codec: Codec, bytes: &[u8]) -> Result<Value, String> {
    match codec {
        Codec::MessagePack => super::from_message_pack(bytes),
        Codec::Raw => Ok(text(bytes)),
        Codec::Json | Codec::Postcard => serde_json::from_slice(bytes).map_err(|error| error.to_string()),
    }
}

/// A value as it is shown.
pub(crate) struct Shown {
    pub(crate) value: Value,
    /// It is `{"base64": …}` because JSON cannot say it, where an object of that form is a value too. Then only a mark beside
    /// it tells the two from each other.
    pub(crate) encoded: bool,
}

/// The value of bytes of the codec of this name, or `{"base64": …}` where they are none.
pub(crate) fn shown(codec: &str, bytes: &[u8]) -> Shown {
    let codec = codec_of(codec);
    match codec.and_then(|codec| said(codec, bytes)) {
        Some(value) => Shown { value, encoded: false },
        None => Shown { value: base64(bytes), encoded: codec.is_some() },
    }
}

/// The same without the mark.
pub(crate) fn value_of(codec: &str, bytes: &[u8]) -> Value {
    shown(codec, bytes).value
}

/// The value of one version of a row: of a counter, the number that its eight bytes are.
pub(crate) fn shown_in(schema: &Schema, bytes: &[u8]) -> Shown {
    let is_counter = schema.shape != Shape::Bag && matches!(schema.merge, MergeRule::Max | MergeRule::Sum);
    match bytes.try_into() {
        Ok(eight) if is_counter => Shown { value: json!(i64::from_le_bytes(eight)), encoded: false },
        _ => shown(&schema.codec, bytes),
    }
}

/// The value of bytes that are one, and nothing else, where JSON says it as it is. All bytes are one of the codec `raw`.
fn said(codec: Codec, bytes: &[u8]) -> Option<Value> {
    match codec {
        Codec::MessagePack => {
            // Bytes behind the value would be left out, and lost where it is written again.
            let mut rest = bytes;
            let mut reader = rmp_serde::Deserializer::new(&mut rest);
            reader.set_max_depth(super::DEPTH_MAX);
            let Strict(value) = Strict::deserialize(&mut reader).ok()?;
            rest.is_empty().then_some(value)
        }
        Codec::Raw => Some(text(bytes)),
        Codec::Json | Codec::Postcard => {
            let Strict(value) = serde_json::from_slice(bytes).ok()?;
            (!has_long_number(bytes)).then_some(value)
        }
    }
}

/// Bytes as a text, or `{"base64": …}` where they are none.
pub(crate) fn text(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or_else(|_| base64(bytes), |text| json!(text))
}

fn base64(bytes: &[u8]) -> Value {
    json!({"base64": STANDARD.encode(bytes)})
}

#[cfg(test)]
mod tests {
    use ekka_core::schema::Kind;

    use super::*;

    #[test]
    fn json_goes_through_every_codec_that_can_carry_it() {
        let value = json!({"item": "bolt", "count": 6, "price": 1.5, "tags": [null, true]});
        for codec in [Codec::MessagePack, Codec::Json] {
            assert_eq!(decode(codec, &encode(codec, &value).unwrap()), Ok(value.clone()), "{}", codec.as_str());
        }
        for raw in [json!("text"), json!({"base64": "/w=="})] {
            assert_eq!(decode(Codec::Raw, &encode(Codec::Raw, &raw).unwrap()), Ok(raw));
        }
        assert!(encode(Codec::Raw, &json!(7)).unwrap_err().contains("base64"));
        assert_eq!(codec_of("postcard"), None);
    }

    #[test]
    fn what_json_would_change_is_marked() {
        let message_pack = |value: &f64| rmp_serde::to_vec_named(value).unwrap();
        let twice = [0x82, 0xa1, b'a', 1, 0xa1, b'a', 2];
        for bytes in [&message_pack(&f64::NAN)[..], &message_pack(&f64::INFINITY)[..], &twice[..]] {
            assert!(shown("messagepack", bytes).encoded, "{bytes:?}");
        }
        for bytes in ["340282366920938463463374607431768211455", "{\"a\":1,\"a\":2}"] {
            assert!(shown("json", bytes.as_bytes()).encoded, "{bytes}");
        }
        let plain = json!({"a": [1.5, -3, u64::MAX, null, true, "text"]});
        for codec in [Codec::MessagePack, Codec::Json] {
            let bytes = encode(codec, &plain).unwrap();
            let Shown { value, encoded } = shown(codec.as_str(), &bytes);
            assert_eq!((value, encoded), (plain.clone(), false));
        }
    }

    #[test]
    fn the_eight_bytes_of_a_counter_are_a_number_and_those_of_other_tables_are_none() {
        let raw = Schema { codec: "raw".into(), ..Schema::new("t", Kind::Available) };
        let bytes = 0x6162_i64.to_le_bytes();
        assert_eq!(shown_in(&Schema { merge: MergeRule::Sum, ..raw.clone() }, &bytes).value, json!(0x6162));
        assert_eq!(shown_in(&raw, &bytes).value, json!("ba\0\0\0\0\0\0"));
    }
}
