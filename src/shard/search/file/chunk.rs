//! One chunk of a file as bytes, and back.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::io::buf::AlignedBuf;
use crate::io::codec::{Put, Reader};

pub const PAGE_BYTES: usize = 4096;
pub const HEAD_BYTES: usize = 32;
/// A document is never cut, and nodes come in smaller pieces.
pub const PAYLOAD_BYTES_MAX: usize = 4 << 20;
const MAGIC: u32 = u32::from_le_bytes(*b"KyIx");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Head = 1,
    Documents = 2,
    GraphFront = 3,
    Nodes = 4,
    GraphBack = 5,
}

impl Kind {
    fn of(code: u32) -> Option<Kind> {
        [Kind::Head, Kind::Documents, Kind::GraphFront, Kind::Nodes, Kind::GraphBack]
            .into_iter()
            .find(|kind| *kind as u32 == code)
    }
}

fn hash(kind: Kind, number: u32, payload: &[u8]) -> u64 {
    xxh3_64_with_seed(payload, (kind as u64) << 32 | u64::from(number))
}

/// Whole pages.
pub fn encode(kind: Kind, number: u32, payload: &[u8]) -> AlignedBuf {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + payload.len());
    bytes.put_u32(MAGIC);
    bytes.put_u32(kind as u32);
    bytes.put_u32(number);
    bytes.put_u32(0);
    bytes.put_u64(payload.len() as u64);
    bytes.put_u64(hash(kind, number, payload));
    bytes.extend_from_slice(payload);
    AlignedBuf::padded(&bytes)
}

/// What the first page of a chunk says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub kind: Kind,
    number: u32,
    pub payload_bytes: usize,
    hash: u64,
}

impl Head {
    /// `None`: no chunk, or not the one of this number.
    pub fn decode(page: &[u8], number: u32) -> Option<Head> {
        let mut reader = Reader::new(page);
        let magic = reader.u32().ok()?;
        let kind = Kind::of(reader.u32().ok()?)?;
        let (found, zero) = (reader.u32().ok()?, reader.u32().ok()?);
        let payload_bytes = usize::try_from(reader.u64().ok()?).ok()?;
        let is_good = magic == MAGIC && found == number && zero == 0 && payload_bytes <= PAYLOAD_BYTES_MAX;
        let head = Head { kind, number, payload_bytes, hash: reader.u64().ok()? };
        is_good.then_some(head)
    }

    /// Bytes of the whole chunk in its file.
    pub fn chunk_bytes(&self) -> usize {
        (HEAD_BYTES + self.payload_bytes).next_multiple_of(PAGE_BYTES)
    }

    /// The payload of a whole chunk, when it is what was written.
    pub fn payload<'a>(&self, chunk: &'a [u8]) -> Option<&'a [u8]> {
        let payload = chunk.get(HEAD_BYTES..HEAD_BYTES + self.payload_bytes)?;
        (hash(self.kind, self.number, payload) == self.hash).then_some(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_or_is_refused() {
        let chunk = encode(Kind::Nodes, 3, &[7; 5000]);
        assert_eq!(chunk.len(), 8192);
        let decoded = |bytes: &[u8], number| {
            let head = Head::decode(bytes, number)?;
            assert_eq!((head.kind, head.chunk_bytes()), (Kind::Nodes, 8192));
            head.payload(bytes).map(<[u8]>::to_vec)
        };
        assert_eq!(decoded(&chunk, 3), Some(vec![7; 5000]));
        assert_eq!(decoded(&chunk, 4), None);
        for bit in 0..8 * (HEAD_BYTES + 40) {
            let mut flipped = chunk.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let head = Head::decode(&flipped, 3);
            assert_eq!(head.and_then(|head| head.payload(&flipped).map(<[u8]>::to_vec)), None, "bit {bit}");
        }
    }
}
