//! Texts, one behind the other, in pieces that never move: what grows as a whole is copied as a whole, in one step.

use crate::limits;

#[derive(Default)]
pub struct Texts {
    pieces: Vec<String>,
    /// Where each text begins: in which piece, and where in it. It ends where the next of its piece begins.
    places: Vec<(u32, u32)>,
}

impl Texts {
    pub fn push(&mut self, text: &str) {
        let has_room = |piece: &String| text.len() <= piece.capacity() - piece.len();
        if !self.pieces.last().is_some_and(has_room) {
            self.pieces.push(String::with_capacity(text.len().max(limits::TEXTS_PIECE_BYTES)));
        }
        let last = self.pieces.len() - 1;
        let piece = &mut self.pieces[last];
        self.places.push((last as u32, piece.len() as u32));
        piece.push_str(text);
    }

    pub fn get(&self, at: usize) -> &str {
        let (piece, start) = self.places[at];
        let text = &self.pieces[piece as usize];
        let end = self.places.get(at + 1).filter(|(next, _)| *next == piece);
        &text[start as usize..end.map_or(text.len(), |(_, end)| *end as usize)]
    }

    /// Frees a piece when nobody asks any more; false when there was none.
    pub fn shed(&mut self) -> bool {
        self.pieces.pop().is_some()
    }

    pub fn memory_bytes(&self) -> usize {
        let pieces: usize = self.pieces.iter().map(String::capacity).sum();
        pieces + self.places.len() * size_of::<(u32, u32)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_where_it_was_put() {
        let lengths = [0, 3, limits::TEXTS_PIECE_BYTES - 4, 0, 2, 1, 3 * limits::TEXTS_PIECE_BYTES, 0, 7];
        let text = |(at, length): (usize, &usize)| char::from(b'a' + at as u8).to_string().repeat(*length);
        let all: Vec<String> = lengths.iter().enumerate().map(text).collect();
        let mut texts = Texts::default();
        all.iter().for_each(|text| texts.push(text));
        assert!((0..all.len()).all(|at| texts.get(at) == all[at]));
        assert_eq!(texts.pieces.len(), 4);
        assert!(texts.memory_bytes() >= 6 * limits::TEXTS_PIECE_BYTES);
        assert_eq!(std::iter::from_fn(|| texts.shed().then_some(())).count(), 4);
    }
}
