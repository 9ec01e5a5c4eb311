//! One record of the log: what changed, as bytes.
//!
//! A record is the unit of atomicity: value, vector and metadata of a key are one record. Its payload
//! is opaque here. Decoding borrows from the input, trusts no length and never panics.
//!
//! ```text
//! offset size field
//!      0    4 len          whole record in bytes, this field included
//!      4    1 kind         1 put, 2 delete, 3 prepare, 4 commit, 5 tablet, 6 catalogue, 7 catalogue with placements,
//!                         8 catalogue with documents, 9 receipts
//!      5    1 flags        bit 0 expiry, bit 1 source, bit 2 transaction, bit 3 replaces, bit 4 once,
//!                         bit 5 created; others are an error
//!      6    2 key_len
//!      8    8 lsn
//!     16    8 commit_ts    hybrid logical clock
//!     24    8 seq
//!     32    4 collection
//!     36    4 tablet
//!     40    8 epoch
//!     48    8 expiry_ms    if bit 0: absolute, milliseconds since 1970
//!      .   16 source       if bit 1: stream, then LSN in that stream
//!      .    8 transaction  if bit 2
//!      .   24 once         if bit 4: token of 16 bytes, then fingerprint
//!      .      key          key_len bytes
//!      .      payload      the rest of len
//! ```

use std::fmt;

use super::field::{get_u16, get_u32, get_u64, put_u16, put_u32, put_u64};
use crate::io::codec::{Reader, Truncated};
use crate::limits;
use crate::types::{CollectionId, Epoch, Lsn, Seq, TabletId, Token, WallMs};

const LEN: usize = 0;
const KIND: usize = LEN + 4;
const FLAGS: usize = KIND + 1;
const KEY_LEN: usize = FLAGS + 1;
const LSN: usize = KEY_LEN + 2;
const COMMIT_TS: usize = LSN + 8;
const SEQ: usize = COMMIT_TS + 8;
const COLLECTION: usize = SEQ + 8;
const TABLET: usize = COLLECTION + 4;
const EPOCH: usize = TABLET + 4;
const FIXED_BYTES: usize = EPOCH + 8;
const ONCE_BYTES: usize = 16 + 8;
const HEAD_BYTES_MAX: usize = FIXED_BYTES + 8 + 16 + 8 + ONCE_BYTES;

const FLAG_EXPIRY: u8 = 1 << 0;
const FLAG_SOURCE: u8 = 1 << 1;
const FLAG_TRANSACTION: u8 = 1 << 2;
const FLAG_REPLACES: u8 = 1 << 3;
const FLAG_ONCE: u8 = 1 << 4;
const FLAG_CREATED: u8 = 1 << 5;
const FLAGS_KNOWN: u8 =
    FLAG_EXPIRY | FLAG_SOURCE | FLAG_TRANSACTION | FLAG_REPLACES | FLAG_ONCE | FLAG_CREATED;

const _: () = assert!(FIXED_BYTES == limits::LOG_RECORD_BYTES_MIN);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Put = 1,
    Delete = 2,
    Prepare = 3,
    Commit = 4,
    Tablet = 5,
    Catalogue = 6,
    // Of other forms: what older servers must not take for theirs.
    PlacedCatalogue = 7,
    DocumentCatalogue = 8,
    Receipts = 9,
}

impl Kind {
    fn decode(byte: u8) -> Option<Kind> {
        let all = [Kind::Put, Kind::Delete, Kind::Prepare, Kind::Commit, Kind::Tablet, Kind::Catalogue];
        let later = [Kind::PlacedCatalogue, Kind::DocumentCatalogue, Kind::Receipts];
        all.into_iter().chain(later).find(|kind| *kind as u8 == byte)
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Put => "put",
            Kind::Delete => "delete",
            Kind::Prepare => "prepare",
            Kind::Commit => "commit",
            Kind::Tablet => "tablet",
            Kind::Catalogue | Kind::PlacedCatalogue | Kind::DocumentCatalogue => "catalogue",
            Kind::Receipts => "receipts",
        }
    }
}

/// Where a replicated record comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    pub stream: u64,
    pub lsn: Lsn,
}

/// The request that a record carries out: asked again it is known by this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Once {
    pub token: Token,
    /// Of what was asked.
    pub fingerprint: u64,
}

/// Everything about a record but its LSN, key and payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    pub kind: Kind,
    /// Hybrid logical clock.
    pub commit_ts: u64,
    pub seq: Seq,
    pub collection: CollectionId,
    pub tablet: TabletId,
    pub epoch: Epoch,
    pub expiry: Option<WallMs>,
    pub source: Option<Source>,
    pub transaction: Option<u64>,
    /// There was a record of this key: what counts records need not look for it again.
    pub replaces: bool,
    pub once: Option<Once>,
    /// No record of this key could be seen: the answer to `once` said so.
    pub created: bool,
}

impl Meta {
    /// A record of `kind` with every number zero and nothing optional.
    pub fn new(kind: Kind) -> Meta {
        Meta {
            kind,
            commit_ts: 0,
            seq: Seq::ZERO,
            collection: CollectionId::ZERO,
            tablet: TabletId::ZERO,
            epoch: Epoch::ZERO,
            expiry: None,
            source: None,
            transaction: None,
            replaces: false,
            once: None,
            created: false,
        }
    }

    fn flags(&self) -> u8 {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        flag(self.expiry.is_some(), FLAG_EXPIRY)
            | flag(self.source.is_some(), FLAG_SOURCE)
            | flag(self.transaction.is_some(), FLAG_TRANSACTION)
            | flag(self.replaces, FLAG_REPLACES)
            | flag(self.once.is_some(), FLAG_ONCE)
            | flag(self.created, FLAG_CREATED)
    }
}

/// What a writer gives; the log adds the LSN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordParts<'a> {
    pub meta: Meta,
    /// At most [`limits::KEY_BYTES_MAX`].
    pub key: &'a [u8],
    pub payload: &'a [u8],
}

impl RecordParts<'_> {
    fn head_len(&self) -> usize {
        let optional = |set: bool, len: usize| if set { len } else { 0 };
        FIXED_BYTES
            + optional(self.meta.expiry.is_some(), 8)
            + optional(self.meta.source.is_some(), 16)
            + optional(self.meta.transaction.is_some(), 8)
            + optional(self.meta.once.is_some(), ONCE_BYTES)
    }

    /// Bytes in the log, at most [`limits::LOG_RECORD_BYTES_MAX`].
    pub fn encoded_len(&self) -> usize {
        self.head_len() + self.key.len() + self.payload.len()
    }

    /// All that comes before the key. Panics when a limit is exceeded: the caller has refused that.
    pub(super) fn head(&self, lsn: Lsn) -> Head {
        let len = self.encoded_len();
        assert!(len <= limits::LOG_RECORD_BYTES_MAX, "a record of {len} bytes reached the log");
        assert!(self.key.len() <= limits::KEY_BYTES_MAX, "a key of {} bytes reached the log", self.key.len());
        let meta = &self.meta;
        let mut bytes = [0; HEAD_BYTES_MAX];
        put_u32(&mut bytes, LEN, len as u32);
        bytes[KIND] = meta.kind as u8;
        bytes[FLAGS] = meta.flags();
        put_u16(&mut bytes, KEY_LEN, self.key.len() as u16);
        put_u64(&mut bytes, LSN, lsn.0);
        put_u64(&mut bytes, COMMIT_TS, meta.commit_ts);
        put_u64(&mut bytes, SEQ, meta.seq.0);
        put_u32(&mut bytes, COLLECTION, meta.collection.0);
        put_u32(&mut bytes, TABLET, meta.tablet.0);
        put_u64(&mut bytes, EPOCH, meta.epoch.0);
        let mut head = Head { bytes, len: FIXED_BYTES };
        meta.expiry.into_iter().for_each(|at| head.push(at.0));
        meta.source.into_iter().for_each(|source| {
            head.push(source.stream);
            head.push(source.lsn.0);
        });
        meta.transaction.into_iter().for_each(|id| head.push(id));
        meta.once.into_iter().for_each(|once| {
            head.push_bytes(&once.token.0);
            head.push(once.fingerprint);
        });
        head
    }

    /// Appends the whole record to `out`.
    pub fn encode_into(&self, lsn: Lsn, out: &mut Vec<u8>) {
        out.reserve(self.encoded_len());
        out.extend_from_slice(self.head(lsn).bytes());
        out.extend_from_slice(self.key);
        out.extend_from_slice(self.payload);
    }
}

/// The encoded part of a record before its key.
pub(super) struct Head {
    bytes: [u8; HEAD_BYTES_MAX],
    len: usize,
}

impl Head {
    fn push(&mut self, value: u64) {
        put_u64(&mut self.bytes, self.len, value);
        self.len += 8;
    }

    fn push_bytes(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// A record as it lies in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    pub lsn: Lsn,
    pub parts: RecordParts<'a>,
}

/// A record that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub lsn: Lsn,
    pub meta: Meta,
    pub key: Vec<u8>,
    pub payload: Vec<u8>,
}

impl Record {
    pub fn as_ref(&self) -> RecordRef<'_> {
        RecordRef { lsn: self.lsn, parts: self.parts() }
    }

    pub fn parts(&self) -> RecordParts<'_> {
        RecordParts { meta: self.meta, key: &self.key, payload: &self.payload }
    }
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFault {
    /// A length below the smallest or above the largest record.
    Length(u32),
    Kind(u8),
    Flags(u8),
    /// The key, or an optional field, reaches beyond the record.
    Overrun,
    KeyLength(u16),
}

impl From<Truncated> for RecordFault {
    fn from(_: Truncated) -> RecordFault {
        RecordFault::Overrun
    }
}

impl fmt::Display for RecordFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordFault::Length(len) => write!(f, "a record has the impossible length {len}"),
            RecordFault::Kind(kind) => write!(f, "a record has the unknown kind {kind}"),
            RecordFault::Flags(flags) => write!(f, "a record has unknown flags {flags:#04x}"),
            RecordFault::Overrun => f.write_str("a field reaches beyond its record"),
            RecordFault::KeyLength(len) => write!(f, "a record has a key of {len} bytes"),
        }
    }
}

impl std::error::Error for RecordFault {}

impl<'a> RecordRef<'a> {
    /// Bytes of the record that begins `bytes`; `None` while too few are there to tell.
    pub fn peek_len(bytes: &[u8]) -> Result<Option<usize>, RecordFault> {
        if bytes.len() < KIND {
            return Ok(None);
        }
        let len = get_u32(bytes, LEN);
        match len as usize {
            FIXED_BYTES..=limits::LOG_RECORD_BYTES_MAX => Ok(Some(len as usize)),
            _ => Err(RecordFault::Length(len)),
        }
    }

    /// LSN of the record that begins `bytes`; `None` when too few are there to tell.
    pub fn peek_lsn(bytes: &[u8]) -> Option<Lsn> {
        (bytes.len() >= COMMIT_TS).then(|| Lsn(get_u64(bytes, LSN)))
    }

    /// Decodes `bytes`, which must be exactly one record.
    pub fn decode(bytes: &'a [u8]) -> Result<RecordRef<'a>, RecordFault> {
        match Self::peek_len(bytes)? {
            Some(len) if len == bytes.len() => {}
            _ => return Err(RecordFault::Overrun),
        }
        let kind = Kind::decode(bytes[KIND]).ok_or(RecordFault::Kind(bytes[KIND]))?;
        let flags = bytes[FLAGS];
        if flags & !FLAGS_KNOWN != 0 {
            return Err(RecordFault::Flags(flags));
        }
        let mut rest = Reader::new(&bytes[FIXED_BYTES..]);
        let meta = Meta {
            kind,
            commit_ts: get_u64(bytes, COMMIT_TS),
            seq: Seq(get_u64(bytes, SEQ)),
            collection: CollectionId(get_u32(bytes, COLLECTION)),
            tablet: TabletId(get_u32(bytes, TABLET)),
            epoch: Epoch(get_u64(bytes, EPOCH)),
            expiry: optional(flags, FLAG_EXPIRY, || rest.u64().map(WallMs))?,
            source: optional(flags, FLAG_SOURCE, || {
                Ok(Source { stream: rest.u64()?, lsn: Lsn(rest.u64()?) })
            })?,
            transaction: optional(flags, FLAG_TRANSACTION, || rest.u64())?,
            replaces: flags & FLAG_REPLACES != 0,
            once: optional(flags, FLAG_ONCE, || {
                Ok(Once { token: Token(rest.array()?), fingerprint: rest.u64()? })
            })?,
            created: flags & FLAG_CREATED != 0,
        };
        let key_len = get_u16(bytes, KEY_LEN);
        if usize::from(key_len) > limits::KEY_BYTES_MAX {
            return Err(RecordFault::KeyLength(key_len));
        }
        let key = rest.take(usize::from(key_len))?;
        let payload = rest.take(rest.remaining())?;
        Ok(RecordRef { lsn: Lsn(get_u64(bytes, LSN)), parts: RecordParts { meta, key, payload } })
    }

    pub fn to_record(&self) -> Record {
        let RecordParts { meta, key, payload } = self.parts;
        Record { lsn: self.lsn, meta, key: key.to_vec(), payload: payload.to_vec() }
    }
}

fn optional<T>(
    flags: u8,
    bit: u8,
    read: impl FnOnce() -> Result<T, Truncated>,
) -> Result<Option<T>, Truncated> {
    if flags & bit != 0 { read().map(Some) } else { Ok(None) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn any_record() -> impl Strategy<Value = Record> {
        let ids = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u32>(), any::<u32>(), any::<u64>());
        let optional = (any::<Option<u64>>(), any::<Option<(u64, u64)>>(), any::<Option<u64>>(), 1..=9u8);
        let once = any::<Option<([u8; 16], u64, bool)>>();
        let bytes =
            (proptest::collection::vec(any::<u8>(), 0..40), proptest::collection::vec(any::<u8>(), 0..3000));
        (ids, optional, once, bytes).prop_map(|(ids, optional, once, (key, payload))| Record {
            lsn: Lsn(ids.0),
            meta: Meta {
                kind: Kind::decode(optional.3).expect("a known kind"),
                commit_ts: ids.1,
                seq: Seq(ids.2),
                collection: CollectionId(ids.3),
                tablet: TabletId(ids.4),
                epoch: Epoch(ids.5),
                expiry: optional.0.map(WallMs),
                source: optional.1.map(|(stream, lsn)| Source { stream, lsn: Lsn(lsn) }),
                transaction: optional.2,
                replaces: ids.2 % 2 == 1,
                once: once.map(|(token, fingerprint, _)| Once { token: Token(token), fingerprint }),
                created: once.is_some_and(|(_, _, created)| created),
            },
            key,
            payload,
        })
    }

    proptest! {
        #[test]
        fn every_record_survives_the_round_trip(record in any_record()) {
            let mut bytes = Vec::new();
            record.parts().encode_into(record.lsn, &mut bytes);
            prop_assert_eq!(bytes.len(), record.parts().encoded_len());
            prop_assert_eq!(RecordRef::decode(&bytes), Ok(record.as_ref()));
            prop_assert_eq!(RecordRef::decode(&bytes).expect("decoded").to_record(), record);
            for cut in 0..bytes.len() {
                prop_assert!(RecordRef::decode(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = RecordRef::decode(&bytes);
        }
    }

    #[test]
    fn what_is_unknown_is_an_error() {
        let mut good = Vec::new();
        RecordParts { meta: Meta::new(Kind::Put), key: b"k", payload: b"v" }.encode_into(Lsn(1), &mut good);
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            RecordRef::decode(&bytes).map(|record| record.to_record())
        };
        assert_eq!(with(KIND, 0), Err(RecordFault::Kind(0)));
        assert_eq!(with(KIND, 10), Err(RecordFault::Kind(10)));
        assert_eq!(with(FLAGS, 64), Err(RecordFault::Flags(64)));
        assert_eq!(with(FLAGS, FLAG_EXPIRY), Err(RecordFault::Overrun));
        assert_eq!(with(FLAGS, FLAG_ONCE), Err(RecordFault::Overrun));
        assert_eq!(with(KEY_LEN, 3), Err(RecordFault::Overrun));
        assert_eq!(with(KEY_LEN + 1, 0xff), Err(RecordFault::KeyLength(0xff01)));
        assert_eq!(with(LEN, 47), Err(RecordFault::Length(47)));
    }
}
