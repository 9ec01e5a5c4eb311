//! Every damaged place of a log, not only the first.

use super::damage::ReplayError;
use super::plan::{ReadAt, Recovered, ReplayStart, SegmentFile, Step};
use super::replay::Replay;

/// What a whole log looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    /// In the order of the log, but what a server would pass comes last.
    pub errors: Vec<ReplayError>,
    /// Records that can be read, those behind damage included.
    pub records: u64,
    /// What a server would go on from; `None` when it would refuse.
    pub recovered: Option<Recovered>,
}

/// Reads a log as a server would, and goes on behind damage with the next self-valid block. `read`
/// answers with fewer bytes than asked for where the file ends.
pub fn verify<E>(
    start: ReplayStart,
    files: &[SegmentFile],
    mut read: impl FnMut(ReadAt) -> Result<Vec<u8>, E>,
) -> Result<VerifyReport, E> {
    let mut report = VerifyReport { errors: Vec::new(), records: 0, recovered: None };
    let mut replay = match Replay::new(start, files) {
        Ok(replay) => replay,
        Err(error) => {
            report.errors.push(error);
            return Ok(report);
        }
    };
    loop {
        match replay.step() {
            Step::Read(at) => {
                if let Err(error) = replay.feed(&read(at)?, &mut |_| ()) {
                    report.errors.push(error);
                    replay.resume(&error);
                }
            }
            Step::Done(recovered) => {
                report.records = recovered.records;
                report.recovered = report.errors.is_empty().then_some(recovered);
                report.errors.extend(replay.passed().map(ReplayError::Damage));
                return Ok(report);
            }
        }
    }
}
