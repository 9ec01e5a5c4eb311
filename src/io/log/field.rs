//! Little-endian numbers at fixed places of a header.
//!
//! For headers whose byte map is a list of constant offsets; the caller has checked that the header is
//! all there. Variable parts go through [`crate::io::codec`].

macro_rules! field {
    ($get:ident, $put:ident, $int:ty) => {
        pub(in crate::io) fn $get(bytes: &[u8], at: usize) -> $int {
            let mut value = [0; size_of::<$int>()];
            value.copy_from_slice(&bytes[at..at + size_of::<$int>()]);
            <$int>::from_le_bytes(value)
        }

        pub(in crate::io) fn $put(bytes: &mut [u8], at: usize, value: $int) {
            bytes[at..at + size_of::<$int>()].copy_from_slice(&value.to_le_bytes());
        }
    };
}

field!(get_u16, put_u16, u16);
field!(get_u32, put_u32, u32);
field!(get_u64, put_u64, u64);
