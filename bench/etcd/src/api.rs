//! The few calls of etcd's interface that the benchmark needs, as its documentation numbers them.

use std::time::Duration;

use anyhow::{Context, Result};
use prost::Message;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

/// Above the election of a leader on a machine that is busy.
const CALL_MAX: Duration = Duration::from_secs(30);

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Header {
    #[prost(uint64, tag = "2")]
    pub(crate) member_id: u64,
    #[prost(int64, tag = "3")]
    pub(crate) revision: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct PutResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
}

#[derive(Clone, PartialEq, Message)]
struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bool, tag = "7")]
    serializable: bool,
}

#[derive(Clone, PartialEq, Message)]
struct RangeResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct TxnRequest {
    #[prost(message, repeated, tag = "2")]
    success: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, Message)]
struct RequestOp {
    #[prost(message, optional, tag = "2")]
    put: Option<PutRequest>,
}

#[derive(Clone, PartialEq, Message)]
struct TxnResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
}

#[derive(Clone, PartialEq, Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

#[derive(Clone, PartialEq, Message)]
struct HashKvRequest {
    #[prost(int64, tag = "1")]
    revision: i64,
}

#[derive(Clone, PartialEq, Message)]
struct HashKvResponse {
    #[prost(uint32, tag = "2")]
    hash: u32,
}

/// How a read is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// By what a majority has.
    Linearizable,
    /// By what the asked member has.
    Serializable,
}

/// Who a member is, and whom it follows (0: nobody yet).
pub(crate) struct Status {
    pub(crate) member: u64,
    pub(crate) leader: u64,
}

/// A connection to one member, which clones share.
#[derive(Clone)]
pub(crate) struct Client {
    grpc: Grpc<Channel>,
}

impl Client {
    pub(crate) async fn connect(port: u16) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?.tcp_nodelay(true).timeout(CALL_MAX);
        Ok(Self { grpc: Grpc::new(endpoint.connect().await?) })
    }

    /// Gives the revision that the write made.
    pub(crate) async fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<i64> {
        let answer: PutResponse = self.call("/etcdserverpb.KV/Put", PutRequest { key, value }).await?;
        revision(answer.header.as_ref())
    }

    /// Writes several rows at once, and gives the revision that this made.
    pub(crate) async fn put_all(&mut self, rows: Vec<PutRequest>) -> Result<i64> {
        let success = rows.into_iter().map(|row| RequestOp { put: Some(row) }).collect();
        let answer: TxnResponse = self.call("/etcdserverpb.KV/Txn", TxnRequest { success }).await?;
        revision(answer.header.as_ref())
    }

    /// Whether there is such a row, and at which revision the answer was given.
    pub(crate) async fn get(&mut self, key: Vec<u8>, read: Read) -> Result<(bool, i64)> {
        let request = RangeRequest { key, serializable: read == Read::Serializable };
        let answer: RangeResponse = self.call("/etcdserverpb.KV/Range", request).await?;
        Ok((!answer.kvs.is_empty(), revision(answer.header.as_ref())?))
    }

    pub(crate) async fn status(&mut self) -> Result<Status> {
        let answer: StatusResponse = self.call("/etcdserverpb.Maintenance/Status", StatusRequest {}).await?;
        let header = answer.header.context("a status of etcd has no header")?;
        Ok(Status { member: header.member_id, leader: answer.leader })
    }

    /// Of all rows up to a revision.
    pub(crate) async fn hash(&mut self, revision: i64) -> Result<u32> {
        let answer: HashKvResponse = self.call("/etcdserverpb.Maintenance/HashKV", HashKvRequest { revision }).await?;
        Ok(answer.hash)
    }

    async fn call<Q, A>(&mut self, path: &'static str, request: Q) -> Result<A>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        self.grpc.ready().await?;
        let codec = ProstCodec::<Q, A>::default();
        let answer = self.grpc.unary(tonic::Request::new(request), PathAndQuery::from_static(path), codec).await;
        Ok(answer.with_context(|| format!("{path} failed"))?.into_inner())
    }
}

fn revision(header: Option<&Header>) -> Result<i64> {
    Ok(header.context("an answer of etcd has no header")?.revision)
}
