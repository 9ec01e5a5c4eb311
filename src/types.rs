//! The numbers that name things, one newtype each, so that no two can be mixed up.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $int:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $int);

        impl $name {
            pub const ZERO: $name = $name(0);

            /// The number after this one. Panics on overflow: none of these can wrap in a lifetime.
            #[must_use]
            pub fn next(self) -> $name {
                $name(self.0.checked_add(1).expect(concat!(stringify!($name), " overflow")))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// The node that a shard's data belongs to: a random number, the same on all its shards. 0: none yet.
    NodeId, u64
);
number!(
    /// A core of the server and the shard that it runs.
    ShardId, u16
);
number!(
    /// Log sequence number: the position of a record in the order of one shard's log.
    /// Strictly increasing; it jumps over the unknown after a crash and is never used twice.
    Lsn, u64
);
number!(
    /// Version of a record: strictly increasing in its tablet, also across crashes and moves.
    Seq, u64
);
number!(
    /// Generation of the routing map, and of a tablet's ownership.
    Epoch, u64
);
number!(
    /// A collection; never used again after a drop.
    CollectionId, u32
);
number!(
    /// A tablet (a key range of a collection); never used again.
    TabletId, u32
);
number!(
    /// A log segment of one shard; never used again.
    SegmentId, u64
);
number!(
    /// A sorted run of one shard; never used again.
    RunId, u64
);
number!(
    /// A place in a file, in bytes from its start.
    FileOffset, u64
);
number!(
    /// Monotonic time of one process, in nanoseconds from an arbitrary start.
    Mono, u64
);
number!(
    /// Wall-clock time in milliseconds since 1970-01-01T00:00:00Z.
    WallMs, u64
);

/// Names one request of one caller to one record, among all there are: 128 bits of a hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub [u8; 16]);

impl Mono {
    #[must_use]
    pub fn after(self, delay: std::time::Duration) -> Mono {
        Mono(self.0.saturating_add(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Nanoseconds from `earlier` to this moment, 0 when it is not earlier.
    pub fn since(self, earlier: Mono) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
