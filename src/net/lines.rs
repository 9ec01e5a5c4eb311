//! Cuts a streamed body into lines, each within a bound. Pure.

use crate::limits;

#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    Whole(&'a [u8]),
    /// A line over the bound; its bytes are thrown away as they arrive.
    TooLong,
}

/// Holds what has arrived and was not yet taken: at most one unfinished line and one input.
#[derive(Debug, Default)]
pub struct LineSplitter {
    held: Vec<u8>,
    /// Lines before this place in `held` were given.
    taken: usize,
    /// No line end lies between `taken` and here.
    scanned: usize,
    /// In a line that was too long already, and said so.
    skipping: bool,
}

impl LineSplitter {
    pub fn feed(&mut self, bytes: &[u8]) {
        self.held.drain(..self.taken);
        self.scanned -= self.taken;
        self.taken = 0;
        self.held.extend_from_slice(bytes);
    }

    pub fn held_bytes(&self) -> usize {
        self.held.len() - self.taken
    }

    /// The next whole line, without its end; `None` when more is needed.
    pub fn next_line(&mut self) -> Option<Line<'_>> {
        while let Some(found) = memchr::memchr(b'\n', &self.held[self.scanned..]) {
            let (start, end) = (self.taken, self.scanned + found);
            self.taken = end + 1;
            self.scanned = end + 1;
            if !std::mem::take(&mut self.skipping) {
                return Some(bounded(&self.held[start..end]));
            }
        }
        self.scanned = self.held.len();
        self.check_unfinished()
    }

    /// What is left when the body has ended: a last line may lack its end.
    pub fn last_line(&mut self) -> Option<Line<'_>> {
        let start = std::mem::replace(&mut self.taken, self.held.len());
        self.scanned = self.held.len();
        let is_line = start < self.held.len() && !std::mem::take(&mut self.skipping);
        is_line.then(|| bounded(&self.held[start..]))
    }

    fn check_unfinished(&mut self) -> Option<Line<'_>> {
        let was_skipping = self.skipping;
        if self.skipping || self.held.len() - self.taken > limits::BULK_LINE_BYTES_MAX {
            self.skipping = true;
            self.taken = self.held.len();
        }
        (self.skipping && !was_skipping).then_some(Line::TooLong)
    }
}

fn bounded(line: &[u8]) -> Line<'_> {
    if line.len() > limits::BULK_LINE_BYTES_MAX { Line::TooLong } else { Line::Whole(line) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every line fed in pieces, `None` for one that was too long.
    fn split(pieces: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
        let own = |line: Line<'_>| match line {
            Line::Whole(line) => Some(line.to_vec()),
            Line::TooLong => None,
        };
        let mut splitter = LineSplitter::default();
        let mut lines = Vec::new();
        for piece in pieces {
            splitter.feed(piece);
            while let Some(line) = splitter.next_line() {
                lines.push(own(line));
            }
        }
        lines.extend(splitter.last_line().map(own));
        assert!(splitter.last_line().is_none() && splitter.next_line().is_none());
        lines
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[ab\n]{0,40}", cuts in prop::collection::vec(0..41usize, 0..6)) {
            let mut expected: Vec<_> = text.split('\n').map(|line| Some(line.as_bytes().to_vec())).collect();
            if expected.last().is_some_and(|line| line.as_ref().is_some_and(Vec::is_empty)) {
                expected.pop();
            }
            let mut places: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            places.sort_unstable();
            places.push(text.len());
            let mut start = 0;
            let pieces: Vec<&[u8]> = places.iter().map(|&place| {
                let piece = &text.as_bytes()[start..place];
                start = place;
                piece
            }).collect();
            prop_assert_eq!(split(&pieces), expected);
        }
    }

    #[test]
    fn a_line_over_the_bound_is_one_line_and_is_not_kept() {
        let long = vec![b'x'; limits::BULK_LINE_BYTES_MAX + 1];
        let fits = &long[1..];
        let (a, b) = (Some(b"a".to_vec()), Some(b"b".to_vec()));
        assert_eq!(split(&[b"a\n", &long, b"xxx", b"x\nb\n"]), [a.clone(), None, b.clone()]);
        assert_eq!(split(&[b"a\n", &long, b"\nb"]), [a.clone(), None, b.clone()]);
        assert_eq!(split(&[&[b"a\n", long.as_slice(), b"\nb"].concat()]), [a, None, b]);
        assert_eq!(split(&[&long, b"x"]), [None]);
        assert_eq!(split(&[fits, b"\n"]), [Some(fits.to_vec())]);

        let mut splitter = LineSplitter::default();
        splitter.feed(&long);
        assert_eq!(splitter.next_line(), Some(Line::TooLong));
        splitter.feed(b"xx");
        assert_eq!(splitter.next_line(), None);
        assert!(splitter.held.len() <= 2);
    }
}
