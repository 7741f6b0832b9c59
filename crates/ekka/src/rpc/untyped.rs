//! Calls whose method is known by its name only: JSON in, JSON out, as the admin interface makes them.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ekka_core::id::NodeId;
use ekka_core::rpc::Codec;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::builtin::INFO;
use super::context::Context;
use super::error::CallError;
use super::hub::Hub;
use super::request::{Call, Request};

/// Asks the node how the method is written, and calls it so.
pub(crate) async fn call_json(
    hub: Arc<Hub>,
    node: NodeId,
    method: &str,
    request: &Value,
    deadline: Duration,
) -> Result<Value, CallError> {
    let end = Instant::now() + deadline;
    let info = Call::new(hub.clone(), node, &INFO, &()).deadline(deadline).await?;
    let Some(found) = info.methods.iter().find(|known| known.name == method) else {
        let names: Vec<&str> = info.methods.iter().map(|known| known.name.as_str()).collect();
        let text = format!("{} has no method `{method}`; it has {}", info.name, names.join(", "));
        return Err(CallError::NoSuchMethod { node, text });
    };
    let mismatch = |text: String, ran| CallError::VersionMismatch { node, text, ran };
    let Some(codec) = codec_of(&found.codec) else {
        let text = format!("`{method}` is written as {}: JSON cannot be made into that, nor read from it", found.codec);
        return Err(mismatch(text, false));
    };
    let payload = encode(codec, request).map_err(|error| {
        mismatch(format!("the request cannot be written as {}, as `{method}` is: {error}", codec.as_str()), false)
    })?;
    let request = Request::untyped(hub, method.to_owned(), codec, payload, end - Instant::now());
    let answer = request.call(node, Context::current()).await?;
    decode(codec, &answer).map_err(|error| mismatch(format!("the answer of `{method}` is no JSON: {error}"), true))
}

/// The codecs that JSON can be made into.
fn codec_of(word: &str) -> Option<Codec> {
    [Codec::MessagePack, Codec::Json, Codec::Raw].into_iter().find(|codec| codec.as_str() == word)
}

fn encode(codec: Codec, value: &Value) -> Result<Vec<u8>, String> {
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

fn decode(codec: Codec, bytes: &[u8]) -> Result<Value, String> {
    match codec {
        Codec::MessagePack => rmp_serde::from_slice(bytes).map_err(|error| error.to_string()),
        Codec::Raw => Ok(match std::str::from_utf8(bytes) {
            Ok(text) => json!(text),
            Err(_) => json!({"base64": STANDARD.encode(bytes)}),
        }),
        Codec::Json | Codec::Postcard => serde_json::from_slice(bytes).map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
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
}
