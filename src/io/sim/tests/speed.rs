//! How many crash images a second a suite can count on. Run alone, on an idle machine:
//! `cargo test --lib io::sim::tests::speed -- --ignored --nocapture`

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use super::*;
use crate::io::executor::Class;
use crate::io::op::Sync;
use crate::io::sim::{CrashPolicy, Disk, Rng};
use crate::limits::MIB;

const SHARDS: usize = 3;
const SEGMENT_PAGES: usize = MIB / BLOCK_BYTES;

/// Each shard zero-fills a segment of 1 MiB and appends to it, four writes in flight.
async fn append(rt: Runtime, shard: usize) {
    let file = create(&rt, &format!("/segment-{shard}")).await;
    file.write(at(0), blocks(0, SEGMENT_PAGES), Sync::Data).await.unwrap();
    rt.sync_dir("/").await.unwrap();
    for page in (0..SEGMENT_PAGES as u64).step_by(4) {
        let writes: Vec<_> =
            (page..page + 4).map(|page| file.write(at(page), block(1), Sync::Data)).collect();
        for write in writes {
            write.await.unwrap();
        }
    }
}

async fn read_all(rt: Runtime, shard: usize) {
    if let Ok(file) = rt.open(format!("/segment-{shard}"), OpenMode::Read).await {
        for page in (0..SEGMENT_PAGES as u64).step_by(64) {
            file.read(at(page), AlignedBuf::zeroed(64 * BLOCK_BYTES)).await.unwrap();
        }
    }
}

fn on_every_core<F: Future<Output = ()> + 'static>(sim: &mut Sim, task: impl Fn(Runtime, usize) -> F) {
    let done = Rc::new(Cell::new(0));
    for shard in 0..SHARDS {
        let (work, done) = (task(sim.runtime(shard), shard), done.clone());
        sim.runtime(shard).spawn(Class::Foreground, async move {
            work.await;
            done.set(done.get() + 1);
        });
    }
    sim.run_until(|| done.get() == SHARDS).unwrap();
}

#[test]
#[ignore = "a measurement"]
fn crash_images_a_second() {
    let images: Rc<RefCell<Vec<Disk>>> = Rc::default();
    let (place, rng) = (images.clone(), RefCell::new(Rng::new(1)));
    let mut sim = Sim::new(1, SimConfig::cores(SHARDS));
    sim.world().on_io(move |point| {
        place.borrow_mut().push(point.image(CrashPolicy::Random, &mut rng.borrow_mut()));
    });
    let began = Instant::now();
    on_every_core(&mut sim, append);
    let rate = images.borrow().len() as f64 / began.elapsed().as_secs_f64();
    println!("{} images, {rate:.0} a second, workload included", images.borrow().len());

    let began = Instant::now();
    for disk in images.borrow().iter() {
        on_every_core(&mut Sim::with_disk(1, disk.clone(), SimConfig::cores(SHARDS)), read_all);
    }
    let recoveries = images.borrow().len() as f64 / began.elapsed().as_secs_f64();
    println!("{recoveries:.0} recoveries a second that read 3 MiB each");
    assert!(rate > 3000.0, "{rate:.0} images a second");
}
