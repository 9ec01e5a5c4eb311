//! Ways to ask for many keys, as lookups come: for the measurement that chooses what serves, and for the
//! benchmark, so that both ask alike. No clock is in here.

/// Keys of a batch.
pub const BATCH: usize = 32;

/// Keys that do not depend on each other: the processor may overlap them.
pub fn one_by_one<T>(asked: &[u64], answers: &mut [T], answer: impl Fn(u64) -> T) {
    for (key, into) in asked.iter().zip(answers) {
        *into = answer(*key);
    }
}

pub fn in_batches<T>(asked: &[u64], answers: &mut [T], answer: impl Fn(&[u64], &mut [T])) {
    for (keys, into) in asked.chunks(BATCH).zip(answers.chunks_mut(BATCH)) {
        answer(keys, into);
    }
}

/// The keys for [`in_a_chain`]: each hidden by the right answer before it; the first by answer 0.
pub fn hidden(asked: &[u64], right: &[usize]) -> Vec<u64> {
    let before = std::iter::once(&0).chain(right);
    asked.iter().zip(before).map(|(key, before)| key ^ spread(*before)).collect()
}

/// Each key is made of the answer before it and a number that hides it: it is not known, nor guessed,
/// before that answer is. (A dependency that only adds a zero is no obstacle to a structure that branches:
/// on a wrong guess the processor goes on with the right next key.) `last` is the answer before the first.
pub fn in_a_chain(hidden: &[u64], mut last: usize, answers: &mut [usize], answer: impl Fn(u64) -> usize) {
    for (hidden, into) in hidden.iter().zip(answers) {
        last = answer(hidden ^ spread(last));
        *into = last;
    }
}

fn spread(answer: usize) -> u64 {
    (answer as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_asks_for_the_same_keys() {
        let asked: Vec<u64> = (0..100).map(|at| at * at).collect();
        let answer = |key: u64| (key / 3) as usize;
        let right: Vec<usize> = asked.iter().map(|key| answer(*key)).collect();
        let mut found = vec![0; asked.len()];
        one_by_one(&asked, &mut found, answer);
        assert_eq!(found, right);
        let hidden = hidden(&asked, &right);
        found.fill(0);
        in_a_chain(&hidden[..40], 0, &mut found[..40], answer);
        in_a_chain(&hidden[40..], right[39], &mut found[40..], answer);
        assert_eq!(found, right);
        found.fill(0);
        in_batches(&asked, &mut found, |keys, into| {
            assert!(keys.len() <= BATCH);
            one_by_one(keys, into, answer);
        });
        assert_eq!(found, right);
    }
}
