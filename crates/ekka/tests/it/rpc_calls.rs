//! Calls between real nodes: values, errors, order, deadlines, cancellation.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::rpc_support::{self, Cluster, LONG, within};
use ekka::rpc::{self, CallError, Caller, HandlerError, Handlers, Method};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Order {
    item: String,
    count: u32,
}

const TOTAL: Method<Order, u64> = Method::new("shop.total");
const ECHO: Method<Vec<u8>, Vec<u8>> = Method::raw("test.echo");
const WHO: Method<(), String> = Method::new("test.who").json();
const FAIL: Method<u32, ()> = Method::new("test.fail").postcard();
const HANG: Method<u32, ()> = Method::new("test.hang");
const STEP: Method<u32, ()> = Method::new("test.step");
const LEFT: Method<(), u64> = Method::new("test.left");

/// What most tests call.
fn handlers() -> Handlers {
    Handlers::new()
        .serve(&TOTAL, async |_: Caller, order: Order| Ok(u64::from(order.count) * 7))
        .serve(&ECHO, async |_: Caller, bytes| Ok(bytes))
        .serve(&WHO, async |caller: Caller, ()| Ok(caller.name().to_string()))
        .serve(&FAIL, async |_: Caller, how: u32| match how {
            0 => Err(HandlerError::new("out of bolts")),
            1 => Err("x".parse::<u32>().expect_err("it is no number"))?,
            _ => panic!("a broken handler"),
        })
        .serve_as_task(&LEFT, async |caller: Caller, ()| {
            Ok(u64::try_from(caller.time_left().as_millis()).unwrap_or(u64::MAX))
        })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_reach_every_node_and_their_errors_say_what_happened() {
    let cluster = Cluster::of(vec![handlers(), handlers(), Handlers::new()]).await;
    let node = &cluster.nodes[0];
    let order = Order { item: "bolt".into(), count: 6 };
    // To another node, and to itself, by the same rules.
    for target in [cluster.id(1), cluster.id(0)] {
        assert_eq!(node.call(target, &TOTAL, &order).await, Ok(42));
        assert_eq!(node.call(target, &WHO, &()).await.as_deref(), Ok(node.view().name.to_string().as_str()));
        for (how, words) in [(0, "out of bolts"), (1, "invalid digit"), (2, "panicked: a broken handler")] {
            let error = node.call(target, &FAIL, &how).await.expect_err("it fails");
            assert!(matches!(error, CallError::HandlerFailed { .. }) && error.to_string().contains(words), "{error}");
            assert!(!error.outcome_unknown() && !error.is_retryable());
        }
        assert_eq!(node.call(target, &TOTAL, &order).await, Ok(42), "a panic ends nothing else");
    }
    let error = node.call(cluster.id(2), &TOTAL, &order).await.expect_err("no such method");
    assert!(matches!(error, CallError::NoSuchMethod { .. }), "{error:?}");
    assert!(error.to_string().contains("there are ekka.echo, ekka.info, ekka.ping"), "{error}");
    assert_eq!(error.node(), cluster.id(2));

    // The same name with another codec, and with another type.
    let other_codec: Method<Order, u64> = Method::new("shop.total").json();
    let error = node.call(cluster.id(1), &other_codec, &order).await.expect_err("another codec");
    assert!(matches!(error, CallError::VersionMismatch { ran: false, .. }), "{error:?}");
    let other_request: Method<u8, u64> = Method::new("shop.total");
    let error = node.call(cluster.id(1), &other_request, &7).await.expect_err("another request");
    assert!(matches!(error, CallError::VersionMismatch { ran: false, .. }) && !error.outcome_unknown(), "{error:?}");
    let other_answer: Method<Order, String> = Method::new("shop.total");
    let error = node.call(cluster.id(1), &other_answer, &order).await.expect_err("another answer");
    assert!(matches!(error, CallError::VersionMismatch { ran: true, .. }) && error.outcome_unknown(), "{error:?}");

    let info = node.call(cluster.id(1), &rpc::INFO, &()).await.expect("every node says who it is");
    assert_eq!(info.node_id, cluster.id(1).to_string());
    assert!(info.methods.iter().any(|method| method.name == "test.who" && method.codec == "json"), "{info:?}");

    let all = [cluster.id(2), cluster.id(1), ekka::core::id::NodeId::from_u128(7)];
    let results = node.multicall(all, &TOTAL, &order).await;
    assert_eq!(results.iter().map(|(id, _)| *id).collect::<Vec<_>>(), all);
    assert!(matches!(results[0].1, Err(CallError::NoSuchMethod { .. })));
    assert_eq!(results[1].1, Ok(42));
    let Err(unknown @ CallError::Unreachable { sent: false, .. }) = &results[2].1 else { panic!("{results:?}") };
    assert!(unknown.is_retryable());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_payloads_pass_and_larger_ones_are_refused_in_words() {
    let grow: Method<u64, Vec<u8>> = Method::new("test.grow").postcard();
    let served = handlers().serve(&grow, async |_: Caller, size| Ok(vec![0; usize::try_from(size)?]));
    let cluster = Cluster::of(vec![Handlers::new(), served]).await;
    let (node, target) = (&cluster.nodes[0], cluster.id(1));
    let limit = ekka::core::limits::CALL_PAYLOAD_MAX;
    let bytes: Vec<u8> = (0..limit).map(|n| u8::try_from(n % 251).unwrap_or(0)).collect();
    let echoed = node.call(target, &ECHO, &bytes).deadline(LONG).await.expect("the largest passes");
    assert!(echoed == bytes);
    let error = node.call(target, &ECHO, &vec![0; limit + 1]).await.expect_err("too large");
    assert!(matches!(error, CallError::TooLarge { ran: false, .. }), "{error:?}");
    let error = node.call(target, &grow, &(limit as u64 + 1)).deadline(LONG).await.expect_err("too large");
    assert!(matches!(error, CallError::TooLarge { ran: true, .. }), "{error:?}");
    assert_eq!(node.call(target, &ECHO, &vec![1]).await, Ok(vec![1]), "the connection goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_with_one_key_run_in_order_and_others_beside_them() {
    let seen: Arc<Mutex<Vec<u32>>> = Arc::default();
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (log, now, peak) = (seen.clone(), running.clone(), most.clone());
    let handlers = Handlers::new().serve(&STEP, move |_: Caller, step: u32| {
        let (log, now, peak) = (log.clone(), now.clone(), peak.clone());
        async move {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // Some wait, some do not: the order must not depend on it.
            for _ in 0..step % 3 {
                tokio::task::yield_now().await;
            }
            log.lock().expect("not poisoned").push(step);
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }
    });
    let cluster = Cluster::of(vec![Handlers::new(), handlers]).await;
    let node = &cluster.nodes[0];
    let mut calls = tokio::task::JoinSet::new();
    for step in 0..200u32 {
        if step % 2 == 0 {
            node.cast(cluster.id(1), &STEP, &step).key("customer-42").await.expect("it is on its way");
        } else {
            let call = node.call(cluster.id(1), &STEP, &step).key("customer-42").deadline(LONG).into_future();
            // Polled once, in order; the rest beside the others.
            let mut call = Box::pin(call);
            let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx))).await;
            // The other threads may have carried it there and back already.
            match polled {
                std::task::Poll::Ready(result) => assert_eq!(result, Ok(())),
                std::task::Poll::Pending => drop(calls.spawn(call)),
            }
        }
    }
    while let Some(result) = within("the calls end", calls.join_next()).await {
        assert_eq!(result.expect("no panic"), Ok(()));
    }
    assert_eq!(*seen.lock().expect("not poisoned"), (0..200).collect::<Vec<_>>());
    assert_eq!(most.load(Ordering::SeqCst), 1, "one at a time");
}

/// Tells when it is dropped.
struct Told(u32, mpsc::UnboundedSender<u32>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.1.send(self.0);
    }
}

/// A handler that never ends, and tells when it began and when it was dropped.
fn hanging() -> (Handlers, mpsc::UnboundedReceiver<u32>, mpsc::UnboundedReceiver<u32>) {
    let ((began, begins), (dropped, drops)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let handlers = Handlers::new().serve(&HANG, move |_: Caller, which| {
        let (began, told) = (began.clone(), Told(which, dropped.clone()));
        async move {
            let _told = told;
            let _ = began.send(which);
            std::future::pending().await
        }
    });
    (handlers, begins, drops)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_is_dropped_with_its_caller_its_deadline_and_its_connection() {
    let (handlers, mut begins, mut drops) = hanging();
    let mut cluster = Cluster::of(vec![Handlers::new(), handlers]).await;
    let target = cluster.id(1);
    let node = cluster.nodes[0].clone();

    let (give_up, given_up) = oneshot::channel::<()>();
    let call = node.call(target, &HANG, &1).deadline(LONG).into_future();
    let caller = tokio::spawn(async move {
        tokio::select! {
            _ = given_up => {}
            _ = call => panic!("it never answers"),
        }
    });
    assert_eq!(within("it begins", begins.recv()).await, Some(1));
    give_up.send(()).expect("the caller waits");
    caller.await.expect("no panic");
    assert_eq!(within("the handler goes with its caller", drops.recv()).await, Some(1));

    let error = node.call(target, &HANG, &2).deadline(Duration::from_millis(200)).await.expect_err("late");
    assert!(matches!(error, CallError::TimedOut { sent: true, .. }) && error.outcome_unknown(), "{error:?}");
    assert_eq!(within("the handler goes with its deadline", drops.recv()).await, Some(2));

    let call = tokio::spawn(node.call(target, &HANG, &3).deadline(LONG).into_future());
    while within("it begins", begins.recv()).await != Some(3) {}
    let stopped = cluster.nodes.remove(1);
    stopped.stop(Duration::from_secs(10)).await.expect("it stops");
    let error = within("the call ends", call).await.expect("no panic").expect_err("the node has stopped");
    // Its goodbye on the link may overtake what it said of the call.
    let known = matches!(error, CallError::Cancelled { .. } | CallError::Unreachable { sent: true, .. });
    assert!(known && error.outcome_unknown(), "{error:?}");
    assert_eq!(within("the handler goes with its node", drops.recv()).await, Some(3));
    rpc_support::until(&node, "knows it stopped", |view| view.member(target).is_some_and(|m| !m.status.is_running()))
        .await;
    let error = node.call(target, &HANG, &4).await.expect_err("nobody is there");
    assert!(matches!(error, CallError::Unreachable { sent: false, .. }) && error.is_retryable(), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_window_makes_callers_wait_and_their_requests_are_known_unsent() {
    let (handlers, mut begins, mut drops) = hanging();
    let cluster = Cluster::of(vec![Handlers::new(), handlers]).await;
    let (node, target) = (&cluster.nodes[0], cluster.id(1));
    let window = u32::try_from(ekka::core::limits::CALLS_WINDOW).expect("a small number");
    let calls: Vec<_> =
        (0..window).map(|n| tokio::spawn(node.call(target, &HANG, &n).deadline(LONG).into_future())).collect();
    for _ in 0..window {
        within("all of the window run", begins.recv()).await;
    }
    let error = node.call(target, &HANG, &window).deadline(Duration::from_millis(100)).await.expect_err("no place");
    assert!(matches!(error, CallError::TimedOut { sent: false, .. }), "{error:?}");
    assert!(!error.outcome_unknown() && error.is_retryable());
    calls[0].abort();
    assert!(within("its handler goes", drops.recv()).await.is_some());
    let next = tokio::spawn(node.call(target, &HANG, &window).deadline(LONG).into_future());
    assert_eq!(within("the next one runs", begins.recv()).await, Some(window));
    next.abort();
    calls.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadlines_and_traces_travel_with_the_calls_that_a_handler_makes() {
    let relay: Method<(), (u64, Option<u64>)> = Method::new("test.relay");
    let node_cell: Arc<std::sync::OnceLock<(ekka::node::Node, ekka::core::id::NodeId)>> = Arc::default();
    let cell = node_cell.clone();
    let relaying = Handlers::new().serve(&relay, move |caller: Caller, ()| {
        let cell = cell.clone();
        async move {
            let (node, target) = cell.get().ok_or_else(|| HandlerError::new("not ready"))?;
            let left = node.call(*target, &LEFT, &()).await?;
            Ok((left, caller.trace().map(|trace| trace.span_id)))
        }
    });
    let cluster = Cluster::of(vec![Handlers::new(), relaying, handlers()]).await;
    assert!(node_cell.set((cluster.nodes[1].clone(), cluster.id(2))).is_ok());
    let node = &cluster.nodes[0];
    let trace = rpc::Trace { trace_id: 1, span_id: 99, flags: 1 };
    let call = node.call(cluster.id(1), &relay, &()).deadline(Duration::from_secs(3));
    let (left, span) = rpc::with_trace(trace, call.into_future()).await.expect("it is relayed");
    // The second hop asked for nothing: it would have 5 s of its own.
    assert!((1..=3000).contains(&left), "{left} ms");
    assert_eq!(span, None, "a call is of the trace in which it was made, not in which it is awaited");
    let (_, span) =
        rpc::with_trace(trace, async { node.call(cluster.id(1), &relay, &()).await }).await.expect("it is relayed");
    assert_eq!(span, Some(99));
}
