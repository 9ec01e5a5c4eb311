//! Embeddings from JSON, straight into the bytes that are stored.
//!
//! A list of numbers is read without a tree, each number rounded once to f32 and then to the collection's element.
//! Base64 of little-endian f32 is decoded into its place when the element is f32.
//!
//! At the door: another dimension, NaN, infinities and, under cosine, the zero vector, all as they are stored: what
//! f16 makes infinite or zero is refused as well, and so is a vector of which the squared length is no f32, or under
//! cosine hardly one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::invalid::{Invalid, Reason};
use super::json::{Json, Kind, Scanner};
use crate::limits;
use crate::vector::door::{VectorError, check_vector};
use crate::vector::element::Element;
use crate::vector::metric::Metric;

/// What a collection says of its embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbeddingShape {
    dimension: usize,
    pub metric: Metric,
    pub element: Element,
}

const F32_BYTES: usize = 4;

impl EmbeddingShape {
    pub fn new(dimension: usize, metric: Metric, element: Element) -> Result<EmbeddingShape, Reason> {
        if !(limits::EMBEDDING_ENTRIES_MIN..=limits::EMBEDDING_ENTRIES_MAX).contains(&dimension) {
            return Err(Reason::DimensionOutOfRange { found: dimension });
        }
        Ok(EmbeddingShape { dimension, metric, element })
    }

    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Bytes of a stored embedding.
    pub fn bytes(&self) -> usize {
        self.dimension * self.element.bytes()
    }

    /// The same for a query: its numbers are not stored, so they keep their precision.
    pub fn of_query(&self) -> EmbeddingShape {
        EmbeddingShape { element: Element::F32, ..*self }
    }

    /// Appends the list of numbers that comes next.
    pub fn read_list(&self, scanner: &mut Scanner<'_>, out: &mut Vec<u8>) -> Result<(), Invalid> {
        let start = out.len();
        if scanner.peek()? != Kind::Array {
            scanner.value(limits::METADATA_DEPTH_ENTRIES_MAX)?;
            return Err(Reason::Not("a list of numbers").into());
        }
        let mut place = scanner.open(1)?;
        let mut found = 0;
        while scanner.element(&mut place)? {
            // The rest of a list that is too long is counted, and checked for its form.
            self.read_number(scanner, found < self.dimension, out)
                .map_err(|invalid| invalid.at_index(found))?;
            found += 1;
        }
        self.check_dimension(found)?;
        self.check_direction(&out[start..])
    }

    fn read_number(&self, scanner: &mut Scanner<'_>, keep: bool, out: &mut Vec<u8>) -> Result<(), Invalid> {
        if scanner.peek()? != Kind::Number {
            scanner.value(limits::METADATA_DEPTH_ENTRIES_MAX)?;
            return Err(Reason::Not("a number").into());
        }
        // The grammar of JSON is a part of that of `f32::from_str`, which rounds to the nearest.
        let number: f32 = scanner.value(1)?.0.parse().map_err(|_| Reason::Not("a number"))?;
        if keep { self.append(number, out).map_err(Invalid::new) } else { Ok(()) }
    }

    fn append(&self, number: f32, out: &mut Vec<u8>) -> Result<(), Reason> {
        let start = out.len();
        self.element.encode(&[number], out);
        let stored = self.element.numbers(&out[start..]).next();
        if stored.is_some_and(f32::is_finite) { Ok(()) } else { Err(Reason::NotFinite) }
    }

    /// Appends the numbers of base64 of little-endian f32.
    pub fn read_base64(&self, value: Json<'_>, out: &mut Vec<u8>) -> Result<(), Invalid> {
        let start = out.len();
        let text = match value.kind() {
            Kind::Text => value.text().ok_or(Reason::HalfCharacter)?,
            _ => return Err(Reason::Not("a string").into()),
        };
        if self.element == Element::F32 {
            self.decode(&text, out)?;
            self.check_finite(&out[start..])?;
        } else {
            let mut numbers = Vec::with_capacity(self.dimension * F32_BYTES);
            self.decode(&text, &mut numbers)?;
            for (index, number) in Element::F32.numbers(&numbers).enumerate() {
                self.append(number, out).map_err(|reason| Invalid::new(reason).at_index(index))?;
            }
        }
        self.check_direction(&out[start..])
    }

    /// Appends exactly the bytes of so many f32.
    fn decode(&self, text: &str, out: &mut Vec<u8>) -> Result<(), Invalid> {
        let bytes = self.dimension * F32_BYTES;
        if base64::encoded_len(bytes, true) != Some(text.len()) {
            return Err(self.wrong_length(text));
        }
        let start = out.len();
        out.resize(start + bytes, 0);
        match BASE64.decode_slice(text, &mut out[start..]) {
            Ok(found) if found == bytes => Ok(()),
            // Padding tells one or two bytes more or less.
            Ok(_) | Err(base64::DecodeSliceError::OutputSliceTooSmall) => Err(self.wrong_length(text)),
            Err(_) => Err(Reason::NotBase64.into()),
        }
    }

    fn wrong_length(&self, text: &str) -> Invalid {
        let reason = match BASE64.decode(text) {
            Err(_) => Reason::NotBase64,
            Ok(bytes) if bytes.len() % F32_BYTES != 0 => Reason::RaggedEmbedding { bytes: bytes.len() },
            Ok(bytes) => Reason::Dimension { wanted: self.dimension, found: bytes.len() / F32_BYTES },
        };
        reason.into()
    }

    fn check_dimension(&self, found: usize) -> Result<(), Reason> {
        let wanted = self.dimension;
        if found == wanted { Ok(()) } else { Err(Reason::Dimension { wanted, found }) }
    }

    fn check_finite(&self, bytes: &[u8]) -> Result<(), Invalid> {
        match self.element.numbers(bytes).position(|number| !number.is_finite()) {
            None => Ok(()),
            Some(index) => Err(Invalid::new(Reason::NotFinite).at_index(index)),
        }
    }

    /// Whether it has a direction, where it needs one, and a length.
    fn check_direction(&self, bytes: &[u8]) -> Result<(), Invalid> {
        let numbers: Vec<f32> = self.element.numbers(bytes).collect();
        match check_vector(self.metric, self.dimension, &numbers) {
            Err(VectorError::ZeroUnderCosine) => Err(Reason::ZeroVector.into()),
            Err(VectorError::ShortUnderCosine) => Err(Reason::TooShortVector.into()),
            Err(VectorError::TooLong) => Err(Reason::TooLongVector.into()),
            // Dimension and numbers were checked with their places.
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shape(dimension: usize, element: Element) -> EmbeddingShape {
        EmbeddingShape::new(dimension, Metric::Cosine, element).unwrap()
    }

    fn list(shape: EmbeddingShape, json: &str) -> Result<Vec<f32>, (String, Reason)> {
        let mut out = vec![7];
        let read = shape.read_list(&mut Scanner::new(json, 64), &mut out);
        read.map_err(|invalid| (invalid.pointer, invalid.reason))?;
        assert_eq!(out.len(), 1 + shape.bytes());
        Ok(shape.element.numbers(&out[1..]).collect())
    }

    fn base64(shape: EmbeddingShape, bytes: &[u8]) -> Result<Vec<f32>, (String, Reason)> {
        text(shape, &format!("\"{}\"", BASE64.encode(bytes)))
    }

    fn text(shape: EmbeddingShape, json: &str) -> Result<Vec<f32>, (String, Reason)> {
        let mut out = vec![7];
        let read = shape.read_base64(Json(json), &mut out);
        read.map_err(|invalid| (invalid.pointer, invalid.reason))?;
        Ok(shape.element.numbers(&out[1..]).collect())
    }

    fn bytes_of(numbers: &[f32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    fn wrong<T>(pointer: &str, reason: Reason) -> Result<T, (String, Reason)> {
        Err((pointer.to_owned(), reason))
    }

    #[test]
    fn lists_are_checked_number_by_number() {
        let two = shape(2, Element::F32);
        assert_eq!(list(two, "[1, -2.5e0]"), Ok(vec![1.0, -2.5]));
        assert_eq!(list(two, "[1]"), wrong("", Reason::Dimension { wanted: 2, found: 1 }));
        assert_eq!(list(two, "[1,2,3]"), wrong("", Reason::Dimension { wanted: 2, found: 3 }));
        assert_eq!(list(two, "[]"), wrong("", Reason::Dimension { wanted: 2, found: 0 }));
        assert_eq!(list(two, "\"1\""), wrong("", Reason::Not("a list of numbers")));
        assert_eq!(list(two, "[1,null]"), wrong("/1", Reason::Not("a number")));
        assert_eq!(list(two, "[[1],2]"), wrong("/0", Reason::Not("a number")));
        assert_eq!(list(two, "[1,1e39]"), wrong("/1", Reason::NotFinite));
        assert_eq!(list(two, "[0,-0.0]"), wrong("", Reason::ZeroVector));
        assert_eq!(list(two, "[0,1e-50]"), wrong("", Reason::ZeroVector));
        assert!(matches!(list(two, "[1,NaN]"), Err((_, Reason::NotJson { at: 3 }))));
        let dot = EmbeddingShape { metric: Metric::Dot, ..two };
        assert_eq!(list(dot, "[0,0]"), Ok(vec![0.0, 0.0]));
    }

    #[test]
    fn what_the_element_cannot_hold_is_refused() {
        let half = shape(2, Element::F16);
        assert_eq!(list(half, "[65504,1]"), Ok(vec![65504.0, 1.0]));
        assert_eq!(list(half, "[1,65520]"), wrong("/1", Reason::NotFinite));
        assert_eq!(list(half, "[1e-9,0]"), wrong("", Reason::ZeroVector));
        assert_eq!(base64(half, &bytes_of(&[1.0, 1e5])), wrong("/1", Reason::NotFinite));
        assert_eq!(list(half.of_query(), "[1e-9,0]"), Ok(vec![1e-9, 0.0]));
    }

    #[test]
    fn base64_is_checked_by_its_length_first() {
        for element in [Element::F32, Element::Bf16] {
            let two = shape(2, element);
            assert_eq!(base64(two, &bytes_of(&[1.0, -2.0])), Ok(vec![1.0, -2.0]));
            for len in [0, 1, 2, 3, 5, 10, 300] {
                let found = base64(two, &bytes_of(&vec![1.0; len]));
                let reason = Reason::Dimension { wanted: 2, found: len };
                assert_eq!(found, if len == 2 { Ok(vec![1.0; 2]) } else { wrong("", reason) });
            }
            for bytes in [7, 9] {
                assert_eq!(base64(two, &vec![1; bytes]), wrong("", Reason::RaggedEmbedding { bytes }));
            }
            assert_eq!(text(two, "\"AACAPwAAAM\""), wrong("", Reason::NotBase64));
            assert_eq!(text(two, "\"AACAPwAAAM!=\""), wrong("", Reason::NotBase64));
            assert_eq!(text(two, "\"AACAPwAAAMB=\""), wrong("", Reason::NotBase64), "bits behind the end");
            assert_eq!(text(two, "7"), wrong("", Reason::Not("a string")));
            assert_eq!(base64(two, &bytes_of(&[f32::NAN, 1.0])), wrong("/0", Reason::NotFinite));
            assert_eq!(base64(two, &bytes_of(&[1.0, f32::INFINITY])), wrong("/1", Reason::NotFinite));
            assert_eq!(base64(two, &bytes_of(&[0.0, -0.0])), wrong("", Reason::ZeroVector));
        }
        // Some writers escape slashes.
        let escaped = BASE64.encode([255; 8]).replace('/', "\\/");
        assert_eq!(text(shape(2, Element::F32), &format!("\"{escaped}\"")), wrong("/0", Reason::NotFinite));
    }

    #[test]
    fn what_has_no_distance_is_refused() {
        let two = shape(2, Element::F32);
        assert_eq!(list(two, "[3e38,0]"), wrong("", Reason::TooLongVector));
        assert_eq!(base64(two, &bytes_of(&[0.0, -1e19])), wrong("", Reason::TooLongVector));
        assert_eq!(list(two, "[9e18,0]"), Ok(vec![9e18, 0.0]));
        for short in ["[1e-24,2e-24]", "[0,1e-40]"] {
            assert_eq!(list(two, short), wrong("", Reason::TooShortVector));
            assert_eq!(list(two.of_query(), short), wrong("", Reason::TooShortVector));
        }
        assert_eq!(base64(two, &bytes_of(&[1e-24, 2e-24])), wrong("", Reason::TooShortVector));
        let dot = EmbeddingShape { metric: Metric::Dot, ..two };
        assert_eq!(list(dot, "[1e-24,2e-24]"), Ok(vec![1e-24, 2e-24]));
    }

    #[test]
    fn dimensions_are_bounded() {
        for found in [0, 1, limits::EMBEDDING_ENTRIES_MAX + 1, 100_000] {
            let made = EmbeddingShape::new(found, Metric::L2, Element::F32);
            assert_eq!(made, Err(Reason::DimensionOutOfRange { found }));
        }
        assert!(EmbeddingShape::new(limits::EMBEDDING_ENTRIES_MAX, Metric::L2, Element::F32).is_ok());
    }

    proptest! {
        #[test]
        fn both_ways_give_the_same_numbers(
            bits in prop::collection::vec(any::<u32>(), 2..40), code in 0u8..3,
        ) {
            let numbers: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
            let shape = EmbeddingShape::new(numbers.len(), Metric::Dot, Element::from_code(code).unwrap()).unwrap();
            let json = format!("{:?}", numbers).replace("NaN", "1e99").replace("inf", "1e99");
            let (from_list, from_base64) = (list(shape, &json), base64(shape, &bytes_of(&numbers)));
            prop_assert_eq!(&from_list, &from_base64);
            // The squares of all of them together are far below the largest f32.
            if code == 0 && numbers.iter().all(|number| number.abs() < 1e18) {
                prop_assert_eq!(from_list.unwrap(), numbers);
            }
        }
    }
}
