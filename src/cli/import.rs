//! `import FILE`: a file into a collection over several open uploads, or the two compared.
//!
//! Puts are idempotent, so an import that was interrupted is simply run again.

use std::sync::atomic::Ordering;
use std::thread::{self, ScopedJoinHandle};

use crossbeam_channel::{Sender, bounded};
use serde_json::json;

use super::args::ImportArgs;
use super::bench::vector::MetricArg;
use super::bulk::{Batch, Counts, Target, Upload};
use super::client::{Client, kv_path};
use super::compare;
use super::described::{self, Described};
use super::failure::{Failure, UsageError};
use super::input::is_stream;
use super::output::Output;
use super::progress::Progress;
use super::source::Source;
use super::spread::{SAMPLE_KEYS, spread};

/// Lines that travel together, in bytes.
const BATCH_BYTES: usize = 1 << 16;
/// Batches that wait for an upload.
const QUEUE_BATCHES: usize = 4;

pub fn import(args: &ImportArgs, out: &mut Output) -> Result<(), Failure> {
    let client = Client::of(&args.target)?;
    let open = || Source::open(&args.file, args.format, args.limit);
    let is_stream = is_stream(&args.file);
    if is_stream && args.create {
        return Err(Failure::Usage(UsageError::CreateFromStream));
    }
    // Opened before the server is asked for anything: a file that is not there, or is damaged, is told first.
    let (mut looked_into, mut source) = if is_stream { (None, open()?) } else { (Some(open()?), open()?) };
    let name = &args.target.collection;
    let collection = match (Described::ask(&client, name)?, &mut looked_into) {
        (Some(collection), _) => compared_as_asked(args, collection)?,
        (None, Some(file)) if args.create => create(&client, args, file)?,
        (None, _) => return Err(Failure::NoCollection { name: name.clone() }),
    };
    source.fit(&collection)?;
    if args.verify {
        return compare::compare(args, &collection, source, out);
    }
    spread(&client, name, || {
        looked_into
            .map_or(Ok(Vec::new()), |mut file| file.fit(&collection).and_then(|()| file.sample(SAMPLE_KEYS)))
    })?;
    load(args, &client, &collection, source, out)
}

/// With `--create` the collection may be there, made by somebody who wanted it otherwise.
fn compared_as_asked(args: &ImportArgs, collection: Described) -> Result<Described, Failure> {
    match (args.metric.map(MetricArg::name), &collection.metric) {
        (Some(asked), Some(found)) if asked != found => Err(Failure::Conflict {
            what: format!(
                "the collection `{}` is there and compares by {found}, not by {asked}: leave --metric out, or import \
                 into another collection",
                args.target.collection
            ),
        }),
        _ => Ok(collection),
    }
}

fn create(client: &Client, args: &ImportArgs, file: &mut Source) -> Result<Described, Failure> {
    let name = &args.target.collection;
    let definition = file.outline()?.definition(args.metric)?;
    let headers = [("content-type", "application/json")];
    client.put(&described::path(name), &headers, definition.to_string().into_bytes())?;
    eprintln!("created the collection: {definition}");
    Described::ask(client, name)?.ok_or_else(|| Failure::NoCollection { name: name.clone() })
}

fn load(
    args: &ImportArgs,
    client: &Client,
    collection: &Described,
    source: Source,
    out: &mut Output,
) -> Result<(), Failure> {
    let name = &args.target.collection;
    let route = if collection.has_documents() { described::path(name) } else { kv_path(name, None) };
    let target = Target {
        server: client.server().clone(),
        address: client.server().address()?,
        sealing: client.sealing().cloned(),
        api_key: client.api_key().clone(),
        path: format!("{route}/bulk"),
        durability: args.durability.clone(),
    };
    let mut progress = Progress::new("import", source.total());
    let counts = Counts { written: progress.counter(), ..Counts::default() };
    let loaded = upload_all(args, &target, &counts, source, &mut progress);
    let (rate, seconds) = (progress.rate(), progress.elapsed().as_secs_f64());
    drop(progress);
    let written = counts.written.load(Ordering::Relaxed);
    let rejected = counts.rejected.load(Ordering::Relaxed);
    if let Err(failure) = loaded {
        let next = match failure {
            Failure::Input { .. } => "mend the file, then run the same command again",
            _ => "run the same command again to go on",
        };
        eprintln!("{written} records were written; {next}");
        return Err(failure);
    }
    let restarts = counts.restarts.load(Ordering::Relaxed);
    out.object(&json!({
        "written": written, "rejected": rejected, "resent_uploads": restarts,
        "seconds": seconds, "records_per_s": rate,
    }))?;
    match rejected {
        0 => Ok(()),
        count => Err(Failure::Found { count, what: "lines were rejected" }),
    }
}

fn upload_all(
    args: &ImportArgs,
    target: &Target,
    counts: &Counts,
    source: Source,
    progress: &mut Progress,
) -> Result<(), Failure> {
    thread::scope(|scope| {
        let mut lanes = Vec::new();
        let mut uploads: Vec<ScopedJoinHandle<'_, _>> = Vec::new();
        for _ in 0..args.connections {
            let (sender, receiver) = bounded(QUEUE_BATCHES);
            lanes.push(Lane { batch: Batch::default(), sender });
            uploads.push(scope.spawn(move || Upload::new(target, counts).run(&receiver)));
        }
        let read = distribute(source, args.value_bytes as usize, lanes, progress);
        let uploaded = uploads.into_iter().map(|upload| {
            while !upload.is_finished() {
                thread::sleep(std::time::Duration::from_millis(1));
                progress.draw();
            }
            upload.join().expect("an upload does not panic")
        });
        // Every upload is waited for; the first failure is told.
        let uploaded = uploaded.collect::<Vec<_>>().into_iter().collect::<Result<Vec<()>, _>>();
        uploaded.and(read)
    })
}

struct Lane {
    batch: Batch,
    sender: Sender<Batch>,
}

/// Deals the records out by key. Ends early, without an error, when an upload is gone: it tells why.
fn distribute(
    mut source: Source,
    value_bytes: usize,
    mut lanes: Vec<Lane>,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let count = lanes.len() as u64;
    while let Some(record) = source.next()? {
        let lane = &mut lanes[(record.key_hash() % count) as usize];
        record.append_bulk_line(value_bytes, lane.batch.buffer());
        lane.batch.end_line();
        if lane.batch.len_bytes() >= BATCH_BYTES {
            progress.expect(source.total());
            progress.draw();
            if lane.sender.send(std::mem::take(&mut lane.batch)).is_err() {
                return Ok(());
            }
        }
    }
    for lane in lanes.into_iter().filter(|lane| !lane.batch.is_empty()) {
        // An upload that is gone tells why itself.
        let _ = lane.sender.send(lane.batch);
    }
    Ok(())
}
