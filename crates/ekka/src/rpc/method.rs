//! Methods and streams as constants: a name, the types on both sides, and how they are written.

use ekka_core::rpc::Codec;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::Coding;

/// A method: its name, what it is asked, and what it answers. A constant that caller and handler share.
///
/// ```
/// use ekka::rpc::Method;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct PriceRequest {
///     item: String,
/// }
///
/// const PRICE: Method<PriceRequest, u64> = Method::new("shop.price");
/// assert_eq!(PRICE.name(), "shop.price");
/// ```
pub struct Method<Q, A> {
    name: &'static str,
    codec: Codec,
    pub(super) request: Coding<Q>,
    pub(super) answer: Coding<A>,
}

impl<Q, A> Clone for Method<Q, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Q, A> Copy for Method<Q, A> {}

impl<Q, A> Method<Q, A> {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// How requests and answers are written.
    #[must_use]
    pub const fn codec(&self) -> Codec {
        self.codec
    }
}

impl<Q: Serialize + DeserializeOwned, A: Serialize + DeserializeOwned> Method<Q, A> {
    /// A method of this name: of `a-z0-9._-`, with the application's own prefix (`shop.price`). Requests and answers are
    /// `MessagePack` with the names of fields: a side that does not know a field skips it, and one that misses a field
    /// takes its `#[serde(default)]`.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, codec: Codec::MessagePack, request: Coding::message_pack(), answer: Coding::message_pack() }
    }

    /// The same in JSON.
    #[must_use]
    pub const fn json(self) -> Self {
        Self { name: self.name, codec: Codec::Json, request: Coding::json(), answer: Coding::json() }
    }

    /// The same in `postcard`: smaller and faster, but all nodes must have the very same types.
    #[must_use]
    pub const fn postcard(self) -> Self {
        Self { name: self.name, codec: Codec::Postcard, request: Coding::postcard(), answer: Coding::postcard() }
    }
}

impl Method<Vec<u8>, Vec<u8>> {
    /// A method whose requests and answers are bytes, carried as they are.
    #[must_use]
    pub const fn raw(name: &'static str) -> Self {
        Self { name, codec: Codec::Raw, request: Coding::raw(), answer: Coding::raw() }
    }
}

/// A stream of items from one node to a handler of another: a constant that both share.
pub struct Stream<T> {
    name: &'static str,
    codec: Codec,
    pub(super) item: Coding<T>,
}

impl<T> Clone for Stream<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Stream<T> {}

impl<T> Stream<T> {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// How items are written.
    #[must_use]
    pub const fn codec(&self) -> Codec {
        self.codec
    }
}

impl<T: Serialize + DeserializeOwned> Stream<T> {
    /// A stream of this name, named as methods are. Items are `MessagePack` with the names of fields.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, codec: Codec::MessagePack, item: Coding::message_pack() }
    }

    /// The same in JSON.
    #[must_use]
    pub const fn json(self) -> Self {
        Self { name: self.name, codec: Codec::Json, item: Coding::json() }
    }

    /// The same in `postcard`.
    #[must_use]
    pub const fn postcard(self) -> Self {
        Self { name: self.name, codec: Codec::Postcard, item: Coding::postcard() }
    }
}

impl Stream<Vec<u8>> {
    /// A stream whose items are bytes, carried as they are.
    #[must_use]
    pub const fn raw(name: &'static str) -> Self {
        Self { name, codec: Codec::Raw, item: Coding::raw() }
    }
}

/// Why a name cannot be that of a method, in words.
pub(super) fn name_problem(name: &str) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    if name.is_empty() || name.len() > ekka_core::limits::METHOD_NAME_MAX || !name.bytes().all(allowed) {
        let limit = ekka_core::limits::METHOD_NAME_MAX;
        return Some(format!(
            "`{name}` is not the name of a method: take 1 to {limit} of a-z, 0-9, `.`, `_`, `-`, as in shop.price"
        ));
    }
    None
}
