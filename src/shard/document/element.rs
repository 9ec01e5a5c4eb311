//! How a collection stores the numbers of its embeddings: f32, f16 or bf16, little-endian.

/// The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
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

    /// Appends the nearest that the element has; ties to even. A finite number may round to infinity.
    pub fn encode(self, number: f32, out: &mut Vec<u8>) {
        match self {
            Element::F32 => out.extend_from_slice(&number.to_le_bytes()),
            Element::F16 => out.extend_from_slice(&to_f16(number).to_le_bytes()),
            Element::Bf16 => out.extend_from_slice(&to_bf16(number).to_le_bytes()),
        }
    }

    /// The numbers of whole elements; bytes behind the last are none.
    pub fn numbers(self, bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
        bytes.chunks_exact(self.bytes()).map(move |chunk| match (self, chunk) {
            (Element::F16, [low, high]) => from_f16(u16::from_le_bytes([*low, *high])),
            (Element::Bf16, [low, high]) => {
                f32::from_bits(u32::from(u16::from_le_bytes([*low, *high])) << 16)
            }
            (_, chunk) => f32::from_le_bytes(chunk.try_into().unwrap_or_default()),
        })
    }
}

/// NaN stays NaN.
fn to_bf16(number: f32) -> u16 {
    let bits = number.to_bits();
    if number.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// NaN stays NaN.
fn to_f16(number: f32) -> u16 {
    let sign = (number.to_bits() >> 16) as u16 & 0x8000;
    let magnitude = number.abs();
    let bits = magnitude.to_bits();
    let half = if magnitude.is_nan() {
        0x7e00
    } else if magnitude >= 65_520.0 {
        0x7c00
    } else if magnitude < 2.0_f32.powi(-14) {
        // Adding 1/2 leaves the fraction of a subnormal, rounded, in the low bits.
        ((magnitude + 0.5).to_bits() - 0.5_f32.to_bits()) as u16
    } else {
        ((bits - 0x3800_0000 + 0xfff + (bits >> 13 & 1)) >> 13) as u16
    };
    half | sign
}

fn from_f16(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), bits & 0x3ff);
    let magnitude = match exponent {
        0 => f32::from(fraction) * 2.0_f32.powi(-24),
        0x1f if fraction == 0 => f32::INFINITY,
        0x1f => f32::NAN,
        _ => f32::from(fraction + 0x400) * 2.0_f32.powi(exponent - 25),
    };
    sign * magnitude
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Element; 3] = [Element::F32, Element::F16, Element::Bf16];

    fn back(element: Element, number: f32) -> f32 {
        let mut bytes = Vec::new();
        element.encode(number, &mut bytes);
        assert_eq!(bytes.len(), element.bytes());
        element.numbers(&bytes).next().unwrap()
    }

    #[test]
    fn every_half_comes_back() {
        for bits in 0..=u16::MAX {
            for element in [Element::F16, Element::Bf16] {
                let number = element.numbers(&bits.to_le_bytes()).next().unwrap();
                let same = back(element, number);
                assert!(same.to_bits() == number.to_bits() || same.is_nan() && number.is_nan(), "{bits:x}");
            }
        }
    }

    #[test]
    fn numbers_go_to_the_nearest_with_ties_to_even() {
        assert_eq!(back(Element::F16, 65_519.0), 65_504.0);
        assert_eq!(back(Element::F16, -65_520.0), f32::NEG_INFINITY);
        assert_eq!(back(Element::Bf16, f32::MAX), f32::INFINITY);
        for (element, step) in [(Element::F16, 2.0_f32.powi(-10)), (Element::Bf16, 2.0_f32.powi(-7))] {
            assert_eq!(back(element, 1.0 + step / 2.0), 1.0);
            assert_eq!(back(element, 1.0 + 1.5 * step), 1.0 + 2.0 * step);
            assert_eq!(back(element, (1.0 + step / 2.0).next_up()), 1.0 + step);
        }
        assert_eq!(back(Element::F16, 2.0_f32.powi(-25)), 0.0);
        assert_eq!(back(Element::F16, 2.0_f32.powi(-25).next_up()), 2.0_f32.powi(-24));
        assert_eq!(back(Element::F32, 0.1), 0.1);
    }

    #[test]
    fn codes_are_fixed() {
        assert_eq!(ALL.map(|element| element as u8), [0, 1, 2]);
        assert_eq!([0, 1, 2].map(Element::from_code), ALL.map(Some));
        assert_eq!(Element::from_code(3), None);
    }
}
