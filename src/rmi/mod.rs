//! The learned index: from a sorted array of unique u64 keys to the place of any key in it.
//!
//! Owns: training, probe, choice, codec, and the quantiles from which the range router takes its
//! separators. Everything here is pure: memory and arithmetic.
//!
//! Must not know: files, threads, async, clocks.
//!
//! Reading order, from the whole to the last mile:
//! 1. [`index`]: what callers hold; keys, and for each mode the structure that was measured to be faster.
//! 2. [`keys`] and [`memory`]: the key array, in cache lines, padded so that probes need no bounds.
//! 3. [`kernel`]: the comparison of a line, in four instruction sets.
//! 4. [`splus`]: the floor, a static search tree that does not care what the keys are.
//! 5. [`learned`]: the lookup by prediction, of which the parts are [`router`] (key to segment),
//!    [`segment`] (the line of it), [`correction`] (a byte that shifts the prediction) and [`last_mile`]
//!    (what the first look missed).
//! 6. [`train`]: keys to all of that, in steps.
//! 7. [`choose`] and [`ask`]: the measurement that decides which of the two serves, and its questions.
//! 8. [`codec`]: an index as bytes and back, with every number checked.
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
mod keysets;
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
