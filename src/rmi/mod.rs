//! The learned index: from a sorted array of unique u64 keys to the place of any key in it.
//!
//! Owns: training, probe, choice, codec, and the quantiles from which the range router takes its
//! separators. Everything here is pure: memory and arithmetic.
//!
//! Must not know: files, threads, async, clocks.
//!
//! A walk through the folder, along a lookup of one key:
//! 1. [`index`]: what callers hold. Keys, and for each mode the structure that was measured to be faster;
//!    a lookup goes to it.
//! 2. [`keys`] in [`memory`]: the sorted keys in cache lines, padded so that no probe has to know where
//!    they end.
//! 3. [`kernel`]: how many keys of a line are below a key, in four instruction sets. [`probe`] compiles
//!    every lookup once for each of them.
//! 4. [`learned`]: the lookup by prediction. [`router`] leads from the key to its [`segment`], the line of
//!    that gives a rank, [`correction`] shifts it by a byte. The cache line there has the answer mostly,
//!    the three around it nearly always.
//! 5. [`last_mile`]: the rest, line by line.
//!
//! The other structure is [`splus`], a static search tree: one line a level, whatever the keys are.
//!
//! How it comes to be: [`train`] makes the parts of 4 of the keys, in steps. [`choose`] measures both
//! structures with the questions of [`ask`]. [`codec`] stores an index and loads it, every number checked.
//!
//! How a core uses it, with its requests in between: keys go into a [`keys::KeyArrayBuilder`] slice by slice;
//! [`index::IndexBuilder`] makes an index of them in steps, the choice included; [`codec::Encoder`] and
//! [`codec::Decoder`] store and load it in steps. Each step takes a budget, in keys looked at in order.
//!
//! Built on it: [`strings`] (keys that are not numbers), [`quantiles`] and [`merged`] (separators from a
//! sample, and from indexes), [`drift`] (what lookups tell, and when a rebuild pays).

pub mod ask;
pub mod choose;
pub mod codec;
#[cfg(test)]
mod codec_tests;
mod correction;
pub mod drift;
pub mod index;
pub mod kernel;
pub mod keys;
#[cfg(test)]
#[path = "../../tests/support/keysets.rs"]
pub(crate) mod keysets;
mod last_mile;
pub mod learned;
pub mod memory;
pub mod merged;
mod probe;
pub mod quantiles;
mod router;
mod segment;
pub mod splus;
pub mod strings;
#[cfg(test)]
mod tests;
pub mod train;
