//! Indexes that a few bytes choose.

use kyrodb::rmi::choose::Structure;
use kyrodb::rmi::codec::encode;
use kyrodb::rmi::index::{Index, IndexOptions};
use kyrodb::rmi::keys::KeyArray;
use kyrodb::rmi::train::TrainOptions;

/// Keys whose gaps change in length every few.
pub fn keys(len: u8, shape: u8) -> Vec<u64> {
    let mut key = u64::from(shape) << 48;
    (0..u64::from(len) * 4)
        .map(|at| {
            key += 1 + ((at / 40 * u64::from(shape)) % 29).pow(4);
            key
        })
        .collect()
}

pub fn encoded(keys: &[u64], way: u8) -> Vec<u8> {
    let structure = [Some(Structure::Learned), Some(Structure::SPlus), None][usize::from(way % 3)];
    let train = TrainOptions {
        eps: Some(u32::from(way / 3) + 1),
        correction_shift: way.is_multiple_of(2).then_some(3),
        ..TrainOptions::default()
    };
    let array = KeyArray::new(keys).expect("sorted and unique");
    encode(&Index::build(array, IndexOptions { train, structure }, &mut || 0))
}
