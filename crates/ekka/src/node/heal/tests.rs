//! Callbacks that behave and that do not, and requests that take each other's place.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ekka_core::id::{Guid, NodeId};
use tokio::time::{Instant, timeout};

use super::*;

fn id(number: u64) -> HealId {
    HealId { number, guid: Guid::from_u128(1) }
}

/// A healer whose exchange says that it waits, and ends once `gate` gives way.
struct Bench {
    healer: Healer,
    callbacks: HealCallbacks,
    news: mpsc::Receiver<HealNews>,
    gate: Arc<tokio::sync::Semaphore>,
    begun: Arc<AtomicU32>,
}

fn bench() -> Bench {
    let (gate, begun) = (Arc::new(tokio::sync::Semaphore::new(0)), Arc::new(AtomicU32::new(0)));
    let (gated, counted) = (gate.clone(), begun.clone());
    let exchange: Exchange = Arc::new(move |collected, _, waits| {
        let (gate, begun) = (gated.clone(), counted.clone());
        Box::pin(async move {
            begun.fetch_add(1, Ordering::Relaxed);
            waits("the others".into());
            gate.acquire().await.expect("it is not closed").forget();
            Exchanged { rows: collected.len() as u64, overridden: 2 }
        })
    });
    let callbacks = HealCallbacks::new();
    let (to, news) = mpsc::channel(NEWS_MAX);
    let healer = Healer::new((callbacks.clone(), Handle::current()), exchange, to, Default::default());
    Bench { healer, callbacks, news, gate, begun }
}

impl Bench {
    async fn told(&mut self) -> HealNews {
        timeout(Duration::from_secs(3600), self.news.recv()).await.expect("it is told").expect("the healer is there")
    }

    async fn prepared(&mut self, number: u64) -> Vec<String> {
        self.healer.request(HealRequest::Prepare { id: id(number) });
        match self.told().await {
            HealNews::Prepared { id: of, failed } if of == id(number) => failed,
            other => panic!("{other:?}"),
        }
    }

    /// Nothing more is told.
    async fn silence(&mut self) {
        assert!(timeout(Duration::from_secs(60), self.news.recv()).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn all_are_called_in_order_each_once_whatever_the_others_do() {
    let mut bench = bench();
    let log = Arc::new(Mutex::new(Vec::new()));
    let logs = |word: &'static str| {
        let log = log.clone();
        move |info: HealInfo| log.lock().unwrap().push((word, info.heal.number))
    };
    let (first, fails, hangs, panics, last) =
        (logs("first"), logs("fails"), logs("hangs"), logs("panics"), logs("last"));
    bench.callbacks.on_prepare(move |info| {
        first(info);
        async { Ok::<_, Infallible>(()) }
    });
    bench.callbacks.on_prepare(move |info| {
        fails(info);
        async { Err("no disc") }
    });
    bench.callbacks.on_prepare(move |info| {
        hangs(info);
        pending::<Result<(), Infallible>>()
    });
    bench.callbacks.on_prepare(move |info| {
        panics(info);
        async { if true { panic!("at {}", 7) } else { Ok::<_, Infallible>(()) } }
    });
    bench.callbacks.on_prepare(move |info| {
        last(info);
        async { Ok::<_, Infallible>(()) }
    });
    let begun = Instant::now();
    let failed = bench.prepared(3).await;
    let words = [
        "prepare callback 2 of 5 failed: no disc",
        "prepare callback 3 of 5 did not end within 10 s, and was dropped",
        "prepare callback 4 of 5 panicked: at 7",
    ];
    assert_eq!(failed, words);
    assert!(begun.elapsed() < Duration::from_secs(11), "{:?}", begun.elapsed());
    let called = ["first", "fails", "hangs", "panics", "last"].map(|word| (word, 3));
    assert_eq!(*log.lock().unwrap(), called);
    assert_eq!(bench.prepared(3).await, words, "asked again it says the same");
    assert_eq!(*log.lock().unwrap(), called, "and calls nobody again");
    bench.prepared(4).await;
    assert_eq!(log.lock().unwrap().len(), 10, "another heal is another call");
}

#[tokio::test(start_paused = true)]
async fn a_callback_that_panics_before_it_gives_a_future_stops_nobody() {
    let mut bench = bench();
    let is_true = std::hint::black_box(true);
    bench.callbacks.on_reboot(move |_| {
        assert!(!is_true, "at once");
        async { Ok::<_, Infallible>(()) }
    });
    bench.healer.request(HealRequest::Reboot { id: id(1) });
    let failed = vec!["reboot callback 1 of 1 panicked: at once".to_owned()];
    assert_eq!(bench.told().await, HealNews::Rebooted { id: id(1), failed });
    assert!(bench.prepared(1).await.is_empty(), "there is none for the other step");
}

#[tokio::test(start_paused = true)]
async fn callbacks_that_run_go_on_although_nobody_waits_and_are_not_called_again() {
    let mut bench = bench();
    let (calls, ends) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (called, ended) = (calls.clone(), ends.clone());
    bench.callbacks.on_prepare(move |_| {
        let (called, ended) = (called.clone(), ended.clone());
        async move {
            called.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(5)).await;
            ended.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(())
        }
    });
    bench.healer.request(HealRequest::Prepare { id: id(1) });
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.healer.request(HealRequest::Drop);
    bench.silence().await;
    assert_eq!((calls.load(Ordering::Relaxed), ends.load(Ordering::Relaxed)), (1, 1));
    assert!(bench.prepared(1).await.is_empty());
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    bench.healer.request(HealRequest::Prepare { id: id(2) });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(bench.prepared(2).await.is_empty(), "asked for again while they run");
    bench.silence().await;
    assert_eq!((calls.load(Ordering::Relaxed), ends.load(Ordering::Relaxed)), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_later_exchange_takes_the_place_of_one_that_is_not_answered() {
    let mut bench = bench();
    let node = Incarnation { node_id: NodeId::from_u128(2), guid: Guid::from_u128(1) };
    let exchange = |number, count| HealRequest::Exchange { id: id(number), collected: vec![node; count], side: vec![] };
    bench.healer.request(exchange(1, 1));
    assert_eq!(bench.told().await, HealNews::Waits { id: id(1), text: "the others".into() });
    bench.healer.request(exchange(2, 2));
    assert_eq!(bench.told().await, HealNews::Waits { id: id(2), text: "the others".into() });
    bench.gate.add_permits(2);
    assert_eq!(bench.told().await, HealNews::Exchanged { id: id(2), rows: 2, overridden: 2 });
    bench.silence().await;
    assert_eq!(bench.gate.available_permits(), 1, "the first one has ended");
    bench.gate.forget_permits(1);
    bench.healer.request(exchange(3, 1));
    assert_eq!(bench.told().await, HealNews::Waits { id: id(3), text: "the others".into() });
    bench.healer.request(HealRequest::Drop);
    bench.gate.add_permits(1);
    bench.silence().await;
    assert_eq!((bench.gate.available_permits(), bench.begun.load(Ordering::Relaxed)), (1, 3));
    assert_eq!(bench.healer.figures.counts().0["restarted"], 2);
}

#[tokio::test(start_paused = true)]
async fn what_one_start_of_the_node_was_given_the_next_one_in_the_process_calls() {
    let Bench { healer, callbacks, .. } = bench();
    let calls = Arc::new(AtomicU32::new(0));
    let called = calls.clone();
    callbacks.on_prepare(move |_| {
        called.fetch_add(1, Ordering::Relaxed);
        async { Ok::<_, Infallible>(()) }
    });
    drop(healer);
    let mut next = bench();
    let (to, news) = mpsc::channel(NEWS_MAX);
    next.healer = Healer::new((callbacks, Handle::current()), next.healer.exchange.clone(), to, Default::default());
    next.news = news;
    assert!(next.prepared(1).await.is_empty());
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}
