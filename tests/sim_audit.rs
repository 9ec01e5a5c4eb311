//! Behind each `fsync` acknowledgement lies a completed synced write of the block with the record.

mod support;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use kyrodb::io::log::dump::{BlockLine, Dump, DumpLine, RecordLine};
use kyrodb::io::log::parse_segment_file_name;
use kyrodb::io::op::Sync;
use kyrodb::io::sim::{Disk, Rng, SimConfig, World};
use kyrodb::shard::key::Key;
use kyrodb::shard::node::Node;
use kyrodb::shard::payload::{OCTET_STREAM, Payload};
use kyrodb::shard::record::{Change, Condition, Durability, Write, Written};
use kyrodb::types::{Mono, ShardId};
use support::cluster::{Cluster, options};

const CORES: usize = 2;
const CLIENTS: usize = 3;
const WRITES: u64 = 40;

/// What the audit of one acknowledgement needs.
struct Ack {
    at: Mono,
    shard: ShardId,
    key: Key,
    written: Written,
}

fn log_dir(shard: ShardId) -> PathBuf {
    options().shard_dir(shard).join("log")
}

/// The segments of a shard as the harshest power cut would leave them.
fn durable_segments(world: &World, shard: ShardId) -> Vec<(String, Vec<u8>)> {
    let dir = log_dir(shard);
    let names = world.with_disk(|disk| disk.file_lens());
    let in_log = names.into_iter().filter_map(|(path, _)| {
        let name = PathBuf::from(&path).strip_prefix(&dir).ok()?.to_str()?.to_owned();
        Some((name.clone(), world.durable_bytes(dir.join(name))?))
    });
    in_log.collect()
}

/// The record of an acknowledgement in the durable log, and the block in which it ends.
fn find_record(world: &World, ack: &Ack) -> Option<(BlockLine, RecordLine)> {
    let mut dump = Dump::new(ack.shard);
    let (mut block, mut found) = (None, None);
    for (name, bytes) in durable_segments(world, ack.shard) {
        let id = parse_segment_file_name(&name).expect("a log directory holds segments");
        dump.segment(id, &bytes, &mut |line| match line {
            DumpLine::Block(line) => block = Some(line),
            DumpLine::Record(line) if line.lsn == ack.written.lsn.0 => found = Some((block.clone(), line)),
            _ => (),
        });
    }
    found.map(|(block, record)| (block.expect("a record lies in a block"), record))
}

fn check_now(world: &World, ack: &Ack) {
    let (_, record) = find_record(world, ack).expect("the record is durable when it is acknowledged");
    let key: String = ack.key.to_vec().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((record.seq, record.key_hex), (ack.written.seq.0, key));
}

async fn client(node: Node, world: World, number: u64, acks: Rc<RefCell<Vec<Ack>>>, mut rng: Rng) {
    for n in 0..WRITES {
        let collection = node.collection("default").expect("exists from the start");
        let key = Key::from_u64(number * 1000 + n);
        let len = [0, 30, 5000, 60_000][rng.index(4)];
        let payload = Payload::new(OCTET_STREAM, &vec![n as u8; len]);
        let durability = [Durability::Fsync, Durability::Fsync, Durability::Memory][rng.index(3)];
        let change = Change::Put { payload, expires: None };
        let write = Write { key: key.clone(), change, condition: Condition::None, durability, once: None };
        let written = node.write(&collection, write).get().await.expect("acknowledged");
        assert!(written.reached >= durability, "{written:?}");
        if written.reached == Durability::Fsync {
            let shard = collection.tablet_of(&key).owner;
            let ack = Ack { at: world.now(), shard, key, written };
            check_now(&world, &ack);
            acks.borrow_mut().push(ack);
        }
    }
}

#[test]
fn each_fsync_ack_was_preceded_by_a_synced_write_of_its_block() {
    let mut audited = 0;
    for seed in 0..4 {
        let mut rng = Rng::new(seed);
        let config = SimConfig { audit: true, ..SimConfig::cores(CORES) };
        let mut cluster = Cluster::boot(seed, Disk::default(), config, &options());
        cluster.start().expect("a new node starts");
        let world = cluster.sim.world().clone();
        let acks: Rc<RefCell<Vec<Ack>>> = Rc::default();
        let clients = (0..CLIENTS).map(|number| {
            let core = number % CORES;
            let (node, rng) = (cluster.nodes[core].clone(), Rng::new(rng.next_u64()));
            let work = client(node, world.clone(), number as u64, acks.clone(), rng);
            (core, Box::pin(work) as support::cluster::Client)
        });
        let clients = clients.collect();
        cluster.run_all(clients).expect("the clients finish");
        audited += check_writes(&world, &acks.borrow());
    }
    assert!(audited > 200, "only {audited} acknowledgements were audited");
    println!("{audited} fsync acknowledgements audited");
}

/// By the record of all writes: each block was written with a sync, which ended before the ack.
fn check_writes(world: &World, acks: &[Ack]) -> usize {
    let mut synced: BTreeMap<(String, u64), Mono> = BTreeMap::new();
    for write in world.writes().into_iter().filter(|write| write.sync == Sync::Data) {
        if let (Some(completed), Some(durable)) = (write.completed, write.durable) {
            assert!(durable <= completed, "reported before it was durable: {write:?}");
            synced.insert((write.path, write.offset), completed);
        }
    }
    let mut audited = 0;
    for ack in acks {
        // A checkpoint may have given its segment up since.
        let Some((block, _)) = find_record(world, ack) else { continue };
        let path = log_dir(ack.shard).join(block.file).to_string_lossy().into_owned();
        let completed = synced.get(&(path, block.offset)).expect("the block was written with a sync");
        assert!(*completed <= ack.at, "acknowledged before its block was synced");
        audited += 1;
    }
    audited
}
