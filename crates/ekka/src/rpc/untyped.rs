//! Calls whose method is known by its name only: JSON in, JSON out, as the admin interface makes them.

use std::sync::Arc;
use std::time::Duration;

use ekka_core::id::NodeId;
use serde_json::Value;
use tokio::time::Instant;

use super::builtin::INFO;
use super::context::Context;
use super::error::CallError;
use super::hub::Hub;
use super::request::{Call, Request};
use crate::codec::json::{codec_of, decode, encode};

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
