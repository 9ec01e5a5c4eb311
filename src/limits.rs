//! Every bound in one place, unit last in the name. Nothing in the server grows without one of these.
//!
//! A bound that a user can change has its default here; a bound that a format fixes is asserted
//! against the others at compile time.

use std::time::Duration;

// ---- the executor

/// Foreground tasks run this long before the core looks at its ring and inboxes again.
pub const TURN_BUDGET: Duration = Duration::from_micros(500);
/// Background work gives the core back after this long.
pub const BACKGROUND_SLICE: Duration = Duration::from_micros(200);
pub const BACKGROUND_SLICE_STEPS_MAX: u64 = 64;
/// A turn with more thread CPU time than this is a stall: counted and logged.
pub const TURN_STALL: Duration = Duration::from_millis(2);

// ---- the ring

pub const RING_ENTRIES: u32 = 1024;
/// Receive buffers that one core lends out at a time.
pub const RECEIVE_BUFFERS_MAX: u16 = 1024;
pub const RECEIVE_BUFFER_BYTES: usize = 4096;
/// A stream whose reader holds as many pauses until it has given back half, so that one slow reader
/// does not starve the others. What the kernel has under way at that moment comes on top.
pub const RECEIVE_BUFFERS_PER_STREAM_MAX: usize = 64;

// ---- cores

pub const SHARDS_MAX: usize = 64;
/// Requests from one core to another that have no answer yet. Answers use slots of their own, as
/// many, so an answer always has room.
pub const INBOX_FRAMES_MAX: usize = 1024;

// ---- records

pub const KEY_BYTES_MAX: usize = 1024;
pub const VALUE_BYTES_MAX: usize = 16 * MIB;
pub const CONTENT_TYPE_BYTES_MAX: usize = 255;
pub const COLLECTION_NAME_BYTES_MAX: usize = 128;
pub const COLLECTIONS_MAX: usize = 1024;
pub const TABLETS_PER_SHARD_MAX: usize = 16;

// ---- the log

pub const LOG_SEGMENT_BYTES_MIN: usize = MIB;
pub const LOG_SEGMENT_BYTES_DEFAULT: usize = 64 * MIB;
pub const LOG_SEGMENT_BYTES_MAX: usize = 1024 * MIB;
/// One group commit, header and padding included.
pub const LOG_BLOCK_BYTES_MAX: usize = 256 * KIB;
/// Below this a block waits for the write before it: a fuller block beats two half-full ones.
pub const LOG_BLOCK_FILL_BYTES: usize = 64 * KIB;
pub const LOG_WRITES_IN_FLIGHT_MAX: usize = 4;
/// Records that wait for the disk, in encoded bytes; beyond it writes are refused with 503.
pub const LOG_BACKLOG_BYTES_MAX: usize = 64 * MIB;
pub const SYNC_INTERVAL_MS_DEFAULT: u64 = 50;
pub const SYNC_INTERVAL_MS_MAX: u64 = 60_000;
/// After a crash LSNs and versions jump ahead by more than could have been given out unsynced.
pub const CRASH_JUMP_RECORDS: u64 = 1 << 24;

// ---- scans and batches

pub const SCAN_PAGE_RECORDS_DEFAULT: usize = 100;
pub const SCAN_PAGE_RECORDS_MAX: usize = 10_000;
/// A page ends early when its values reach this.
pub const SCAN_PAGE_BYTES_MAX: usize = MIB;
pub const MGET_KEYS_MAX: usize = 10_000;

// ---- HTTP

pub const CONNECTIONS_MAX: usize = 16_384;
pub const HEAD_BYTES_MAX: usize = 16 * KIB;
pub const HEADERS_MAX: usize = 64;
pub const TARGET_BYTES_MAX: usize = 8 * KIB;
/// Whole body of a request that is not a bulk stream.
pub const BODY_BYTES_MAX: usize = VALUE_BYTES_MAX + MIB;
/// One line of a bulk stream: a value of the largest size in base64, and its frame.
pub const BULK_LINE_BYTES_MAX: usize = VALUE_BYTES_MAX / 3 * 4 + MIB;
pub const CHUNK_LINE_BYTES_MAX: usize = 256;
/// Requests of one connection that are being answered at a time.
pub const PIPELINE_REQUESTS_MAX: usize = 128;
/// Bulk lines of one connection that are being applied at a time.
pub const BULK_LINES_IN_FLIGHT_MAX: usize = 512;
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
pub const SEND_TIMEOUT: Duration = Duration::from_secs(30);
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(75);
pub const DRAIN_SECONDS_DEFAULT: u64 = 5;
pub const DRAIN_SECONDS_MAX: u64 = 3600;
pub const RETRY_AFTER_SECONDS: u64 = 1;

// ---- memory

pub const MEMORY_BYTES_MIN: u64 = 64 * MIB as u64;
pub const MEMORY_BYTES_DEFAULT: u64 = 2 * GIB as u64;

pub const KIB: usize = 1024;
pub const MIB: usize = 1024 * KIB;
pub const GIB: usize = 1024 * MIB;

/// Smallest encoded record; see the byte map in `io/log`.
pub const LOG_RECORD_BYTES_MIN: usize = 48;
/// Largest encoded record: the largest value, and room for its key, content type and vector.
pub const LOG_RECORD_BYTES_MAX: usize = VALUE_BYTES_MAX + MIB;
/// What recovery reads at a time: a turn's work, and never less than one block.
pub const LOG_READ_BYTES: usize = MIB;

/// Beyond this a new manifest file is begun.
pub const MANIFEST_FILE_BYTES_MAX: usize = MIB;
/// The whole state of a shard in one manifest record.
pub const MANIFEST_STATE_BYTES_MAX: usize = 64 * MIB;

const _: () = {
    assert!(LOG_BLOCK_BYTES_MAX <= LOG_SEGMENT_BYTES_MIN);
    assert!(LOG_BLOCK_FILL_BYTES < LOG_BLOCK_BYTES_MAX);
    assert!(LOG_BLOCK_BYTES_MAX.is_multiple_of(4096));
    assert!(LOG_BACKLOG_BYTES_MAX > LOG_RECORD_BYTES_MAX + LOG_BLOCK_BYTES_MAX);
    assert!(LOG_RECORD_BYTES_MAX >= VALUE_BYTES_MAX + KEY_BYTES_MAX + CONTENT_TYPE_BYTES_MAX + KIB);
    assert!(LOG_READ_BYTES >= LOG_BLOCK_BYTES_MAX && LOG_READ_BYTES.is_multiple_of(4096));
    // More LSNs than could be unsynced at a crash: everything in the backlog and in flight.
    assert!(
        CRASH_JUMP_RECORDS as usize
            > (LOG_BACKLOG_BYTES_MAX + LOG_WRITES_IN_FLIGHT_MAX * LOG_BLOCK_BYTES_MAX) / LOG_RECORD_BYTES_MIN
    );
    assert!(TARGET_BYTES_MAX < HEAD_BYTES_MAX);
    assert!(KEY_BYTES_MAX * 3 < TARGET_BYTES_MAX);
    assert!(RECEIVE_BUFFERS_MAX.is_power_of_two());
    assert!(RECEIVE_BUFFERS_PER_STREAM_MAX * 8 <= RECEIVE_BUFFERS_MAX as usize);
    assert!(RING_ENTRIES.is_power_of_two());
};
