//! The methods that every node serves.

use ekka_core::id::Incarnation;
use serde::{Deserialize, Serialize};

use super::handlers::{Caller, Handlers};
use super::method::Method;

/// Asks nothing and answers nothing: how long is the way to a node and back?
pub const PING: Method<(), ()> = Method::new("ekka.ping");

/// Answers what it is asked: what does it cost to carry so many bytes?
pub const ECHO: Method<Vec<u8>, Vec<u8>> = Method::raw("ekka.echo");

/// Who a node is, and what can be called there.
pub const INFO: Method<(), Info> = Method::new("ekka.info");

/// Who a node is, and what can be called there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Info {
    /// Its name.
    pub name: String,
    /// Who it is.
    pub node_id: String,
    /// Which start of it.
    pub guid: String,
    /// The version of its software.
    pub version: String,
    /// What it serves.
    pub methods: Vec<MethodInfo>,
}

/// One method of a node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MethodInfo {
    /// Its name.
    pub name: String,
    /// How requests and answers are written: `messagepack`, `json`, `postcard`, `raw`.
    pub codec: String,
}

/// Whether programs are told of a method: not of what nodes ask of each other.
pub(super) fn is_told(name: &str) -> bool {
    !name.starts_with("ekka.") || [PING.name(), ECHO.name(), INFO.name()].contains(&name)
}

/// Adds the methods of every node to those of the application. `who` says which start of which node answers: one that
/// was declared gone goes on under a new guid.
pub(super) fn add(handlers: Handlers, who: impl Fn() -> (Incarnation, String) + Send + Sync + 'static) -> Handlers {
    let handlers = handlers.serve(&PING, async |_: Caller, ()| Ok(()));
    let handlers = handlers.serve(&ECHO, async |_: Caller, bytes| Ok(bytes));
    let of = |(name, codec): (&str, &str)| MethodInfo { name: name.to_owned(), codec: codec.to_owned() };
    let mut methods: Vec<MethodInfo> =
        handlers.methods.iter().map(|(name, handler)| of((name, handler.codec.as_str()))).collect();
    methods.push(of((INFO.name(), INFO.codec().as_str())));
    methods.sort_by(|a, b| a.name.cmp(&b.name));
    handlers.serve(&INFO, move |_: Caller, ()| {
        let (me, name) = who();
        let info = Info {
            name,
            node_id: me.node_id.to_string(),
            guid: me.guid.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            methods: methods.clone(),
        };
        async move { Ok(info) }
    })
}
