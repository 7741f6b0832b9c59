use ekka_core::durable::{self, Entry, Founder, SchemaChange, Why};
use ekka_core::id::{ClusterId, Guid, Incarnation, NodeId};
use ekka_core::schema::Schema;
use ekka_core::table::quorum::{Answer, Transaction};
use ekka_core::time::Wall;
use ekka_core::view::Role;
use ekka_core::volatile::state;

use super::*;

fn at(index: u64) -> LogPlace {
    LogPlace { term: 1, index }
}

fn put(table: TableId, key: &[u8], now: u64) -> Vec<u8> {
    let now = Wall::from_millis(now);
    logged(&Transaction::put(table, key, b"value", None, now).unwrap().into())
}

fn entry(command: durable::Command) -> Vec<u8> {
    Entry { why: Why::new(NodeId::from_u128(1), 0, Vec::new()), command }.encode()
}

fn founded() -> Vec<u8> {
    let id = Incarnation { node_id: NodeId::from_u128(1), guid: Guid::from_u128(1) };
    let founder = Founder { id, name: "ekka1@10.0.0.1".parse().unwrap(), role: Role::Core, store: 7 };
    entry(durable::Command::Found { cluster_id: ClusterId::MIN, founders: vec![founder] })
}

fn create(name: &str, storage: Storage) -> Vec<u8> {
    let schema = Schema { storage, ..Schema::new(name, Kind::Quorum) };
    entry(durable::Command::Schema(SchemaChange::Create(schema).encode()))
}

fn durable() -> (Beside<Record>, Arc<Rows>) {
    let rows = Arc::<Rows>::default();
    (Beside::new(Record::default(), rows.clone()), rows)
}

fn ids(rows: &Rows) -> Vec<TableId> {
    rows.view().tables().collect()
}

fn committed(answer: &[u8]) -> bool {
    matches!(Answer::decode(answer), Ok(Answer::Committed { .. }))
}

#[test]
fn no_command_and_no_snapshot_of_the_others_begins_as_those_of_tables() {
    let volatile = [state::Command::Open { generation: 1 }, state::Command::Noop { bytes: vec![0; 4] }];
    let others = volatile.map(|command| command.encode()).into_iter().chain([founded(), create("t", Storage::Disc)]);
    let machine = durable().0;
    for command in others {
        assert_ne!(command[0], TAG);
        assert!(machine.is_told(&command));
    }
    assert!(!machine.is_told(&put(1, b"k", 1)));
    for snapshot in [Record::default().snapshot(), State::default().snapshot()] {
        assert_eq!(split(&snapshot), Ok((&snapshot[..], None)));
    }
}

#[test]
fn without_room_what_puts_rows_is_refused_and_nothing_else() {
    let now = Wall::from_millis(1);
    let delete = Transaction::delete(1, b"k", now).unwrap();
    let mut both = Transaction::put(1, b"k", b"value", None, now).unwrap();
    both.writes.extend(delete.writes.clone());
    for refused in [put(1, b"k", 1), logged(&both.into())] {
        assert_eq!(no_room_for(&refused), Some(Answer::DiscFull.encode()));
    }
    let rows = [delete.into(), Command::Tick { now }, Command::Drop { table: 1 }].map(|command| logged(&command));
    for taken in rows.into_iter().chain([founded(), create("t", Storage::Disc), vec![TAG], Vec::new()]) {
        assert_eq!(no_room_for(&taken), None);
    }
}

#[test]
fn disc_tables_come_and_go_with_their_schemas() {
    let (mut machine, rows) = durable();
    machine.apply(at(1), &founded());
    machine.apply(at(2), &create("disc", Storage::Disc));
    machine.apply(at(3), &create("ram", Storage::Ram));
    let disc = machine.first.tables()["disc"].id;
    assert_eq!(ids(&rows), [disc]);
    assert!(committed(&machine.apply(at(4), &put(disc, b"k", 5))));
    let ram = machine.first.tables()["ram"].id;
    let refused = machine.apply(at(5), &put(ram, b"k", 5));
    assert_eq!(Answer::decode(&refused), Ok(Answer::NoTable { table: ram }));
    let drop = SchemaChange::Drop { name: "disc".into(), id: disc };
    machine.apply(at(6), &entry(durable::Command::Schema(drop.encode())));
    assert!(ids(&rows).is_empty());
}

#[test]
fn a_copy_that_is_told_no_command_of_tables_counts_places_alike() {
    let (mut machine, _) = durable();
    let mut copy = Record::default();
    let log = [
        (1, founded()),
        (2, create("a", Storage::Disc)),
        // Of one entry: a command of the record between two of tables, and one after.
        (3, put(2, b"k", 1)),
        (3, create("b", Storage::Disc)),
        (3, put(2, b"k", 2)),
        (3, create("c", Storage::Ram)),
        (4, put(2, b"l", 3)),
        (6, create("d", Storage::Disc)),
    ];
    for (index, command) in log {
        machine.apply(at(index), &command);
        if machine.is_told(&command) {
            copy.apply(at(index), &command);
        }
        assert_eq!((copy.number(), &copy), (machine.first.number(), &machine.first));
    }
    let snapshot = machine.snapshot();
    let mut restored = Record::default();
    restored.restore(machine.told_part(&snapshot)).unwrap();
    assert_eq!(restored, copy);
}

#[test]
fn a_snapshot_has_both_and_one_from_before_there_were_tables_is_read() {
    let (mut machine, rows) = durable();
    machine.apply(at(1), &founded());
    let before = machine.snapshot();
    assert_eq!(before, machine.first.snapshot(), "as it was before there were tables");
    machine.apply(at(2), &create("disc", Storage::Disc));
    let disc = machine.first.tables()["disc"].id;
    machine.apply(at(3), &put(disc, b"k", 9));
    let snapshot = machine.snapshot();

    let (mut other, others) = durable();
    other.restore(&snapshot).unwrap();
    assert_eq!((&other.first, other.snapshot()), (&machine.first, snapshot.clone()));
    assert_eq!(others.view().get(disc, b"k").unwrap().unwrap().value(), b"value");
    // What was there goes, also where the snapshot is an old one; with its schemas, which make the tables anew.
    other.restore(&before).unwrap();
    assert_eq!((other.first.number(), ids(&others)), (1, Vec::new()));
    other.restore(&machine.first.snapshot()).unwrap();
    assert_eq!((ids(&others), others.view().figures(disc).unwrap().rows), (vec![disc], 0));
    assert_eq!(rows.view().figures(disc).unwrap().rows, 1);
}

#[test]
fn a_snapshot_that_is_damaged_changes_nothing() {
    let (mut machine, rows) = durable();
    machine.apply(at(1), &founded());
    machine.apply(at(2), &create("disc", Storage::Disc));
    let snapshot = machine.snapshot();
    for cut in [1, 5, LENGTH, LENGTH + 3, snapshot.len() - 1] {
        assert!(machine.restore(&snapshot[..cut]).is_err(), "{cut}");
    }
    let mut long = snapshot.clone();
    long[1..=LENGTH].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(machine.restore(&long).is_err());
    assert_eq!((machine.first.number(), ids(&rows).len()), (2, 1));
}

#[test]
fn ram_tables_are_made_by_commands_and_go_with_the_state_into_the_next_generation() {
    let rows = Arc::<Rows>::default();
    let mut machine = Beside::new(State::default(), rows.clone());
    let mut told = rows.changes();
    machine.apply(at(1), &state::Command::Count { n: 3 }.encode());
    assert!(!committed(&machine.apply(at(2), &put(5, b"k", 1))));
    assert!(committed(&machine.apply(at(3), &logged(&Command::Create { table: 5 }))));
    assert!(committed(&machine.apply(at(4), &put(5, b"k", 1))));
    assert_eq!(*told.borrow_and_update(), rows.view().mark());

    let next = Arc::<Rows>::default();
    let mut machine_of_next = Beside::new(State::default(), next.clone());
    machine_of_next.restore(&machine.snapshot()).unwrap();
    assert_eq!(machine_of_next.first.count(), 3);
    assert_eq!(next.view().get(5, b"k").unwrap().unwrap().value(), b"value");
    // Equal bytes from equal logs: what is handed in is the same wherever it is had from.
    assert_eq!(machine_of_next.snapshot(), machine.snapshot());
}

#[test]
fn a_frozen_state_is_that_of_its_moment_and_is_put_together_from_pieces_cut_anywhere() {
    let (mut machine, rows) = durable();
    machine.apply(at(1), &founded());
    machine.apply(at(2), &create("disc", Storage::Disc));
    let disc = machine.first.tables()["disc"].id;
    for n in 0..200u8 {
        machine.apply(at(3), &put(disc, &[n], 5));
    }
    let (frozen, snapshot) = (machine.freeze(), machine.snapshot());
    machine.apply(at(4), &put(disc, b"later", 6));
    machine.apply(at(5), &create("other", Storage::Disc));
    assert_eq!(frozen.pieces().collect::<Vec<_>>().concat(), snapshot);
    for size in [1, 7, 64, 1_000, snapshot.len()] {
        let mut restoring = machine.restorer()();
        snapshot.chunks(size).for_each(|piece| restoring.take(piece).unwrap());
        let (mut other, others) = durable();
        let told = other.adopt(restoring.finish().unwrap()).unwrap();
        assert_eq!(told, machine.told_part(&snapshot), "pieces of {size}");
        assert_eq!((other.snapshot(), others.view().figures(disc).unwrap().rows), (snapshot.clone(), 200));
    }
    assert_eq!(rows.view().figures(disc).unwrap().rows, 201);
    // Of another kind of machine: nothing is changed.
    let before = machine.snapshot();
    assert!(machine.adopt(Restored::new(7u8)).is_err());
    assert_eq!(machine.snapshot(), before);
}
