//! What a peer, a disc or a group gives to tables can be anything: seeded mutations of real bytes, for a bounded time.

use std::time::{Duration, Instant};

use ekka::core::id::{Guid, Incarnation, NodeId};
use ekka::core::rng::Rng;
use ekka::core::schema::{Kind, Schema, Storage};
use ekka::core::table::quorum::{Command, QuorumTables, Transaction};
use ekka::core::table::{Body, Envelope, Extract, Faults, Hlc, Message, OwnedTable, Settings, Table};
use ekka::core::time::{Now, Wall};
use ekka::table::fuzz::{
    copy_frame, disc_forms, fuzz_command, fuzz_copy_frame, fuzz_disc, fuzz_envelope, fuzz_peer, fuzz_schema,
    fuzz_snapshot, fuzz_value,
};

fn id(node: u128) -> Incarnation {
    Incarnation { node_id: NodeId::from_u128(node), guid: Guid::from_u128(1) }
}

fn at(ms: u64) -> Now {
    Now { mono: ekka::core::time::Instant::from_nanos(ms * 1_000_000), wall: Wall::from_millis(1_000_000 + ms) }
}

fn table(node: u128, storage: Storage) -> Table {
    let mut table = Table::new(Settings { me: id(node), storage, bound: Hlc::ZERO, faults: Faults::default() });
    table.bound_is(Hlc::at(Wall::from_millis(2_000_000)));
    table.add_index(&Extract::new(|key, value| vec![value.to_vec(), key.to_vec()]), at(0).wall);
    table
}

fn owned(node: u128) -> OwnedTable {
    let mut table = OwnedTable::new(id(node));
    table.roster_is([id(1), id(2)]);
    table
}

fn envelope(body: Body) -> Vec<u8> {
    postcard::to_allocvec(&Envelope { table: 7, shard: 0, body }).expect("it consists of what postcard can hold")
}

/// What two nodes say to each other about a table of each kind, in order.
fn conversation() -> Vec<Vec<u8>> {
    let (mut a, mut b) = (table(1, Storage::Ram), table(2, Storage::Ram));
    let (mut own, mut other) = (owned(1), owned(2));
    for n in 0..5u8 {
        a.put(&[n], b"from a", None, at(0).wall).expect("it is taken");
        b.put(&[n], b"from b", Some(at(1_000).wall), at(1).wall).expect("it is taken");
        other.put(&[n], b"owned").expect("it is taken");
    }
    b.delete(&[3], at(2).wall).expect("it is taken");
    other.delete_many([&[2u8][..]]);
    a.connect(id(2), at(2));
    b.connect(id(1), at(2));
    own.connect(id(2));
    other.connect(id(1));
    let mut said = vec![envelope(Body::Opened), envelope(Body::Loaded)];
    for round in 0..40 {
        if round == 10 {
            a.ask_copy(id(2), at(10));
        }
        for message in [b.poll(id(1), 4096), b.poll_copy(id(1), at(10))].into_iter().flatten() {
            said.push(envelope(Body::Available(message.clone())));
            a.receive(id(2), message, at(10)).expect("it is taken");
        }
        if let Some(message) = a.poll(id(2), 4096) {
            said.push(envelope(Body::Available(message.clone())));
            b.receive(id(1), message, at(10)).expect("it is taken");
        }
        if let Some(message) = other.poll(id(1), 64) {
            said.push(envelope(Body::Owned(message.clone())));
            own.receive(id(2), message).expect("it is taken");
        }
        if let Some(message) = own.poll(id(2), 64) {
            other.receive(id(1), message).expect("it is taken");
        }
    }
    assert!(a.rows().len() == 5 && own.size().0 == 4 && said.len() > 15, "{} messages", said.len());
    said
}

fn mutate(rng: &mut Rng, data: &mut Vec<u8>) {
    for _ in 0..=rng.index(5) {
        let at = rng.index(data.len() + 1);
        match rng.index(6) {
            0 => data.truncate(at),
            1 => data.insert(at, u8::try_from(rng.index(256)).expect("below 256")),
            // The greatest number that a variable-length integer holds.
            2 => drop(data.splice(at..at, [255, 255, 255, 255, 255, 255, 255, 255, 255, 1])),
            3 => {
                let copy = data[..at].to_vec();
                data.extend(copy);
            }
            _ if at < data.len() => data[at] ^= 1 << rng.index(8),
            _ => data.push(0),
        }
    }
}

/// Gives each of the corpus, and then mutations of it, for a second.
fn run(corpus: &[Vec<u8>], mut target: impl FnMut(u64, &[u8])) {
    for bytes in corpus {
        target(0, bytes);
        (0..bytes.len()).for_each(|len| target(0, &bytes[..len]));
    }
    let until = Instant::now() + Duration::from_secs(1);
    let mut rounds = 0;
    while Instant::now() < until {
        rounds += 1;
        let mut rng = Rng::new(rounds);
        let mut data = corpus[rng.index(corpus.len())].clone();
        mutate(&mut rng, &mut data);
        let begun = Instant::now();
        target(rounds, &data);
        assert!(begun.elapsed() < Duration::from_secs(1), "round {rounds} takes {:?}", begun.elapsed());
    }
    assert!(rounds > 100, "only {rounds} rounds");
}

#[test]
fn messages_and_frames_of_copies_can_hold_anything() {
    let mut corpus = conversation();
    let frames: Vec<_> = corpus.iter().filter_map(|bytes| fuzz_envelope(bytes)).map(|said| copy_frame(&said)).collect();
    assert_eq!(frames.len(), corpus.len());
    corpus.extend(frames);
    run(&corpus, |_, data| drop((fuzz_envelope(data), fuzz_copy_frame(data))));
}

#[test]
fn a_peer_can_say_anything_in_any_order() {
    let corpus = conversation();
    let until = Instant::now() + Duration::from_secs(3);
    let (mut seed, mut went_on, mut ended) = (0, 0, 0);
    while Instant::now() < until {
        seed += 1;
        let mut rng = Rng::new(seed);
        let (mut available, mut owners) = (table(1, Storage::Ram), owned(1));
        available.put(b"mine", b"stays", None, at(0).wall).unwrap();
        owners.put(b"mine", b"stays").unwrap();
        available.connect(id(2), at(0));
        owners.connect(id(2));
        for round in 0..30 {
            let mut data = corpus[rng.index(corpus.len())].clone();
            if rng.index(3) > 0 {
                mutate(&mut rng, &mut data);
            }
            if fuzz_peer(&mut available, &mut owners, id(2), &data, at(round * 10)) {
                went_on += 1;
            } else {
                ended += 1;
            }
            while available.poll(id(2), 4096).is_some() || owners.poll(id(2), 4096).is_some() {}
        }
        assert_eq!(owners.get(b"mine").count(), 1, "seed {seed}: what a node owns nobody else takes away");
        let written = available.put(b"after", b"it", None, at(400).wall).unwrap();
        assert_eq!(written.number, available.latest(), "seed {seed}");
    }
    assert!(went_on > 100 && ended > 100, "{went_on} messages were taken, {ended} ended the connection");
}

#[test]
fn a_disc_can_hold_anything() {
    let mut full = table(1, Storage::Disc);
    for n in 0..5u8 {
        full.put(&[n], b"value", (n == 1).then(|| at(50).wall), at(0).wall).unwrap();
    }
    full.delete(&[2], at(1).wall).unwrap();
    let corpus = disc_forms(&mut full, at(2));
    let empty = table(2, Storage::Disc);
    run(&corpus, |_, data| fuzz_disc(&empty, data, at(3)));
}

#[test]
fn a_group_can_hand_out_anything() {
    let put = |n: u8| {
        let at = (n > 2).then(|| Wall::from_millis(9));
        Transaction::put(1, &[n], b"value", at, Wall::from_millis(5)).unwrap().only_at((n > 3).then_some(2))
    };
    let mut tables = QuorumTables::default();
    let commands = [Command::Create { table: 1 }, Command::Create { table: 2 }, Command::Drop { table: 2 }];
    let commands = commands.into_iter().chain((0..5).map(|n| put(n).into()));
    let commands: Vec<Command> = commands.chain([Command::Tick { now: Wall::from_millis(7) }]).collect();
    for command in &commands {
        drop(tables.apply_command(command));
    }
    let corpus: Vec<Vec<u8>> = commands.iter().map(Command::encode).collect();
    let snapshot: Vec<u8> = tables.view().pieces().flatten().collect();
    run(&corpus, |_, data| fuzz_command(&mut tables, data));
    run(&[snapshot], |round, data| fuzz_snapshot(data, usize::try_from(round % 97).unwrap()));
}

#[test]
fn a_schema_can_be_anything() {
    let schemas = [Kind::Available, Kind::Owned, Kind::Quorum].map(|kind| Schema::new("shop.users", kind));
    let corpus = schemas.map(|schema| postcard::to_allocvec(&schema).unwrap());
    run(&corpus, |_, data| fuzz_schema(data));
}

#[test]
fn a_value_can_be_anything_whatever_the_table_says_it_is() {
    let deep = |open: u8| vec![open; 100_000];
    // Arrays in arrays, objects in objects, without end: of MessagePack, and of JSON.
    for bytes in [deep(0x91), deep(0x81), deep(b'['), b"{\"a\":".repeat(50_000)] {
        fuzz_value(&bytes);
    }
    let real =
        [&b"\x82\xa4name\xa4bolt\xa5count\x03"[..], b"{\"name\": [1, -2.5, null, \"\\u00e9\"]}", b"a\0\xffb\0\0"];
    run(&real.map(<[u8]>::to_vec), |_, data| fuzz_value(data));
}

#[test]
fn a_message_that_says_it_is_huge_takes_no_memory() {
    // A batch whose bytes are said to be as many as a number can say, and none of them there.
    let message = Message::Ops(ekka::core::table::Batch::default());
    let mut bytes = envelope(Body::Available(message));
    bytes.pop();
    bytes.extend([255, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
    assert!(fuzz_envelope(&bytes).is_none());
}
