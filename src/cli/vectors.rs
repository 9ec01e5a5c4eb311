//! Files of vectors: `.npy` (NumPy), `.fvecs`, `.bvecs` and `.ivecs` (of the TEXMEX sets).
//!
//! ```text
//! .npy     "\x93NUMPY", version 2, header length (u16, or u32 from version 2 on), header, numbers
//!          header: a Python dict with 'descr' (<f4, <f2, |u1, <i4), 'fortran_order', 'shape'
//! .?vecs   a row: dimension (i32), then that many f32, u8 or i32; all little-endian
//! ```

use std::fs;
use std::path::Path;

use super::failure::{Failure, InputError};
use crate::limits::EMBEDDING_ENTRIES_MAX;
use crate::vector::element::{Element, f16_to_f32};

const NPY_MAGIC: &[u8] = b"\x93NUMPY";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    F32,
    F16,
    U8,
    I32,
}

impl Number {
    fn bytes(self) -> usize {
        match self {
            Number::F32 | Number::I32 => 4,
            Number::F16 => 2,
            Number::U8 => 1,
        }
    }
}

/// Rows of numbers as they lie in a file.
struct Table {
    number: Number,
    columns: usize,
    bytes: Vec<u8>,
}

/// Rows of floats, and the least element that holds them as they are.
#[derive(Debug, PartialEq)]
pub struct Vectors {
    pub dimension: usize,
    pub numbers: Vec<f32>,
    pub element: Element,
}

impl Vectors {
    pub fn len(&self) -> usize {
        self.numbers.len() / self.dimension
    }

    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    pub fn row(&self, at: usize) -> &[f32] {
        &self.numbers[at * self.dimension..][..self.dimension]
    }

    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> + Clone {
        self.numbers.chunks_exact(self.dimension)
    }
}

/// Rows of ids.
#[derive(Debug, PartialEq)]
pub struct Ids {
    pub columns: usize,
    pub ids: Vec<i32>,
}

impl Ids {
    pub fn row(&self, at: usize) -> Option<&[i32]> {
        self.ids.get(at * self.columns..(at + 1) * self.columns)
    }
}

pub fn read_vectors(path: &Path) -> Result<Vectors, Failure> {
    let bytes = fs::read(path).map_err(Failure::file(path))?;
    let vectors = table(path, bytes).and_then(|table| table.vectors());
    vectors.map_err(|what| wrong(path, what))
}

pub fn read_ids(path: &Path) -> Result<Ids, Failure> {
    let bytes = fs::read(path).map_err(Failure::file(path))?;
    let ids = table(path, bytes).and_then(|table| table.ids());
    ids.map_err(|what| wrong(path, what))
}

fn wrong(path: &Path, what: &'static str) -> Failure {
    Failure::Input { path: path.to_owned(), line: 0, what: InputError::Vectors(what) }
}

fn table(path: &Path, bytes: Vec<u8>) -> Result<Table, &'static str> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("npy") => npy(bytes),
        Some("fvecs") => vecs(Number::F32, &bytes),
        Some("bvecs") => vecs(Number::U8, &bytes),
        Some("ivecs") => vecs(Number::I32, &bytes),
        _ => Err("the name ends in none of .npy, .fvecs, .bvecs, .ivecs"),
    }
}

fn npy(mut bytes: Vec<u8>) -> Result<Table, &'static str> {
    const SHORT: &str = "the file ends in its header";
    let rest = bytes.strip_prefix(NPY_MAGIC).ok_or("this is no .npy file")?;
    let (version, rest) = rest.split_first_chunk::<2>().ok_or(SHORT)?;
    let (length, rest) = match version[0] {
        1 => {
            let (length, rest) = rest.split_first_chunk().ok_or(SHORT)?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        2 | 3 => {
            let (length, rest) = rest.split_first_chunk().ok_or(SHORT)?;
            (u32::from_le_bytes(*length) as usize, rest)
        }
        _ => return Err("a version of .npy that is not known"),
    };
    let header = rest.get(..length).ok_or(SHORT)?;
    let header = std::str::from_utf8(header).map_err(|_| "the header is no text")?;
    let number = match field(header, "'descr':")?.trim_start().split(['\'', '"']).nth(1) {
        Some("<f4") => Number::F32,
        Some("<f2") => Number::F16,
        Some("|u1") => Number::U8,
        Some("<i4") => Number::I32,
        _ => return Err("numbers are to be f4, f2, u1 or i4, little-endian"),
    };
    if !field(header, "'fortran_order':")?.trim_start().starts_with("False") {
        return Err("the array is in Fortran's order");
    }
    let shape = field(header, "'shape':")?.trim_start().strip_prefix('(').ok_or("there is no shape")?;
    let shape: Vec<&str> = shape.split(')').next().unwrap_or("").split(',').map(str::trim).collect();
    let (&[rows, columns] | &[rows, columns, ""]) = shape.as_slice() else {
        return Err("the array has not two dimensions");
    };
    let count = |text: &str| text.parse::<usize>().map_err(|_| "the shape is no pair of numbers");
    let (rows, columns) = (count(rows)?, count(columns)?);
    let begin = bytes.len() - rest.len() + length;
    let size = rows.checked_mul(columns).and_then(|count| count.checked_mul(number.bytes()));
    if size != Some(bytes.len() - begin) {
        return Err("the file is not as long as its shape says");
    }
    bytes.drain(..begin);
    checked(Table { number, columns, bytes })
}

/// What is behind a key of the header.
fn field<'a>(header: &'a str, key: &str) -> Result<&'a str, &'static str> {
    header.split_once(key).map(|(_, behind)| behind).ok_or("the header lacks a key")
}

fn vecs(number: Number, bytes: &[u8]) -> Result<Table, &'static str> {
    let (first, _) = bytes.split_first_chunk().ok_or("the file is empty")?;
    let columns = usize::try_from(i32::from_le_bytes(*first)).map_err(|_| "a negative dimension")?;
    let row = columns.checked_mul(number.bytes()).and_then(|row| row.checked_add(4));
    let row = row.ok_or("a dimension without bounds")?;
    if !bytes.len().is_multiple_of(row) {
        return Err("the file ends in the middle of a row");
    }
    let mut out = Vec::with_capacity(bytes.len());
    for row in bytes.chunks_exact(row) {
        let (dimension, numbers) = row.split_at(4);
        if dimension != first {
            return Err("rows have different dimensions");
        }
        out.extend_from_slice(numbers);
    }
    checked(Table { number, columns, bytes: out })
}

fn checked(table: Table) -> Result<Table, &'static str> {
    match table.columns {
        1..=EMBEDDING_ENTRIES_MAX => Ok(table),
        _ => Err("rows have no number, or too many"),
    }
}

impl Table {
    fn vectors(self) -> Result<Vectors, &'static str> {
        let bytes = &self.bytes;
        let (numbers, element): (Vec<f32>, Element) = match self.number {
            Number::F32 => {
                let words = bytes.as_chunks::<4>().0;
                (words.iter().map(|word| f32::from_le_bytes(*word)).collect(), Element::F32)
            }
            Number::F16 => {
                let halves = bytes.as_chunks::<2>().0;
                (halves.iter().map(|half| f16_to_f32(u16::from_le_bytes(*half))).collect(), Element::F16)
            }
            // Every u8 is an f16.
            Number::U8 => (bytes.iter().map(|byte| f32::from(*byte)).collect(), Element::F16),
            Number::I32 => return Err("these are ids, not vectors"),
        };
        Ok(Vectors { dimension: self.columns, numbers, element })
    }

    fn ids(self) -> Result<Ids, &'static str> {
        match self.number {
            Number::I32 => {
                let words = self.bytes.as_chunks::<4>().0;
                let ids = words.iter().map(|word| i32::from_le_bytes(*word)).collect();
                Ok(Ids { columns: self.columns, ids })
            }
            _ => Err("these are no ids: i4 is wanted"),
        }
    }
}

/// Rows of ids as a `.npy` file.
pub fn npy_of_ids(ids: &[i32], columns: usize) -> Vec<u8> {
    let rows = ids.len() / columns.max(1);
    let mut header = format!("{{'descr': '<i4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    // Numbers begin at a multiple of 64, as NumPy writes it.
    let before = NPY_MAGIC.len() + 4;
    let padding = (before + header.len() + 1).next_multiple_of(64) - before - header.len() - 1;
    header.extend(std::iter::repeat_n(' ', padding));
    header.push('\n');
    let mut out = NPY_MAGIC.to_vec();
    out.extend_from_slice(&[1, 0]);
    out.extend_from_slice(&(header.len() as u16).to_le_bytes());
    out.extend_from_slice(header.as_bytes());
    ids.iter().for_each(|id| out.extend_from_slice(&id.to_le_bytes()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy_of(descr: &str, shape: &str, numbers: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let length = (header.len() as u16).to_le_bytes();
        [NPY_MAGIC, &[1, 0], &length, header.as_bytes(), numbers].concat()
    }

    fn vectors(name: &str, bytes: Vec<u8>) -> Result<Vectors, &'static str> {
        table(Path::new(name), bytes)?.vectors()
    }

    #[test]
    fn reads_every_format() {
        let wanted = |element| Vectors { dimension: 2, numbers: vec![1.0, 2.0, 3.0, 4.0], element };
        let floats = [1.0_f32, 2.0, 3.0, 4.0].map(f32::to_le_bytes).concat();
        let halves = [0x3c00_u16, 0x4000, 0x4200, 0x4400].map(u16::to_le_bytes).concat();
        assert_eq!(vectors("a.npy", npy_of("<f4", "(2, 2)", &floats)), Ok(wanted(Element::F32)));
        assert_eq!(vectors("a.npy", npy_of("<f2", "(2, 2)", &halves)), Ok(wanted(Element::F16)));
        assert_eq!(vectors("a.npy", npy_of("|u1", "(2, 2,)", &[1, 2, 3, 4])), Ok(wanted(Element::F16)));
        let two = 2_i32.to_le_bytes();
        let fvecs = [&two, &floats[..8], &two, &floats[8..]].concat();
        assert_eq!(vectors("a.fvecs", fvecs), Ok(wanted(Element::F32)));
        let bvecs = [&two[..], &[1, 2], &two, &[3, 4]].concat();
        assert_eq!(vectors("a.bvecs", bvecs), Ok(wanted(Element::F16)));
        let ids = table(Path::new("a.ivecs"), [two, 7_i32.to_le_bytes(), two].concat()).unwrap().ids();
        assert_eq!(ids, Ok(Ids { columns: 2, ids: vec![7, 2] }));
    }

    #[test]
    fn reads_back_the_ids_that_it_writes() {
        let bytes = npy_of_ids(&[1, 2, 3, -1, 5, 6], 3);
        assert!((bytes.len() - 24).is_multiple_of(64));
        let ids = table(Path::new("a.npy"), bytes).unwrap().ids().unwrap();
        assert_eq!((ids.row(1), ids.row(2)), (Some(&[-1, 5, 6][..]), None));
    }

    #[test]
    fn refuses_what_it_cannot_read() {
        let two = 2_i32.to_le_bytes();
        let bad: [(&str, Vec<u8>); 9] = [
            ("a.npy", b"\x93NUMP".to_vec()),
            ("a.npy", npy_of("<f8", "(1, 1)", &[0; 8])),
            ("a.npy", npy_of("<f4", "(1, 2)", &[0; 4])),
            ("a.npy", npy_of("<f4", "(4,)", &[0; 16])),
            ("a.npy", npy_of("<f4", "(99999999999, 99999999999)", &[])),
            ("a.bvecs", [&two[..], &[1, 2, 3]].concat()),
            ("a.bvecs", [&two[..], &[1, 2], &[3, 0, 0, 0, 4, 5]].concat()),
            ("a.fvecs", vec![0xff; 8]),
            ("a.txt", vec![]),
        ];
        for (name, bytes) in bad {
            assert!(vectors(name, bytes).is_err(), "{name}");
        }
        assert!(table(Path::new("a.npy"), npy_of("<f4", "(1, 1)", &[0; 4])).unwrap().ids().is_err());
    }
}
