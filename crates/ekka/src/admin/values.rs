//! Keys and values of tables, from JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::codec::json::{codec_of, encode};

/// The bytes of a text, or of `{"base64": …}`.
///
/// # Errors
/// It is neither, in words.
pub(super) fn bytes_of_text(what: &str, value: &Value) -> Result<Vec<u8>, String> {
    let wrong = || format!("the {what} is {value}: write a text, or {{\"base64\": \"…\"}}");
    match value {
        Value::String(text) => Ok(text.clone().into_bytes()),
        value => {
            let text = value.get("base64").and_then(Value::as_str).ok_or_else(wrong)?;
            STANDARD.decode(text).map_err(|error| format!("the {what} is no base64: {error}"))
        }
    }
}

/// The bytes of a value for a table with this codec.
///
/// # Errors
/// It cannot be written so, in words.
pub(super) fn bytes_of_value(codec: &str, value: &Value) -> Result<Vec<u8>, String> {
    match codec_of(codec) {
        Some(codec) => {
            encode(codec, value).map_err(|error| format!("the value cannot be written as {}: {error}", codec.as_str()))
        }
        None => bytes_of_text(&format!("value (the codec is {codec})"), value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::codec::json::{Shown, shown, text, value_of};

    /// The bytes that come back where a value is printed, and written again as `table import` does.
    fn again(codec: &str, bytes: &[u8]) -> Vec<u8> {
        let Shown { value, encoded } = shown(codec, bytes);
        let again = if encoded { bytes_of_text("value", &value) } else { bytes_of_value(codec, &value) };
        again.unwrap()
    }

    #[test]
    fn what_is_printed_comes_back_as_the_same_bytes_in_each_codec() {
        let object = json!({"base64": "/w=="});
        // An object that looks like bytes, bytes in MessagePack, a map with a number for a key, no text, and nothing.
        let json_bytes = serde_json::to_vec(&object).unwrap();
        let named = rmp_serde::to_vec_named(&object).unwrap();
        let numbered = rmp_serde::to_vec(&std::collections::BTreeMap::from([(7, "bolt")])).unwrap();
        for bytes in
            [&json_bytes[..], &named, &numbered, &[0xc4, 2, 1, 255], &[0xc1, 0xff], &[0xff], b"text", b"7", b""]
        {
            for codec in ["json", "messagepack", "raw", "postcard"] {
                // `text` begins with a whole value of MessagePack.
                assert_eq!(again(codec, bytes), bytes, "{codec}: {}", value_of(codec, bytes));
            }
        }
        assert_eq!((shown("json", &json_bytes).encoded, shown("json", &[0xff]).encoded), (false, true));
    }

    #[test]
    fn values_go_through_the_codec_of_their_table_and_bytes_are_never_lost() {
        let value = json!({"name": "bolt", "count": 3});
        for codec in ["messagepack", "json"] {
            assert_eq!(value_of(codec, &bytes_of_value(codec, &value).unwrap()), value);
        }
        for codec in ["messagepack", "json", "raw", "postcard"] {
            assert_eq!(value_of(codec, &[0xc1, 0xff]), json!({"base64": "wf8="}), "{codec}");
        }
        assert_eq!(bytes_of_value("postcard", &json!({"base64": "wf8="})), Ok(vec![0xc1, 0xff]));
        assert!(
            bytes_of_value("raw", &json!(7)).is_err() && bytes_of_text("key", &json!(7)).unwrap_err().contains('7')
        );
        assert_eq!(bytes_of_text("key", &text(b"abc")), Ok(b"abc".to_vec()));
        assert_eq!(bytes_of_text("key", &text(&[255])), Ok(vec![255]));
    }
}
