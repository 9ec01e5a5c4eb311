//! Files of vectors or ids, row by row: `.npy` (NumPy), `.fvecs`, `.bvecs` and `.ivecs` (of the TEXMEX sets).
//!
//! ```text
//! .npy     "\x93NUMPY", version 2, header length (u16, or u32 from version 2 on), header, numbers
//!          header: a Python dict with 'descr' (<f4, <f2, |u1, <i4), 'fortran_order', 'shape'
//! .?vecs   a row: dimension (i32), then that many f32, u8 or i32; all little-endian
//! ```
//!
//! What is wrong with the file as a whole (its form, its length) is found when it is opened, as far as its length is
//! known. Rows are counted from 0, as the ids of what becomes of them.

use std::fmt;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use super::failure::{Failure, InputError};
use super::input::{self, Input};
use crate::limits::EMBEDDING_ENTRIES_MAX;
use crate::vector::element::f16_to_f32;

pub const NPY_MAGIC: &[u8] = b"\x93NUMPY";
/// More than any header of an array of numbers.
const NPY_HEADER_BYTES_MAX: usize = 1 << 20;
const PREFIX_BYTES: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    F32,
    F16,
    U8,
    I32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Npy,
    /// Each row behind its dimension.
    Vecs(Number),
}

/// Why a file of vectors or ids is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowsError {
    Name,
    Empty,
    NotNpy,
    EndsInHeader,
    Version(u8),
    HeaderIsNoText,
    HeaderLacks(&'static str),
    Numbers(String),
    FortranOrder,
    Shape(String),
    ShorterThanShape {
        wanted: u64,
        found: u64,
    },
    LongerThanShape {
        wanted: u64,
        found: u64,
    },
    EndsInRow {
        row: u64,
    },
    /// The length is no whole number of rows.
    Ragged {
        row: u64,
        dimension: usize,
    },
    OtherDimension {
        row: u64,
        first: usize,
        found: i32,
    },
    Dimension {
        found: i64,
    },
    NoRow,
    AreIds,
    AreNoIds,
    /// A file of what is nearest has fewer than are wanted.
    TooFewIds,
    /// A filter of no row, or of one that is not there.
    UnknownRows,
}

impl Number {
    pub fn bytes(self) -> usize {
        match self {
            Number::F32 | Number::I32 => 4,
            Number::F16 => 2,
            Number::U8 => 1,
        }
    }

    fn named(descr: &str) -> Option<Number> {
        Some(match descr {
            "<f4" => Number::F32,
            "<f2" => Number::F16,
            "|u1" => Number::U8,
            "<i4" => Number::I32,
            _ => return None,
        })
    }

    /// The numbers of a row as floats; exact but for large i32.
    pub fn floats(self, row: &[u8]) -> impl Iterator<Item = f32> + '_ {
        row.chunks_exact(self.bytes()).map(move |number| match (self, number) {
            (Number::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
            (Number::F16, &[a, b]) => f16_to_f32(u16::from_le_bytes([a, b])),
            (Number::U8, &[a]) => f32::from(a),
            (Number::I32, &[a, b, c, d]) => i32::from_le_bytes([a, b, c, d]) as f32,
            _ => unreachable!("chunks are as long as a number"),
        })
    }
}

impl Form {
    /// By the end of the name.
    pub fn of(path: &Path) -> Option<Form> {
        Some(match path.extension()?.to_str()? {
            "npy" => Form::Npy,
            "fvecs" => Form::Vecs(Number::F32),
            "bvecs" => Form::Vecs(Number::U8),
            "ivecs" => Form::Vecs(Number::I32),
            _ => return None,
        })
    }
}

pub struct VectorFile {
    path: PathBuf,
    reader: BufReader<Input>,
    number: Number,
    dimension: usize,
    /// Unknown only of rows behind their dimension from an input whose length is not known.
    rows: Option<u64>,
    /// Each row is behind its dimension. That of the first row was read.
    is_prefixed: bool,
    taken: u64,
    row: Vec<u8>,
}

impl VectorFile {
    pub fn open(path: &Path) -> Result<VectorFile, Failure> {
        let form = Form::of(path).ok_or_else(|| wrong(path, RowsError::Name))?;
        let (reader, len) = input::open(path)?;
        VectorFile::new(path, form, reader, len)
    }

    pub fn new(
        path: &Path,
        form: Form,
        mut reader: BufReader<Input>,
        len: Option<u64>,
    ) -> Result<VectorFile, Failure> {
        if len == Some(0) {
            return Err(wrong(path, RowsError::Empty));
        }
        let (number, dimension, rows) = match form {
            Form::Npy => read_npy_head(path, &mut reader, len)?,
            Form::Vecs(number) => read_first_prefix(path, &mut reader, len, number)?,
        };
        let row = vec![0; dimension * number.bytes()];
        let is_prefixed = matches!(form, Form::Vecs(_));
        Ok(VectorFile { path: path.to_owned(), reader, number, dimension, rows, is_prefixed, taken: 0, row })
    }

    pub fn number(&self) -> Number {
        self.number
    }

    pub fn dimension(&self) -> usize {
        self.dimension
    }

    pub fn rows(&self) -> Option<u64> {
        self.rows
    }

    pub fn wrong(&self, what: RowsError) -> Failure {
        wrong(&self.path, what)
    }

    /// The bytes of the next row; `None` behind the last.
    pub fn next_row(&mut self) -> Result<Option<&[u8]>, Failure> {
        if self.rows == Some(self.taken) || (self.is_prefixed && self.taken > 0 && !self.read_prefix()?) {
            return Ok(None);
        }
        match self.reader.read_exact(&mut self.row) {
            Ok(()) => self.taken += 1,
            Err(error) => return Err(self.cut_short(error)),
        }
        Ok(Some(&self.row))
    }

    /// False at the end of the input.
    fn read_prefix(&mut self) -> Result<bool, Failure> {
        let mut prefix = [0; PREFIX_BYTES];
        let read = read_up_to(&mut self.reader, &mut prefix).map_err(Failure::file(&self.path))?;
        match read {
            0 if self.rows.is_none() => return Ok(false),
            PREFIX_BYTES => (),
            _ => return Err(self.cut_short(io::ErrorKind::UnexpectedEof.into())),
        }
        let found = i32::from_le_bytes(prefix);
        if usize::try_from(found) != Ok(self.dimension) {
            let (row, first) = (self.taken, self.dimension);
            return Err(self.wrong(RowsError::OtherDimension { row, first, found }));
        }
        Ok(true)
    }

    fn cut_short(&self, error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => self.wrong(RowsError::EndsInRow { row: self.taken }),
            _ => Failure::file(&self.path)(error),
        }
    }
}

fn wrong(path: &Path, what: RowsError) -> Failure {
    Failure::input(path, InputError::Rows(what))
}

type Head = (Number, usize, Option<u64>);

fn checked_dimension(path: &Path, found: i64) -> Result<usize, Failure> {
    match usize::try_from(found) {
        Ok(dimension @ 1..=EMBEDDING_ENTRIES_MAX) => Ok(dimension),
        _ => Err(wrong(path, RowsError::Dimension { found })),
    }
}

fn read_first_prefix(
    path: &Path,
    reader: &mut impl Read,
    len: Option<u64>,
    number: Number,
) -> Result<Head, Failure> {
    let mut prefix = [0; PREFIX_BYTES];
    match read_up_to(reader, &mut prefix).map_err(Failure::file(path))? {
        0 => return Err(wrong(path, RowsError::Empty)),
        PREFIX_BYTES => (),
        _ => return Err(wrong(path, RowsError::EndsInRow { row: 0 })),
    }
    let dimension = checked_dimension(path, i32::from_le_bytes(prefix).into())?;
    let row = (PREFIX_BYTES + dimension * number.bytes()) as u64;
    match len {
        Some(len) if !len.is_multiple_of(row) => {
            Err(wrong(path, RowsError::Ragged { dimension, row: len / row }))
        }
        Some(len) => Ok((number, dimension, Some(len / row))),
        None => Ok((number, dimension, None)),
    }
}

fn read_npy_head(path: &Path, reader: &mut impl Read, len: Option<u64>) -> Result<Head, Failure> {
    let (header, before) = read_header(path, reader)?;
    let (number, rows, dimension) = parse_header(&header).map_err(|what| wrong(path, what))?;
    let dimension = checked_dimension(path, i64::try_from(dimension).unwrap_or(i64::MAX))?;
    let size = rows.checked_mul((dimension * number.bytes()) as u64);
    let wanted = size.and_then(|size| size.checked_add(before)).unwrap_or(u64::MAX);
    match len {
        Some(found) if found < wanted => Err(wrong(path, RowsError::ShorterThanShape { wanted, found })),
        Some(found) if found > wanted => Err(wrong(path, RowsError::LongerThanShape { wanted, found })),
        _ => Ok((number, dimension, Some(rows))),
    }
}

/// The header, and how many bytes were read up to its end.
fn read_header(path: &Path, reader: &mut impl Read) -> Result<(String, u64), Failure> {
    let mut take = |bytes: &mut [u8]| match reader.read_exact(bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(wrong(path, RowsError::EndsInHeader))
        }
        read => read.map_err(Failure::file(path)),
    };
    let mut magic = [0; NPY_MAGIC.len()];
    take(&mut magic)?;
    if magic != NPY_MAGIC {
        return Err(wrong(path, RowsError::NotNpy));
    }
    let mut version = [0; 2];
    take(&mut version)?;
    let length_bytes = match version[0] {
        1 => 2,
        2 | 3 => 4,
        other => return Err(wrong(path, RowsError::Version(other))),
    };
    let mut length = [0; 4];
    take(&mut length[..length_bytes])?;
    let length = u32::from_le_bytes(length) as usize;
    if length > NPY_HEADER_BYTES_MAX {
        return Err(wrong(path, RowsError::NotNpy));
    }
    let mut header = vec![0; length];
    take(&mut header)?;
    let before = magic.len() + version.len() + length_bytes + length;
    let header = String::from_utf8(header).map_err(|_| wrong(path, RowsError::HeaderIsNoText))?;
    Ok((header, before as u64))
}

/// Numbers, rows and columns.
fn parse_header(header: &str) -> Result<(Number, u64, u64), RowsError> {
    let descr = field(header, "descr")?.split(['\'', '"']).nth(1).unwrap_or_default();
    let number = Number::named(descr).ok_or_else(|| RowsError::Numbers(descr.to_owned()))?;
    if !field(header, "fortran_order")?.starts_with("False") {
        return Err(RowsError::FortranOrder);
    }
    let shape = field(header, "shape")?;
    let end = shape.find(')').ok_or(RowsError::HeaderLacks("shape"))?;
    let shape = &shape[..=end];
    let sizes: Vec<&str> = shape.trim_matches(['(', ')']).split(',').map(str::trim).collect();
    let sizes = match sizes.as_slice() {
        &[rows, columns] | &[rows, columns, ""] => rows.parse().ok().zip(columns.parse().ok()),
        _ => None,
    };
    let (rows, columns) = sizes.ok_or_else(|| RowsError::Shape(shape.to_owned()))?;
    Ok((number, rows, columns))
}

/// What is behind a key of the header.
fn field<'a>(header: &'a str, key: &'static str) -> Result<&'a str, RowsError> {
    let behind = header.split_once(&format!("'{key}':")).map(|(_, behind)| behind.trim_start());
    behind.ok_or(RowsError::HeaderLacks(key))
}

/// Fewer bytes than there is room for only at the end of the input.
fn read_up_to(reader: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < buf.len() {
        match reader.read(&mut buf[read..]) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

impl fmt::Display for RowsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RowsError::Name => f.write_str("the name ends in none of .npy, .fvecs, .bvecs, .ivecs"),
            RowsError::Empty => f.write_str("the file is empty"),
            RowsError::NotNpy => f.write_str("this is no .npy file"),
            RowsError::EndsInHeader => f.write_str("the file is cut short: it ends in its header"),
            RowsError::Version(version) => write!(f, "version {version} of .npy is not known"),
            RowsError::HeaderIsNoText => f.write_str("the header is no text"),
            RowsError::HeaderLacks(key) => write!(f, "the header has no '{key}'"),
            RowsError::Numbers(descr) => write!(
                f,
                "numbers of type '{descr}' are not read: f4, f2 or u1 (or i4 for ids), little-endian, are; in NumPy, \
                 numpy.save(FILE, array.astype('<f4'))"
            ),
            RowsError::FortranOrder => f.write_str(
                "the array is in Fortran's order, column by column; in NumPy, \
                 numpy.save(FILE, numpy.ascontiguousarray(array))",
            ),
            RowsError::Shape(shape) => {
                write!(f, "the array has the shape {shape}; two dimensions are read, rows and columns")
            }
            RowsError::ShorterThanShape { wanted, found } => {
                write!(f, "the file is cut short: it has {found} bytes, and {wanted} by its shape")
            }
            RowsError::LongerThanShape { wanted, found } => {
                write!(f, "the file is too long: it has {found} bytes, and {wanted} by its shape")
            }
            RowsError::EndsInRow { row } => write!(f, "the file is cut short: it ends in row {row}"),
            RowsError::Ragged { row, dimension } => write!(
                f,
                "the file is no whole number of rows of {dimension} numbers: it is cut short in row {row}, or rows \
                 have different dimensions"
            ),
            RowsError::OtherDimension { row, first, found } => {
                write!(f, "row {row} has {found} numbers, and row 0 has {first}")
            }
            RowsError::Dimension { found } => {
                write!(f, "rows of {found} numbers are not read; 1 to {EMBEDDING_ENTRIES_MAX} are")
            }
            RowsError::NoRow => f.write_str("there is no vector in it"),
            RowsError::AreIds => f.write_str("these are ids, not vectors"),
            RowsError::AreNoIds => f.write_str("these are no ids: i4 is wanted"),
            RowsError::TooFewIds => f.write_str("there are not k known ids for each query"),
            RowsError::UnknownRows => f.write_str("there are no rows in it, or unknown ones"),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn npy_of(descr: &str, shape: &str, numbers: &[u8]) -> Vec<u8> {
        npy_with(&format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n"), numbers)
    }

    pub fn npy_with(header: &str, numbers: &[u8]) -> Vec<u8> {
        let length = (header.len() as u16).to_le_bytes();
        [NPY_MAGIC, &[1, 0], &length, header.as_bytes(), numbers].concat()
    }

    /// All rows of a file of this name and content.
    fn rows(name: &str, bytes: &[u8]) -> Result<(Number, Vec<Vec<f32>>), String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let read = || {
            let mut file = VectorFile::open(&path)?;
            let (number, mut rows) = (file.number(), Vec::new());
            while let Some(row) = file.next_row()? {
                rows.push(number.floats(row).collect());
            }
            assert_eq!(file.rows(), Some(rows.len() as u64));
            Ok((number, rows))
        };
        read().map_err(|failure: Failure| failure.to_string().split_once(": ").unwrap().1.to_owned())
    }

    #[test]
    fn reads_every_format() {
        let wanted = |number| Ok((number, vec![vec![1.0, 2.0], vec![3.0, 4.0]]));
        let floats = [1.0_f32, 2.0, 3.0, 4.0].map(f32::to_le_bytes).concat();
        let halves = [0x3c00_u16, 0x4000, 0x4200, 0x4400].map(u16::to_le_bytes).concat();
        assert_eq!(rows("a.npy", &npy_of("<f4", "(2, 2)", &floats)), wanted(Number::F32));
        assert_eq!(rows("a.npy", &npy_of("<f2", "(2, 2)", &halves)), wanted(Number::F16));
        assert_eq!(rows("a.npy", &npy_of("|u1", "(2, 2,)", &[1, 2, 3, 4])), wanted(Number::U8));
        assert_eq!(rows("a.npy", &npy_of("<f4", "(0, 7)", &[])), Ok((Number::F32, vec![])));
        let two = 2_i32.to_le_bytes();
        let fvecs = [&two, &floats[..8], &two, &floats[8..]].concat();
        assert_eq!(rows("a.fvecs", &fvecs), wanted(Number::F32));
        let bvecs = [&two[..], &[1, 2], &two, &[3, 4]].concat();
        assert_eq!(rows("a.bvecs", &bvecs), wanted(Number::U8));
        let second = npy_of("|u1", "(1, 1)", &[9]);
        let second = [NPY_MAGIC, &[2, 0], &second[8..10], &[0, 0], &second[10..]].concat();
        assert_eq!(rows("a.npy", &second), Ok((Number::U8, vec![vec![9.0]])), "version 2");
    }

    #[test]
    fn each_mistake_has_its_words() {
        let two = 2_i32.to_le_bytes();
        let fortran = "{'descr': '<f4', 'fortran_order': True, 'shape': (1, 1), }";
        for (name, bytes, wanted) in [
            ("a.txt", vec![], "the name ends in none"),
            ("a.npy", vec![], "the file is empty"),
            ("a.fvecs", vec![], "the file is empty"),
            ("a.npy", b"\x93NUMP".to_vec(), "ends in its header"),
            ("a.npy", npy_of("<f4", "(1, 1)", &[])[..40].to_vec(), "ends in its header"),
            ("a.npy", b"{\"id\":1,\"text\":\"a\"}".to_vec(), "this is no .npy file"),
            ("a.npy", [NPY_MAGIC, &[9, 0, 0, 0]].concat(), "version 9"),
            ("a.npy", npy_with("{'fortran_order': False}", &[]), "no 'descr'"),
            ("a.npy", npy_of("<f8", "(1, 1)", &[0; 8]), "type '<f8'"),
            ("a.npy", npy_of(">f4", "(1, 1)", &[0; 4]), "type '>f4'"),
            ("a.npy", npy_with(fortran, &[0; 4]), "Fortran"),
            ("a.npy", npy_of("<f4", "(4,)", &[0; 16]), "the shape (4,)"),
            ("a.npy", npy_of("<f4", "(1, 2, 2)", &[0; 16]), "the shape (1, 2, 2)"),
            ("a.npy", npy_of("<f4", "()", &[0; 4]), "the shape ()"),
            ("a.npy", npy_of("<f4", "(1, 2)", &[0; 4]), "cut short: it has 74 bytes, and 78"),
            ("a.npy", npy_of("<f4", "(1, 2)", &[0; 12]), "too long: it has 82 bytes, and 78"),
            ("a.npy", npy_of("<f4", "(99999999999, 4096)", &[]), "cut short"),
            ("a.npy", npy_of("<f4", "(99999999999999999999, 9)", &[]), "the shape"),
            ("a.npy", npy_of("<f4", "(1, 4097)", &[]), "rows of 4097 numbers"),
            ("a.npy", npy_of("<f4", "(9, 0)", &[]), "rows of 0 numbers"),
            ("a.fvecs", vec![0xff; 8], "rows of -1 numbers"),
            ("a.fvecs", vec![2, 0], "ends in row 0"),
            ("a.bvecs", [&two[..], &[1, 2], &two, &[3]].concat(), "cut short in row 1"),
            (
                "a.bvecs",
                [&two[..], &[1, 2], &[3, 0, 0, 0, 4, 5]].concat(),
                "row 1 has 3 numbers, and row 0 has 2",
            ),
        ] {
            let told = rows(name, &bytes).expect_err(wanted);
            assert!(told.contains(wanted), "{told}: {wanted}");
        }
    }
}
