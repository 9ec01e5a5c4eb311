//! Every bound in one place, unit last in the name. Nothing in the server grows without one of these.
//!
//! A bound that a user can change has its default here; a bound that a format fixes is asserted
//! against the others at compile time.

use std::time::Duration;

// ---- the executor

/// Foreground tasks run this long before the core looks at its ring and inboxes again.
pub const TURN_BUDGET: Duration = Duration::from_micros(500);
/// Then tasks that stood back run for this long: what came in meanwhile waits for no more.
pub const STOOD_BACK_BUDGET: Duration = Duration::from_micros(100);
/// While they wait, background work runs in one round of them of so many.
pub const BACKGROUND_WAIT_ROUNDS_MAX: u32 = 4;
/// A request that takes longer than others lets these go first after this long.
pub const LONG_REQUEST_SLICE: Duration = Duration::from_micros(50);
/// How long a core that expects the answer of another looks for it before it parks.
pub const SPIN: Duration = Duration::from_micros(50);
/// Background work gives the core back after this long.
pub const BACKGROUND_SLICE: Duration = Duration::from_micros(200);
/// Longest pause of background I/O between two writes.
pub const BACKGROUND_REST_MAX: Duration = Duration::from_millis(5);
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
/// Requests to one core that have no answer yet, shared out evenly among the cores that ask. Answers use places of
/// their own, as many, so an answer always has room.
pub const INBOX_FRAMES_MAX: usize = 1024;
/// No core's share is less.
pub const PAIR_FRAMES_MIN: usize = 64;

/// Calls of other cores that a core takes up in one turn.
pub const TURN_CALLS_MAX: usize = 64;
/// How long a request waits for a range that is just moving; then it is refused with 503.
pub const MOVED_WAIT: Duration = Duration::from_secs(5);

// ---- records

pub const KEY_BYTES_MAX: usize = 1024;
pub const VALUE_BYTES_MAX: usize = 16 * MIB;
pub const CONTENT_TYPE_BYTES_MAX: usize = 255;
pub const COLLECTION_NAME_BYTES_MAX: usize = 128;
pub const COLLECTIONS_MAX: usize = 1024;
/// The whole catalogue, encoded: it is one log record.
pub const CATALOGUE_BYTES_MAX: usize = 4 * MIB;
pub const TABLETS_PER_SHARD_MAX: usize = 16;
/// A thousand years: no sum of this and a clock overflows.
pub const TTL_MS_MAX: u64 = 365_000 * 86_400_000;

// ---- documents

/// Numbers of an embedding.
pub const EMBEDDING_ENTRIES_MIN: usize = 2;
pub const EMBEDDING_ENTRIES_MAX: usize = 4096;
pub const DOCUMENT_TEXT_BYTES_MAX: usize = 8 * MIB;
/// A patch is begun anew so often when others write to the document at the same time.
pub const PATCH_ATTEMPTS_MAX: usize = 16;
/// Without the space between its parts.
pub const METADATA_BYTES_MAX: usize = MIB;
/// Lists and objects within one another.
pub const METADATA_DEPTH_ENTRIES_MAX: usize = 64;
/// Declared fields of a collection: each write keeps the index of each in step.
pub const DECLARED_FIELD_ENTRIES_MAX: usize = 64;
pub const FIELD_NAME_BYTES_MAX: usize = 256;
/// A longer one is no name for something: every distinct keyword is kept in memory.
pub const KEYWORD_BYTES_MAX: usize = 4 * KIB;
/// Tests of a filter, and values that they compare with, together.
pub const FILTER_ENTRIES_MAX: usize = 16_384;
/// Lists and objects of a filter within one another.
pub const FILTER_DEPTH_ENTRIES_MAX: usize = 64;
/// Entries of a block of an index over numbers. Less moves fewer for an insertion, more takes fewer blocks.
pub const FIELD_BLOCK_ENTRIES_MAX: usize = 256;

// ---- the log

pub const LOG_SEGMENT_BYTES_MIN: usize = MIB;
/// Small beside what is written between two seals: whole segments are given up.
pub const LOG_SEGMENT_BYTES_DEFAULT: usize = 8 * MIB;
pub const LOG_SEGMENT_BYTES_MAX: usize = 1024 * MIB;
/// One group commit, header and padding included.
pub const LOG_BLOCK_BYTES_MAX: usize = 256 * KIB;
/// A block with this much goes out beside others in flight, however few records it has.
pub const LOG_BLOCK_FILL_BYTES: usize = 64 * KIB;
/// Records applied and answered at a time: a full block holds several times as many.
pub const SETTLE_RECORDS_MAX: usize = 256;
pub const LOG_WRITES_IN_FLIGHT_MAX: usize = 4;
/// Records that wait for the disk, in encoded bytes; beyond it writes are refused with 503.
pub const LOG_BACKLOG_BYTES_MAX: usize = 64 * MIB;
pub const SYNC_INTERVAL_MS_DEFAULT: u64 = 50;
pub const SYNC_INTERVAL_MS_MAX: u64 = 60_000;
/// After a crash LSNs and versions jump ahead by more than could have been given out unsynced.
pub const CRASH_JUMP_RECORDS: u64 = 1 << 24;

/// A longer payload is held until its blocks are built, where others are copied when they are logged.
pub const LOG_COPIED_PAYLOAD_BYTES_MAX: usize = 64 * KIB;
/// Zeros that go into a segment in one write: a log write may have to wait behind it.
pub const LOG_FILL_BYTES: usize = 128 * KIB;
/// Segments kept ready ahead of the writer. Without room for the last of them puts are refused.
pub const LOG_AHEAD_SEGMENTS: usize = 2;
/// Trimmed segments kept to be used again, in bytes: what the next seal will give up. More are removed.
pub const LOG_SPARE_BYTES_MAX: u64 = CHECKPOINT_LOG_BYTES;
/// A log that has begun no segment for so long is quiet: spare segments go, a whole segment that no run covers is sealed,
/// and what is obsolete in runs is merged away.
pub const LOG_QUIET: Duration = Duration::from_secs(10);
/// While the log is quiet level 0 goes down when more than one entry of runs is obsolete for so many that count.
pub const QUIET_ENTRIES_PER_OBSOLETE_ENTRY: u64 = 4;
/// Log that no run covers: about half a second of replay.
pub const CHECKPOINT_LOG_BYTES: u64 = 64 * MIB as u64;
/// Payloads that are given back at a time: pages of large ones go back to the system.
pub const DROP_BYTES: usize = 4 * MIB;
/// Entries that a checkpoint takes at a time.
pub const CHECKPOINT_STRETCH_RECORDS: usize = 32;
/// Records that recovery takes up before it looks at the clock.
pub const RECOVERY_STEP_RECORDS: usize = 64;

/// A run's cost of an entry beyond its key and payload.
pub const RUN_ENTRY_OVERHEAD_BYTES: u64 = 48;

// ---- runs

/// What a run is written in; a larger record still comes in pieces of this.
pub const RUN_CHUNK_BYTES: usize = 256 * KIB;
/// What a run is read in when all of it is loaded: a turn's work.
pub const RUN_READ_BYTES: usize = 256 * KIB;
/// The most that a range reads first of each run; later reads double up to [`RUN_READ_BYTES`].
pub const SCAN_READ_BYTES: usize = 32 * KIB;
/// Size of a run file, about.
pub const PART_BYTES: u64 = 32 * MIB as u64;
/// Parts of level 0 that start a compaction.
pub const COMPACTION_FRESH_RUNS: usize = 4;
/// Level 0 may have so many times what it has when it goes down, and a deeper level so many times its share.
pub const COMPACTION_LAG_MAX: f64 = 2.5;
/// Bytes of log a second when half as much waits to be merged as may, and however much does.
pub const PACED_LOG_BYTES_PER_SECOND: f64 = 16.0 * MIB as f64;
pub const PACED_LOG_BYTES_PER_SECOND_MIN: f64 = 64.0 * KIB as f64;
/// A pause looks so often whether it still has to be.
pub const PACE_STEP: Duration = Duration::from_millis(5);
/// A level that is smaller than so many times what comes down from level 0 is not worth having.
pub const BASE_BYTES_PER_FRESH_BYTE: u64 = 2;
/// More parts of level 0 than this refuse puts until compaction has caught up.
pub const FRESH_RUNS_MAX: usize = 32;
/// Bytes that a level may have for each byte of the level above it.
pub const LEVEL_BYTES_PER_BYTE_ABOVE: u64 = 8;
/// A part with a tombstone among so many entries goes down.
pub const COMPACTION_TOMBSTONE_ENTRIES: u64 = 4;
/// Parts of the lower level that a compaction replaces in one commit: they stand twice until then.
pub const COMPACTION_GROUP_RUNS: usize = 2;
/// As many when little is left of them.
pub const COMPACTION_COMMIT_RUNS_MAX: usize = 8;
/// Entries that a compaction takes at a time.
pub const COMPACTION_STRETCH_RECORDS: usize = 64;
/// How often a shard that has no room on the disk looks whether there is some again.
pub const FULL_DISK_LOOK_PERIOD: Duration = Duration::from_secs(1);
/// How often a shard looks for runs with records whose time is over, and how long a run that was read through
/// for them is left alone.
pub const SEALED_EXPIRY_PERIOD: Duration = Duration::from_secs(1);
pub const SEALED_EXPIRY_PAUSE: Duration = Duration::from_secs(600);
/// A larger payload lies apart from its run, in a value file.
pub const INLINE_VALUE_BYTES_MAX: usize = 32 * KIB;
/// Size of a value file, about: it ends behind the value that reaches it.
pub const VALUE_FILE_BYTES: u64 = 64 * MIB as u64;
/// What of a value is hashed and copied at a time.
pub const VALUE_PIECE_BYTES: usize = 64 * KIB;
/// What one read of a value has under way, in reads of [`RUN_READ_BYTES`].
pub const VALUE_READ_AHEAD_BYTES: usize = MIB;
/// Value files are rewritten when more than one byte of so many that live is dead; and each that is less than
/// half alive.
pub const LIVE_VALUE_BYTES_PER_DEAD_BYTE: u64 = 3;
/// A part is rewritten for its values when that brings one byte of value files for so many of the part.
pub const PART_BYTES_PER_VALUE_BYTE: u64 = 4;
/// A merge moves the values that it meets when that brings one byte of value files for so many of a whole one.
pub const VALUE_FILE_BYTES_PER_MOVED_BYTE: u64 = 16;
/// For so long no values move out of a file that could not be read, though it is not known to be damaged.
pub const VALUE_FILE_RETRY: Duration = Duration::from_secs(60);
/// Level 0 goes down when it refers to one byte of values of so many that the levels below refer to: as much
/// may be hidden by it.
pub const DEEP_VALUE_BYTES_PER_FRESH_BYTE: u64 = 8;
/// One value takes at most one byte of so many of the cache of warm values.
pub const CACHE_BYTES_PER_VALUE_BYTE: u64 = 512;
/// Bytes of blocks that one batch of point reads has under way.
pub const COLD_BATCH_BYTES_MAX: usize = 16 * MIB;
/// A larger value is not read from a run as long as requests before it in its pipeline are not answered: until then
/// nobody takes it, and a connection keeps that of each request that is open.
pub const READ_AHEAD_VALUE_BYTES_MAX: usize = 64 * KIB;
/// One byte of so many of the memory is for values read from runs.
pub const MEMORY_BYTES_PER_CACHE_BYTE: u64 = 4;
/// One byte of so many of the memory is for blocks that short ranges have read.
pub const MEMORY_BYTES_PER_WARM_BLOCK_BYTE: u64 = 8;
/// A range keeps the blocks of reads up to this; it is a long one when it reads more at a time.
pub const WARM_READ_BYTES_MAX: usize = SCAN_READ_BYTES;
/// One byte of so many of the memory may be used by writes before they are sealed.
pub const MEMORY_BYTES_PER_UNSEALED_BYTE: u64 = 8;
/// Writes that wait for a run to be read.
pub const PARKED_WRITES_MAX: usize = 4096;

// ---- receipts of writes that came with a key

/// Of a shard; the oldest go first. A small memory keeps fewer.
pub const RECEIPT_ENTRIES_MAX: usize = 65_536;
/// A day: a client that asks again later is another one.
pub const RECEIPT_AGE_MS_MAX: u64 = 86_400_000;
/// One byte of so many of the memory may be receipts.
pub const MEMORY_BYTES_PER_RECEIPT_BYTE: u64 = 32;
/// That are logged, sent or looked at in a step.
pub const RECEIPT_PIECE_ENTRIES_MAX: usize = 512;
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

// ---- snapshots

/// Pieces of long work that are remembered.
pub const OPERATION_ENTRIES_MAX: usize = 256;
/// What a snapshot says of itself.
pub const SNAPSHOT_DESCRIPTION_BYTES_MAX: usize = 4 * KIB;

// ---- searches

pub const SEARCH_HITS_MAX: usize = 1000;
/// Of the documents of one page, of each what is shown.
pub const SEARCH_PAGE_BYTES_MAX: usize = 24 * MIB;
/// Hits of all pages of a search.
pub const SEARCH_DEPTH_HITS_MAX: usize = 10_000;
/// To fill a page where many documents have the same score.
pub const SEARCH_WIDENED_HITS_MAX: usize = 2 * SEARCH_DEPTH_HITS_MAX;
pub const SEARCH_WIDTH_ENTRIES_MAX: usize = 10_000;
pub const SEARCH_ATTEMPTS_MAX: usize = 4;
/// Of a count, which is exact only when nothing was sealed meanwhile.
pub const COUNT_ATTEMPTS_MAX: usize = 16;
/// What searches of one core need besides what they search: so many are kept, but of large graphs.
pub const SCRATCH_ENTRIES_MAX: usize = 4;
pub const SCRATCH_BYTES_MAX: usize = 8 * MIB;
/// Codes that a search looks at before the core may do something else.
pub const SEARCH_STEP_CODES: u64 = 1000;
/// Metadata that a filter reads in a step, about: what it finds and decides there counts, too.
pub const FILTER_STEP_BYTES: usize = 32 * KIB;
/// A search waits for an index that is being made for so long.
pub const INDEX_WAIT_MAX: Duration = Duration::from_secs(2);
pub const INDEX_WAIT_STEP: Duration = Duration::from_millis(2);
pub const INDEX_RETRY: Duration = Duration::from_secs(1);
/// Of an entry of the map from ids to places.
pub const DOCUMENT_PLACE_BYTES: u64 = 96;
/// Entries of a block of that map. Less moves fewer for an insertion, more takes fewer blocks.
pub const PLACES_BLOCK_ENTRIES_MAX: usize = 128;
pub const LOAD_PAGE_DOCUMENTS: usize = 128;
pub const HEAD_DOCUMENTS_MIN: usize = 1024;
pub const HEAD_DOCUMENTS_MAX: usize = 65_536;
/// A merged part of fewer has no file: it is made anew in no time.
pub const INDEX_FILE_DOCUMENTS_MIN: usize = 1024;
pub const INDEX_FILE_CHUNK_BYTES: usize = 256 * KIB;
pub const INDEX_FILE_STEP_VECTORS: usize = 512;
/// A head with as many documents is sealed when nothing was written for [`HEAD_QUIET`]; a scan of fewer costs next to
/// nothing.
pub const HEAD_SEALED_DOCUMENTS_MIN: usize = 64;
pub const HEAD_QUIET: Duration = Duration::from_secs(2);
pub const LINK_STEP_VECTORS: usize = 2;
pub const LINK_STEPS_MAX: usize = 512;
pub const MERGE_STEP_VECTORS: usize = 2;
pub const PLACES_STEP_DOCUMENTS: u32 = 64;
/// Documents that are put in the order in which their time is over, in a step.
pub const EXPIRIES_STEP_DOCUMENTS: usize = 512;
/// Documents of a part that are freed in a step.
pub const SHED_STEP_DOCUMENTS: usize = 512;
/// So often it is looked whether the last search in a part is over, before it is left to that search to free it.
pub const SHED_ATTEMPTS_MAX: usize = 500;
/// Room for metadata of documents that is made at a time.
pub const TEXTS_PIECE_BYTES: usize = 16 * KIB;
/// Documents of a shared part that are compared with a map in a step.
pub const MASK_STEP_DOCUMENTS: u32 = 512;
/// A merge takes along segments of up to so many times what it has already.
pub const MERGE_GROWTH_BYTES_PER_BYTE: usize = 2;
/// The same while nothing is written: fewer parts are searched faster.
pub const QUIET_MERGE_GROWTH_BYTES_PER_BYTE: usize = 16;

// ---- moving ranges

/// Records in one message from shard to shard.
pub const SHIP_RECORDS_MAX: usize = 128;
/// Fewer new records than this, and fewer bytes, are sent with writes stopped.
pub const SHIP_FREEZE_RECORDS: usize = 512;
pub const SHIP_FREEZE_BYTES: usize = 4 * MIB;
pub const SHIP_ROUNDS_MAX: usize = 16;
/// A move that has more left after all rounds is given up: writes would be stopped for too long.
pub const SHIP_FREEZE_RECORDS_MAX: usize = 16_384;
pub const SHIP_FREEZE_BYTES_MAX: usize = 32 * MIB;
/// Writes are stopped for no longer; then the move is given up as well.
pub const SHIP_FREEZE_TIME_MAX: Duration = Duration::from_secs(1);
/// An owner to be that has no room for any record of a message for so long has it sent again.
pub const SHIP_IN_WAIT: Duration = Duration::from_millis(100);
/// A message that is refused for so long gives the move up.
pub const SHIP_REFUSED_MAX: Duration = Duration::from_secs(10);
/// One byte of so many of the room for writes may be what was written to a range that moves and is still to be sent.
pub const ROOM_BYTES_PER_MOVING_BYTE: u64 = 4;
/// Of that, what does not slow writes down.
pub const SHIP_UNPACED_SHARE: f64 = 0.125;
/// What was written behind the walk of a range is sent when it is more.
pub const SHIP_CHANGED_BYTES: u64 = MIB as u64;
/// Messages of one part that are under way at a time.
pub const SHIP_CALLS_IN_FLIGHT_MAX: usize = 8;
/// A collection with one tablet is split when a checkpoint finds this many records in it.
pub const SPLIT_RECORDS_MIN: u64 = 10_000;
pub const SPLIT_SAMPLE_KEYS: u64 = 10_000;

// ---- balancing

/// Keys of a window that a tablet remembers of its reads, and as many of its writes.
pub const HEAT_SAMPLE_KEYS: usize = 128;
/// Length of a window.
pub const HEAT_WINDOW: Duration = Duration::from_secs(1);
/// One read in so many is offered to the sample.
pub const HEAT_REQUESTS_PER_SAMPLED_READ: u64 = 16;
/// What is asked less often is nothing.
pub const HEAT_PER_SECOND_MIN: f64 = 0.01;
/// With fewer keys a window does not tell whether they grow.
pub const HEAT_FRONT_KEYS_MIN: usize = 16;
/// Bytes that one move takes along: it holds the turn for changes of the map, and what is written to the range
/// meanwhile stays in memory.
pub const BALANCE_MOVE_BYTES_MAX: u64 = 64 * MIB as u64;
/// The balancer looks this often.
pub const BALANCE_PERIOD: Duration = Duration::from_secs(2);
/// A tablet that has come about through a move is left alone this long, where it does not grow.
pub const BALANCE_COOL_DOWN: Duration = Duration::from_secs(10);
/// A move that failed is not tried again before; twice as long each time that it fails again.
pub const BALANCE_RETRY: Duration = Duration::from_secs(10);
/// A rebalancing that was asked for looks so often in vain.
pub const BALANCE_LOOK_ATTEMPTS_MAX: usize = 20;
pub const BALANCE_RETRY_MAX: Duration = Duration::from_secs(600);
/// The first split of a collection that was given up is not tried again before.
pub const SPLIT_GIVEN_UP_RETRY: Duration = Duration::from_secs(60);
/// A shard that is ahead of the mean by less than this has nothing to give away.
pub const BALANCE_BYTES_MIN: u64 = 256 * KIB as u64;
/// Requests to all shards in a second below which their heat does not matter.
pub const BALANCE_HEAT_REQUESTS_MIN: u64 = 2_000;
/// Steps that a plan has at most.
pub const BALANCE_STEPS_MAX: usize = 64;
/// Keys that tell how the keys of a tablet lie.
pub const BALANCE_QUANTILE_KEYS: usize = 256;
/// Tablets whose keys one plan looks at.
pub const BALANCE_TABLETS_MAX: usize = 64;

// ---- scans and batches

pub const SCAN_PAGE_RECORDS_DEFAULT: usize = 100;
pub const SCAN_PAGE_RECORDS_MAX: usize = 10_000;
/// A page ends early when its values reach this.
pub const SCAN_PAGE_BYTES_MAX: usize = MIB;
/// Entries (tombstones too) that one visit of a tablet looks at: bounds the time of a scan's turn.
pub const SCAN_VISITS_MAX: usize = 1024;
/// Entries that one scan after the other looks at in memory before others get a turn.
pub const SCAN_AT_ONCE_VISITS_MAX: usize = 256;
/// A page has larger payloads by reference.
pub const PAGE_COPY_BYTES_MAX: usize = 4 * KIB;
/// Keys that one visit of the engine looks up.
pub const GET_MANY_STRETCH_KEYS: usize = 256;
/// Bytes of the values that are given for many keys at a time; a value that is larger comes alone.
pub const GET_MANY_BYTES_MAX: usize = 8 * MIB;
pub const MGET_KEYS_MAX: usize = 10_000;

// ---- runs

// ---- HTTP

pub const CONNECTIONS_MAX: usize = 16_384;
pub const HEAD_BYTES_MAX: usize = 16 * KIB;
pub const HEADERS_MAX: usize = 64;
pub const TARGET_BYTES_MAX: usize = 8 * KIB;
/// Each is compared with all before it, and no route has half as many.
pub const QUERY_PARAMETER_ENTRIES_MAX: usize = 32;
/// Whole body of a request that is not a bulk stream.
pub const BODY_BYTES_MAX: usize = VALUE_BYTES_MAX + MIB;
/// A value of a known length beyond this is taken as it comes, not when all of it is there.
pub const WHOLE_VALUE_BYTES_MAX: usize = 256 * KIB;
/// One line of a bulk stream: a value of the largest size in base64, and its frame.
pub const BULK_LINE_BYTES_MAX: usize = VALUE_BYTES_MAX / 3 * 4 + MIB;
pub const CHUNK_LINE_BYTES_MAX: usize = 256;
/// Requests of one connection that are being answered at a time.
pub const PIPELINE_REQUESTS_MAX: usize = 128;
/// Bulk lines of one connection that are being applied at a time.
pub const BULK_LINES_IN_FLIGHT_MAX: usize = 512;
/// Answers of one connection that are gathered before they are sent.
pub const SEND_BATCH_BYTES_MAX: usize = 64 * KIB;
/// A large value is sent in pieces, so that a slow reader's progress is seen between them.
pub const SEND_PIECE_BYTES: usize = 256 * KIB;
/// What of a value is put into text (JSON, base64) at a time, when a whole text could be large.
pub const ENCODED_PIECE_BYTES: usize = 6 * KIB;
/// Set aside for an answer that is made piece by piece: a piece and what is being sent, both at worst.
pub const STREAM_ROOM_BYTES: usize = 4 * SEND_BATCH_BYTES_MAX;
/// Bytes of unfinished requests that the connections of one core keep together, and as many of large answers: beside the
/// shard's memory, as a part of that, within bounds. A connection that keeps little is always let be.
pub const MEMORY_BYTES_PER_CONNECTION_BYTE: u64 = 4;
pub const CONNECTIONS_ROOM_BYTES_MIN: usize = 32 * MIB;
pub const CONNECTIONS_ROOM_BYTES_MAX: usize = 256 * MIB;
/// What is squeezed at a time, and the longest body that is squeezed before it is sent.
pub const CODING_STEP_BYTES: usize = 32 * KIB;
/// A shorter answer is not worth a coding.
pub const CODED_ANSWER_BYTES_MIN: usize = KIB;
/// The most that an encoder keeps.
pub const ENCODER_ROOM_BYTES: usize = MIB;
/// Of a body in zstd: what RFC 9659 has every server take.
pub const ZSTD_WINDOW_BYTES_MAX: usize = 8 * MIB;
pub const ZSTD_ANSWER_WINDOW_BYTES: usize = 128 * KIB;
/// Room for answers that a connection keeps while it waits for requests.
pub const IDLE_ANSWER_BYTES: usize = 32 * KIB;
/// Bytes that a connection takes in while it is busy; beyond it, the peer has to wait. Less when there are many.
pub const UNREAD_BYTES_MAX: usize = 64 * KIB;
pub const UNREAD_BYTES_MIN: usize = RECEIVE_BUFFER_BYTES;
/// Bytes of a request body after which its timeout begins anew.
pub const BODY_PROGRESS_BYTES: usize = 64 * KIB;
/// What is read and thrown away after an answer that ends the connection, so that the answer arrives.
pub const LINGER_BYTES_MAX: usize = 64 * MIB;
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// For last words to connections that are cut when the time for a drain is over.
pub const CUT_PATIENCE: Duration = Duration::from_secs(1);
/// Connections over the limit that are being told so at a time; more are dropped.
pub const REFUSALS_MAX: usize = 64;
/// How often a core looks for connections whose time is up.
pub const SWEEP_PERIOD: Duration = Duration::from_millis(500);
pub const REQUEST_ID_BYTES_MAX: usize = 128;
/// Lines of a bulk stream that go to the engine together, and the bytes that end such a batch early.
pub const BULK_BATCH_LINES_MAX: usize = BULK_LINES_IN_FLIGHT_MAX / 2;
pub const BULK_BATCH_BYTES_MAX: usize = MIB;
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
pub const SEND_TIMEOUT: Duration = Duration::from_secs(30);
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(75);
pub const DRAIN_SECONDS_DEFAULT: u64 = 5;
pub const DRAIN_SECONDS_MAX: u64 = 3600;
pub const RETRY_AFTER_SECONDS: u64 = 1;

// ---- access

pub const API_KEYS_MAX: usize = 4096;
pub const API_KEY_NAME_BYTES_MAX: usize = 64;
pub const KEY_SCOPE_COLLECTIONS_MAX: usize = 256;
/// Read once a second by a thread beside the cores.
pub const KEY_FILE_BYTES_MAX: usize = 2 * MIB;
pub const KEY_FILE_PERIOD: Duration = Duration::from_secs(1);
/// How soon a running server sees that the day of its certificate is over.
pub const CERTIFICATE_DATES_PERIOD: Duration = Duration::from_secs(3600);
/// Addresses that have limits of their own; some 100 bytes each.
pub const LIMITED_ADDRESS_ENTRIES_MAX: usize = 65_536;
/// A look at all of them, under a lock, is not worth it more often.
pub const LIMITED_ADDRESS_SWEEP: Duration = Duration::from_secs(1);
/// Above 1 a ns a limiter could not tell the requests apart.
pub const RATE_REQUESTS_PER_SECOND_MAX: u64 = 1_000_000_000;
pub const DENIAL_LOG_LINES_PER_SECOND: u32 = 10;
/// That may come at once.
pub const DENIAL_LOG_LINES_AHEAD: u32 = 50;
pub const CORS_ORIGIN_ENTRIES_MAX: usize = 64;
pub const ALLOWED_HOST_ENTRIES_MAX: usize = 64;
/// How long a browser need not ask again.
pub const CORS_MAX_AGE_SECONDS: u64 = 600;

// ---- memory

pub const MEMORY_BYTES_MIN: u64 = 64 * MIB as u64;
pub const MEMORY_BYTES_DEFAULT: u64 = 2 * GIB as u64;

/// How often a thread looks whether freed memory is to go back to the system.
pub const FREED_MEMORY_LOOK: Duration = Duration::from_secs(1);
/// It goes back when the process has been quiet for so long: longer than [`HEAD_QUIET`], after which there are merges.
pub const FREED_MEMORY_QUIET: Duration = Duration::from_secs(5);
/// And after so long however busy it is.
pub const FREED_MEMORY_KEPT_MAX: Duration = Duration::from_secs(300);

pub const KIB: usize = 1024;
pub const MIB: usize = 1024 * KIB;
pub const GIB: usize = 1024 * MIB;

/// Smallest encoded record; see the byte map in `io/log`.
pub const LOG_RECORD_BYTES_MIN: usize = 48;
/// Largest encoded record: the largest value, and room for its key, content type and vector.
pub const LOG_RECORD_BYTES_MAX: usize = VALUE_BYTES_MAX + MIB;
/// What recovery reads at a time: a turn's work, and never less than one block.
pub const LOG_READ_BYTES: usize = 256 * KIB;

/// Size of a manifest file; only a state that is larger makes it grow.
pub const MANIFEST_FILE_BYTES: usize = 128 * KIB;
/// The whole state of a shard in one manifest record.
pub const MANIFEST_STATE_BYTES_MAX: usize = 64 * MIB;

/// Deletes may take this share of the memory until a seal: more than makes one due.
pub const MEMORY_BYTES_PER_DELETED_BYTE: u64 = 4;
/// Parts of level 0 at which deletes are refused as well.
pub const DELETES_FRESH_RUNS_MAX: usize = 4 * FRESH_RUNS_MAX;
/// A collection that cannot be split because a run is damaged is not tried again before.
pub const SPLIT_RETRY: Duration = Duration::from_secs(600);
/// A part that was found damaged is not read again before.
pub const DAMAGED_PART_RETRY: Duration = Duration::from_secs(5);
/// How often a shard asks of its indexes whether a rebuild pays.
pub const INDEX_WATCH_PERIOD: Duration = Duration::from_secs(30);
/// Of one more line of keys in a lookup: a miss out of the core's own cache, part of which is hidden.
pub const INDEX_LINE: Duration = Duration::from_nanos(60);
/// Of a build, for each key, as long as none was measured.
pub const INDEX_BUILD_OF_A_KEY: Duration = Duration::from_nanos(60);

const _: () = {
    // Otherwise deletes could wait for a seal that is not due.
    assert!(
        MEMORY_BYTES_PER_DELETED_BYTE < MEMORY_BYTES_PER_UNSEALED_BYTE
            && DELETES_FRESH_RUNS_MAX > FRESH_RUNS_MAX
    );
    assert!(LOG_BLOCK_BYTES_MAX <= LOG_SEGMENT_BYTES_MIN);
    assert!(RUN_CHUNK_BYTES.is_multiple_of(4096) && RUN_READ_BYTES.is_multiple_of(4096));
    assert!(RUN_READ_BYTES.is_multiple_of(VALUE_PIECE_BYTES) && INLINE_VALUE_BYTES_MAX > 4096);
    assert!(LOG_BLOCK_FILL_BYTES < LOG_BLOCK_BYTES_MAX);
    assert!(LOG_BLOCK_BYTES_MAX.is_multiple_of(4096));
    assert!(LOG_BACKLOG_BYTES_MAX > LOG_RECORD_BYTES_MAX + LOG_BLOCK_BYTES_MAX);
    assert!(LOG_RECORD_BYTES_MAX >= VALUE_BYTES_MAX + KEY_BYTES_MAX + CONTENT_TYPE_BYTES_MAX + KIB);
    assert!(
        DOCUMENT_TEXT_BYTES_MAX + METADATA_BYTES_MAX + 4 * EMBEDDING_ENTRIES_MAX + KIB < VALUE_BYTES_MAX
            && EMBEDDING_ENTRIES_MAX <= u16::MAX as usize
            && KEYWORD_BYTES_MAX < METADATA_BYTES_MAX
    );
    assert!(
        CATALOGUE_BYTES_MAX + KIB < LOG_RECORD_BYTES_MAX
            && CATALOGUE_BYTES_MAX < MANIFEST_STATE_BYTES_MAX / 2
    );
    assert!(LOG_READ_BYTES >= LOG_BLOCK_BYTES_MAX && LOG_READ_BYTES.is_multiple_of(4096));
    // More LSNs than could be unsynced at a crash: everything in the backlog and in flight.
    assert!(
        CRASH_JUMP_RECORDS as usize
            > (LOG_BACKLOG_BYTES_MAX + LOG_WRITES_IN_FLIGHT_MAX * LOG_BLOCK_BYTES_MAX) / LOG_RECORD_BYTES_MIN
    );
    assert!(CONNECTIONS_ROOM_BYTES_MIN > BODY_BYTES_MAX + ZSTD_WINDOW_BYTES_MAX);
    // Any one answer has room, when it is the only one.
    assert!(CONNECTIONS_ROOM_BYTES_MIN > SEARCH_PAGE_BYTES_MAX + STREAM_ROOM_BYTES + ENCODER_ROOM_BYTES);
    assert!(CONNECTIONS_ROOM_BYTES_MIN > VALUE_BYTES_MAX + KIB + STREAM_ROOM_BYTES + ENCODER_ROOM_BYTES);
    assert!(VALUE_BYTES_MAX >= GET_MANY_BYTES_MAX);
    // No document is too large to be shown.
    assert!(
        SEARCH_PAGE_BYTES_MAX
            > DOCUMENT_TEXT_BYTES_MAX + METADATA_BYTES_MAX + 4 * EMBEDDING_ENTRIES_MAX + MIB
    );
    // A pipeline has no more in memory than the answer to many keys.
    assert!(PIPELINE_REQUESTS_MAX * READ_AHEAD_VALUE_BYTES_MAX <= GET_MANY_BYTES_MAX);
    assert!(READ_AHEAD_VALUE_BYTES_MAX >= INLINE_VALUE_BYTES_MAX);
    assert!(CONNECTIONS_ROOM_BYTES_MIN > BULK_LINE_BYTES_MAX + ZSTD_WINDOW_BYTES_MAX);
    // Vectors grow by doubling, and text can be six times its value.
    assert!(
        SEND_BATCH_BYTES_MAX + 6 * ENCODED_PIECE_BYTES + 2 * KEY_BYTES_MAX * 6 <= 2 * SEND_BATCH_BYTES_MAX
    );
    assert!(2 * BULK_BATCH_LINES_MAX <= BULK_LINES_IN_FLIGHT_MAX);
    assert!(TARGET_BYTES_MAX < HEAD_BYTES_MAX);
    assert!(KEY_BYTES_MAX * 3 < TARGET_BYTES_MAX);
    assert!(RECEIVE_BUFFERS_MAX.is_power_of_two());
    assert!(RECEIVE_BUFFERS_PER_STREAM_MAX * 8 <= RECEIVE_BUFFERS_MAX as usize);
    assert!(RING_ENTRIES.is_power_of_two());
};
