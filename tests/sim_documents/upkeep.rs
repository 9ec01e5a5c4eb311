//! What is left behind of documents that are overwritten and deleted: nothing that grows.

use kyrodb::io::sim::{Disk, Faults, Rng};
use kyrodb::shard::document::encoding::Encoder;
use kyrodb::shard::document::metadata::Metadata;
use kyrodb::shard::key::Key;
use kyrodb::shard::payload::Payload;
use kyrodb::shard::record::{Change, Condition, Durability, Write};

use super::files::{settle, start};
use super::searches::{Wanted, count};
use super::workload::{NAME, Shape};
use crate::support::cluster::Cluster;

const DOCUMENTS: u64 = 60;

fn create(cluster: &mut Cluster) -> usize {
    let (mut rng, shape) = (Rng::new(3), Shape::of_numbers(DOCUMENTS));
    let (node, definition) = (cluster.nodes[0].clone(), shape.definition(&mut rng));
    cluster.run(0, async move {
        let created = node.create_collection(NAME, definition).await.expect("shard 0 answers");
        assert_eq!(created, Ok(true));
        node.collection(NAME).expect("it is there").tablets.len()
    })
}

fn write_all(cluster: &mut Cluster, change: impl Fn(u64) -> Change) {
    let node = cluster.nodes[0].clone();
    let write = |number| Write {
        key: Key::from_u64(number),
        change: change(number),
        condition: Condition::None,
        durability: Durability::Fsync,
        once: None,
    };
    let writes: Vec<Write> = (0..DOCUMENTS).map(write).collect();
    let results = cluster.run(0, async move {
        let collection = node.collection(NAME).expect("created");
        node.write_many(&collection, writes).get().await
    });
    results.iter().for_each(|result| assert!(result.is_ok(), "{result:?}"));
}

/// Parts that owners alone search, and about the memory of all indexes.
fn own(cluster: &mut Cluster) -> (u64, u64) {
    let node = cluster.nodes[0].clone();
    let stats = cluster.run(0, async move { node.stats().await });
    let parts = stats.iter().map(|shard| shard.documents.own_parts).sum();
    (parts, stats.iter().map(|shard| shard.documents.memory_bytes).sum())
}

fn counted(cluster: &mut Cluster) -> u64 {
    let node = cluster.nodes[1].clone();
    cluster.run(1, async move {
        let collection = node.collection(NAME).expect("it is there");
        count(&node, &collection, Wanted::All).await.expect("counts are answered")
    })
}

#[test]
fn documents_without_embeddings_leave_no_dead_parts_behind() {
    let mut cluster = start(Disk::default(), Faults::default());
    let tablets = create(&mut cluster) as u64;
    let mut first = 0;
    for round in 0..20 {
        write_all(&mut cluster, |number| {
            let text = "x".repeat(500);
            let metadata = format!(r#"{{"group":{},"odd":true,"text":"{text}"}}"#, (number + round) % 4);
            let payload = Payload::document(&Encoder::new().finish(None, Metadata::from_compact(&metadata)));
            Change::Put { payload, expires: None }
        });
        settle(&mut cluster);
        let (parts, bytes) = own(&mut cluster);
        first = if round == 1 { bytes } else { first };
        assert!(parts <= 2 * tablets, "{parts} parts after round {round}");
        assert!(round < 2 || bytes <= 2 * first, "{bytes} bytes after round {round}, {first} at first");
        assert_eq!(counted(&mut cluster), DOCUMENTS);
    }
    write_all(&mut cluster, |_| Change::Delete);
    settle(&mut cluster);
    assert_eq!((own(&mut cluster).0, counted(&mut cluster)), (0, 0));
}
