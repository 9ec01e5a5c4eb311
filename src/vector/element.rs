//! Originals: the vectors as their owner keeps them, in f32, f16 or bf16, apart from what is searched.
//!
//! The index never owns them. It asks [`Originals`] for the few that it ranks anew, and when codes are made.

/// How a collection stores the numbers of its vectors, little-endian. The codes are part of formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    F32 = 0,
    F16 = 1,
    Bf16 = 2,
}

impl Element {
    pub fn from_code(code: u8) -> Option<Element> {
        [Element::F32, Element::F16, Element::Bf16].into_iter().find(|element| *element as u8 == code)
    }

    pub fn bytes(self) -> usize {
        match self {
            Element::F32 => 4,
            Element::F16 | Element::Bf16 => 2,
        }
    }

    /// Appends `numbers`, rounded to the nearest that the element has; ties to even. A finite number may
    /// round to infinity.
    pub fn encode(self, numbers: &[f32], out: &mut Vec<u8>) {
        match self {
            Element::F32 => numbers.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
            Element::F16 => numbers.iter().for_each(|x| out.extend_from_slice(&f32_to_f16(*x).to_le_bytes())),
            Element::Bf16 => {
                numbers.iter().for_each(|x| out.extend_from_slice(&f32_to_bf16(*x).to_le_bytes()));
            }
        }
    }

    /// The numbers of whole elements; bytes behind the last are none.
    pub fn numbers(self, bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
        bytes.chunks_exact(self.bytes()).map(move |chunk| match (self, chunk) {
            (Element::F16, [low, high]) => f16_to_f32(u16::from_le_bytes([*low, *high])),
            (Element::Bf16, [low, high]) => bf16_to_f32(u16::from_le_bytes([*low, *high])),
            (_, chunk) => f32::from_le_bytes(chunk.try_into().unwrap_or_default()),
        })
    }

    /// As many numbers as `out` has.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(bytes.len(), out.len() * self.bytes(), "an original of another dimension");
        let halves = || bytes.as_chunks::<2>().0.iter().map(|half| u16::from_le_bytes(*half));
        match self {
            Element::F32 => {
                let words = bytes.as_chunks::<4>().0;
                out.iter_mut().zip(words).for_each(|(out, word)| *out = f32::from_le_bytes(*word));
            }
            Element::F16 => out.iter_mut().zip(halves()).for_each(|(out, half)| *out = f16_to_f32(half)),
            Element::Bf16 => out.iter_mut().zip(halves()).for_each(|(out, half)| *out = bf16_to_f32(half)),
        }
    }
}

/// Gives the original of an ordinal.
pub trait Originals {
    fn element(&self) -> Element;

    /// The bytes of an original. The index asks for ordinals that it was given, and no others.
    fn original(&self, ordinal: u32) -> &[u8];
}

/// Originals in one row after another.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    pub element: Element,
    pub dimension: usize,
    pub bytes: &'a [u8],
}

impl Rows<'_> {
    pub fn len(&self) -> usize {
        self.bytes.len() / self.row_bytes()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn row_bytes(&self) -> usize {
        self.dimension * self.element.bytes()
    }
}

impl Originals for Rows<'_> {
    fn element(&self) -> Element {
        self.element
    }

    #[inline]
    fn original(&self, ordinal: u32) -> &[u8] {
        let at = ordinal as usize * self.row_bytes();
        &self.bytes[at..at + self.row_bytes()]
    }
}

pub fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// To the nearest, ties to even. A finite number may round to infinity; NaN stays NaN.
pub fn f32_to_bf16(number: f32) -> u16 {
    let bits = number.to_bits();
    if number.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// Exponent and fraction moved to their places and scaled by 2^112: right for subnormals without a case of
/// their own (Giesen, "Half to float done quick", 2012).
pub fn f16_to_f32(bits: u16) -> f32 {
    let rest = u32::from(bits & 0x7fff) << 13;
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = match bits & 0x7c00 {
        0x7c00 => rest | 0x7f80_0000,
        _ => (f32::from_bits(rest) * f32::from_bits(0x7780_0000)).to_bits(),
    };
    f32::from_bits(magnitude | sign)
}

/// To the nearest, ties to even. Above 65,519 it is infinity; NaN stays NaN.
pub fn f32_to_f16(number: f32) -> u16 {
    let sign = (number.to_bits() >> 16) as u16 & 0x8000;
    let magnitude = number.abs();
    let bits = magnitude.to_bits();
    let half = if magnitude.is_nan() {
        0x7e00
    } else if magnitude >= 65_520.0 {
        0x7c00
    } else if magnitude < f32::from_bits(0x3880_0000) {
        // Below 2^-14: adding 1/2 leaves the fraction of a subnormal, rounded, in the low bits.
        ((magnitude + 0.5).to_bits() - 0.5_f32.to_bits()) as u16
    } else {
        ((bits - 0x3800_0000 + 0xfff + (bits >> 13 & 1)) >> 13) as u16
    };
    half | sign
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_goes_to_a_float_and_back() {
        for bits in 0..=u16::MAX {
            let (f16, bf16) = (f16_to_f32(bits), bf16_to_f32(bits));
            if f16.is_nan() {
                assert!(f16_to_f32(f32_to_f16(f16)).is_nan());
            } else {
                assert_eq!(f32_to_f16(f16), bits, "{f16}");
            }
            if bf16.is_nan() {
                assert!(bf16_to_f32(f32_to_bf16(bf16)).is_nan());
            } else {
                assert_eq!(f32_to_bf16(bf16), bits, "{bf16}");
            }
        }
        assert_eq!(
            [f16_to_f32(1), f16_to_f32(0x3c00), f16_to_f32(0x7bff)],
            [2.0_f32.powi(-24), 1.0, 65504.0]
        );
    }

    #[test]
    fn rounds_to_the_nearest_with_ties_to_even() {
        for bits in 0..0x7bff_u16 {
            let (low, high) = (f16_to_f32(bits), f16_to_f32(bits + 1));
            let middle = (f64::from(low) + f64::from(high)) / 2.0;
            assert_eq!(f32_to_f16(middle as f32), bits + (bits & 1), "{middle}");
            assert_eq!(f32_to_f16((middle as f32).next_down()), bits);
            assert_eq!(f32_to_f16(-(middle as f32).next_up()), (bits + 1) | 0x8000);
        }
        for bits in 0..0x7f7f_u16 {
            let middle = f32::from_bits(u32::from(bits) << 16 | 0x8000);
            assert_eq!(f32_to_bf16(middle), bits + (bits & 1));
            assert_eq!(f32_to_bf16(middle.next_up()), bits + 1);
        }
        assert_eq!(f32_to_f16(65_519.0), 0x7bff);
        assert_eq!(f32_to_f16(65_520.0), 0x7c00);
    }

    #[test]
    fn codes_are_fixed() {
        let all = [Element::F32, Element::F16, Element::Bf16];
        assert_eq!(all.map(|element| element as u8), [0, 1, 2]);
        assert_eq!([0, 1, 2].map(Element::from_code), all.map(Some));
        assert_eq!(Element::from_code(3), None);
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let numbers = [0.5, -2.0, 0.0, 1024.0];
        for element in [Element::F32, Element::F16, Element::Bf16] {
            let mut bytes = Vec::new();
            element.encode(&numbers, &mut bytes);
            let mut back = [0.0; 4];
            element.decode(&bytes, &mut back);
            assert_eq!(back, numbers);
            bytes.push(9);
            assert!(element.numbers(&bytes).eq(numbers), "a byte is no element");
            bytes.pop();
            let rows = Rows { element, dimension: 2, bytes: &bytes };
            assert_eq!((rows.len(), rows.original(1).len()), (2, 2 * element.bytes()));
        }
    }
}
