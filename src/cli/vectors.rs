//! Whole files of vectors and ids in memory, for benchmarks.

use std::path::Path;

use super::failure::Failure;
use super::vector_file::{NPY_MAGIC, Number, RowsError, VectorFile};
use crate::vector::element::Element;

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
    let mut file = VectorFile::open(path)?;
    let (number, dimension) = (file.number(), file.dimension());
    let element = match number {
        Number::F32 => Element::F32,
        // Every u8 is an f16.
        Number::F16 | Number::U8 => Element::F16,
        Number::I32 => return Err(file.wrong(RowsError::AreIds)),
    };
    let mut numbers = Vec::with_capacity(file.rows().unwrap_or(0) as usize * dimension);
    while let Some(row) = file.next_row()? {
        numbers.extend(number.floats(row));
    }
    Ok(Vectors { dimension, numbers, element })
}

pub fn read_ids(path: &Path) -> Result<Ids, Failure> {
    let mut file = VectorFile::open(path)?;
    if file.number() != Number::I32 {
        return Err(file.wrong(RowsError::AreNoIds));
    }
    let mut ids = Vec::new();
    while let Some(row) = file.next_row()? {
        ids.extend(row.as_chunks::<4>().0.iter().map(|id| i32::from_le_bytes(*id)));
    }
    Ok(Ids { columns: file.dimension(), ids })
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
    use super::super::vector_file::tests::npy_of;
    use super::*;

    fn with_file<T>(name: &str, bytes: &[u8], read: impl FnOnce(&Path) -> T) -> T {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        read(&path)
    }

    #[test]
    fn vectors_have_the_least_element_that_holds_them() {
        let floats = [1.0_f32, 2.0, 3.0, 4.0].map(f32::to_le_bytes).concat();
        for (bytes, element) in [
            (npy_of("<f4", "(2, 2)", &floats), Element::F32),
            (npy_of("|u1", "(2, 2)", &[1, 2, 3, 4]), Element::F16),
        ] {
            let found = with_file("a.npy", &bytes, |path| read_vectors(path).unwrap());
            assert_eq!(found, Vectors { dimension: 2, numbers: vec![1.0, 2.0, 3.0, 4.0], element });
            assert!(with_file("a.npy", &bytes, read_ids).is_err());
        }
    }

    #[test]
    fn reads_back_the_ids_that_it_writes() {
        let bytes = npy_of_ids(&[1, 2, 3, -1, 5, 6], 3);
        assert!((bytes.len() - 24).is_multiple_of(64));
        let ids = with_file("a.npy", &bytes, |path| read_ids(path).unwrap());
        assert_eq!((ids.row(1), ids.row(2)), (Some(&[-1, 5, 6][..]), None));
        assert!(with_file("a.npy", &bytes, read_vectors).is_err());
        let two = 2_i32.to_le_bytes();
        let ids =
            with_file("a.ivecs", &[two, 7_i32.to_le_bytes(), two].concat(), |path| read_ids(path).unwrap());
        assert_eq!(ids, Ids { columns: 2, ids: vec![7, 2] });
    }
}
