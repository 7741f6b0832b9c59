//! Calls, as the handle of a node makes them.

use ekka_core::id::NodeId;

use super::Node;
use crate::rpc::{Call, Cast, Method, Multicall, OpenStream, Stream};

impl Node {
    /// Calls a method of a node, of this one too. The call is made when it is awaited; dropping its future cancels the
    /// work at the other side. *Cancel safe* in that nothing is left behind, but what the handler did until then stays
    /// done.
    ///
    /// The future gives the answer, or a [`CallError`](crate::rpc::CallError): see its `outcome_unknown` and
    /// `is_retryable` for what to do.
    pub fn call<Q, A>(&self, node: NodeId, method: &Method<Q, A>, request: &Q) -> Call<A> {
        Call::new(self.inner.calls.clone(), node, method, request)
    }

    /// Sends a request that nobody answers. The future ends when the request is on its way; it waits while the window
    /// of that peer is full.
    pub fn cast<Q, A>(&self, node: NodeId, method: &Method<Q, A>, request: &Q) -> Cast {
        Cast::new(self.inner.calls.clone(), node, method, request)
    }

    /// Calls a method of many nodes at once. Gives every result, each with its own error, in the order of the nodes.
    pub fn multicall<Q, A>(
        &self,
        nodes: impl IntoIterator<Item = NodeId>,
        method: &Method<Q, A>,
        request: &Q,
    ) -> Multicall<A> {
        Multicall::new(self.inner.calls.clone(), nodes.into_iter().collect(), method, request)
    }

    /// Opens a stream of items to a node. It ends with the connection under it, and then says how far the receiver had
    /// come; nothing is sent twice.
    pub fn stream<T>(&self, node: NodeId, stream: &Stream<T>) -> OpenStream<T> {
        OpenStream::new(self.inner.calls.clone(), node, stream)
    }

    /// Calls a method that is known by its name only: JSON in, JSON out, for methods in `messagepack`, `json` and `raw`
    /// (a text, or `{"base64": …}`).
    ///
    /// # Errors
    /// As a call; `VersionMismatch` where JSON cannot be made into the method's request.
    #[cfg(feature = "admin")]
    pub async fn call_json(
        &self,
        node: NodeId,
        method: &str,
        request: &serde_json::Value,
        deadline: std::time::Duration,
    ) -> Result<serde_json::Value, crate::rpc::CallError> {
        crate::rpc::call_json(self.inner.calls.clone(), node, method, request, deadline).await
    }
}
